"""Ids, read as a stream and checked one by one, and what becomes of bad lines."""

from __future__ import annotations

import filecmp
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO, NoReturn, TypeAlias, TypeVar

import attrs
import click

from bcshopper._cli._files import whole_file
from bcshopper._cli._journal import Job, Journal
from bcshopper._cli._records import Record, open_records
from bcshopper._cli._runner import CommandError, Exit
from bcshopper._cli._source import IdKind, Source, choose_source
from bcshopper._cli._terminal import say
from bcshopper.errors import InvalidInputError

T = TypeVar("T")
Bad: TypeAlias = Callable[[Record, str], None]
"""Told of a record that holds no id, and where it is and what is wrong with it."""


@attrs.frozen
class Ids:
    """The ids of a command, as its arguments and options give them.

    Attributes:
        skip_bad: whether bad lines are left out.
        allow_empty: whether it is well that there are none.
    """

    arguments: tuple[str, ...]
    source_path: str | None
    column: str | None
    field: str | None
    skip_bad: bool
    allow_empty: bool

    @property
    def are_given(self) -> bool:
        """Whether any of the options says where they are."""
        return bool(self.arguments or self.source_path or self.column or self.field)

    @cached_property
    def source(self) -> Source:
        """Where they come from; raises `click.UsageError` if the options contradict each other."""
        return choose_source(self.arguments, self.source_path, column=self.column, field=self.field)

    def begin(self, journal: Journal, job: Job, kind: IdKind[Any], *, keep_bad: bool = True) -> int:
        """Read all of them, which checks them, into a journal; gives how many lines were bad."""
        if not self.skip_bad:
            journal.begin(job, self._some(read_ids(self.source, kind)))
            return 0
        with Rejects(self.source if keep_bad else None) as rejects:
            journal.begin(job, self._some(read_ids(self.source, kind, rejects.add)))
        if rejects.count:
            place = f"are in {rejects.path}" if rejects.path else "would be left out"
            say(f"{rejects.count:,} bad lines {place}", skipped=rejects.count)
        return rejects.count

    def _some(self, found: Iterator[T]) -> Iterator[T]:
        """The same, but for none at all: what was to write them may have failed."""
        first = next(found, None)
        if first is not None:
            yield first
            yield from found
        elif not self.allow_empty:
            raise CommandError(
                f"no ids in {self.source.label}: nothing was done; "
                "--allow-empty takes that for well",
                Exit.SOME_FAILED,
            )


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


class Rejects(ExitStack):
    """The bad lines of a source; a file of them is there once the block has ended well.

    There is none without a bad line, and none but the same takes the place of another: that may
    hold corrections.

    Args:
        source: whose they are; None: they are counted only.

    Attributes:
        path: the file, once there is a bad line.
        count: how many lines were added.
    """

    def __init__(self, source: Source | None) -> None:
        super().__init__()
        self.path: Path | None = None
        self.count = 0
        self._source = source
        self._file: BinaryIO | None = None

    def add(self, record: Record, _: str) -> None:
        """Write a line, and the header before the first."""
        self.count += 1
        if self._source is None:
            return
        if self._file is None:
            self.path = self._source.rejects_path(record.suffix)
            self._file = self.enter_context(whole_file(self.path))
            self.push(self._check_the_place)
            self._file.write(_ended(record.header))
        self._file.write(_ended(record.raw()))

    def _check_the_place(self, failure: type | None, *_: object) -> None:
        if failure is not None or self._file is None or not self.path or not self.path.exists():
            return
        self._file.flush()
        if not filecmp.cmp(self._file.name, self.path, shallow=False):
            raise click.UsageError(
                f"{self.path} is there already, with other lines than the "
                f"{self.count:,} bad ones of now: move it away, and try again"
            )


def _ended(line: bytes) -> bytes:
    return line if not line or line.endswith(b"\n") else line + b"\n"
