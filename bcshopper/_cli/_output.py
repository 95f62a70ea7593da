"""Rows as they come, on standard output or in a file, in one of the formats."""

from __future__ import annotations

import csv
import gzip
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from io import StringIO
from operator import attrgetter
from pathlib import Path
from typing import Any, BinaryIO, TextIO, TypeAlias, cast
from uuid import UUID

import attrs
import click
import msgspec

from bcshopper._cli._files import (
    DELIMITERS,
    Format,
    closing_file,
    format_of,
    is_packed,
    whole_file,
)
from bcshopper._cli._terminal import visible
from bcshopper.errors import APIError

Cells: TypeAlias = Sequence[Any]

_BLOCK = 2**15
_MOST_HELD = 1000
# Where a terminal is too narrow for a table: characters of an id, and of the last column at least.
_SHORT_ID = 8
_LAST_COLUMN = 40


@attrs.frozen
class Columns:
    """What rows of one kind have: names, and how to get the cells from what a row is of."""

    names: tuple[str, ...]
    cells: Callable[[Any], Cells]

    def only(self, names: Sequence[str]) -> Columns:
        """Some of them, in this order."""
        for name in names:
            if name not in self.names:
                raise click.UsageError(f"no field {name!r}; there are {', '.join(self.names)}")
        places = [self.names.index(name) for name in names]

        def some(item: Any) -> Cells:
            cells = self.cells(item)
            return [cells[place] for place in places]

        return Columns(tuple(names), some)


def _attributes(*names: str) -> Columns:
    return Columns(tuple(name.partition(".")[0] for name in names), attrgetter(*names))


PROFILES = _attributes("id", "customer_id", "created_at", "updated_at")
OUTCOMES = _attributes("item", "status.value", "profile_id", "error")
LOOKUPS = Columns(("customer_id", "profile_id"), tuple)
SEGMENTS = _attributes("id", "name", "description", "created_at", "updated_at")
CUSTOMERS = Columns(
    ("customer_id", "profile_id", "segment_ids", "date_modified"),
    lambda customer: (
        customer.id,
        customer.shopper_profile_id,
        " ".join(map(str, customer.segment_ids)),
        customer.date_modified,
    ),
)
QUOTAS = _attributes("limit", "remaining", "window", "reset_in")
REQUESTS = Columns(
    ("method", "url", "body"),
    lambda r: (r.method, str(r.url), None if r.body is None else r.body.decode()),
)


def _plain(value: object) -> str:
    # JSON can spell half a surrogate pair, which UTF-8 can't.
    return str(value).encode(errors="backslashreplace").decode()


_ENCODER = msgspec.json.Encoder(enc_hook=_plain)


class Rows:
    """Writes rows in one format, in blocks; this one as JSON lines."""

    def __init__(self, stream: BinaryIO, name: str, columns: Columns) -> None:
        self._stream = stream
        self._name = name
        self._columns = columns
        self._waiting = bytearray()
        self._begin()

    def write(self, item: Any) -> None:
        """Add a row.

        Raises:
            OSError: it can't be written; a `BrokenPipeError` if nobody reads any more.
        """
        self._add(self._columns.cells(item))
        if len(self._waiting) >= _BLOCK:
            self._hand_over()

    def write_all(self, items: Iterable[Any]) -> None:
        """Add rows, and let whoever reads have them now; raises as `write` does."""
        for item in items:
            self.write(item)
        self.flush()

    def flush(self) -> None:
        """Let whoever reads have every row now; raises as `write` does."""
        self._complete()
        self._hand_over(flushes=True)

    def end(self) -> None:
        """Add what the format has after the last row."""

    def _begin(self) -> None:
        """Add what it has before the first."""

    def _add(self, cells: Cells) -> None:
        self._encode(cells)
        self._waiting += b"\n"

    def _complete(self) -> None:
        """Add to what is waiting all that was held back."""

    def _encode(self, cells: Cells) -> None:
        row = dict(zip(self._columns.names, cells, strict=True))
        _ENCODER.encode_into(row, self._waiting, -1)

    def _hand_over(self, *, flushes: bool = False) -> None:
        block = bytes(self._waiting)
        self._waiting.clear()
        try:
            while block:  # an unbuffered standard output may take less than all
                block = block[self._stream.write(block) :]
            if flushes:
                self._stream.flush()
        except OSError as error:
            error.filename = self._name
            raise


class _Json(Rows):
    """An array with a row a line; cut short, it lacks its end and says so."""

    def _begin(self) -> None:
        self._before, self._last = b"[\n", b"[]\n"

    def _add(self, cells: Cells) -> None:
        self._waiting += self._before
        self._encode(cells)
        self._before, self._last = b",\n", b"\n]\n"

    def end(self) -> None:
        self._waiting += self._last


