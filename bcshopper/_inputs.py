"""What callers give, checked one by one: numbers, and ids in any iterable or async iterable."""

from __future__ import annotations

import asyncio
import contextlib
import math
import operator
import reprlib
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Callable,
    Iterable,
    Iterator,
)
from itertools import islice
from typing import Any, TypeAlias, TypeVar
from uuid import UUID

import attrs

from bcshopper._secret import Hidden
from bcshopper.errors import InvalidInputError

T = TypeVar("T")

AnyIterable: TypeAlias = Iterable[T] | AsyncIterable[T]

_LARGEST = 2**63 - 1


def check_count(name: str, value: object, most: int | None = None) -> None:
    """Refuse what is not a whole number from 1.

    Raises:
        InvalidInputError: by name, with the value.
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise InvalidInputError(f"{name} must be a whole number from 1, not {shown(value)}")
    if most is not None and value > most:
        raise InvalidInputError(f"{name} must be at most {most}, not {shown(value)}")


def check_number(
    name: str, value: object, *, above: float = -math.inf, least: float = -math.inf,
    most: float = math.inf,
) -> None:  # fmt: skip
    """Refuse what is not a number within these bounds.

    Raises:
        InvalidInputError: by name, with the value.
    """
    number = math.nan
    if isinstance(value, int | float) and not isinstance(value, bool):
        with contextlib.suppress(OverflowError):
            number = float(value)
    if number > above and least <= number <= most:
        return
    bounds = [f"above {above:g}"] if above > -math.inf else []
    bounds += [f"at least {least:g}"] if least > -math.inf else []
    bounds += [f"at most {most:g}"] if most < math.inf else []
    raise InvalidInputError(f"{name} must be a number {' and '.join(bounds)}, not {shown(value)}")


def check_kind(name: str, value: object, kind: type) -> None:
    """Refuse what is not of this class.

    Raises:
        InvalidInputError: by name, with the value.
    """
    if not isinstance(value, kind):
        raise InvalidInputError(f"{name} must be a {kind.__name__}, not {shown(value)}")


def a_count(_: object, field: attrs.Attribute[Any], value: object) -> None:
    """`check_count` for a field."""
    check_count(field.name, value)


def a_number(**bounds: float) -> Callable[[Any, attrs.Attribute[Any], Any], None]:
    """`check_number` for a field."""

    def validate(_: object, field: attrs.Attribute[Any], value: object) -> None:
        check_number(field.name, value, **bounds)

    return validate


def customer_id(value: Any) -> int:
    """Check a customer id.

    Raises:
        InvalidInputError: it is not a whole number from 1.
    """
    try:
        number = operator.index(value)  # any integer type, numpy's included; no float, no str
    except TypeError:
        number = 0
    if isinstance(value, bool) or not 1 <= number <= _LARGEST:
        raise InvalidInputError(
            f"{shown(value)} is not a customer id: give a whole number from 1 to {_LARGEST}"
        )
    return number


def customer_ids(values: list[Any]) -> list[int]:
    """Check many customer ids: where all are plain numbers, in a fraction of the time.

    Raises:
        InvalidInputError: one is not a customer id; it is named.
    """
    if set(map(type, values)) == {int} and min(values) >= 1 and max(values) <= _LARGEST:
        return values
    return [customer_id(value) for value in values]


def profile_id(value: Any) -> UUID:
    """Check a profile id.

    Raises:
        InvalidInputError: it is neither a UUID nor the text of one.
    """
    return _uuid("profile", value)


def segment_id(value: Any) -> UUID:
    """Check a segment id.

    Raises:
        InvalidInputError: it is neither a UUID nor the text of one.
    """
    return _uuid("segment", value)


def _uuid(what: str, value: Any) -> UUID:
    if isinstance(value, UUID):
        return UUID(int=value.int)  # a subclass may print as it likes
    try:
        if isinstance(value, str):
            return UUID(value)
    except ValueError:
        pass
    raise InvalidInputError(f"{shown(value)} is not a {what} id: give a UUID or its text")


class _Short(reprlib.Repr):
    """Shows the beginning of a value of any size, and never makes text of the rest."""

    def __init__(self) -> None:
        super().__init__()
        self.maxstring = self.maxother = self.maxlong = _SHOWN
        self.maxlevel = 2

    def repr1(self, x: Any, level: int) -> str:
        if isinstance(x, int) and x.bit_length() > _SHOWN_BITS:
            return "a number of more than 300 digits"  # Python refuses to print some of them
        if isinstance(x, bytes | bytearray | memoryview) and len(x) > _SHOWN:
            return f"{bytes(x[:_SHOWN])!r}..."
        if isinstance(x, str) and not isinstance(x, Hidden):
            return self.repr_str(x, level)  # also where it is a subclass
        return super().repr1(x, level)


_SHOWN = 100  # characters
_SHOWN_BITS = 1000
_short = _Short()


def shown(value: object) -> str:
    """A value for a message, which is short whatever the value."""
    return f"{_short.repr(value):.200}"


def iterate(ids: AnyIterable[T]) -> AsyncIterator[T]:
    """Read either kind of iterable.

    Raises:
        InvalidInputError: it is neither, or a single id.
    """
    if isinstance(ids, AsyncIterable):
        return aiter(ids)
    if isinstance(ids, str | bytes) or not isinstance(ids, Iterable):
        raise InvalidInputError(f"{shown(ids)} is not a collection of ids: give a list of them")
    return _Lifted(iter(ids))


class _Lifted(AsyncIterator[T]):
    def __init__(self, values: Iterator[T]) -> None:
        self.values = values

    async def __anext__(self) -> T:
        for value in self.values:
            return value
        raise StopAsyncIteration


async def collect(ids: AnyIterable[Any], parse: Callable[[Any], T]) -> list[T]:
    """Check every id and leave out repeats, in order.

    Raises:
        InvalidInputError: one id is bad; it is named.
    """
    source = iterate(ids)
    if isinstance(source, _Lifted):
        return list(dict.fromkeys(map(parse, source.values)))
    return list(dict.fromkeys([parse(value) async for value in source]))


async def in_groups(ids: AnyIterable[T], size: int) -> AsyncGenerator[list[T]]:
    """Read ids so many at a time, and give other tasks a turn after each time.

    Raises:
        InvalidInputError: it is not a collection of ids.
    """
    source = iterate(ids)
    group: list[T] = []
    if isinstance(source, _Lifted):
        while group := list(islice(source.values, size)):
            yield group
            await asyncio.sleep(0)
        return
    async for value in source:
        group.append(value)
        if len(group) == size:
            yield group
            group = []
            await asyncio.sleep(0)  # for a source that never waits
    yield group
