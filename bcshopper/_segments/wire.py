"""`/segments` and `/segments/{id}/shopper-profiles`: their requests, and what single ones answer.

See https://developer.bigcommerce.com/docs/rest-management/customer-segmentation
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import repeat
from uuid import UUID

import attrs
from yarl import URL

from bcshopper._batch import Created
from bcshopper._listing import ListDocument, page_of, read_list
from bcshopper._models import DISTINCT, CustomerId, Segment
from bcshopper._transport import (
    MAX_PER_WRITE,
    MalformedDocumentError,
    Reply,
    Request,
    api_error,
    converter,
    count_fitting,
    post,
    read_problems,
    with_ids,
)
from bcshopper.errors import NotFoundError

MAX_SEGMENTS = 1000
"""Segments that a store can have."""

_SCOPE = "the token needs the scope store_v2_customers, and the store an Enterprise plan"
_FULL = f"the store has {MAX_SEGMENTS:,} segments, which is the limit"
# How the API refuses one segment too many is not documented: each of these is possible.
_CREATE_HINTS = {
    403: f"{_SCOPE}; or {_FULL}",
    409: f"the name is taken, or {_FULL}",
    422: f"the name or the description is not valid, or {_FULL}",
    507: _FULL,
}


@attrs.frozen
class MemberRow:
    """A row of a segment's members, as far as a consistent walk and comparing need it."""

    id: UUID  # the walk itself notices repeats
    customer_id: CustomerId = attrs.field(
        metadata={DISTINCT: lambda rows: {row.customer_id for row in rows}}
    )

    @property
    def created_at(self) -> None:
        """Not read."""
        return


@attrs.frozen
class SegmentRequests:
    """Builds the requests for one store's segments.

    Attributes:
        root: `{base_url}/stores/{store_hash}/v3`.
        url: of all segments.
    """

    root: URL
    url: URL = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        object.__setattr__(self, "url", self.root / "segments")

    def page(self, number: int, limit: int) -> Request:
        """One page of the store's segments."""
        return page_of(self.url, number, limit)

    def get(self, segment_id: UUID) -> Request:
        """The list of this segment alone."""
        return Request("GET", with_ids(self.url.with_query(page=1, limit=1), [segment_id]))

    def create(self, name: str, description: str) -> Request:
        """One segment."""
        items = [{"name": name, "description": description}]
        request = post(self.url, items, repeatable=False, hints=_CREATE_HINTS)
        return attrs.evolve(request, reads=frozenset())

    def update(self, segment_id: UUID, changes: dict[str, str]) -> Request:
        """A change of one segment."""
        items = [{"id": str(segment_id), **changes}]
        hints = {404: f"segment {segment_id} does not exist", 409: "the name is taken"}
        request = post(self.url, items, repeatable=True, hints=hints)
        return attrs.evolve(request, method="PUT", reads=frozenset())

    def delete(self, segment_ids: Sequence[UUID]) -> Request:
        """The deletion of these segments, at least one and at most `delete_capacity`."""
        return Request("DELETE", with_ids(self.url, segment_ids))

    def delete_all(self) -> Request:
        """The documented wipe."""
        return Request("DELETE", self.url, wipes=True)

    @property
    def delete_capacity(self) -> int:
        """How many segment ids one DELETE takes."""
        return _delete_capacity(self.url)


@attrs.frozen
class MemberRequests:
    """Builds the requests for one segment's members.

    Attributes:
        segments: builds those for segments.
        segment_id: the segment.
        url: of all its members.
    """

    segments: SegmentRequests
    segment_id: UUID
    url: URL = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        url = self.segments.url / str(self.segment_id) / "shopper-profiles"
        object.__setattr__(self, "url", url)

    def page(self, number: int, limit: int) -> Request:
        """One page of the members."""
        hints = {
            403: f"reading a segment's members takes more than a read-only scope: {_SCOPE}",
            404: f"segment {self.segment_id} does not exist",
        }
        return attrs.evolve(page_of(self.url, number, limit), hints=hints)

    def add(self, profile_ids: Sequence[UUID]) -> Request:
        """Put these profiles into the segment; twice does no more than once."""
        hints = {404: f"the profile or segment {self.segment_id} does not exist"}
        request = post(self.url, list(map(str, profile_ids)), repeatable=True, hints=hints)
        return attrs.evolve(request, reads=request.reads | {404})

    def remove(self, profile_ids: Sequence[UUID]) -> Request:
        """Take these out of it, at least one and at most `remove_capacity`."""
        return Request("DELETE", with_ids(self.url, profile_ids))

    def clear(self) -> Request:
        """The documented emptying."""
        hints = {404: f"segment {self.segment_id} does not exist"}
        return Request("DELETE", self.url, wipes=True, hints=hints)

    @property
    def remove_capacity(self) -> int:
        """How many profile ids one DELETE takes."""
        return _delete_capacity(self.url)


def _delete_capacity(url: URL) -> int:
    return count_fitting(url, repeat(UUID(int=0)), MAX_PER_WRITE)


def read_wanted(reply: Reply, request: Request, segment_id: UUID) -> Segment:
    """The segment that was asked for.

    Raises:
        MalformedDocumentError: it is not a list, or has others.
        NotFoundError: it is not there.
    """
    rows = read_list(reply, ListDocument[Segment]).data
    if any(row.id != segment_id for row in rows) or len(rows) > 1:
        raise MalformedDocumentError(f"it has more than segment {segment_id}", "$.data")
    if not rows:
        raise NotFoundError(
            f"segment {segment_id} does not exist",
            status=404,
            title="no such segment",
            method=request.method,
            url=str(request.url),
        )
    return rows[0]


def read_written(
    reply: Reply, request: Request, *, segment_id: UUID | None = None, name: str | None = None
) -> Segment:
    """The one segment that was created or changed: of this id, and of this name.

    A name may come back trimmed, or in another case.

    Raises:
        MalformedDocumentError: it is neither that one nor a refusal.
        APIError: it is a refusal within a success.
    """
    if read_problems(reply.body):
        raise api_error(request, reply)
    rows = converter.loads(reply.body, Created[Segment]).data
    if len(rows) != 1:
        raise MalformedDocumentError(f"it has {len(rows)} segments", "$.data")
    (segment,) = rows
    if segment_id is not None and segment.id != segment_id:
        raise MalformedDocumentError(f"it has segment {segment.id}", "$.data[0].id")
    if name is not None and segment.name.strip().casefold() != name.strip().casefold():
        raise MalformedDocumentError("it has a segment of another name", "$.data[0].name")
    return segment
