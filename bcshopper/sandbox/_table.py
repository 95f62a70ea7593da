"""Rows by id, in the order in which they came, and their pages."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Generic, TypeVar
from uuid import UUID

T = TypeVar("T")

# A page is found by skipping whole blocks, and a removal moves the rest of one: neither takes long.
_BLOCK = 4096
_PAGES = 256  # rendered ones that are kept; a long walk does not fill the memory


class Table(Mapping[UUID, T], Generic[T]):
    """Rows by id, oldest first; a page costs the same wherever it is and whatever has changed."""

    def __init__(self) -> None:
        # Each row with its number, which only grows, and as JSON.
        self._rows: dict[UUID, tuple[int, T, bytes]] = {}
        self._blocks: list[list[tuple[int, T, bytes]]] = []
        self._next = 0
        self._pages: dict[tuple[int, int, bool, bool], bytes] = {}

    def append(self, row_id: UUID, row: T, body: bytes) -> None:
        """Add a row, which is not there yet, at the end."""
        self._pages.clear()
        entry = (self._next, row, body)
        self._next += 1
        self._rows[row_id] = entry
        if not self._blocks or len(self._blocks[-1]) >= _BLOCK:
            self._blocks.append([])
        self._blocks[-1].append(entry)

    def replace(self, row_id: UUID, row: T, body: bytes) -> None:
        """Change a row where it stands."""
        self._pages.clear()
        number = self._rows[row_id][0]
        _, block, index = self._find(number)
        self._rows[row_id] = block[index] = (number, row, body)

    def discard(self, row_id: UUID) -> T | None:
        """Take a row out, and return it; None if it is not there."""
        entry = self._rows.pop(row_id, None)
        if entry is None:
            return None
        self._pages.clear()
        position, block, index = self._find(entry[0])
        del block[index]
        if not block:
            del self._blocks[position]
        return entry[1]

    def clear(self) -> None:
        """Take all rows out."""
        self._pages.clear()
        self._rows.clear()
        self._blocks.clear()

    def body(self, row_id: UUID) -> bytes:
        """A row as JSON."""
        return self._rows[row_id][2]

    def page(self, number: int, limit: int, *, links: bool, newest_first: bool = False) -> bytes:
        """One page of all rows, as the API answers it."""
        key = (number, limit, links, newest_first)
        if key not in self._pages:
            if len(self._pages) >= _PAGES:
                self._pages.clear()
            self._pages[key] = self._render(*key)
        return self._pages[key]

    def _render(self, number: int, limit: int, links: bool, newest_first: bool) -> bytes:  # noqa: FBT001
        start = (number - 1) * limit
        count = max(0, min(limit, len(self) - start))
        if newest_first:
            bodies = self._stretch(len(self) - start - count, count)[::-1]
        else:
            bodies = self._stretch(start, count)
        return render(bodies, len(self), number, limit, links=links)

    def _stretch(self, start: int, count: int) -> list[bytes]:
        found: list[bytes] = []
        for block in self._blocks:
            if len(found) == count:
                break
            if start >= len(block):
                start -= len(block)
                continue
            found += [body for _, _, body in block[start : start + count - len(found)]]
            start = 0
        return found

    def _find(self, number: int) -> tuple[int, list[tuple[int, T, bytes]], int]:
        # A tuple that goes on is greater than its beginning: no key function is called.
        next_one: Any = (number + 1,)
        position = bisect_left(self._blocks, [next_one]) - 1
        block = self._blocks[position]
        return position, block, bisect_left(block, next_one) - 1

    def __getitem__(self, row_id: UUID) -> T:
        return self._rows[row_id][1]

    def __iter__(self) -> Iterator[UUID]:
        return iter(self._rows)

    def __len__(self) -> int:
        return len(self._rows)


def render(bodies: Sequence[bytes], total: int, number: int, limit: int, *, links: bool) -> bytes:
    """A page of a list as the API answers it."""
    meta = pagination(total, len(bodies), number, limit, links=links)
    return b'{"data":[%b],"meta":{"pagination":%b}}' % (b",".join(bodies), meta)


def pagination(total: int, count: int, number: int, limit: int, *, links: bool) -> bytes:
    """`meta.pagination` as JSON."""
    pages = -(-total // limit)
    text = (
        f'{{"total":{total},"count":{count},"per_page":{limit},'
        f'"current_page":{number},"total_pages":{pages}'
    )
    if links:
        found = [("previous", number - 1), ("current", number), ("next", number + 1)]
        text += ',"links":{%s}' % ",".join(  # noqa: UP031 - braces
            f'"{name}":"?page={n}&limit={limit}"' for name, n in found if 1 <= n <= max(pages, 1)
        )
    return (text + "}").encode()
