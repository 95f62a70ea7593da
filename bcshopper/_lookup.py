"""Customer to profile, through `GET /customers`: the only way that the API has."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from bcshopper._documents import read_customer_list
from bcshopper._requests import Requests
from bcshopper._transport import UNWATCHED, Transport, Watch


async def find_profiles(
    transport: Transport,
    requests: Requests,
    customer_ids: Sequence[int],
    watch: Watch = UNWATCHED,
) -> dict[int, UUID]:
    """The profile ids of those customers who have one.

    Args:
        transport: sends the requests.
        requests: builds them.
        customer_ids: as many as fit in one request.
        watch: told of each attempt.
    """
    found: dict[int, UUID] = {}
    wanted, asked = frozenset(customer_ids), set(customer_ids)
    # A server may give fewer per page than asked for, but each page has one customer or more.
    for number in range(1, len(customer_ids) + 1):
        request = requests.find_customers(customer_ids, number)
        page = await transport.send(request, read_customer_list, watch)
        found.update(
            (customer.id, customer.shopper_profile_id)
            for customer in page.data
            if customer.id in wanted and customer.shopper_profile_id is not None
        )
        waiting = len(asked)
        asked.difference_update(customer.id for customer in page.data)
        if number >= page.meta.pagination.total_pages or len(asked) in {0, waiting}:
            break  # the rest is unknown to the store
    return found
