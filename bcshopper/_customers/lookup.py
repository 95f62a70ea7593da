"""Customer to profile, through `GET /customers`: the only way that the API has."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

import attrs

from bcshopper._batch import Halving, Refusal
from bcshopper._customers.wire import CustomerRequests, CustomerRow
from bcshopper._listing import ListDocument, read_list
from bcshopper._transport import UNWATCHED, Reply, Transport, Watch
from bcshopper.errors import APIError, BCShopperError

# A search refused so may hold innocent ids.
_DIVISIBLE = frozenset({400, 413, 414, 422})


@attrs.frozen
class Lookup:
    """Finds the profiles of customers.

    Attributes:
        transport: sends the requests.
        requests: builds them.
    """

    transport: Transport
    requests: CustomerRequests

    async def find(
        self, customer_ids: Sequence[int], watch: Watch = UNWATCHED
    ) -> dict[int, UUID | None]:
        """The profile ids of those customers whom the store knows; None for who has no profile.

        Args:
            customer_ids: as many as fit in one request, by `requests.split`.
            watch: told of each attempt.
        """
        found: dict[int, UUID | None] = {}
        wanted, asked = frozenset(customer_ids), set(customer_ids)
        # A server may give fewer per page than asked for, but each page has one customer or more.
        for number in range(1, len(customer_ids) + 1):
            request = self.requests.find(customer_ids, number)
            page = await self.transport.send(request, _read, watch)
            found.update(
                (customer.id, customer.shopper_profile_id)
                for customer in page.data
                if customer.id in wanted
            )
            waiting = len(asked)
            asked.difference_update(customer.id for customer in page.data)
            if number >= page.meta.pagination.total_pages or len(asked) in {0, waiting}:
                break  # the rest is unknown to the store
        return found

    async def find_each(
        self, customer_ids: Sequence[int], watch: Watch
    ) -> dict[int, UUID | BCShopperError | None]:
        """Each customer's profile id, None without one, or why that could not be learnt.

        For customers that have nothing to do with each other: one that the server refuses costs the
        others nothing. Takes what `find` does.
        """
        answers: dict[int, UUID | BCShopperError | None] = {}

        async def attempt(group: Sequence[int]) -> Refusal[int] | None:
            try:
                found = await self.find(group, watch)
            except APIError as error:
                if error.status not in _DIVISIBLE:
                    raise
                return Refusal(group, error)
            answers.update((customer_id, found.get(customer_id)) for customer_id in group)
            return None

        try:
            await Halving(attempt, answers.__setitem__).run(customer_ids)
        except BCShopperError as error:
            for customer_id in customer_ids:
                answers.setdefault(customer_id, error)
        return answers


def _read(reply: Reply) -> ListDocument[CustomerRow]:
    return read_list(reply, ListDocument[CustomerRow])
