"""`GET /customers`: its requests and its document.

The includes `shopper_profile_id` and `segment_ids` are marked Beta in BigCommerce's reference.
See https://developer.bigcommerce.com/docs/rest-management/customers
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from uuid import UUID

import attrs
from yarl import URL

from bcshopper._listing import MAX_LIMIT
from bcshopper._models import DISTINCT, CustomerId
from bcshopper._transport import Request, split_fitting, with_ids


@attrs.frozen
class CustomerRow:
    """A customer, as far as it concerns profiles.

    The field must be there, None for no profile: as it is Beta, its absence may mean anything.
    """

    id: CustomerId = attrs.field(metadata={DISTINCT: lambda rows: {row.id for row in rows}})
    shopper_profile_id: UUID | None = attrs.field(
        metadata={DISTINCT: lambda rows: {row.shopper_profile_id for row in rows}}
    )


@attrs.frozen
class CustomerRequests:
    """Builds the requests for one store's customers.

    Attributes:
        root: `{base_url}/stores/{store_hash}/v3`.
        url: of all customers.
    """

    root: URL
    url: URL = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        object.__setattr__(self, "url", self.root / "customers")

    def find(self, customer_ids: Sequence[int], page: int) -> Request:
        """A page of these customers, each with its profile's id."""
        return Request("GET", with_ids(self._frame(page), customer_ids))

    def after(self, cursor: str | None, limit: int, modified_since: datetime | None) -> Request:
        """The customers after a cursor, or the first ones; all of them, or the newly modified."""
        query: dict[str, str | int] = {"include": "shopper_profile_id,segment_ids", "limit": limit}
        if modified_since is not None:
            # The documented form has no offset. That it is UTC, and "Z" is taken, is assumed.
            moment = modified_since.astimezone(UTC).replace(tzinfo=None)
            query["date_modified:min"] = f"{moment.isoformat(timespec='seconds')}Z"
        if cursor is not None:
            query["after"] = cursor
        return Request("GET", self.url.with_query(query))

    def split(self, customer_ids: Sequence[int]) -> Iterator[Sequence[int]]:
        """Cut a list into the fewest runs that one `find` each takes."""
        # No answer has more pages than customers were asked for.
        return split_fitting(self._frame(MAX_LIMIT), customer_ids, MAX_LIMIT)

    def _frame(self, page: int) -> URL:
        return self.url.with_query(include="shopper_profile_id", limit=MAX_LIMIT, page=page)
