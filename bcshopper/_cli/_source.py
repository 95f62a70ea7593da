"""Where ids come from: a file, standard input or arguments; and the lines that hold them."""

from __future__ import annotations

import gzip
import io
import re
import sys
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path
from typing import Any, Generic, TextIO, TypeAlias, TypeVar
from uuid import UUID

import attrs
import click

from bcshopper import _inputs
from bcshopper._cli._files import Format, format_of, is_packed, split

T = TypeVar("T")
Stream: TypeAlias = io.BufferedReader | gzip.GzipFile
Numbered: TypeAlias = Iterator[tuple[int, bytes]]

_GLANCE = 100  # bytes
_MOST_DIGITS = 100
_GZIP = b"\x1f\x8b"
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_READ_ERRORS = (OSError, EOFError, ValueError, zlib.error)
_DOCUMENT = re.compile(rb'\s*(\[|\{\s*"(data|meta)"\s*:)')


@attrs.frozen
class IdKind(Generic[T]):
    """What one verb's ids are.

    Attributes:
        check: an id as text or as a number to the id; raises `InvalidInputError`.
        names: the columns and fields that hold such an id, the likeliest first.
    """

    check: Callable[[object], T]
    names: tuple[str, ...]


def _customer_id(value: object) -> int:
    # Python refuses to read a number of thousands of digits.
    if isinstance(value, str) and len(value) <= _MOST_DIGITS and value.isascii():
        value = int(value) if value.isdecimal() else value
    return _inputs.customer_id(value)


CUSTOMER_IDS: IdKind[int] = IdKind(_customer_id, ("customer_id", "item"))
PROFILE_IDS: IdKind[UUID] = IdKind(_inputs.profile_id, ("profile_id", "id"))


@attrs.frozen
class Source:
    """Where ids come from, and how they are written there.

    Attributes:
        arguments: the ids themselves, if they were given so.
        path: the file; `-` is standard input; None if the ids are arguments.
        format: how they are written, as options or the suffix tell; None: one a line.
        name: the column or field that holds the id, if it was named.
    """

    arguments: tuple[str, ...]
    path: str | None
    format: Format | None = None
    name: str | None = None

    @property
    def is_stdin(self) -> bool:
        """Whether standard input is read, so that nobody can be asked there."""
        return self.path == "-"

    @property
    def label(self) -> str:
        """What messages call it."""
        return "<stdin>" if self.is_stdin else self.path or "arguments"

    def open(self, stack: ExitStack) -> tuple[Stream, Format | None]:
        """The bytes, unpacked, and their format: what is piped in may be JSON."""
        path = str(self.path)
        is_sure = format_of(path) is not None or self.format == "csv"
        try:
            if self.is_stdin:
                buffer: Any = _standard_input().buffer
                is_buffered = isinstance(buffer, io.BufferedReader)
                stream = buffer if is_buffered else io.BufferedReader(buffer)
            else:
                stream = stack.enter_context(Path(path).open("rb"))  # noqa: SIM115
            if is_packed(path) or stream.peek(_GLANCE).startswith(_GZIP):
                stream = stack.enter_context(gzip.GzipFile(fileobj=stream))
            if is_sure or not (self.is_stdin or self.name):
                return stream, self.format
            head = stream.peek(_GLANCE).removeprefix(_BYTE_ORDER_MARK)
        except _READ_ERRORS as error:
            raise self._unreadable(error) from None
        if _DOCUMENT.match(head):
            return stream, "json"
        return stream, "jsonl" if head.lstrip().startswith((b"{", b'"')) else self.format

    def pieces(self, stream: Stream, longest: int) -> Numbered:
        """Whole lines, and pieces of longer ones, with the line's number."""
        number, mark = 1, _BYTE_ORDER_MARK
        try:
            for piece in iter(partial(stream.readline, longest), b""):
                yield number, piece.removeprefix(mark)
                number, mark = number + piece.endswith(b"\n"), b""
        except _READ_ERRORS as error:
            raise self._unreadable(error) from None

    def _unreadable(self, error: Exception) -> click.UsageError:
        reason = (isinstance(error, OSError) and error.strerror) or error
        return click.UsageError(f"cannot read {self.label}: {reason}")

    def rejects_path(self, suffix: str) -> Path:
        """The file of the bad lines: beside a file, else in the working folder.

        It can be given back with the same options, once it is corrected: `suffix` tells the
        lines' format, and a file's own is kept unless it tells another one.
        """
        with suppress(OSError):  # which reading will tell of
            if self.path is not None and not self.is_stdin and Path(self.path).is_file():
                stem, own = split(self.path)
                told = format_of(f"x{own}")
                kept = own if told in {format_of(f"x{suffix}"), None} else suffix
                return Path(self.path).with_name(f"{stem}.rejects{kept}")
        return Path(f"bcshopper.rejects{suffix}")


def choose_source(
    arguments: tuple[str, ...],
    path: str | None,
    *,
    column: str | None = None,
    field: str | None = None,
) -> Source:
    """Decide where ids come from: arguments, `--from`, or standard input.

    Raises:
        click.UsageError: ids are given in two ways or in none.
    """
    name = column if column is not None else field
    if arguments and path is not None:
        raise click.UsageError("give ids as arguments or with --from, not both")
    if column is not None and field is not None:
        raise click.UsageError("--column is for CSV and --field for JSON: give one of them")
    if arguments and name is not None:
        raise click.UsageError("--column and --field are for files and standard input")
    if arguments:
        return Source(arguments, None)
    if path is None and _standard_input().isatty():
        raise click.UsageError("give ids as arguments, with --from FILE, or on standard input")
    path = path or "-"
    fmt = format_of(path)
    if column is not None and fmt != "tsv":
        fmt = "csv"
    elif field is not None and fmt != "json":
        fmt = "jsonl"
    return Source((), path, fmt, name)


def _standard_input() -> TextIO:
    stdin: TextIO | None = sys.stdin
    if stdin is None:
        raise click.UsageError("standard input is closed: give ids as arguments or with --from")
    return stdin
