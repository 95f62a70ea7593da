"""The walk over `GET /customers` by its cursors: nobody who stays is missed, whatever changes.

The first answer has `pagination` and `cursor_pagination`, each further one the latter alone. What
the last page looks like is not documented. It is taken for the last if it is empty; if nothing to
go on with is named; or if there is no link to a next one and as many customers came as there were
at the start. Where fewer came, one request more makes sure.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from functools import partial
from typing import Any

import attrs
import msgspec

from bcshopper._listing import (
    NoteDrift,
    check_distinct,
    check_page,
    in_order,
    most_pages,
    read_list,
)
from bcshopper._models import Customer, Page, Pagination
from bcshopper._transport import (
    NO_ERRORS,
    MalformedDocumentError,
    Reply,
    Request,
    Transport,
)

_META = "$.meta.cursor_pagination"


@attrs.frozen
class CursorPagination:
    """Where a page stands in a list by cursors, in the server's words."""

    count: int
    per_page: int
    end_cursor: str | None = None
    links: Any = None

    @property
    def has_next(self) -> bool:
        """Whether a next page is linked to."""
        return isinstance(self.links, dict) and bool(self.links.get("next"))


@attrs.frozen
class CursorMeta:
    """What a list by cursors says of itself."""

    cursor_pagination: CursorPagination
    pagination: Pagination | None = None


@attrs.frozen
class CursorDocument:
    """The body of a page of customers."""

    data: tuple[Customer, ...]
    meta: CursorMeta
    errors: msgspec.Raw = NO_ERRORS


class Progress:
    """How far a walk has come: pure state, told of each page in its turn.

    Args:
        limit: customers per page that are asked for.

    Attributes:
        after: the cursor to go on with; None before the first page.
        is_over: whether that was all.
        came: how many customers came.
        has_repeats: whether some came on two pages, one after the other; they are yielded once.
        total: how many there were at the start; 0 before the first page.
    """

    def __init__(self, limit: int) -> None:
        self.after: str | None = None
        self.is_over = False
        self.came = 0
        self.total = 0
        self.has_repeats = False
        self._limit = limit
        self._number = 0
        self._cursors: set[str] = set()
        self._newest: tuple[Customer, ...] = ()
        self._start = Pagination(0, 0, limit, 0, 0)

    def check(self, document: CursorDocument) -> None:
        """Refuse a next page that contradicts itself, or those before it.

        Raises:
            MalformedDocumentError: it says what can't be, and in which field.
        """
        meta, rows = document.meta.cursor_pagination, document.data
        if len(rows) != meta.count:
            reason = f"{len(rows)} items came, and count says {meta.count}"
            raise MalformedDocumentError(reason, f"{_META}.count")
        if len(rows) > meta.per_page:
            reason = f"{len(rows)} items came on a page of {meta.per_page}"
            raise MalformedDocumentError(reason, "$.data")
        if meta.has_next and rows and not meta.end_cursor:
            reason = "there is a next page, and no cursor to it"
            raise MalformedDocumentError(reason, f"{_META}.end_cursor")
        if rows and meta.end_cursor in self._cursors:
            reason = f"end_cursor {meta.end_cursor!r:.50} comes again: the list never ends"
            raise MalformedDocumentError(reason, f"{_META}.end_cursor")
        if rows and rows == self._newest:
            reason = f"page {self._number + 1} repeats page {self._number}"
            raise MalformedDocumentError(reason, "$.data")
        if self._number:
            if self._number >= most_pages(self._start.total_pages):
                reason = f"{self._start.total_pages} pages became {self._number + 1}"
                raise MalformedDocumentError(reason, "$.data")
            check_distinct(rows)
        elif document.meta.pagination is None:
            raise MalformedDocumentError("the first page lacks it", "$.meta.pagination")
        elif not meta.end_cursor and len(rows) < document.meta.pagination.total:
            reason = f"{len(rows)} of {document.meta.pagination.total} came, and no cursor to more"
            raise MalformedDocumentError(reason, f"{_META}.end_cursor")
        else:
            check_page(Page(rows, document.meta.pagination, 1, self._limit))

    def add(self, document: CursorDocument) -> Page[Customer]:
        """Make the page of it, and learn where to go on."""
        meta, rows = document.meta.cursor_pagination, document.data
        if not self._number and document.meta.pagination is not None:
            self._start = document.meta.pagination
            self.total = self._start.total
        self._number += 1
        before = {customer.id for customer in self._newest}
        new = tuple(customer for customer in rows if customer.id not in before)
        self.has_repeats |= len(new) < len(rows)
        self.came += len(new)
        self._newest = rows
        self.after = meta.end_cursor or None
        if self.after is not None:
            self._cursors.add(self.after)
        is_all = self.came >= self.total and not meta.has_next
        self.is_over = not rows or self.after is None or is_all
        pagination = attrs.evolve(
            self._start,
            count=len(rows),
            per_page=meta.per_page,
            current_page=self._number,
        )
        return Page(new, pagination, self._number, self._limit)


async def walk_by_cursor(
    transport: Transport,
    request: Callable[[str | None], Request],
    *,
    limit: int,
    note_drift: NoteDrift,
) -> AsyncGenerator[Page[Customer]]:
    """Yield the pages of a list by cursors, and fetch one ahead of the reader.

    Args:
        transport: sends the requests.
        request: makes the request for the page after a cursor; after None, the first.
        limit: customers per page that it asks for.
        note_drift: called when the list has changed.

    Raises:
        ResponseFormatError: an answer contradicts itself or those before it.
    """
    progress = Progress(limit)

    def next_call() -> Callable[[], Awaitable[CursorDocument]] | None:
        if progress.is_over:
            return None
        return partial(transport.send, request(progress.after), read)

    def read(reply: Reply) -> CursorDocument:
        document = read_list(reply, CursorDocument)
        progress.check(document)
        return document

    async def add(document: CursorDocument) -> Page[Customer]:
        page = progress.add(document)
        if progress.has_repeats:
            note_drift("a page begins with customers of the one before it")
        if progress.is_over and progress.came != progress.total:
            note_drift(f"{progress.total} items became {progress.came}")
        return page

    async with aclosing(in_order(next_call, add, ahead=1, transport=transport)) as pages:
        async for page in pages:
            yield page
