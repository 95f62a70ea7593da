"""A walk that misses nothing, whatever others delete or add meanwhile.

It rests on two assumptions: the list's order is stable, and new rows come at its end. Then a row's
position can only fall, by one for each deletion before it, so that:

- a row found twice at the same position proves that nothing before it was deleted in between;
- read strictly from the end to the front, no row can slip past the reader.

So the last row's position is taken first, then all pages are read ahead as in a plain walk, then
the last row is looked for again. If it has not moved, that is all: two requests more than a plain
walk. If it has, rows may have slipped past. They are first looked for where totals changed between
two pages; once every row that was there at the start has been seen, that is all again. Otherwise
the list is read once more from its end to its front, many pages at a time as long as nothing moves.

Where rows come in the order of their creation, a list that is the other way round shows itself by
`created_at`. Where they do not, as with the members of a segment, nothing shows that: the second
assumption is taken on trust.
"""

from __future__ import annotations

import marshal
from collections import deque
from collections.abc import AsyncGenerator, Iterable
from contextlib import aclosing
from typing import Any, Generic

import attrs

from bcshopper._listing.checks import count_missing
from bcshopper._listing.pages import Pages, RowT
from bcshopper._listing.walk import NoteDrift, read_ahead
from bcshopper._models import Page

_NO_REFERENCES = 2  # version of marshal's format; newer ones look for objects that come twice


class Seen:
    """The rows that were yielded: 23 bytes each, and a set of them only once it is needed.

    While all goes well, a row can come twice only from pages that were under way together, so
    that the newest pages are all that has to be compared. Of what packs numbers of 128 bits,
    marshal is the fastest by half.

    Attributes:
        count: how many there are.
    """

    def __init__(self, together: int) -> None:
        self.count = 0
        self._together = together
        self._recent: set[int] = set()
        self._newest: deque[set[int]] = deque()
        self._archive: list[bytes] = []
        self._all: set[int] | None = None

    def recall(self) -> None:
        """From now on, compare with everything."""
        self._all = set().union(*map(marshal.loads, self._archive))

    def take_new(self, rows: tuple[RowT, ...]) -> tuple[RowT, ...]:
        """Those of a page that were not seen before; they are now."""
        ids = {row.id.int for row in rows}
        before = self._recent if self._all is None else self._all
        if not before.isdisjoint(ids):
            ids -= before
        self.count += len(ids)
        if self._all is None:
            self._keep(ids)
        else:
            self._all |= ids
        if len(ids) == len(rows):
            return rows
        return tuple({row.id.int: row for row in rows if row.id.int in ids}.values())

    def _keep(self, ids: set[int]) -> None:
        self._archive.append(marshal.dumps((*ids,), _NO_REFERENCES))
        self._recent |= ids
        self._newest.append(ids)
        if len(self._newest) > self._together:
            self._recent -= self._newest.popleft()


