"""The records of a source: lines, rows or items, one after the other."""

from __future__ import annotations

import csv
import gzip
import io
import json
import os
import zlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias

import click
import ijson  # type: ignore[import-untyped]
import msgspec

from bcshopper._cli._source import IdKind, Source, standard_input
from bcshopper.errors import InvalidInputError

_Numbered: TypeAlias = Iterator[tuple[int, bytes]]
_Row: TypeAlias = tuple[bytes, list[str] | Exception]

# What an event means for the depth in a document.
_DEEPER = {"start_map": 1, "start_array": 1, "end_map": -1, "end_array": -1}

_LONGEST_LINE = 2**20
_JSON_PIECE = 2**16
_DEEPEST = 100
_MOST_NAMED = 500


class Records(ABC):
    """One source's records: where each is, and how to get from it to the id's text or number."""

    header = b""

    @abstractmethod
    def __iter__(self) -> Iterator[tuple[str, Any]]:
        """Each record, with its place in the source."""

    @abstractmethod
    def value(self, record: Any) -> object:
        """The id, unchecked.

        Raises:
            InvalidInputError: the record holds none.
        """

    @abstractmethod
    def raw(self, record: Any) -> bytes:
        """The record as it was."""


class _Arguments(Records):
    def __init__(self, arguments: tuple[str, ...]) -> None:
        self._arguments = arguments

    def __iter__(self) -> Iterator[tuple[str, str]]:
        for number, text in enumerate(self._arguments, 1):
            yield f"argument {number}", text

    def value(self, record: str) -> str:
        return record.strip()

    def raw(self, record: str) -> bytes:
        return os.fsencode(record)


class _Lines(Records):
    def __init__(self, lines: Iterator[tuple[int, bytes]]) -> None:
        self._lines = lines

    def __iter__(self) -> Iterator[tuple[str, bytes]]:
        for number, line in self._lines:
            if line.strip():
                yield f"line {number}", line

    def value(self, record: bytes) -> object:
        text = _decoded(record).strip()
        if text.startswith('{"'):
            raise InvalidInputError("this is JSON, not an id: name the id's field with --field")
        if text.startswith("["):
            raise InvalidInputError("this is JSON, not an id: put it in a file named *.json")
        return text

    def raw(self, record: bytes) -> bytes:
        return record


class _JsonLines(_Lines):
    def __init__(self, lines: _Numbered, pick: Callable[[object], object]) -> None:
        super().__init__(lines)
        self._pick = pick

    def value(self, record: bytes) -> object:
        try:
            item = msgspec.json.decode(_decoded(record))
        except (msgspec.DecodeError, RecursionError) as error:
            raise InvalidInputError(f"no valid JSON: {error}") from None
        return self._pick(item)


class _JsonArray(Records):
    """A document; one that is malformed can't be read on, so that this is no bad line."""

    def __init__(self, pieces: _Numbered, pick: Callable[[object], object], label: str) -> None:
        self._pieces = pieces
        self._pick = pick
        self._label = label
        self._line = 1

    def read(self, size: int) -> bytes:
        """Give ijson a line at most, so that the events that come of it are of this line."""
        if size == 0:  # it asks for the type
            return b""
        self._line, piece = next(self._pieces, (self._line, b""))
        return piece

    def __iter__(self) -> Iterator[tuple[str, object]]:
        try:
            yield from self._items(ijson.basic_parse(self, use_float=True))
        except ijson.JSONError as error:
            raise click.UsageError(
                f"{self._label}, line {self._line}: no valid JSON: {_first_line(error)}"
            ) from None

    def _items(self, events: Iterator[tuple[str, Any]]) -> Iterator[tuple[str, object]]:
        if next(events)[0] != "start_array":
            raise click.UsageError(f"{self._label} is no JSON array of ids or of objects")
        depth = count = 0
        where, builder = "", ijson.ObjectBuilder()
        for event, value in events:
            if depth == 0:
                if event == "end_array":
                    continue  # to hear of what comes after the array
                count += 1
                where, builder = f"line {self._line}, item {count}", ijson.ObjectBuilder()
            builder.event(event, value)
            depth += _DEEPER.get(event, 0)
            if depth > _DEEPEST:
                raise click.UsageError(f"{self._label}, {where}: nested more than {_DEEPEST} deep")
            if depth == 0:
                yield where, builder.value

    def value(self, record: object) -> object:
        return self._pick(record)

    def raw(self, record: object) -> bytes:
        return json.dumps(record).encode()


class _Csv(Records):
    def __init__(self, lines: _Numbered, column: str | None, kind: IdKind[Any], label: str) -> None:
        self._line = 0
        self._taken: list[bytes] = []
        self._reader = csv.reader(map(self._take, lines), strict=True)
        self._rows = self._read()
        where, (self.header, names) = next(self._rows, ("", (b"", [])))
        if isinstance(names, Exception):
            raise click.UsageError(f"{label}, {where}: {_csv_reason(names)}")
        self._columns = [name.strip() for name in names]
        self._index = _choose_column(self._columns, column, kind, label) if names else 0

    def _take(self, numbered: tuple[int, bytes]) -> str:
        self._line, line = numbered
        self._taken.append(line)
        return _decoded(line)

    def _read(self) -> Iterator[tuple[str, _Row]]:
        cells: list[str] | Exception | None
        while True:
            first_line = self._line + 1
            self._taken.clear()
            try:
                cells = next(self._reader, None)
            except (csv.Error, InvalidInputError) as error:
                cells = error
            if cells is None:
                return
            raw = b"".join(self._taken)
            if raw.strip():
                yield f"line {first_line}", (raw, cells)

    def __iter__(self) -> Iterator[tuple[str, _Row]]:
        return self._rows

    def value(self, record: _Row) -> str:
        _, cells = record
        if isinstance(cells, Exception):
            raise InvalidInputError(_csv_reason(cells))
        if len(cells) != len(self._columns):
            raise InvalidInputError(f"{len(cells)} cells for {len(self._columns)} columns")
        text = cells[self._index].strip()
        if not text:
            raise InvalidInputError(f"column {self._columns[self._index]!r} is empty")
        return text

    def raw(self, record: _Row) -> bytes:
        return record[0]


