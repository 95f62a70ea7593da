"""Files: the formats that their names tell, and how they are written whole or not at all."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, Literal, TypeAlias

import click

try:
    import fcntl
except ImportError:  # Windows, where two commands at once are not kept apart
    fcntl = None  # type: ignore[assignment]

OURS_ALONE = 0o600
"""The mode of a new file: ids are customers' data."""

Format: TypeAlias = Literal["table", "jsonl", "csv", "tsv", "json"]
"""What rows are printed in; all but a table can be read, too."""
FORMATS: tuple[Format, ...] = ("table", "jsonl", "csv", "tsv", "json")
DELIMITERS = {"csv": ",", "tsv": "\t"}
_BY_SUFFIX: dict[str, Format] = {
    ".csv": "csv", ".tsv": "tsv", ".tab": "tsv",
    ".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "json",
}  # fmt: skip


def format_of(path: str) -> Format | None:
    """The format that a file's name tells, packed or not; None if it tells none."""
    return _BY_SUFFIX.get(split(path)[1].lower())


def split(path: str) -> tuple[str, str]:
    """A file's name and suffix, without the suffix of gzip."""
    name = Path(path).with_suffix("") if is_packed(path) else Path(path)
    return name.stem, name.suffix


def is_packed(path: str) -> bool:
    """Whether the name says that it is packed with gzip."""
    return path.lower().endswith(".gz")


class InUseError(Exception):
    """Another command is at work on the file."""


def check_distinct(**files: Path | str | None) -> None:
    """Refuse one file for two purposes, of which one would undo the other.

    Takes files by option, with `_` for `-`; `-` is a standard stream, and None none at all.
    """
    users: dict[str, str] = {}
    for name, file in files.items():
        # pathlib would raise for names that opening the file explains better
        if file is None or str(file) == "-" or _is_device(file):
            continue
        option = f"--{name.strip('_').replace('_', '-')}"
        other = users.setdefault(os.path.realpath(file), option)
        if other != option:
            raise click.UsageError(f"{other} and {option} are one file: {file}")


def _is_device(path: Path | str) -> bool:
    return os.path.exists(path) and not os.path.isfile(path)  # noqa: PTH110, PTH113 - never raise


@contextmanager
def whole_file(path: Path) -> Iterator[BinaryIO]:
    """A file that is there whole once the block has ended well, and else not at all.

    Until then it is written beside its place, under a name that is the same each time: what a
    killed command has left there, the next one writes over. What is no regular file, such as a
    pipe, is written to as it is.

    Raises:
        click.UsageError: it can't be written there.
        OSError: the last of it can't be written.
    """
    place = Path(os.path.realpath(path))  # a link stays a link
    is_device, part = _is_device(path), beside(path, "part")
    try:
        path.exists()  # raises for what is no path at all
        file = path.open("wb") if is_device else open_locked(part)
    except OSError as error:
        raise click.UsageError(f"cannot write {path}: {error.strerror}") from None
    except InUseError:
        raise click.UsageError(f"{path} is being written by another command") from None
    with closing_file(file):
        if is_device:
            yield file
            return
        try:
            file.truncate()
            part.chmod(stat.S_IMODE(place.stat().st_mode) if place.exists() else OURS_ALONE)
            yield file
            file.flush()
            os.fsync(file.fileno())
            part.replace(place)
        except BaseException:
            part.unlink(missing_ok=True)
            raise


def beside(path: Path, suffix: str) -> Path:
    """The hidden file that goes with one; its name may be as long as any."""
    real = os.path.realpath(path)
    name = hashlib.sha256(os.fsencode(real)).hexdigest()[:16]
    return Path(real).with_name(f".bcshopper-{name}.{suffix}")


def open_locked(path: Path) -> BinaryIO:
    """Open a file, made if need be, and keep others off it until this process closes it or ends.

    Raises:
        OSError: it can't be opened.
        InUseError: another command has it.
    """

    def make(name: str, flags: int) -> int:
        # The folder may be everybody's: no link that somebody has laid there.
        return os.open(name, flags | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), OURS_ALONE)

    while True:
        file = open(path, "r+b", opener=make)  # noqa: SIM115 - it has no opener
        try:
            if fcntl is not None:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Meanwhile whoever had it may have moved it away.
            with suppress(FileNotFoundError):
                if os.path.samestat(path.stat(), os.fstat(file.fileno())):
                    return file
        except BlockingIOError:
            file.close()
            raise InUseError from None
        file.close()


def is_locked(path: Path) -> bool:
    """Whether a command that is running has the file."""
    with suppress(FileNotFoundError), path.open("rb") as file:
        try:
            if fcntl is not None:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


@contextmanager
def closing_file(file: BinaryIO) -> Iterator[BinaryIO]:
    """Close it after the block; what is wrong in the block tells more than what is wrong then."""
    try:
        yield file
    except BaseException:
        with suppress(OSError):
            file.close()
        raise
    file.close()
