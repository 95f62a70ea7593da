"""Ids, read as a stream and checked one by one, and what becomes of bad lines."""

from __future__ import annotations

import filecmp
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import BinaryIO, NoReturn, TypeAlias, TypeVar

import click

from bcshopper._cli._files import whole_file
from bcshopper._cli._records import Record, open_records
from bcshopper._cli._source import IdKind, Source
from bcshopper.errors import InvalidInputError

T = TypeVar("T")

Bad: TypeAlias = Callable[[Record, str], None]
"""Told of a record that holds no id, and where it is and what is wrong with it."""


def refuse(_: Record, reason: str) -> NoReturn:
    """Take no bad line."""
    raise click.UsageError(reason)


def read_ids(source: Source, kind: IdKind[T], bad: Bad = refuse) -> Iterator[T]:
    """Every id in order, repeats included, while the source is being read.

    Bad lines are left out, unless `bad` raises.

    Raises:
        click.UsageError: a line is bad, or the source can't be read or understood.
    """
    where = "" if source.path is None else f"{source.label}, "
    with ExitStack() as stack:
        for record in open_records(source, kind, stack):
            try:
                found = kind.check(record.value())
            except InvalidInputError as error:
                bad(record, f"{where}{record.place}: {error}")
            else:
                yield found


class Rejects:
    """The file that bad lines go to; there is none without a bad line.

    Attributes:
        path: the file, once there is a bad line; None: they are counted only.
        count: how many lines were added.
    """

    def __init__(self, source: Source | None, stack: ExitStack) -> None:
        self.path: Path | None = None
        self.count = 0
        self._source = source
        self._stack = stack
        self._file: BinaryIO | None = None

    def add(self, record: Record, _: str) -> None:
        """Write a line, and the header before the first."""
        self.count += 1
        if self._source is None:
            return
        if self._file is None:
            self.path = self._source.rejects_path(record.suffix)
            self._file = self._stack.enter_context(whole_file(self.path))
            self._file.write(_ended(record.header))
        self._file.write(_ended(record.raw()))

    def check_the_place(self) -> None:
        """Make sure that no other file is there: it may hold corrections.

        The same file may come of the same command, run again.
        """
        if self.path is None or self._file is None or not self.path.exists():
            return
        self._file.flush()
        if not filecmp.cmp(self._file.name, self.path, shallow=False):
            raise click.UsageError(
                f"{self.path} is there already, with other lines than the "
                f"{self.count:,} bad ones of now: move it away, and try again"
            )


@contextmanager
def open_rejects(source: Source | None) -> Iterator[Rejects]:
    """Where to add the bad lines of a source; the file is there once the block has ended well.

    Raises:
        click.UsageError: it can't be written, or another file is there already.
    """
    with ExitStack() as stack:
        rejects = Rejects(source, stack)
        yield rejects
        rejects.check_the_place()


def _ended(line: bytes) -> bytes:
    return line if not line or line.endswith(b"\n") else line + b"\n"
