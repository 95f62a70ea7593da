"""How the sandbox's store behaves, where that is a setting or not documented."""

from __future__ import annotations

from typing import Literal

import attrs


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
        vanished: what a DELETE that names a profile which does not exist does: `ignore` that, or
            refuse all of it as `not_found`.
        newest_first: whether the list of profiles is the other way round.
        links: whether lists carry `meta.pagination.links`.
        lag: seconds by which what `GET /customers` tells is behind the store's writes.
        quota: requests per window; None: no quota, and no headers about it.
        quota_per: whether the `store` has one quota, or each `resource` one of its own.
        window: seconds that a window lasts.
        windows: `fixed` ones, one after the other; or `sliding`: every request counts for the
            `window` seconds after it.
        reset_error: seconds by which the announced end of a window is too early.
        reset_in: the unit in which it is announced; whole `seconds` are cut, so that they are up to
            one second too early.
        keep_alive: `kept`; `closed` after each answer, though the answer does not say so; or
            `dead`: the connection stays open, but the next request on it is cut unread.
        max_concurrent: requests at once; more are answered 429 without headers. None: any number.
    """

    feature: bool = True
    max_limit: int = 250
    above_max_limit: Literal["clamp", "refuse"] = "clamp"
    bad_items: Literal["refuse", "207", "409"] = "refuse"
    conflicts: Literal["409", "422"] = "409"
    names_items: bool = True
    vanished: Literal["ignore", "not_found"] = "ignore"
    newest_first: bool = False
    links: bool = True
    lag: float = 0.0
    quota: int | None = None
    quota_per: Literal["store", "resource"] = "store"
    window: float = 30.0
    windows: Literal["fixed", "sliding"] = "fixed"
    reset_error: float = 0.0
    reset_in: Literal["milliseconds", "seconds"] = "milliseconds"
    keep_alive: Literal["kept", "closed", "dead"] = "kept"
    max_concurrent: int | None = None
