"""What `list()` gives: a list that is not read yet."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing
from typing import Generic, TypeVar

from bcshopper._inputs import check_count
from bcshopper._listing.pages import Pages, RowT
from bcshopper._listing.walk import NoteDrift, walk
from bcshopper._models import Page
from bcshopper.errors import BCShopperError, InvalidInputError

T = TypeVar("T")

_log = logging.getLogger("bcshopper.pagination")


class Paginator(Generic[T]):
    """A list of the API, not yet read: iterate it with `async for`.

    Each iteration walks the list anew. Pages are fetched ahead of the reader and come in order.
    Leaving the loop early cancels what is under way.

    Attributes:
        drifted: whether the list was seen to change, or a page to lack items, during the newest
            walk. A plain walk may then have missed some; a consistent one has not.
    """

    def __init__(
        self,
        walk: Callable[[NoteDrift], AsyncGenerator[Page[T]]],
        *,
        label: str,
        first: int,
        can_resume: bool,
    ) -> None:
        self.drifted = False
        self._label = label
        self._walk = walk
        self._first = first
        self._can_resume = can_resume

    async def pages(self) -> AsyncGenerator[Page[T]]:
        """Walk the list page by page.

        Yields:
            Each page that has items, in order.

        Raises:
            BCShopperError: a page could not be had; the pages before it have been yielded, and
                the error's `resume_page` is the page to go on with (None for a consistent walk,
                which can only begin anew).
        """
        self.drifted = False
        resume = self._first
        try:
            async with aclosing(self._walk(self._note_drift)) as pages:
                async for page in pages:
                    if page.items:
                        yield page
                    resume = page.number + 1
        except BCShopperError as error:
            if self._can_resume:
                error.resume_page = resume
                error.add_note(
                    f"the pages before {resume} are read: go on with list(page={resume})"
                )
            raise

    async def all(self) -> list[T]:
        """Read the whole list into memory, in order.

        Raises:
            BCShopperError: a page could not be had.
        """
        async with aclosing(self.pages()) as pages:
            return [item async for page in pages for item in page.items]

    async def _items(self) -> AsyncGenerator[T]:
        async with aclosing(self.pages()) as pages:
            async for page in pages:
                for item in page.items:
                    yield item

    def __aiter__(self) -> AsyncIterator[T]:
        return self._items()

    def _note_drift(self, reason: str) -> None:
        if not self.drifted:
            self.drifted = True
            _log.warning("the list changed while it was read: %s", reason)

    def __repr__(self) -> str:
        return f"<Paginator of {self._label}>"


def paginate(
    pages: Pages[RowT], *, first: int, prefetch: int | None, consistent: bool
) -> Paginator[RowT]:
    """Make the paginator of a list.

    Args:
        pages: gets its pages.
        first: the page to start with, from 1; only a plain walk can start elsewhere.
        prefetch: pages to have under way or waiting ahead of the reader; twice the session's
            concurrency if None.
        consistent: miss nothing.

    Raises:
        InvalidInputError: an argument is out of range.
    """
    check_count("page", first)
    ahead = 2 * pages.transport.concurrency if prefetch is None else prefetch
    check_count("prefetch", ahead)
    if consistent and first != 1:
        raise InvalidInputError(f"a consistent listing starts at page 1, not {first}")

    def begin(note_drift: NoteDrift) -> AsyncGenerator[Page[RowT]]:
        if consistent:
            from bcshopper._listing.consistent import ConsistentWalk  # noqa: PLC0415 - for those who use it

            return ConsistentWalk(pages, ahead=ahead, note_drift=note_drift).pages()
        return walk(pages, first=first, ahead=ahead, note_drift=note_drift)

    label = pages.request(first, pages.limit).label
    return Paginator(begin, label=label, first=first, can_resume=not consistent)
