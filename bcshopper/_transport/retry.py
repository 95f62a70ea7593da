"""Which failures are repeated, and after how long: pure decisions."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from enum import Enum
from typing import Any

import attrs
from attrs.validators import optional

from bcshopper._inputs import a_count, a_number, shown
from bcshopper._quota import OVERLOADED, TOO_MANY
from bcshopper.errors import (
    APIError,
    BCShopperError,
    InvalidInputError,
    RateLimitError,
    ResponseFormatError,
    TransportError,
)

_STATUSES = range(100, 600)
# 408, 423 and 425 can come from what stands before the server, which may still be at work.
_NO_REFUSALS = frozenset({408, 423, 425})
_PASSING = frozenset({*_NO_REFUSALS, TOO_MANY, *range(500, 600)})
_WRITE_FACTOR = 2.0  # a write that failed has disturbed more: give the API longer


def _as_set(value: Iterable[int]) -> frozenset[int]:
    try:
        return frozenset(value)
    except TypeError:
        return value  # type: ignore[return-value]  # to be refused by name, once all else is set


def _check_statuses(_: object, __: attrs.Attribute[Any], value: object) -> None:
    if not isinstance(value, frozenset) or not all(one in _STATUSES for one in value):
        raise InvalidInputError(f"statuses must be a set of HTTP statuses, not {shown(value)}")


@attrs.frozen(kw_only=True)
class RetryPolicy:
    """When to try again, and after how long.

    The delay before attempt n+1 is drawn from 0 to `base_delay * 2**(n-1)` seconds, twice that
    for a write, at most `max_delay`. Where the API says how long to wait, it is at least
    that long; and where the store's quota holds the request for longer than that, so long.

    Whether a request *may* be repeated is no setting: a POST whose answer never came is looked
    up first, never sent again blindly.

    Attributes:
        attempts: tries in all, the first included.
        base_delay: seconds; the scale of the delays.
        max_delay: seconds; no delay of ours is longer.
        max_retry_after: seconds; of a longer wait that the API asks for, only this is waited. Where
            a spent quota window or a pause would hold the request for longer, after a 429 or 503,
            the call fails at once.
        max_elapsed: seconds after the first try went out, after which no other one does; None: no
            limit. Who would have to wait longer fails at once.
        statuses: the error statuses worth another try.
        budget: retries that all calls to the store may make while nothing succeeds: each takes one
            of so many, and each answer that is no failure gives one back. Once it is spent, nothing
            is repeated, and batches stop with `APIDownError`; so they do after a minute of
            failures only.

    Raises:
        InvalidInputError: one of them can't be.
    """

    attempts: int = attrs.field(default=5, validator=a_count)
    base_delay: float = attrs.field(default=0.5, validator=a_number(least=0))
    max_delay: float = attrs.field(default=30.0, validator=a_number(above=0))
    max_retry_after: float = attrs.field(default=120.0, validator=a_number(above=0))
    max_elapsed: float | None = attrs.field(default=None, validator=optional(a_number(least=0)))
    statuses: frozenset[int] = attrs.field(
        default=frozenset({408, 423, 425, 429, 500, 502, 503, 504, 507}),
        converter=_as_set,
        validator=_check_statuses,
    )

    budget: int = attrs.field(default=100, validator=a_count)

    def delay(
        self,
        error: BCShopperError,
        *,
        method: str,
        attempt: int,
        elapsed: float,
        held: float = 0.0,
        uniform: Callable[[float, float], float] = random.uniform,
    ) -> float | None:
        """Decide about the next try.

        Args:
            error: what the last try came to.
            method: the request's HTTP method.
            attempt: how many tries there were.
            elapsed: seconds since the first try went out.
            held: seconds for which the store's quota will hold the request.
            uniform: draws a number between two.

        Returns:
            Seconds to wait before the next try, or None to give up.
        """
        if attempt >= self.attempts or not self._is_passing(error):
            return None
        factor = 1.0 if method == "GET" else _WRITE_FACTOR
        # 2**1023 is the largest power that is a float
        ceiling = self.base_delay * factor * 2.0 ** min(attempt - 1, 1000)
        delay = uniform(0.0, min(ceiling, self.max_delay))
        if isinstance(error, APIError):
            # it may ask for no wait at all
            delay = max(delay, min(error.retry_after or 0.0, self.max_retry_after))
            if error.status in OVERLOADED and held > self.max_retry_after:
                return None
        delay = max(delay, held)
        if self.max_elapsed is not None and elapsed + delay > self.max_elapsed:
            return None
        return delay

    def _is_passing(self, error: BCShopperError) -> bool:
        if isinstance(error, APIError):
            return error.status in self.statuses
        return isinstance(error, TransportError | ResponseFormatError)


def tells_of_trouble(error: BaseException) -> bool:
    """Whether a failure is the API's, rather than about what was asked: what may pass by itself."""
    if isinstance(error, APIError):
        return error.status in _PASSING
    return isinstance(error, TransportError | ResponseFormatError)


class Effect(Enum):
    """What a request that failed has done."""

    NONE = "none"
    """Surely nothing: it never left, or was turned away unread."""
    REFUSED = "refused"
    """Nothing: the server read it and said no."""
    UNKNOWN = "unknown"
    """Nobody can tell: it may have taken effect, or still take it."""


def effect_of(error: BCShopperError) -> Effect:
    """The one rule for whether a request that failed so took effect."""
    if isinstance(error, TransportError):
        return Effect.UNKNOWN if error.sent else Effect.NONE
    if isinstance(error, RateLimitError):
        return Effect.NONE
    is_refusal = (
        isinstance(error, APIError)
        and 400 <= error.status < 500  # noqa: PLR2004 - HTTP
        and error.status not in _NO_REFUSALS
    )
    return Effect.REFUSED if is_refusal else Effect.UNKNOWN
