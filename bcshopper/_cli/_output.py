"""Rows as they come, on standard output or in a file, in one of the formats."""

from __future__ import annotations

import csv
import gzip
import shutil
import sys
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from io import StringIO
from pathlib import Path
from typing import Any, BinaryIO, TextIO, TypeAlias, cast
from uuid import UUID

import attrs
import click
import msgspec

from bcshopper._cli._files import closing_file, whole_file
from bcshopper._cli._formats import DELIMITERS, Format, format_of, is_packed
from bcshopper._cli._terminal import visible
from bcshopper._models import ShopperProfile
from bcshopper._outcomes import Outcome
from bcshopper._transport import Request
from bcshopper.errors import APIError

Row: TypeAlias = dict[str, Any]
Columns: TypeAlias = tuple[str, ...]

PROFILE_COLUMNS: Columns = ("id", "customer_id", "created_at", "updated_at")
OUTCOME_COLUMNS: Columns = ("item", "status", "profile_id", "error")
LOOKUP_COLUMNS: Columns = ("customer_id", "profile_id")
QUOTA_COLUMNS: Columns = ("limit", "remaining", "window", "reset_in")
REQUEST_COLUMNS: Columns = ("method", "url", "body")

_BLOCK = 2**15
_MOST_HELD = 1000


def _plain(value: object) -> str:
    # JSON can spell half a surrogate pair, which UTF-8 can't.
    return str(value).encode(errors="backslashreplace").decode()


_ENCODER = msgspec.json.Encoder(enc_hook=_plain)
# Where a terminal is too narrow for a table: characters of an id, and of the last column at least.
_SHORT_ID = 8
_LAST_COLUMN = 40


def profile_row(profile: ShopperProfile) -> Row:
    """A profile under `PROFILE_COLUMNS`."""
    return {
        "id": profile.id,
        "customer_id": profile.customer_id,
        "created_at": profile.created_at,
        "updated_at": profile.updated_at,
    }


def outcome_row(outcome: Outcome[Any]) -> Row:
    """An outcome under `OUTCOME_COLUMNS`."""
    return {
        "item": outcome.item,
        "status": outcome.status.value,
        "profile_id": outcome.profile_id,
        "error": outcome.error,
    }


def lookup_row(customer_id: int, profile_id: UUID | None) -> Row:
    """A customer and its profile under `LOOKUP_COLUMNS`."""
    return {"customer_id": customer_id, "profile_id": profile_id}


def request_row(request: Request) -> Row:
    """A request under `REQUEST_COLUMNS`."""
    body = None if request.body is None else request.body.decode()
    return {"method": request.method, "url": str(request.url), "body": body}


