"""`session.customers`: who has a profile, and who is in which segment, of the whole store."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from datetime import UTC, datetime

from yarl import URL

from bcshopper._customers.cursor import walk_by_cursor
from bcshopper._customers.wire import CustomerRequests
from bcshopper._inputs import check_count, shown
from bcshopper._listing import MAX_LIMIT, NoteDrift, Paginator
from bcshopper._models import Customer, Page
from bcshopper._transport import Request, Transport
from bcshopper.errors import InvalidInputError


class Customers:
    """The store's customers, as far as they concern shopper profiles and segments.

    See https://developer.bigcommerce.com/docs/rest-management/customers
    """

    def __init__(self, transport: Transport, root: URL) -> None:
        self._transport = transport
        self._requests = CustomerRequests(root)

    def list(
        self, *, modified_since: datetime | None = None, limit: int = MAX_LIMIT
    ) -> Paginator[Customer]:
        """List every customer with its profile and segments; nothing is sent before it is iterated.

        It walks by cursors: whoever is there from the start to the end comes once, whatever is
        deleted or added meanwhile. One page is fetched ahead of the reader. `drifted` tells that
        the number of customers changed. Each page's `pagination` has the totals of the start.

        The ids of profiles and segments rest on includes of the API that are marked Beta.

        Args:
            modified_since: only customers modified since then, to the second; with its offset.
            limit: customers per page to ask for, 1 to 250.

        Returns:
            A `Paginator`: `async for customer in it`, `async for page in it.pages()`,
            `await it.all()`. A walk that failed can only begin anew.

        Raises:
            InvalidInputError: an argument is out of range, or the time has no offset.
        """
        check_count("limit", limit, MAX_LIMIT)
        since = None if modified_since is None else _check_moment("modified_since", modified_since)

        def request(cursor: str | None) -> Request:
            return self._requests.after(cursor, limit, since)

        def begin(note_drift: NoteDrift) -> AsyncGenerator[Page[Customer]]:
            return walk_by_cursor(self._transport, request, limit=limit, note_drift=note_drift)

        return Paginator(begin, label=request(None).label, first=1, can_resume=False)

    def __repr__(self) -> str:
        return f"<Customers at {self._requests.url}>"


def _check_moment(name: str, value: object) -> datetime:
    """The moment in UTC."""
    try:
        if isinstance(value, datetime) and value.utcoffset() is not None:
            return value.astimezone(UTC)
    except OverflowError:  # before the year 1 or after 9999 there
        pass
    raise InvalidInputError(f"{name} must be a datetime with an offset, not {shown(value)}")
