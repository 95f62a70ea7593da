"""Walking a list's pages: one first, the rest ahead of the reader, all in order."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine
from contextlib import aclosing
from typing import Any, Generic, TypeVar

from bcshopper._models import Page
from bcshopper._transport import Transport
from bcshopper._window import in_order

T = TypeVar("T")


class PageNumbers:
    """Which page to ask for next: pure state, told of each page that came."""

    def __init__(self, first: int) -> None:
        self._next = first
        self._last = first  # until a page tells, only the first is known to be there

    def take(self) -> int | None:
        """The next page's number; None while no further page is known."""
        if self._next > self._last:
            return None
        self._next += 1
        return self._next - 1

    def learn(self, total_pages: int) -> None:
        """The newest answer counts: pages may have been appended or dropped meanwhile."""
        self._last = total_pages


class Paginator(Generic[T]):
    """A list of the API, not yet read: iterate it with `async for`.

    Each iteration walks the list anew. Pages are fetched ahead of the reader, at most `prefetch`
    of them, and come in order. Leaving the loop early cancels what is under way.
    """

    def __init__(
        self,
        fetch: Callable[[int], Coroutine[Any, Any, Page[T]]],
        transport: Transport,
        *,
        first: int,
        prefetch: int,
    ) -> None:
        self._fetch = fetch
        self._transport = transport
        self._first = first
        self._prefetch = prefetch

    async def pages(self) -> AsyncGenerator[Page[T]]:
        """Walk the list page by page.

        Yields:
            Each page that has items, in order.

        Raises:
            BCShopperError: a page could not be had; the pages before it have been yielded.
        """
        numbers = PageNumbers(self._first)

        async def fetch(number: int) -> Page[T]:
            page = await self._fetch(number)
            numbers.learn(page.pagination.total_pages)
            return page

        def next_call() -> Coroutine[Any, Any, Page[T]] | None:
            number = numbers.take()
            return None if number is None else fetch(number)

        pages = in_order(next_call, ahead=self._prefetch, spawn=self._transport.spawn)
        async with aclosing(pages):
            async for page in pages:
                if page.items:
                    yield page

    async def all(self) -> list[T]:
        """Read the whole list into memory, in order."""
        async with aclosing(self.pages()) as pages:
            return [item async for page in pages for item in page.items]

    async def _items(self) -> AsyncGenerator[T]:
        async with aclosing(self.pages()) as pages:
            async for page in pages:
                for item in page.items:
                    yield item

    def __aiter__(self) -> AsyncIterator[T]:
        return self._items()
