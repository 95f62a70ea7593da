"""Ids from arguments, a file or standard input."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from typing import TextIO, TypeVar

import click

from bcshopper.errors import InvalidInputError

T = TypeVar("T")


def read_ids(
    arguments: tuple[str, ...], source: TextIO | None, parse: Callable[[str], T]
) -> list[T]:
    """Every id, checked, before anything is sent.

    Raises:
        click.UsageError: one is bad, and is named with its line; or there are none.
    """
    if arguments and source is not None:
        raise click.UsageError("give ids as arguments or with --from, not both")
    if not arguments and source is None:
        stdin = sys.stdin
        if stdin.isatty():
            raise click.UsageError("give ids as arguments, with --from FILE, or on standard input")
        source = stdin
    named = (
        ((f"argument {n}", text) for n, text in enumerate(arguments, 1))
        if source is None
        else _lines(source)
    )
    return list(_parse(named, parse))


def is_stdin(arguments: tuple[str, ...], source: TextIO | None) -> bool:
    """Whether `read_ids` reads standard input for these."""
    return not arguments and (source is None or source.name == sys.stdin.name)


def _lines(source: TextIO) -> Iterator[tuple[str, str]]:
    try:
        for number, line in enumerate(source, 1):
            if line.strip():
                yield f"{source.name}, line {number}", line.strip()
    except UnicodeDecodeError:
        raise click.UsageError(f"{source.name} is no text file") from None


def _parse(named: Iterable[tuple[str, str]], parse: Callable[[str], T]) -> Iterator[T]:
    for place, text in named:
        try:
            yield parse(text)
        except InvalidInputError as error:
            raise click.UsageError(f"{place}: {error}") from None
