"""Customer to profile, through `GET /customers`: the only way that the API has."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from bcshopper._documents import read_customer_list
from bcshopper._requests import Requests
from bcshopper._transport import GoingOut, Transport


async def find_profiles(
    transport: Transport,
    requests: Requests,
    customer_ids: Sequence[int],
    going_out: GoingOut = lambda _: None,
) -> dict[int, UUID]:
    """The profile ids of those customers who have one.

    Args:
        transport: sends the requests.
        requests: builds them.
        customer_ids: as many as fit in one request.
        going_out: called right before each attempt leaves.
    """
    found: dict[int, UUID] = {}
    asked = set(customer_ids)
    # A server may give fewer per page than asked for, but each page has one customer or more.
    for number in range(1, len(customer_ids) + 1):
        request = requests.find_customers(customer_ids, number)
        page = await transport.send(request, read_customer_list, going_out)
        found.update(
            (customer.id, customer.shopper_profile_id)
            for customer in page.data
            if customer.id in asked and customer.shopper_profile_id is not None
        )
        if not page.data or number >= page.meta.pagination.total_pages:
            break
    return found
