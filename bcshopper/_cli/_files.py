"""Files that are there whole or not at all."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from secrets import token_hex
from typing import BinaryIO

import click


def check_distinct(**files: Path | str | None) -> None:
    """Refuse one file for two purposes, of which one would undo the other.

    Args:
        files: by option, with `_` for `-`; `-` is a standard stream, and None none at all.

    Raises:
        click.UsageError: with both options and the file.
    """
    users: dict[str, str] = {}
    for name, file in files.items():
        if file is None or str(file) == "-":
            continue
        # pathlib would raise for names that opening the file explains better
        if os.path.exists(file) and not os.path.isfile(file):  # noqa: PTH110, PTH113
            continue
        option = f"--{name.strip('_').replace('_', '-')}"
        other = users.setdefault(os.path.realpath(file), option)
        if other != option:
            raise click.UsageError(f"{other} and {option} are one file: {file}")


@contextmanager
def whole_file(path: Path) -> Iterator[BinaryIO]:
    """A file that is there whole once the block has ended well, and else not at all.

    What is no regular file, such as a pipe, is written to as it is.

    Raises:
        click.UsageError: it can't be written there.
        OSError: the last of it can't be written.
    """
    with _refused_as_usage(path):
        is_device = path.exists() and not path.is_file()
        place = Path(os.path.realpath(path))  # a link stays a link
        written = path if is_device else place.with_name(f".bcshopper-{token_hex(8)}.part")
        created = written.open("wb")
    if is_device:
        with closing_file(created) as file:
            yield file
        return
    try:
        with closing_file(created) as file:
            if place.exists():
                written.chmod(stat.S_IMODE(place.stat().st_mode))
            yield file
            file.flush()
            os.fsync(file.fileno())
        written.replace(place)
    except BaseException:
        written.unlink(missing_ok=True)
        raise


@contextmanager
def _refused_as_usage(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise click.UsageError(f"cannot write {path}: {error.strerror}") from None


@contextmanager
def closing_file(file: BinaryIO) -> Iterator[BinaryIO]:
    try:
        yield file
    except BaseException:
        with suppress(OSError):  # what was wrong first tells more
            file.close()
        raise
    file.close()
