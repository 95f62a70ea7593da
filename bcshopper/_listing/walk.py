"""Walking a list's pages: the first alone, the rest ahead of the reader, all in order."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import aclosing
from typing import Any, Protocol, TypeAlias, TypeVar

import attrs

from bcshopper._listing.ahead import Spawn, in_order
from bcshopper._models import Page
from bcshopper._transport.convert import MalformedDocumentError
from bcshopper._transport.messages import Reply
from bcshopper.errors import ResponseFormatError

T = TypeVar("T")

NoteDrift: TypeAlias = Callable[[str], None]
"""Told why the list seems to have changed during the walk."""

_MOST_GROWTH = 10
_MOST_NEW_PAGES = 100


@attrs.frozen
class Unread:
    """A page that has come, as bytes.

    Only when its turn comes is it read: thousands of waiting objects would keep the garbage
    collector busy.
    """

    number: int
    reply: Reply


class PageSource(Protocol[T]):
    """Where pages come from."""

    def fetch(self, number: int) -> Coroutine[Any, Any, Page[T]]:
        """Get one page, and try again if it can't be read."""
        ...

    def fetch_unread(self, number: int) -> Coroutine[Any, Any, Unread]:
        """Get one page, to be read later."""
        ...

    def read(self, unread: Unread) -> Page[T]:
        """Read it; raises `MalformedDocumentError`."""
        ...

    def contradiction(self, number: int, reason: str) -> ResponseFormatError:
        """The error for a page that can't be right, beside the other pages."""
        ...


def read_ahead(
    source: PageSource[T],
    next_number: Callable[[], int | None],
    learn: Callable[[Page[T]], None],
    *,
    spawn: Spawn,
    ahead: int,
) -> AsyncGenerator[Page[T]]:
    """Yield pages in the order in which their numbers are handed out.

    Args:
        source: gets the pages.
        next_number: hands out the next number; None if there is none, for now.
        learn: told of each page before the next number is asked for.
        spawn: starts a task.
        ahead: pages under way or waiting at most.
    """

    def next_call() -> Coroutine[Any, Any, Unread] | None:
        number = next_number()
        return None if number is None else source.fetch_unread(number)

    async def read(unread: Unread) -> Page[T]:
        try:
            page = source.read(unread)
        except MalformedDocumentError:
            page = await source.fetch(unread.number)
        learn(page)
        return page

    return in_order(next_call, read, ahead=ahead, spawn=spawn)


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
            self._most = _MOST_GROWTH * total_pages + _MOST_NEW_PAGES
        self._last = total_pages
        return total_pages <= self._most


def find_contradiction(page: Page[Any]) -> str | None:
    """What in a page's pagination can't be, whatever the other pages say; None if all can."""
    p = page.pagination
    if p.per_page < 1 or p.total < 0:
        return f"per_page {p.per_page} and total {p.total} can't be"
    if p.total_pages != -(-p.total // p.per_page) and (p.total, p.total_pages) != (0, 1):
        return f"{p.total} items on pages of {p.per_page} are not {p.total_pages} pages"
    if page.number > p.total_pages:
        return None  # past the end, where servers differ
    if p.current_page != page.number:
        return f"page {p.current_page} came for page {page.number}"
    if len(page.items) > p.per_page:
        return f"{len(page.items)} items came on a page of {p.per_page}"
    if not page.items and p.total:
        return f"page {page.number} of {p.total_pages} is empty"
    return None


async def walk(
    source: PageSource[T], *, spawn: Spawn, first: int, ahead: int, note_drift: NoteDrift
) -> AsyncGenerator[Page[T]]:
    """Yield every page that has items, up to the newest total that an answer gave.

    Args:
        source: gets the pages.
        spawn: starts a task.
        first: the page to begin with.
        ahead: pages under way or waiting at most.
        note_drift: called when the list seems to have changed.

    Raises:
        ResponseFormatError: the server repeats a page, or its list never ends.
    """
    numbers = PageNumbers(first)

    def learn(page: Page[T]) -> None:
        total_pages = page.pagination.total_pages
        if not numbers.learn(total_pages):
            raise source.contradiction(page.number, f"there are suddenly {total_pages} pages")

    previous: Page[T] | None = None
    pages = read_ahead(source, numbers.take, learn, spawn=spawn, ahead=ahead)
    async with aclosing(pages):
        async for newest in pages:
            page = newest
            if page.number > page.pagination.total_pages or not page.items:
                continue
            if previous is not None:
                if page.items == previous.items:
                    # Rows that moved between two reads can look like this, but not twice.
                    page = await source.fetch(page.number)
                    if page.items == previous.items:
                        reason = f"it repeats page {previous.number}"
                        raise source.contradiction(page.number, reason)
                drift = find_drift(previous, page)
                if drift is not None:
                    note_drift(drift)
            yield page
            previous = page


def find_drift(previous: Page[Any], page: Page[Any]) -> str | None:
    """Why two pages, one after the other, can't be of the same state of the list."""
    before, now = previous.pagination, page.pagination
    if now.per_page != before.per_page:
        return f"pages of {before.per_page} became pages of {now.per_page}"
    if now.total != before.total:
        return f"{before.total} items became {now.total}"
    if page.items[:1] == previous.items[-1:]:
        return f"page {page.number} begins with the end of page {previous.number}"
    return None
