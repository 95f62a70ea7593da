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
    """Makes sure that a 404 must mean the ids: what they are looked for in is there. Asks once.

    Args:
        ask: reads it; raises `NotFoundError` if it is not there.
    """

    def __init__(self, ask: Callable[[Watch], Awaitable[object]]) -> None:
        self._ask = ask
        self._asking = asyncio.Lock()
        self._was_asked = False
        self._missing: NotFoundError | None = None

    async def __call__(self, watch: Watch) -> None:
        """Ask, unless that was done before.

        Raises:
            NotFoundError: it is not there.
        """
        async with self._asking:
            if not self._was_asked:
                try:
                    await self._ask(watch)
                except NotFoundError as error:
                    self._missing = error
                self._was_asked = True
        if self._missing is not None:
            raise self._missing


@attrs.frozen
class Deletes:
    """All that deleting one kind of thing differs by. Resending is safe: the transport does it.

    Attributes:
        request: makes the DELETE of these ids.
        is_there: makes sure that a 404 must mean the ids.
        done: the status of what is gone.
        of_profiles: whether the ids are those of profiles.
    """

    request: Callable[[Sequence[UUID]], Request]
    is_there: IsThere
    done: Status = Status.DELETED
    of_profiles: bool = True

    async def settle(self, batch: Batch[UUID], ledger: Ledger[UUID]) -> None:
        """Settle every id of a chunk.

        Raises:
            BCShopperError: it could not be finished; the ledger says how far it came.
        """

        async def attempt(ids: Sequence[UUID]) -> Refusal[UUID] | None:
            return await self._attempt(batch, ledger, ids)

        def reject(one: UUID, error: APIError) -> None:
            if isinstance(error, NotFoundError):
                self._settle_gone(ledger, one)
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
            if isinstance(error, NotFoundError):
                await self._make_sure_it_is_there(batch, ledger, ids)
            return Refusal(ids, error)
        for one in ids:
            self._settle_gone(ledger, one)
        return None

    def _settle_gone(self, ledger: Ledger[UUID], one: UUID) -> None:
        ledger.settle(one, self.done, profile_id=one if self.of_profiles else None)

    async def _make_sure_it_is_there(
        self, batch: Batch[UUID], ledger: Ledger[UUID], ids: Sequence[UUID]
    ) -> None:
        try:
            await self.is_there(batch.looking)
        except NotFoundError:
            raise
        except BCShopperError as error:
            ledger.doubt(ids, error)  # whether they are gone, or all of it, nobody can tell
            raise