def open_records(source: Source, kind: IdKind[Any], stack: ExitStack) -> Records:
    if source.path is None:
        return _Arguments(source.arguments)
    stream = _open(source.path, stack)
    pick = partial(_pick, field=source.name, names=kind.names)
    match source.format:
        case "csv":
            return _Csv(_lines(stream, source.label), source.name, kind, source.label)
        case "jsonl":
            return _JsonLines(_lines(stream, source.label), pick)
        case "json":
            pieces = _pieces(stream, source.label, _JSON_PIECE)
            return _JsonArray(pieces, pick, source.label)
        case _:
            return _Lines(_lines(stream, source.label))


def _open(path: str, stack: ExitStack) -> BinaryIO:
    if path == "-":
        return standard_input().buffer
    try:
        if path.lower().endswith(".gz"):
            return stack.enter_context(io.BufferedReader(gzip.open(path)))
        return stack.enter_context(Path(path).open("rb"))
    except OSError as error:
        raise click.UsageError(f"cannot read {path}: {error.strerror}") from None


def _pieces(stream: BinaryIO, label: str, longest: int) -> _Numbered:
    """Whole lines, and pieces of longer ones, with the line's number."""
    number, byte_order_mark = 1, b"\xef\xbb\xbf"
    try:
        for piece in iter(partial(stream.readline, longest), b""):
            yield number, piece.removeprefix(byte_order_mark)
            number, byte_order_mark = number + piece.endswith(b"\n"), b""
    except (OSError, EOFError, zlib.error) as error:
        raise click.UsageError(f"cannot read {label}: {error}") from None


def _lines(stream: BinaryIO, label: str) -> _Numbered:
    for number, line in _pieces(stream, label, _LONGEST_LINE):
        if len(line) == _LONGEST_LINE and not line.endswith(b"\n"):
            raise click.UsageError(
                f"{label}, line {number}: longer than {_LONGEST_LINE:,} bytes: is this a list?"
            )
        yield number, line


def _decoded(line: bytes) -> str:
    try:
        return line.decode()
    except UnicodeDecodeError:
        raise InvalidInputError("this is no text file, or not in UTF-8") from None


def _choose_column(
    columns: Sequence[str], column: str | None, kind: IdKind[Any], label: str
) -> int:
    if column is None:
        column = _likely_column(columns, kind, label)
    found = columns.count(column)
    if found != 1:
        has = f"has {found} columns" if found else "has no column"
        raise click.UsageError(f"{label} {has} {column!r}; its columns are {_listed(columns)}")
    return columns.index(column)


def _likely_column(columns: Sequence[str], kind: IdKind[Any], label: str) -> str:
    if len(columns) == 1:
        _refuse_an_id(columns[0], kind, label)
        return columns[0]
    for name in kind.names:
        if name in columns:
            return name
    raise click.UsageError(
        f"{label} has the columns {_listed(columns)}: name the ids' with --column"
    )


def _refuse_an_id(name: str, kind: IdKind[Any], label: str) -> None:
    try:
        kind.check(name)
    except InvalidInputError:
        return
    raise click.UsageError(
        f"{label} begins with the id {name}, where CSV has its columns' names: "
        "put a name first, or let the file's name end in .txt"
    )


def _listed(columns: Sequence[str]) -> str:
    return f"{', '.join(map(repr, columns)):.{_MOST_NAMED}}"


def _csv_reason(error: Exception) -> str:
    if isinstance(error, InvalidInputError):
        return str(error)
    said, _, _ = str(error).partition(" - ")  # a hint for programmers may follow
    return f"no valid CSV: {said}; is there a quote too many or too few?"


def _pick(item: object, *, field: str | None, names: Sequence[str]) -> object:
    """The id in a JSON value, which may be the id itself if no field is named."""
    value, what = item, "the item"
    if isinstance(item, dict):
        wanted = names if field is None else [field]
        name = next((name for name in wanted if name in item), None)
        if name is None:
            hint = ": name the id's with --field" if field is None else ""
            raise InvalidInputError(
                f"the object has no field {' or '.join(map(repr, wanted))}{hint}"
            )
        value, what = item[name], f"field {name!r}"
    elif field is not None:
        raise InvalidInputError(f"the item is {_shown(item)}, not an object with a field {field!r}")
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise InvalidInputError(f"{what} is {_shown(value)}, not an id")
    return value


def _shown(value: object) -> str:
    if isinstance(value, dict):
        return "an object"
    return "an array" if isinstance(value, list) else f"{json.dumps(value):.200}"


def _first_line(error: ijson.JSONError) -> str:
    said = error.args[0]
    text = said.decode(errors="replace") if isinstance(said, bytes) else str(said)
    return f"{text.partition(chr(10))[0]:.200}"