class _Csv(Rows):
    delimiter = DELIMITERS["csv"]

    def _begin(self) -> None:
        self._line = StringIO()
        self._writer = csv.writer(self._line, delimiter=self.delimiter)
        self._add(self._columns.names)

    def _add(self, cells: Cells) -> None:
        self._writer.writerow(msgspec.to_builtins(cells, enc_hook=_plain))
        # Told to end lines with \n alone, it would leave a cell's \r without quotes.
        self._waiting += self._line.getvalue().removesuffix("\r\n").encode() + b"\n"
        self._line.seek(0)
        self._line.truncate()


class _Tsv(_Csv):
    delimiter = DELIMITERS["tsv"]


class _Table(Rows):
    """Columns as wide as their rows need, so far; on a terminal no more than fits in a line.

    Where a terminal is too narrow, ids show their beginnings, and a long last cell is cut.
    """

    def _begin(self) -> None:
        self._room = shutil.get_terminal_size().columns if self._stream.isatty() else sys.maxsize
        self._held: list[Cells] = [[name.upper() for name in self._columns.names]]
        self._widths = [0] * len(self._columns.names)
        self._is_short = False

    def _add(self, cells: Cells) -> None:
        self._held.append(cells)
        if len(self._held) == _MOST_HELD:
            self._complete()

    def _complete(self) -> None:
        *most, last = self._widths_with(self._held)
        if sum(most) + 2 * len(most) + min(last, _LAST_COLUMN) > self._room:
            self._is_short = True
        self._widths = self._widths_with(self._held)
        for cells in self._held:
            texts = zip(map(self._text, cells), self._widths, strict=True)
            line = "  ".join(f"{text:<{width}}" for text, width in texts).rstrip()
            line = line if len(line) <= self._room else line[: self._room - 1] + "…"
            self._waiting += line.encode() + b"\n"
        self._held.clear()

    def _widths_with(self, rows: Sequence[Cells]) -> list[int]:
        columns = zip(self._widths, *rows, strict=True)
        return [max([width, *(len(self._text(c)) for c in cells)]) for width, *cells in columns]

    def _text(self, value: object) -> str:
        if value is None:
            return "-"
        if isinstance(value, UUID) and self._is_short:
            return f"{value!s:.{_SHORT_ID}}…"
        if isinstance(value, APIError):
            value = "; ".join(value.errors.values()) or f"{value.status}: {value.title}"
        return visible(str(msgspec.to_builtins(value, enc_hook=_plain)))


_WRITERS: dict[Format, type[Rows]] = {
    "table": _Table, "jsonl": Rows, "csv": _Csv, "tsv": _Tsv, "json": _Json,
}  # fmt: skip


@attrs.frozen
class Output:
    """Where rows go, and how.

    Attributes:
        format: the format.
        path: the file, packed if it ends in `.gz`; None is standard output.
        fields: the columns that were asked for; none: all.
    """

    format: Format
    path: str | None = None
    fields: Sequence[str] = ()

    @classmethod
    def choose(
        cls, fmt: Format | None = None, path: str | None = None, fields: str | None = None
    ) -> Output:
        """There, in this format or else the one that suits the place, and with these columns."""
        path = None if path == "-" else path
        names = () if fields is None else [name.strip() for name in fields.split(",")]
        if path is None and _standard_output().isatty():
            return cls(fmt or "table", path, names)
        return cls(fmt or format_of(path or "") or "jsonl", path, names)

    @property
    def is_read_now(self) -> bool:
        """Whether people read the rows as they come."""
        return self.format == "table" and self.path is None and _standard_output().isatty()

    @contextmanager
    def open(self, columns: Columns) -> Iterator[Rows]:
        """Write there.

        A file is written beside its place and moved there when the block ends well: an exception,
        `SystemExit` included, leaves what was there before. On standard output the rows written
        before an exception are there; a JSON array then lacks its end.

        Raises:
            click.UsageError: it can't be written there, or has no such fields.
            OSError: the last rows can't be written.
        """
        columns = columns.only(self.fields) if self.fields else columns
        with ExitStack() as stack:
            if self.path is None:
                stream, name = _standard_output().buffer, "standard output"
            else:
                stream, name = stack.enter_context(whole_file(Path(self.path))), self.path
                if is_packed(self.path):
                    packed = cast("BinaryIO", gzip.GzipFile("", "wb", fileobj=stream))
                    stream = stack.enter_context(closing_file(packed))
            rows = _WRITERS[self.format](stream, name, columns)
            try:
                yield rows
                rows.end()
            finally:
                rows.flush()


def _standard_output() -> TextIO:
    stdout: TextIO | None = sys.stdout
    if stdout is None:
        raise click.UsageError("standard output is closed: give --output FILE")
    stdout.flush()
    return stdout
