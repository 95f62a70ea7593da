"""What becomes of a bad line."""

from __future__ import annotations

import filecmp
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import BinaryIO, NoReturn

import attrs
import click

from bcshopper._cli._files import whole_file


@attrs.frozen
class BadLine:
    """A line, row, item or argument that holds no id.

    Attributes:
        place: where it is, such as `ids.csv, line 7`.
        reason: what is wrong with it.
        raw: the whole of it as it was; an item of a JSON array as a line of its own.
        header: what has to stand before it in a file of its own.
    """

    place: str
    reason: str
    raw: bytes
    header: bytes


def refuse(bad: BadLine) -> NoReturn:
    """Take no bad line.

    Raises:
        click.UsageError: always, with the line.
    """
    raise click.UsageError(f"{bad.place}: {bad.reason}")


class Rejects:
    """The file that bad lines go to; there is none without a bad line.

    Attributes:
        path: the file; None: they are counted only.
        count: how many lines were added.
    """

    def __init__(self, path: Path | None, stack: ExitStack) -> None:
        self.path = path
        self.count = 0
        self._stack = stack
        self._file: BinaryIO | None = None

    def add(self, bad: BadLine) -> None:
        """Write a line, and the header before the first.

        Raises:
            click.UsageError: there can be no file there.
        """
        self.count += 1
        if self.path is None:
            return
        if self._file is None:
            self._file = self._stack.enter_context(whole_file(self.path))
            self._file.write(_ended(bad.header))
        self._file.write(_ended(bad.raw))

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
def open_rejects(path: Path | None) -> Iterator[Rejects]:
    """Where to add bad lines; the file is there once the block has ended well.

    Args:
        path: the file; None: there is to be none.

    Raises:
        click.UsageError: it can't be written, or another file is there already.
    """
    with ExitStack() as stack:
        rejects = Rejects(path, stack)
        yield rejects
        rejects.check_the_place()


def _ended(line: bytes) -> bytes:
    return line if not line or line.endswith(b"\n") else line + b"\n"
