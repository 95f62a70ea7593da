"""Customer to profile, through `GET /customers`: the only way that the API has."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from uuid import UUID

import attrs

from bcshopper._batch import Halving, Refusal
from bcshopper._customers.wire import CustomerRequests, CustomerRow
from bcshopper._listing import (
    MAX_LIMIT,
    ListDocument,
    check_distinct,
    count_missing,
    read_page,
)
from bcshopper._models import Page
from bcshopper._transport import UNWATCHED, MalformedDocumentError, Reply, Transport, Watch
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

        Raises:
            ResponseFormatError: the answer contradicts itself, or does not say of somebody in it
                whether there is a profile.
            BCShopperError: there was no answer.
        """
        pages: list[Page[CustomerRow]] = []

        def read(reply: Reply) -> Page[CustomerRow]:
            page = read_page(reply, ListDocument[CustomerRow], len(pages) + 1, MAX_LIMIT)
            check_lookup(customer_ids, [*pages, page])
            return page

        # A server may give fewer per page than asked for.
        while not pages or pages[-1].next_number is not None:
            request = self.requests.find(customer_ids, len(pages) + 1)
            pages.append(await self.transport.send(request, read, watch))
        return {customer.id: customer.shopper_profile_id for page in pages for customer in page}

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


def check_lookup(customer_ids: Collection[int], pages: Sequence[Page[CustomerRow]]) -> None:
    """Refuse pages that, taken together, can't be of one answer about these customers.

    Who is not in the answer has no profile: so it must be whole, and about nobody else.

    Args:
        customer_ids: who was asked about.
        pages: those that have come, from the first on; only the last is new.

    Raises:
        MalformedDocumentError: they say what can't be, and in which field.
    """
    first, newest = pages[0].pagination, pages[-1].pagination
    if (newest.total, newest.per_page) != (first.total, first.per_page):
        reason = (
            f"{first.total} items on pages of {first.per_page} became "
            f"{newest.total} on pages of {newest.per_page}"
        )
        raise MalformedDocumentError(reason, "$.meta.pagination")
    if missing := count_missing(pages[-1]):
        raise MalformedDocumentError(f"page {len(pages)} lacks {missing} items", "$.data")
    if newest.total > len(customer_ids):
        reason = f"total says {newest.total}, and {len(customer_ids)} customers were asked for"
        raise MalformedDocumentError(reason, "$.meta.pagination.total")
    strangers = {customer.id for customer in pages[-1]}.difference(customer_ids)
    if strangers:
        reason = f"customer {min(strangers)} came, whom nobody asked for"
        raise MalformedDocumentError(reason, "$.data")
    check_distinct([customer for page in pages for customer in page])
