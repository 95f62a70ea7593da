"""Deleting a chunk of things: what becomes of each, whatever the answer."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from uuid import UUID

import attrs

from bcshopper._batch.batch import Batch
from bcshopper._batch.halving import Halving, Refusal
from bcshopper._batch.ledger import Ledger
from bcshopper._outcomes import Status
from bcshopper._transport import Request, Watch, read_no_body
from bcshopper.errors import APIError, BCShopperError, NotFoundError

# A chunk refused so may hold innocent ids.
_DIVISIBLE = frozenset({400, 404, 409, 413, 414, 422})


class IsThere:
    """Whether a 404 must mean the ids, because what they are looked for in is there: asked once.

    Args:
        ask: reads it; raises `NotFoundError` if it is not there.
    """

    def __init__(self, ask: Callable[[Watch], Awaitable[object]]) -> None:
        self._ask = ask
        self._asking = asyncio.Lock()
        self._answer: bool | None = None

    async def __call__(self, watch: Watch) -> bool:
        """Ask, unless that was done before."""
        async with self._asking:
            if self._answer is None:
                try:
                    await self._ask(watch)
                    self._answer = True
                except NotFoundError:
                    self._answer = False
            return self._answer


@attrs.frozen
class Deletes:
    """All that deleting one kind of thing differs by. Resending is safe: the transport does it.

    Attributes:
        request: makes the DELETE of these ids.
        is_there: whether a 404 must mean the ids.
        done: the status of what is gone.
    """

    request: Callable[[Sequence[UUID]], Request]
    is_there: IsThere
    done: Status = Status.DELETED

    async def settle(self, batch: Batch[UUID], ledger: Ledger[UUID]) -> None:
        """Settle every id of a chunk.

        Raises:
            BCShopperError: it could not be finished; the ledger says how far it came.
        """

        async def attempt(ids: Sequence[UUID]) -> Refusal[UUID] | None:
            return await self._attempt(batch, ledger, ids)

        def reject(one: UUID, error: APIError) -> None:
            if isinstance(error, NotFoundError):
                ledger.settle(one, self.done, profile_id=one)
            else:
                ledger.refused([one], error)

        await Halving(attempt, reject).run(ledger.items)

    async def _attempt(
        self, batch: Batch[UUID], ledger: Ledger[UUID], ids: Sequence[UUID]
    ) -> Refusal[UUID] | None:
        try:
            await batch.transport.send(self.request(ids), read_no_body, batch.watch(ledger, ids))
        except APIError as error:
            if error.status not in _DIVISIBLE:
                raise
            if isinstance(error, NotFoundError) and not await self._is_there(batch, ledger, ids):
                raise
            return Refusal(ids, error)
        for one in ids:
            ledger.settle(one, self.done, profile_id=one)
        return None

    async def _is_there(
        self, batch: Batch[UUID], ledger: Ledger[UUID], ids: Sequence[UUID]
    ) -> bool:
        try:
            return await self.is_there(Watch(going_out=batch.check))
        except BCShopperError as error:
            ledger.doubt(ids, error)  # whether they are gone, or all of it, nobody can tell
            raise
