"""Ids from arguments, a file or standard input, read as a stream and checked one by one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import TypeVar

from bcshopper._cli._records import open_records
from bcshopper._cli._rejects import BadLine, refuse
from bcshopper._cli._source import IdKind, Source
from bcshopper.errors import InvalidInputError

T = TypeVar("T")


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
        records = open_records(source, kind, stack)
        for where, record in records:
            try:
                found = kind.check(records.value(record))
            except InvalidInputError as error:
                place = where if source.path is None else f"{source.label}, {where}"
                bad(BadLine(place, str(error), records.raw(record), records.header))
            else:
                yield found
