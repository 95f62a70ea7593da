"""The records of a source: arguments, lines, rows or items, one after the other, as a stream."""

from __future__ import annotations

import csv
import itertools
import json
import os
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, suppress
from functools import partial
from typing import Any, TypeAlias

import attrs
import click
import ijson  # type: ignore[import-untyped]
import msgspec

from bcshopper._cli._files import DELIMITERS, Format, format_of
from bcshopper._cli._source import IdKind, Numbered, Source, Stream
from bcshopper._cli._terminal import say
from bcshopper.errors import InvalidInputError

_Pick: TypeAlias = Callable[[object], object]

# What an event means for the depth in a document.
_DEEPER = {"start_map": 1, "start_array": 1, "end_map": -1, "end_array": -1}
_DEEPEST = 100

_LONGEST_LINE = 2**20
_JSON_PIECE = 2**16
_MOST_NAMED = 500
_DELIMITERS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}


@attrs.frozen
class Record:
    """One record of a source.

    Attributes:
        place: where it is, such as `line 7`.
        raw: gives it as it was; an item of a JSON array as a line of its own.
        value: gives the id, unchecked; raises `InvalidInputError` if there is none.
        suffix: what the name of a file of such records should end in.
        header: what has to stand first in such a file.
    """

    place: str
    raw: Callable[[], bytes]
    value: Callable[[], object]
    suffix: str = ".txt"
    header: bytes = b""


def open_records(source: Source, kind: IdKind[Any], stack: ExitStack) -> Iterator[Record]:
    """Read a source.

    Raises:
        click.UsageError: it can't be read or understood, now or later.
    """
    if source.path is None:
        return _arguments(source.arguments)
    stream, fmt = source.open(stack)
    pick = partial(_pick, field=source.name, names=kind.names)
    match fmt:
        case "csv" | "tsv":
            return _rows(_lines(stream, source), fmt, source, kind)
        case "json":
            return _items(stream, source, pick)
        case "jsonl":
            return _texts(_lines(stream, source), partial(_picked, pick), ".jsonl")
        case _:
            return _texts(_lines(stream, source), _id_of, ".txt")


def _lines(stream: Stream, source: Source) -> Numbered:
    for number, line in source.pieces(stream, _LONGEST_LINE):
        if len(line) == _LONGEST_LINE and not line.endswith(b"\n"):
            raise click.UsageError(
                f"{source.label}, line {number}: longer than {_LONGEST_LINE:,} bytes: "
                f"is this a list?"
            )
        yield number, line


def _decoded(line: bytes) -> str:
    try:
        return line.decode()
    except UnicodeDecodeError:
        raise InvalidInputError("this is no text file, or not in UTF-8") from None


def _arguments(arguments: Sequence[str]) -> Iterator[Record]:
    def id_of(text: str) -> str:
        if format_of(text) is not None or os.path.isfile(text):  # noqa: PTH113 - never raises
            raise InvalidInputError(f"{text!r} is a file, not an id: give --from {text}")
        return text.strip()

    for number, text in enumerate(arguments, 1):
        yield Record(f"argument {number}", partial(os.fsencode, text), partial(id_of, text))


def _texts(lines: Numbered, value: Callable[[bytes], object], suffix: str) -> Iterator[Record]:
    for number, line in lines:
        if line.strip():
            yield Record(f"line {number}", partial(bytes, line), partial(value, line), suffix)


def _id_of(line: bytes) -> str:
    text = _decoded(line).strip()
    if text.startswith('{"'):
        raise InvalidInputError("this is JSON, not an id: name the id's field with --field")
    if text.startswith("["):
        raise InvalidInputError("this is JSON, not an id: put it in a file named *.json")
    return text


def _picked(pick: _Pick, line: bytes) -> object:
    try:
        item = msgspec.json.decode(_decoded(line))
    except (msgspec.DecodeError, RecursionError) as error:
        raise InvalidInputError(f"no valid JSON: {error}") from None
    return pick(item)


def _pick(item: object, *, field: str | None, names: Sequence[str]) -> object:
    """The id in a JSON value, which may be the id itself if no field is named."""
    value, what = item, "the item"
    if isinstance(item, dict):
        name = _likely_name(list(item), names) if field is None else field
        if name is None or name not in item:
            wanted = " or ".join(map(repr, names if field is None else [field]))
            hint = ": name the id's with --field" if field is None else ""
            raise InvalidInputError(f"the object has no field {wanted}{hint}")
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


def _likely_name(given: Sequence[str], names: Sequence[str]) -> str | None:
    """The name that stands for an id, however it is spelt: `customer_id` or `Customer ID`."""

    def plain(name: str) -> str:
        return re.sub(r"[\W_]", "", name).casefold()

    for name in names:
        if name in given:
            return name
    for name in names:
        if alike := [other for other in given if plain(other) == plain(name)]:
            return alike[0] if len(alike) == 1 else None
    return None


class _ByLine:
    """Gives ijson a line at most, so that the events that come of it are of this line."""

    def __init__(self, pieces: Numbered) -> None:
        self._pieces = pieces
        self.line = 1

    def read(self, size: int) -> bytes:
        if size == 0:  # it asks for the type
            return b""
        self.line, piece = next(self._pieces, (self.line, b""))
        return piece