class ConsistentWalk(Generic[RowT]):
    """One walk over a list.

    Args:
        pages: gets its pages.
        ahead: pages under way or waiting at most.
        note_drift: called when the list has changed.
    """

    def __init__(self, pages: Pages[RowT], *, ahead: int, note_drift: NoteDrift) -> None:
        self._pages = pages
        self._ahead = ahead
        self._note_drift = note_drift
        # Pages that are under way together, and those that the reader has not taken yet.
        self._seen = Seen(together=ahead)
        self._total_pages = 0

    async def pages(self) -> AsyncGenerator[Page[RowT]]:
        """Yield every row that exists from the start to the end exactly once.

        In the list's order while nothing moves; those that slipped past come last.

        Raises:
            ResponseFormatError: the list is newest first, or its pagination can't be.
        """
        last = await self._find_end()
        if not last.items:
            return
        if last.number == 1:  # one answer is of one moment
            yield last
            return
        suspects: list[int] = []
        total = last.pagination.total
        async with aclosing(self._read(range(1, last.number))) as pages:
            async for page in pages:
                if page.number == 1:
                    self._check_direction(page, last)
                elif page.pagination.total != total:
                    suspects.append(page.number - 1)
                total = page.pagination.total
                yield self._without_repeats(page, last)

        tail = await self._fetch(last.number)
        has_moved = _position(last, tail) != _position(last, last)
        if has_moved:
            self._note_drift("rows were deleted")
            self._seen.recall()
        yield attrs.evolve(last, items=self._seen.take_new(last.items))
        if not has_moved:
            if self._seen.count != _position(last, last):
                reason = f"it is number {_position(last, last)}, but {self._seen.count} came"
                raise self._pages.contradiction(last.number, reason)
            return
        async with aclosing(self._find_missed(last, suspects)) as pages:
            async for page in pages:
                yield page

    async def _find_missed(
        self, last: Page[RowT], suspects: list[int]
    ) -> AsyncGenerator[Page[RowT]]:
        """Yield what slipped past: first from where it is likely, then from all over."""
        if len(suspects) <= self._ahead:
            async with aclosing(self._read(suspects)) as pages:
                async for page in pages:
                    yield self._without_repeats(page, last)
            if self._seen.count == _position(last, last) and await self._is_there(last):
                return
        async with aclosing(self._read_backwards(last.number)) as pages:
            async for page in pages:
                yield attrs.evolve(page, items=self._seen.take_new(page.items))

    async def _find_end(self) -> Page[RowT]:
        """The last page: its last row stands for the list as it is at the start.

        Rows that are appended before it is read need not be on it: nobody is owed those.
        """
        page = first = await self._fetch(1)
        end = page.pagination.total_pages
        while end and page.number != end:
            page = await self._fetch(end)
            end = min(end, page.pagination.total_pages)
        if page.pagination.total < first.pagination.total:
            self._note_drift("rows were deleted")
        return page

    def _check_direction(self, head: Page[RowT], last: Page[RowT]) -> None:
        if not self._pages.ordered_by_creation:
            return
        oldest, newest = head.items[0].created_at, last.items[-1].created_at
        if oldest is not None and newest is not None and oldest > newest:
            raise self._pages.contradiction(
                1, "the list is newest first, and a consistent listing needs it oldest first"
            )

    def _without_repeats(self, page: Page[RowT], last: Page[RowT]) -> Page[RowT]:
        """The page without what was seen before, and without what was appended after `last`."""
        items = page.items
        # Further to the front, it counts only if `last` is there in the end, and then it is before.
        if page.number == last.number - 1 and (position := _position(last, page)) is not None:
            items = items[: position - _offset(page)]
        new = self._seen.take_new(items)
        return page if new is page.items else attrs.evolve(page, items=new)

    async def _is_there(self, last: Page[RowT]) -> bool:
        """Whether the last row is on its page or the one before it, so that it was all along."""
        for number in (last.number, last.number - 1):
            if _position(last, await self._fetch(number)) is not None:
                return True
        return False

    async def _read_backwards(self, number: int) -> AsyncGenerator[Page[RowT]]:
        """Read from a page to the front: several at once, as long as nothing moves meanwhile."""
        one_by_one, penalty = 0, 1
        while number:
            top = await self._fetch(number)
            if number > top.pagination.total_pages:
                number = top.pagination.total_pages
                continue
            if one_by_one or number == 1:
                one_by_one -= 1
                number -= 1
                yield top
                continue
            lowest = max(1, number - self._ahead)
            async with aclosing(self._read(range(number - 1, lowest - 1, -1))) as pages:
                segment = [page async for page in pages]
            again = await self._fetch(number)
            if _position(top, again) == _position(top, top):
                number, penalty = lowest - 1, 1
            else:
                one_by_one, penalty = penalty, 2 * penalty
            yield top
            for page in segment:
                yield page

    async def _read(self, numbers: Iterable[int]) -> AsyncGenerator[Page[RowT]]:
        """Fetch these pages ahead of the reader, in order, but for those past the end."""
        remaining = iter(numbers)

        def next_number() -> int | None:
            return next((n for n in remaining if n <= self._total_pages), None)

        def learn(page: Page[RowT]) -> None:
            self._total_pages = page.pagination.total_pages

        pages = read_ahead(self._pages, next_number, learn, ahead=self._ahead)
        async with aclosing(pages):
            async for page in pages:
                if page.number <= page.pagination.total_pages:
                    self._check_full(page)
                    yield page

    async def _fetch(self, number: int) -> Page[RowT]:
        page = await self._pages.fetch(number)
        self._total_pages = page.pagination.total_pages
        self._check_full(page)
        return page

    def _check_full(self, page: Page[RowT]) -> None:
        if missing := count_missing(page):
            raise self._pages.contradiction(page.number, f"it lacks {missing} items")


def _offset(page: Page[Any]) -> int:
    return (page.number - 1) * page.pagination.per_page


def _position(last: Page[Any], page: Page[Any]) -> int | None:
    """Where in the list the last row of one page is, by another page; None if it is not on it."""
    wanted = last.items[-1].id
    places = (n for n, one in enumerate(page.items, _offset(page) + 1) if one.id == wanted)
    return next(places, None)