class Rows(ABC):
    """Writes rows in one format, in blocks."""

    def __init__(self, stream: BinaryIO, name: str, columns: Columns) -> None:
        self._stream = stream
        self._name = name
        self._columns = columns
        self._waiting = bytearray()
        self._last = b""

    def write(self, row: Row) -> None:
        """Add a row.

        Raises:
            OSError: it can't be written; a `BrokenPipeError` if nobody reads any more.
        """
        self._add(row)
        if len(self._waiting) >= _BLOCK:
            self._hand_over()

    def flush(self) -> None:
        """Let whoever reads have every row now.

        Raises:
            OSError: as for `write`.
        """
        self._complete()
        self._hand_over()
        with self._named_errors():
            self._stream.flush()

    def end(self) -> None:
        """Add what the format has after the last row."""
        self._waiting += self._last

    @abstractmethod
    def _add(self, row: Row) -> None:
        """Add a row to what is waiting."""

    def _complete(self) -> None:  # noqa: B027 - most hold nothing back
        """Add to what is waiting all that was held back."""

    def _hand_over(self) -> None:
        block = bytes(self._waiting)
        self._waiting.clear()
        with self._named_errors():
            while block:  # an unbuffered standard output may take less than all
                block = block[self._stream.write(block) :]

    @contextmanager
    def _named_errors(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            error.filename = self._name
            raise


class _JsonLines(Rows):
    def _add(self, row: Row) -> None:
        _ENCODER.encode_into(row, self._waiting, -1)
        self._waiting += b"\n"


class _Json(Rows):
    """An array with a row a line; cut short, it lacks its end and says so."""

    def __init__(self, stream: BinaryIO, name: str, columns: Columns) -> None:
        super().__init__(stream, name, columns)
        self._before, self._last = b"[\n", b"[]\n"

    def _add(self, row: Row) -> None:
        self._waiting += self._before
        _ENCODER.encode_into(row, self._waiting, -1)
        self._before, self._last = b",\n", b"\n]\n"


class _Csv(Rows):
    delimiter = DELIMITERS["csv"]

    def __init__(self, stream: BinaryIO, name: str, columns: Columns) -> None:
        super().__init__(stream, name, columns)
        self._line = StringIO()
        self._cells = csv.writer(self._line, delimiter=self.delimiter)
        self._write_cells(columns)

    def _add(self, row: Row) -> None:
        plain = msgspec.to_builtins(row, enc_hook=_plain)
        self._write_cells([plain[name] for name in self._columns])

    def _write_cells(self, cells: Sequence[object]) -> None:
        self._cells.writerow(cells)
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

    def __init__(self, stream: BinaryIO, name: str, columns: Columns) -> None:
        super().__init__(stream, name, columns)
        self._room = shutil.get_terminal_size().columns if stream.isatty() else sys.maxsize
        self._held: list[Sequence[object]] = [[column.upper() for column in columns]]
        self._widths = [0] * len(columns)
        self._is_short = False

    def _add(self, row: Row) -> None:
        self._held.append([row[name] for name in self._columns])
        if len(self._held) == _MOST_HELD:
            self._complete()

    def _complete(self) -> None:
        widths = self._widths_with(self._held)
        if sum(widths[:-1]) + 2 * len(widths[:-1]) + min(widths[-1], _LAST_COLUMN) > self._room:
            self._is_short = True
            widths = self._widths_with(self._held)
        self._widths = widths
        for row in self._held:
            cells = map(self._cell, row)
            line = "  ".join(f"{c:<{w}}" for c, w in zip(cells, widths, strict=True)).rstrip()
            line = line if len(line) <= self._room else line[: self._room - 1] + "…"
            self._waiting += line.encode() + b"\n"
        self._held.clear()

    def _widths_with(self, rows: Sequence[Sequence[object]]) -> list[int]:
        columns = zip(self._widths, *rows, strict=True)
        return [max([width, *(len(self._cell(c)) for c in cells)]) for width, *cells in columns]

    def _cell(self, value: object) -> str:
        if value is None:
            return "-"
        if isinstance(value, UUID) and self._is_short:
            return f"{value!s:.{_SHORT_ID}}…"
        if isinstance(value, APIError):
            value = "; ".join(value.errors.values()) or f"{value.status}: {value.title}"
        return visible(str(msgspec.to_builtins(value, enc_hook=_plain)))


_WRITERS: dict[Format, type[Rows]] = {
    "table": _Table, "jsonl": _JsonLines, "csv": _Csv, "tsv": _Tsv, "json": _Json,
}  # fmt: skip


@attrs.frozen
class Output:
    """Where rows go, and in which format.

    Attributes:
        fmt: the format.
        path: the file, packed if it ends in `.gz`; None is standard output.
    """

    fmt: Format
    path: str | None = None

    @property
    def is_read_now(self) -> bool:
        """Whether people read the rows as they come."""
        return self.fmt == "table" and self.path is None and _standard_output().isatty()

    @classmethod
    def choose(cls, fmt: Format | None = None, path: str | None = None) -> Output:
        """There, in this format or else the one that suits the place.

        Args:
            fmt: what `--format` says.
            path: what `--output` says; `-` is standard output, as is None.
        """
        path = None if path == "-" else path
        if path is not None:
            return cls(fmt or format_of(path) or "jsonl", path)
        return cls(fmt or ("table" if _standard_output().isatty() else "jsonl"))

    @contextmanager
    def open(self, columns: Columns) -> Iterator[Rows]:
        """Write there.

        A file is written beside its place and moved there when the block ends well: an exception,
        `SystemExit` included, leaves what was there before. On standard output the rows written
        before an exception are there; a JSON array then lacks its end.

        Args:
            columns: the rows' names.

        Raises:
            click.UsageError: it can't be written there.
            OSError: the last rows can't be written.
        """
        with ExitStack() as stack:
            if self.path is None:
                stream, name = _standard_output().buffer, "standard output"
            else:
                stream, name = stack.enter_context(whole_file(Path(self.path))), self.path
                if is_packed(self.path):
                    packed = cast("BinaryIO", gzip.GzipFile("", "wb", fileobj=stream))
                    stream = stack.enter_context(closing_file(packed))
            rows = _WRITERS[self.fmt](stream, name, columns)
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
