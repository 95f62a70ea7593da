"""One list of the API: its request, its document, its pages."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Generic, Protocol, TypeAlias, TypeVar
from uuid import UUID

import attrs
import msgspec
from yarl import URL

from bcshopper._inputs import check_count
from bcshopper._listing.checks import check_page
from bcshopper._models import Page, Pagination
from bcshopper._transport import (
    NO_ERRORS,
    MalformedDocumentError,
    Reply,
    Request,
    Transport,
    converter,
    says_something,
)
from bcshopper.errors import ResponseFormatError

MAX_LIMIT = 250
"""The largest `limit` that the v3 lists take."""


class Row(Protocol):
    """What every row of a list has."""

    @property
    def id(self) -> UUID: ...
    @property
    def created_at(self) -> datetime | None: ...


T = TypeVar("T")
RowT = TypeVar("RowT", bound=Row)
MakeRequest: TypeAlias = Callable[[int, int], Request]
"""Makes the request for a page: its number from 1, and rows per page."""


@attrs.frozen
class ListMeta:
    """What a list says of itself."""

    pagination: Pagination


@attrs.frozen
class ListDocument(Generic[T]):
    """The body of a list: rows of one type."""

    data: tuple[T, ...]
    meta: ListMeta
    errors: msgspec.Raw = NO_ERRORS


class HasErrors(Protocol):
    """The body of any list."""

    @property
    def errors(self) -> msgspec.Raw: ...


DocumentT = TypeVar("DocumentT", bound=HasErrors)


def read_list(reply: Reply, document: type[DocumentT]) -> DocumentT:
    """Read a page of a list.

    Raises:
        MalformedDocumentError: it is not the document, or it has errors beside its data.
    """
    result = converter.loads(reply.body, document)
    if says_something(result.errors):
        raise MalformedDocumentError("it has errors", "$.errors")
    return result


def read_page(reply: Reply, document: type[ListDocument[T]], number: int, limit: int) -> Page[T]:
    """Read a page of a list, and make sure that it does not contradict itself.

    Args:
        reply: the answer.
        document: what it holds.
        number: the page that was asked for.
        limit: the items per page that were asked for.

    Raises:
        MalformedDocumentError: it is not that page.
    """
    result = read_list(reply, document)
    page = Page(result.data, result.meta.pagination, number, limit)
    check_page(page)
    return page


Unread: TypeAlias = tuple[int, Reply]
"""A page that has come: its number, and its bytes.

Only when its turn comes is it read: thousands of waiting objects would keep the garbage collector
busy.
"""


@attrs.frozen
class Pages(Generic[RowT]):
    """The pages of one list.

    Attributes:
        transport: sends the requests.
        request: makes them.
        document: what their answers hold.
        limit: rows per page to ask for, 1 to 250.
        ordered_by_creation: whether rows come in the order in which they were created, so that
            `created_at` shows which way round the list is.

    Raises:
        InvalidInputError: `limit` is out of range.
    """

    transport: Transport
    request: MakeRequest
    document: type[ListDocument[RowT]]
    limit: int
    ordered_by_creation: bool = True

    def __attrs_post_init__(self) -> None:
        check_count("limit", self.limit, MAX_LIMIT)

    async def fetch(self, number: int) -> Page[RowT]:
        """Get one page, and try again if it can't be read."""
        check_count("page", number)
        request = self.request(number, self.limit)
        return await self.transport.send(request, lambda reply: self.read((number, reply)))

    async def fetch_unread(self, number: int) -> Unread:
        """Get one page, to be read later."""
        request = self.request(number, self.limit)
        return await self.transport.send(request, lambda reply: (number, reply))

    def read(self, unread: Unread) -> Page[RowT]:
        """Read it.

        Raises:
            MalformedDocumentError: it is not a page of this list.
        """
        number, reply = unread
        return read_page(reply, self.document, number, self.limit)

    def contradiction(self, number: int, reason: str) -> ResponseFormatError:
        """The error for a page that can't be right, beside the other pages."""
        request = self.request(number, self.limit)
        return ResponseFormatError(
            f"{request.label} can't be part of a list: {reason}",
            method=request.method,
            url=str(request.url),
            status=200,
            field="$",
            excerpt="",
        )


def page_of(url: URL, number: int, limit: int) -> Request:
    """The request for a page of the list at this URL."""
    # Text, where there is nothing to quote, costs a fifth of what keyword arguments do.
    return Request("GET", url.with_query(f"page={number}&limit={limit}"))
