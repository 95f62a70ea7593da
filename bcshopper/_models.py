"""What the API's documents become: plain, frozen, comparable."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Annotated, Generic, TypeVar
from uuid import UUID

import attrs
import msgspec

T = TypeVar("T")

# The decoder then refuses a time without an offset, which would become a naive datetime.
AwareDatetime = Annotated[datetime, msgspec.Meta(tz=True)]

CustomerId = Annotated[int, msgspec.Meta(ge=1, le=2**63 - 1)]
"""Customers are numbered from 1, in 64 bits; 0 stands for a guest, who has no profile."""

DISTINCT = "distinct"
"""Marks, in a field's metadata, what no two rows of a list share; None does not count.

It is what collects the field's values from rows. That runs for each page, so it is written out.
"""


@attrs.frozen
class ShopperProfile:
    """The entity that stands for one registered customer in segments.

    See https://developer.bigcommerce.com/docs/rest-management/customer-segmentation

    Attributes:
        id: the profile's own id.
        customer_id: the customer it stands for; a customer has at most one profile.
        created_at: when it was created, with its offset; None if the API did not say.
        updated_at: when it was last updated, with its offset; None if the API did not say.
    """

    # A UUID's hash is made in Python, that of its number is not.
    id: UUID = attrs.field(metadata={DISTINCT: lambda rows: {row.id.int for row in rows}})
    customer_id: CustomerId = attrs.field(
        metadata={DISTINCT: lambda rows: {row.customer_id for row in rows}}
    )
    created_at: AwareDatetime | None = None
    updated_at: AwareDatetime | None = None


@attrs.frozen
class Customer:
    """A customer, as far as it concerns shopper profiles and segments.

    Both ids of other things come from includes that are Beta; an answer without them is refused.

    See https://developer.bigcommerce.com/docs/rest-management/customers

    Attributes:
        id: the customer's id.
        shopper_profile_id: its profile; None if it has none.
        segment_ids: the segments that it is in.
        date_modified: when it was last modified, with its offset; None if the API did not say.
    """

    id: CustomerId = attrs.field(metadata={DISTINCT: lambda rows: {row.id for row in rows}})
    shopper_profile_id: UUID | None = attrs.field(
        metadata={DISTINCT: lambda rows: {row.shopper_profile_id for row in rows}}
    )
    segment_ids: tuple[UUID, ...]
    date_modified: AwareDatetime | None = None


@attrs.frozen
class Segment:
    """A group of shopper profiles, which promotions can target.

    See https://developer.bigcommerce.com/docs/rest-management/customer-segmentation/segments

    Attributes:
        id: the segment's id.
        name: its name; no other segment of the store has it.
        description: its description; None if the API did not say.
        created_at: when it was created, with its offset; None if the API did not say.
        updated_at: when it was last updated, with its offset; None if the API did not say.
    """

    id: UUID = attrs.field(metadata={DISTINCT: lambda rows: {row.id.int for row in rows}})
    name: str
    description: str | None = None
    created_at: AwareDatetime | None = None
    updated_at: AwareDatetime | None = None


@attrs.frozen
class Pagination:
    """Where a page stands in its list, in the server's words.

    Attributes:
        total: items in the whole list.
        count: items on this page.
        per_page: items on a full page; a server may give fewer than `limit` asked for.
        current_page: this page's number, from 1.
        total_pages: pages in the whole list.
    """

    total: int
    count: int
    per_page: int
    current_page: int
    total_pages: int


@attrs.frozen
class Page(Generic[T]):
    """One page of a list: iterate it for its items.

    Attributes:
        items: the page's items, in the list's order.
        pagination: where the page stands in the list.
        number: the page's number, from 1, as it was asked for.
        limit: the number of items per page that was asked for.
    """

    items: tuple[T, ...]
    pagination: Pagination
    number: int
    limit: int

    @property
    def next_number(self) -> int | None:
        """The next page's number, or None on the last page."""
        return self.number + 1 if self.number < self.pagination.total_pages else None

    def __iter__(self) -> Iterator[T]:
        return iter(self.items)

    def __len__(self) -> int:
        return len(self.items)
