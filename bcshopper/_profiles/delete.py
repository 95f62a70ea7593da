"""Deleting a chunk of profiles: what becomes of each, whatever the answer."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from uuid import UUID

from bcshopper._batch.batch import Batch
from bcshopper._batch.halving import Bisection, Refusal
from bcshopper._batch.ledger import Account
from bcshopper._outcomes import Status
from bcshopper._transport.documents import read_deletion, read_profile_list
from bcshopper._transport.messages import Requests
from bcshopper._transport.transport import Transport, Watch
from bcshopper.errors import APIError, BCShopperError, NotFoundError

# A chunk refused so may hold innocent ids.
_DIVISIBLE = frozenset({400, 404, 409, 413, 414, 422})


class StoreCheck:
    """Whether a 404 must mean the profiles, because the store itself is there: asked once."""

    def __init__(self, transport: Transport, requests: Requests) -> None:
        self._transport = transport
        self._request = requests.list_profiles(page=1, limit=1)
        self._asking = asyncio.Lock()
        self._answer: bool | None = None

    async def passes(self, watch: Watch) -> bool:
        """Ask for one profile, unless that was done before."""
        async with self._asking:
            if self._answer is None:
                try:
                    await self._transport.send(self._request, read_profile_list, watch)
                    self._answer = True
                except NotFoundError:
                    self._answer = False
            return self._answer


class ChunkDeletion:
    """Settles one chunk of profiles. Resending is safe, and the transport does it."""

    def __init__(
        self,
        transport: Transport,
        requests: Requests,
        store: StoreCheck,
        batch: Batch[UUID],
        account: Account[UUID],
    ) -> None:
        self._transport = transport
        self._requests = requests
        self._store = store
        self._batch = batch
        self._account = account

    async def run(self) -> None:
        """Settle every profile of the chunk.

        Raises:
            BCShopperError: it could not be finished; the account says how far it came.
        """
        await Bisection(self._attempt, self._reject).run(self._account.items)

    async def _attempt(self, profile_ids: Sequence[UUID]) -> Refusal[UUID] | None:
        request = self._requests.delete_profiles(profile_ids)
        watch = self._batch.watch(self._account, profile_ids)
        try:
            await self._transport.send(request, read_deletion, watch)
        except APIError as error:
            if error.status in _DIVISIBLE:
                store_check = Watch(going_out=self._batch.check)
                if not isinstance(error, NotFoundError) or await self._store.passes(store_check):
                    return Refusal(profile_ids, error)
            self._account.failed(profile_ids, error)
            raise
        except BCShopperError as error:
            self._account.failed(profile_ids, error)
            raise
        for profile_id in profile_ids:
            self._account.settle(profile_id, Status.DELETED, profile_id=profile_id)
        return None

    def _reject(self, profile_id: UUID, error: APIError) -> None:
        if isinstance(error, NotFoundError):
            self._account.settle(profile_id, Status.DELETED, profile_id=profile_id)
        else:
            self._account.refused([profile_id], error)
