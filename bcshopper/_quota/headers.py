"""What an answer's headers say of the quota, and of how long to wait. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import attrs

TOO_MANY = 429
"""The HTTP status that tells of a quota that is spent."""
_ABSURD = 10**9


@attrs.frozen
class QuotaSnapshot:
    """The store's quota as one answer's headers gave it. All apps on the store share it.

    Attributes:
        limit: requests per window.
        remaining: requests left in the window.
        window: seconds that a window lasts.
        reset_in: seconds until the window ended, when the answer came.
    """

    limit: int
    remaining: int
    window: float
    reset_in: float

    @classmethod
    def from_headers(cls, headers: Mapping[str, str]) -> QuotaSnapshot | None:
        """Read the four `X-Rate-Limit-*` headers; None unless all are there and make sense.

        Args:
            headers: an answer's, under case-insensitive names.
        """
        if "X-Rate-Limit-Requests-Quota" not in headers:
            return None
        try:
            limit = int(headers["X-Rate-Limit-Requests-Quota"])
            remaining = int(headers["X-Rate-Limit-Requests-Left"])
            window = int(headers["X-Rate-Limit-Time-Window-Ms"])
            reset = int(headers["X-Rate-Limit-Time-Reset-Ms"])
        except (KeyError, ValueError):
            return None
        if not (0 < limit < _ABSURD and 0 < window < _ABSURD):
            return None
        return cls(
            limit,
            min(max(remaining, 0), limit),
            window / 1000,
            min(max(reset, 0), window) / 1000,
        )


def read_retry_after(headers: Mapping[str, str], *, status: int, now: float) -> float | None:
    """How long the API asks to wait, in seconds, in any of the forms that it uses.

    After a 429, the longer of what it asks for and the time until the window ends.

    Args:
        headers: the answer's, under case-insensitive names.
        status: the answer's; the quota's window tells how long to wait only after a 429.
        now: the time in seconds since the epoch, for a date without the server's own `Date`.
    """
    asked = _number(headers.get("X-Retry-After"))
    if asked is None:
        asked = _standard_retry_after(headers, now)
    if status != TOO_MANY:
        return asked
    milliseconds = _number(headers.get("X-Rate-Limit-Time-Reset-Ms"))
    if milliseconds is None:
        return asked
    return max(asked or 0.0, milliseconds / 1000)


def _standard_retry_after(headers: Mapping[str, str], now: float) -> float | None:
    value = headers.get("Retry-After")
    seconds = _number(value)
    if seconds is not None or value is None:
        return seconds
    moment = _epoch(value)
    if moment is None:
        return None
    # By the server's own clock, so that ours may be wrong.
    served = _epoch(headers.get("Date", ""))
    return max(0.0, moment - (now if served is None else served))


def _number(text: str | None) -> float | None:
    try:
        value = float(text or "")
    except ValueError:
        return None
    return value if 0 <= value < float("inf") else None


def _epoch(text: str) -> float | None:
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return (moment - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds()
