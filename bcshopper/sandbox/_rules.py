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
        names_items: whether a refusal names the bad items' positions.
        vanished: what a DELETE that names a profile which does not exist does: `ignore` that, or
            refuse all of it as `not_found`.
        newest_first: whether the list of profiles is the other way round.
        links: whether lists carry `meta.pagination.links`.
        quota: requests per window; None: no quota, and no headers about it.
        window: seconds that a window lasts.
        reset_error: seconds by which the announced end of a window is too early.
        max_concurrent: requests at once; more are answered 429 without headers. None: any number.
    """

    feature: bool = True
    max_limit: int = 250
    above_max_limit: Literal["clamp", "refuse"] = "clamp"
    bad_items: Literal["refuse", "207", "409"] = "refuse"
    names_items: bool = True
    vanished: Literal["ignore", "not_found"] = "ignore"
    newest_first: bool = False
    links: bool = True
    quota: int | None = None
    window: float = 30.0
    reset_error: float = 0.0
    max_concurrent: int | None = None
