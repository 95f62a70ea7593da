"""Ids as callers give them: any iterable or async iterable, checked one by one."""

from __future__ import annotations

import operator
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator
from typing import Any, TypeAlias, TypeVar
from uuid import UUID

from bcshopper.errors import InvalidInputError

T = TypeVar("T")

AnyIterable: TypeAlias = Iterable[T] | AsyncIterable[T]

_LARGEST = 2**63 - 1


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
        raise InvalidInputError(f"{_shown(value)} is not a customer id: give a whole number from 1")
    return number


def profile_id(value: Any) -> UUID:
    """Check a profile id.

    Raises:
        InvalidInputError: it is neither a UUID nor the text of one.
    """
    if isinstance(value, UUID):
        return UUID(int=value.int)  # a subclass may print as it likes
    try:
        if isinstance(value, str):
            return UUID(value)
    except ValueError:
        pass
    raise InvalidInputError(f"{_shown(value)} is not a profile id: give a UUID or its text")


def _shown(value: object) -> str:
    try:
        return f"{value!r:.200}"
    except ValueError:  # Python refuses to print a number of thousands of digits
        return "a number of thousands of digits"


def iterate(ids: AnyIterable[T]) -> AsyncIterator[T]:
    """Read either kind of iterable.

    Raises:
        InvalidInputError: it is neither, or a single id.
    """
    if isinstance(ids, AsyncIterable):
        return aiter(ids)
    if isinstance(ids, str | bytes) or not isinstance(ids, Iterable):
        raise InvalidInputError(f"{ids!r} is not a collection of ids: give a list of them")
    return _Lifted(iter(ids))


class _Lifted(AsyncIterator[T]):
    def __init__(self, values: Iterator[T]) -> None:
        self._values = values

    async def __anext__(self) -> T:
        for value in self._values:
            return value
        raise StopAsyncIteration


async def collect(ids: AnyIterable[Any], parse: Callable[[Any], T]) -> list[T]:
    """Check every id and leave out repeats, in order.

    Raises:
        InvalidInputError: one id is bad; it is named.
    """
    return list(dict.fromkeys([parse(value) async for value in iterate(ids)]))
