"""Ids, read as a stream and checked one by one, and what becomes of bad lines."""

from __future__ import annotations

import filecmp
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import BinaryIO, NoReturn, TypeVar

import attrs
import click

from bcshopper._cli._files import whole_file
from bcshopper._cli._records import Record, open_records
from bcshopper._cli._source import IdKind, Source
from bcshopper.errors import InvalidInputError

T = TypeVar("T")


@attrs.frozen
class BadLine:
    """A record that holds no id.

    Attributes:
        place: where it is, such as `ids.csv, line 7`.
        reason: what is wrong with it.
        record: the record.
    """

    place: str
    reason: str
    record: Record


def refuse(bad: BadLine) -> NoReturn:
    """Take no bad line.

    Raises:
        click.UsageError: always, with the line.
    """
    raise click.UsageError(f"{bad.place}: {bad.reason}")


def read_ids(
    source: Source, kind: IdKind[T], bad: Callable[[BadLine], None] = refuse
) -> Iterator[T]:
    """Every id in order, repeats included, while the source is being read.

    Args:
        source: what to read.
        kind: what an id is.
        bad: is called for each bad line, which is left out unless it raises.

    Raises:
        click.UsageError: a line is bad, or the source can't be read or understood.
    """
    with ExitStack() as stack:
        for record in open_records(source, kind, stack):
            try:
                found = kind.check(record.value())
            except InvalidInputError as error:
                where = "" if source.path is None else f"{source.label}, "
                bad(BadLine(f"{where}{record.place}", str(error), record))
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

    def add(self, bad: BadLine) -> None:
        """Write a line, and the header before the first.

        Raises:
            click.UsageError: there can be no file there.
        """
        self.count += 1
        if self._source is None:
            return
        if self._file is None:
            self.path = self._source.rejects_path(bad.record.suffix)
            self._file = self._stack.enter_context(whole_file(self.path))
            self._file.write(_ended(bad.record.header))
        self._file.write(_ended(bad.record.raw()))

    def check_the_place(self) -> None:
        """Make sure that no other file is there: it may hold corrections.

        The same file may come of the same command, run again.

        Raises:
            click.UsageError: another file is there.
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
    """Where to add bad lines; the file is there once the block has ended well.

    Args:
        source: whose bad lines; None: there is to be no file.

    Raises:
        click.UsageError: it can't be written, or another file is there already.
    """
    with ExitStack() as stack:
        rejects = Rejects(source, stack)
        yield rejects
        rejects.check_the_place()


def _ended(line: bytes) -> bytes:
    return line if not line or line.endswith(b"\n") else line + b"\n"