def _items(stream: Stream, of: Source, pick: _Pick) -> Iterator[Record]:
    """An array's, or those of the array `data` in an object, as the API's own answers are.

    A document that is malformed can't be read on, so that this is no bad line.
    """
    source, label = _ByLine(of.pieces(stream, _JSON_PIECE)), of.label
    try:
        events = ijson.basic_parse(source, use_float=True)
        if not _find_array(events):
            raise click.UsageError(
                f"{label} is no JSON array of ids or of objects, nor an object whose 'data' is one"
            )
        depth, count, where, builder = 0, 0, "", ijson.ObjectBuilder()
        for event, value in events:
            if depth == 0:
                if event == "end_array":
                    break
                count += 1
                where, builder = f"line {source.line}, item {count}", ijson.ObjectBuilder()
            builder.event(event, value)
            depth += _DEEPER.get(event, 0)
            if depth > _DEEPEST:
                raise click.UsageError(f"{label}, {where}: nested more than {_DEEPEST} deep")
            if depth == 0:
                item = builder.value
                raw = partial(str.encode, json.dumps(item))
                yield Record(where, raw, partial(pick, item), ".jsonl")
        for _ in events:  # to hear of what comes after the array
            pass
    except ijson.JSONError as error:
        said = error.args[0]
        text = said.decode(errors="replace") if isinstance(said, bytes) else str(said)
        reason = f"{text.partition(chr(10))[0]:.200}"
        raise click.UsageError(f"{label}, line {source.line}: no valid JSON: {reason}") from None


def _find_array(events: Iterator[tuple[str, Any]]) -> bool:
    event, value = next(events)
    depth = _DEEPER.get(event, 0)
    if event == "start_map":
        while depth and (depth, event, value) != (1, "map_key", "data"):
            event, value = next(events)
            depth += _DEEPER.get(event, 0)
        event, _ = next(events, ("", None))
    return event == "start_array"


def _rows(lines: Numbered, fmt: Format, source: Source, kind: IdKind[Any]) -> Iterator[Record]:
    """Rows of CSV; one of several lines has the place of the first."""
    line, taken = 0, list[bytes]()
    first = next(lines, (1, b""))
    delimiter = DELIMITERS[fmt] if fmt == "tsv" else _likely_delimiter(first[1], source.label)

    def take(numbered: tuple[int, bytes]) -> str:
        nonlocal line
        line, text = numbered
        taken.append(text)
        return _decoded(text)

    def read() -> Iterator[tuple[str, bytes, list[str] | InvalidInputError]]:
        texts = map(take, itertools.chain([first], lines))
        reader = csv.reader(texts, delimiter=delimiter, strict=True)
        cells: list[str] | InvalidInputError | None
        while True:
            begins = line + 1
            taken.clear()
            try:
                cells = next(reader, None)
            except csv.Error as error:
                said, _, _ = str(error).partition(" - ")  # a hint for programmers may follow
                reason = f"no valid CSV: {said}; is there a quote too many or too few?"
                cells = InvalidInputError(reason)
            except InvalidInputError as error:
                cells = error
            if cells is None:
                return
            raw = b"".join(taken)
            if raw.strip():
                yield f"line {begins}", raw, cells

    rows = read()
    place, header, names = next(rows, ("", b"", []))
    if isinstance(names, InvalidInputError):
        raise click.UsageError(f"{source.label}, {place}: {names}")
    columns = [name.strip() for name in names]
    index = _choose_column(columns, source, kind) if columns else 0
    for place, raw, cells in rows:
        cell = partial(_cell, cells, columns, index)
        yield Record(place, partial(bytes, raw), cell, f".{fmt}", header)


def _likely_delimiter(line: bytes, label: str) -> str:
    """What most often stands between the columns' names; commas go first."""
    bare = re.sub(rb'"[^"]*"?', b"", line).decode(errors="replace")
    found = max(_DELIMITERS, key=bare.count)
    if found != ",":
        say(f"{label} seems to have {_DELIMITERS[found]} between its columns, and is read so")
    return found


def _cell(cells: list[str] | InvalidInputError, columns: Sequence[str], index: int) -> str:
    if isinstance(cells, InvalidInputError):
        raise cells
    if len(cells) != len(columns):
        raise InvalidInputError(f"{len(cells)} cells for {len(columns)} columns")
    if not (text := cells[index].strip()):
        raise InvalidInputError(f"column {columns[index]!r} is empty")
    return text


def _choose_column(columns: Sequence[str], source: Source, kind: IdKind[Any]) -> int:
    name, label = source.name, source.label
    listed = f"{', '.join(map(repr, columns)):.{_MOST_NAMED}}"
    if name is None and len(columns) == 1:
        name = columns[0]
        with suppress(InvalidInputError):
            kind.check(name)
            raise click.UsageError(
                f"{label} begins with the id {name}, where CSV has its columns' names: "
                "put a name first, or let the file's name end in .txt"
            )
    elif name is None and (name := _likely_name(columns, kind.names)) is None:
        raise click.UsageError(f"{label} has the columns {listed}: name the ids' with --column")
    if (found := columns.count(name)) != 1:
        has = f"has {found} columns" if found else "has no column"
        raise click.UsageError(f"{label} {has} {name!r}; its columns are {listed}")
    return columns.index(name)
