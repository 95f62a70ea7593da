"""Rows as they come, on standard output or in a file: a table, JSON lines, CSV or JSON."""

from __future__ import annotations

import csv
import gzip
import sys
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from io import StringIO
from pathlib import Path
from typing import Any, BinaryIO, Literal, TextIO, TypeAlias, cast
from uuid import UUID

import click
import msgspec

from bcshopper._cli._files import closing_file, whole_file
from bcshopper._models import ShopperProfile
from bcshopper._outcomes import Outcome
from bcshopper._transport import Request

Format: TypeAlias = Literal["table", "jsonl", "csv", "json"]
FORMATS: tuple[Format, ...] = ("table", "jsonl", "csv", "json")

Row: TypeAlias = dict[str, Any]
Columns: TypeAlias = Mapping[str, int]
"""Names, with the widths they have in a table."""

PROFILE_COLUMNS: Columns = {"id": 36, "customer_id": 11, "created_at": 20, "updated_at": 20}
OUTCOME_COLUMNS: Columns = {"item": 36, "status": 8, "profile_id": 36, "error": 0}
LOOKUP_COLUMNS: Columns = {"customer_id": 11, "profile_id": 36}
QUOTA_COLUMNS: Columns = {"limit": 9, "remaining": 9, "window": 9, "reset_in": 9}
REQUEST_COLUMNS: Columns = {"method": 6, "url": 60, "body": 0}

_BLOCK = 2**15
_ENCODER = msgspec.json.Encoder()


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
        "error": None if outcome.error is None else _encodable(str(outcome.error)),
    }


def lookup_row(customer_id: int, profile_id: UUID | None) -> Row:
    """A customer and its profile under `LOOKUP_COLUMNS`."""
    return {"customer_id": customer_id, "profile_id": profile_id}


def request_row(request: Request) -> Row:
    """A request under `REQUEST_COLUMNS`."""
    body = None if request.body is None else request.body.decode()
    return {"method": request.method, "url": str(request.url), "body": body}


def choose_format(fmt: Format | None, path: str | None) -> Format:
    """The format asked for, or else the one that suits where the rows go.

    Args:
        fmt: what `--format` says.
        path: what `--output` says; `-` is standard output, as is None.
    """
    if fmt is not None:
        return fmt
    if path is None or path == "-":
        return "table" if _standard_output().isatty() else "jsonl"
    name = path.lower().removesuffix(".gz")
    return "csv" if name.endswith(".csv") else "json" if name.endswith(".json") else "jsonl"


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
        self._hand_over()
        with self._named_errors():
            self._stream.flush()

    def end(self) -> None:
        """Add what the format has after the last row."""
        self._waiting += self._last

    @abstractmethod
    def _add(self, row: Row) -> None:
        """Add a row to what is waiting."""

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
    def __init__(self, stream: BinaryIO, name: str, columns: Columns) -> None:
        super().__init__(stream, name, columns)
        self._line = StringIO()
        self._cells = csv.writer(self._line)
        self._write_cells(list(columns))

    def _add(self, row: Row) -> None:
        plain = msgspec.to_builtins(row)
        self._write_cells([plain[name] for name in self._columns])

    def _write_cells(self, cells: Sequence[object]) -> None:
        self._cells.writerow(cells)
        # Told to end lines with \n alone, it would leave a cell's \r without quotes.
        self._waiting += self._line.getvalue().removesuffix("\r\n").encode() + b"\n"
        self._line.seek(0)
        self._line.truncate()


class _Table(Rows):
    def __init__(self, stream: BinaryIO, name: str, columns: Columns) -> None:
        super().__init__(stream, name, columns)
        self._align([name.upper() for name in columns])

    def _add(self, row: Row) -> None:
        plain = msgspec.to_builtins(row)
        cells = (plain[name] for name in self._columns)
        self._align(["-" if cell is None else visible(str(cell)) for cell in cells])

    def _align(self, cells: Sequence[str]) -> None:
        widths = self._columns.values()
        line = "  ".join(f"{cell:<{width}}" for cell, width in zip(cells, widths, strict=True))
        self._waiting += line.rstrip().encode() + b"\n"


_WRITERS: dict[Format, type[Rows]] = {
    "table": _Table, "jsonl": _JsonLines, "csv": _Csv, "json": _Json,
}  # fmt: skip


@contextmanager
def open_output(fmt: Format, path: str | None, columns: Columns) -> Iterator[Rows]:
    """Where to write rows.

    A file is written beside its place and moved there when the block ends well: an exception,
    `SystemExit` included, leaves what was there before. On standard output the rows written
    before an exception are there; a JSON array then lacks its end.

    Args:
        fmt: how to write.
        path: the file, packed if it ends in `.gz`; `-` and None are standard output.
        columns: the rows' names.

    Raises:
        click.UsageError: it can't be written there.
        OSError: the last rows can't be written.
    """
    with ExitStack() as stack:
        if path is None or path == "-":
            stream, name = _standard_output().buffer, "standard output"
        else:
            stream, name = stack.enter_context(whole_file(Path(path))), path
            if path.lower().endswith(".gz"):
                packed = cast("BinaryIO", gzip.GzipFile("", "wb", fileobj=stream))
                stream = stack.enter_context(closing_file(packed))
        rows = _WRITERS[fmt](stream, name, columns)
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


def visible(text: str) -> str:
    """Text that moves no cursor and begins no line, whoever wrote it."""
    if text.isprintable():
        return text
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode() for char in text
    )


def _encodable(text: str) -> str:
    # JSON can spell half a surrogate pair, which UTF-8 can't.
    return text.encode(errors="backslashreplace").decode()
