"""Walking a list's pages: the first alone, the rest ahead of the reader, all in order."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import aclosing
from typing import Any, TypeAlias

from bcshopper._listing.ahead import in_order
from bcshopper._listing.checks import count_missing
from bcshopper._listing.pages import Pages, RowT, Unread
from bcshopper._models import Page
from bcshopper._transport import MalformedDocumentError

NoteDrift: TypeAlias = Callable[[str], None]
"""Told why the list seems to have changed during the walk."""

_MOST_GROWTH = 10  # times the pages there were: no list grows so while one reads it
_MOST_NEW_PAGES = 100  # ... and so many more, for lists that begin small


def read_ahead(
    pages: Pages[RowT],
    next_number: Callable[[], int | None],
    learn: Callable[[Page[RowT]], None],
    *,
    ahead: int,
) -> AsyncGenerator[Page[RowT]]:
    """Yield pages in the order in which their numbers are handed out.

    Args:
        pages: gets them.
        next_number: hands out the next number; None if there is none, for now.
        learn: told of each page before the next number is asked for.
        ahead: pages under way or waiting at most.
    """

    def next_call() -> Coroutine[Any, Any, Unread] | None:
        number = next_number()
        return None if number is None else pages.fetch_unread(number)

    async def read(unread: Unread) -> Page[RowT]:
        try:
            page = pages.read(unread)
        except MalformedDocumentError:
            page = await pages.fetch(unread[0])
        learn(page)
        return page

    return in_order(next_call, read, ahead=ahead, spawn=pages.transport.life.spawn)


def most_pages(total_pages: int) -> int:
    """How many pages a list of so many may come to have while one reads it; more is an error."""
    return _MOST_GROWTH * total_pages + _MOST_NEW_PAGES


class PageNumbers:
    """Which page to ask for next: pure state, told of each page in its turn."""

    def __init__(self, first: int) -> None:
        self._next = first
        self._last = first  # until a page tells, only the first is known to be there
        self._most: int | None = None

    def take(self) -> int | None:
        """The next page's number; None while no further page is known."""
        if self._next > self._last:
            return None
        self._next += 1
        return self._next - 1

    def learn(self, total_pages: int) -> bool:
        """Take the word of the page whose turn it is: some may have been appended or dropped.

        Returns:
            False if the list grows as no list does.
        """
        if self._most is None:
            self._most = most_pages(total_pages)
        self._last = total_pages
        return total_pages <= self._most


async def walk(
    pages: Pages[RowT], *, first: int, ahead: int, note_drift: NoteDrift
) -> AsyncGenerator[Page[RowT]]:
    """Yield every page that has items, up to the newest total that an answer gave.

    Args:
        pages: gets them.
        first: the page to begin with.
        ahead: pages under way or waiting at most.
        note_drift: called when the list seems to have changed.

    Raises:
        ResponseFormatError: the server repeats a page, or its list never ends.
    """
    numbers = PageNumbers(first)

    def learn(page: Page[RowT]) -> None:
        total_pages = page.pagination.total_pages
        if not numbers.learn(total_pages):
            raise pages.contradiction(page.number, f"there are suddenly {total_pages} pages")

    previous: Page[RowT] | None = None
    async with aclosing(read_ahead(pages, numbers.take, learn, ahead=ahead)) as read:
        async for newest in read:
            page = newest
            if previous is not None and page.items == previous.items:
                # Rows that moved between two reads can look like this, but not twice.
                page = await pages.fetch(page.number)
                if page.items == previous.items:
                    reason = f"it repeats page {previous.number}"
                    raise pages.contradiction(page.number, reason)
            if drift := find_drift(previous, page):
                note_drift(drift)
            if page.items:  # it is not past the end
                yield page
                previous = page


def find_drift(previous: Page[Any] | None, page: Page[Any]) -> str | None:
    """Why a page, after the one before it, can't be of one whole state of the list."""
    if missing := count_missing(page):
        return f"page {page.number} lacks {missing} items"
    if previous is None:
        return None
    before, now = previous.pagination, page.pagination
    if now.per_page != before.per_page:
        return f"pages of {before.per_page} became pages of {now.per_page}"
    if now.total != before.total:
        return f"{before.total} items became {now.total}"
    if page.items[:1] == previous.items[-1:]:
        return f"page {page.number} begins with the end of page {previous.number}"
    return None
