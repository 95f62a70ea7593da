"""How a session is to treat the store's quota."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, Literal

import attrs
from attrs.validators import optional

from bcshopper._inputs import a_count, a_number, shown
from bcshopper._secret import Hidden
from bcshopper.errors import InvalidInputError


def _check_pacing(_: object, __: attrs.Attribute[Any], value: object) -> None:
    if value not in ("burst", "smooth"):
        raise InvalidInputError(f"pacing must be burst or smooth, not {shown(value)}")


@attrs.frozen(kw_only=True)
class QuotaPolicy:
    """How a session treats the store's quota.

    Attributes:
        share: the fraction of each window to use, above 0 and up to 1; the rest stays for the
            store's other apps.
        pacing: `burst`: as fast as the quota lasts, then wait for the next window. `smooth`: spread
            over the window.
        max_wait: seconds that a request may wait until a pause ends or the next window opens. One
            that would have to wait longer fails with `RateLimitError` as soon as that is known,
            also if it waits already; one that was sent before, with what came of it. None: as long
            as it takes. That others are answered first, or that `smooth` spreads requests, is no
            such wait.
        max_concurrent: requests of the store in flight at once: those of all sessions in the
            process, and with `shared` those of all processes. The API documents 10.
        shared: the URL of a Redis or Valkey server (`redis://`, `rediss://` or `unix://`) through
            which processes share the store's quota; `share` and `max_concurrent` are then what all
            of them may use together. Needs the extra `redis`. None: each process keeps its own
            count.

    Raises:
        InvalidInputError: one of them can't be.
    """

    share: float = attrs.field(default=1.0, validator=a_number(above=0, most=1))
    pacing: Literal["burst", "smooth"] = attrs.field(default="burst", validator=_check_pacing)
    max_wait: float | None = attrs.field(default=None, validator=optional(a_number(least=0)))
    max_concurrent: int = attrs.field(default=10, validator=a_count)
    shared: str | None = None
    __attrs_init__: ClassVar[Callable[..., None]]

    def __init__(
        self,
        *,
        share: float = 1.0,
        pacing: Literal["burst", "smooth"] = "burst",
        max_wait: float | None = None,
        max_concurrent: int = 10,
        shared: str | None = None,
    ) -> None:
        # First of all, so that no traceback shows the password in it.
        shared = None if shared is None else Hidden(shared)
        self.__attrs_init__(
            share=share,
            pacing=pacing,
            max_wait=max_wait,
            max_concurrent=max_concurrent,
            shared=shared,
        )
