"""How the sandbox's store behaves, where that is a setting or not documented."""

from __future__ import annotations

from functools import cache
from typing import Any, Literal, get_args, get_type_hints

import attrs

from bcshopper._inputs import a_number, check_count, check_number, shown
from bcshopper.errors import InvalidInputError

LONGEST = 365 * 24 * 3600.0
"""Seconds; asyncio takes no timer without end."""


@attrs.frozen(kw_only=True)
class Rules:
    """The behaviour of a sandbox's store.

    Attributes:
        feature: whether the store's plan has shopper profiles; 403 if not.
        max_limit: the most items on a page.
        above_max_limit: what becomes of a `limit` above it: `clamp`, or `refuse` with 413.
        bad_items: what a POST with one bad item does: `refuse` all of it, or apply the rest and
            answer `207` or `409` with both lists filled.
        conflicts: whether what exists already is refused with `409`, or is one more reason for a
            `422`.
        names_items: whether a refusal names the bad items' positions.
        vanished: what a DELETE that names something which does not exist does: `ignore` that, or
            refuse all of it as `not_found`.
        above_max_ids: what becomes of a DELETE that names more than 50 ids, and of a URL above
            2,048 characters: `refuse` with 422 and 414; or `clamp`: the ids after the 50th do not
            count, and a URL may be of any length.
        unknown_items: how a write to segments is refused for an item that names a profile or a
            segment which does not exist.
        max_segments: segments that the store can have.
        above_max_segments: the status that refuses one more.
        newest_first: whether profiles, segments and members are listed the other way round.
        links: whether lists carry `meta.pagination.links`.
        cursor_end: how a walk by cursors ends: the last page has `no_next` link, or it has one
            that leads to an `empty_page`.
        lag: seconds by which what `GET /customers` tells is behind the store's writes.
        quota: requests per window; None: no quota, and no headers about it.
        quota_per: whether the `store` has one quota, or each `resource` one of its own.
        window: seconds that a window lasts.
        windows: `fixed` ones, one after the other; or `sliding`: every request counts for the
            `window` seconds after it.
        reset_error: seconds by which the announced end of a window is too early.
        reset_in: the unit in which it is announced; whole `seconds` are cut, so that they are up to
            one second too early.
        retry_after: whether a 429 of the quota has `X-Retry-After` too, in whole seconds and true.
        gzip: whether answers are compressed for clients that take it.
        keep_alive: `kept`; `closed` after each answer, though the answer does not say so; or
            `dead`: the connection stays open, but the next request on it is cut unread.
        max_concurrent: requests at once; more are answered 429 without headers. None: any number.
        latency: seconds that every answer takes longer.
        webhooks_twice: the fraction of webhooks that are delivered again although they have
            arrived.

    Raises:
        InvalidInputError: a field has a value that can't be.
    """

    feature: bool = True
    max_limit: int = 250
    above_max_limit: Literal["clamp", "refuse"] = "clamp"
    bad_items: Literal["refuse", "207", "409"] = "refuse"
    conflicts: Literal["409", "422"] = "409"
    names_items: bool = True
    vanished: Literal["ignore", "not_found"] = "ignore"
    above_max_ids: Literal["clamp", "refuse"] = "refuse"
    unknown_items: Literal["404", "422"] = "404"
    max_segments: int = 1000
    above_max_segments: Literal["403", "409", "422", "507"] = "507"
    newest_first: bool = False
    links: bool = True
    cursor_end: Literal["no_next", "empty_page"] = "no_next"
    lag: float = 0.0
    quota: int | None = None
    quota_per: Literal["store", "resource"] = "store"
    window: float = attrs.field(default=30.0, validator=a_number(above=0, most=LONGEST))
    windows: Literal["fixed", "sliding"] = "fixed"
    reset_error: float = 0.0
    reset_in: Literal["milliseconds", "seconds"] = "milliseconds"
    retry_after: bool = False
    gzip: bool = False
    keep_alive: Literal["kept", "closed", "dead"] = "kept"
    max_concurrent: int | None = None
    latency: float = 0.0
    webhooks_twice: float = attrs.field(default=0.0, validator=a_number(least=0, most=1))

    def __attrs_post_init__(self) -> None:
        for name, kind in kinds().items():
            _check(name, getattr(self, name), kind)


@cache
def kinds() -> dict[str, Any]:
    """What kind of value each field has."""
    return get_type_hints(Rules)


def _check(name: str, value: object, kind: Any) -> None:
    """Refuse what is not of its annotated kind; a whole number is from 1, another from 0."""
    values = get_args(kind)
    if type(None) in values:
        if value is not None:
            _check(name, value, values[0])
    elif kind is int:
        check_count(name, value)
    elif kind is float:
        check_number(name, value, least=0, most=LONGEST)
    elif not isinstance(value, bool) if kind is bool else value not in values:
        wanted = "True or False" if kind is bool else f"one of {', '.join(values)}"
        raise InvalidInputError(f"{name} must be {wanted}, not {shown(value)}")
