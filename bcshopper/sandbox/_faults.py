"""What can go wrong between a client and the store, on demand."""

from __future__ import annotations

import random
import re
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, Literal, NoReturn, get_args

import attrs
from multidict import CIMultiDict

from bcshopper._inputs import a_number, check_count, check_kind, check_number
from bcshopper.errors import InvalidInputError
from bcshopper.sandbox._paths import fits
from bcshopper.sandbox._rules import LONGEST
from bcshopper.sandbox._store import Store

Body = Literal["json", "problem", "html", "empty"]
Ending = Literal["whole", "cut", "half", "stall"]

_BODIES: Mapping[Body, tuple[str, bytes]] = {
    "json": (
        "application/json",
        b'{"status":%d,"title":"a fault of the sandbox","type":"about:blank"}',
    ),
    "problem": (
        "application/problem+json",
        b'{"status":%d,"title":"a fault of the sandbox","detail":"as it was asked for"}',
    ),
    "html": ("text/html", b"<html><body><h1>%d</h1>a proxy's page</body></html>"),
    "empty": ("application/json", b""),
}
_SECONDS = a_number(least=0, most=LONGEST)


def _refuse(name: str, wanted: str, value: object) -> NoReturn:
    raise InvalidInputError(f"{name} must be {wanted}, not {value!r:.100}")


def _status(_: object, field: attrs.Attribute[Any], value: object) -> None:
    if value is not None and (not isinstance(value, int) or value not in range(200, 600)):
        _refuse(field.name, "an HTTP status from 200 to 599", value)


def _headers(_: object, field: attrs.Attribute[Any], value: Mapping[object, object]) -> None:
    for name, text in value.items():
        if not (isinstance(name, str) and re.fullmatch(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", name)):
            _refuse(field.name, "named as HTTP has it", name)
        if not (isinstance(text, str) and re.fullmatch(r"[^\0\r\n]*", text)):
            _refuse(field.name, "text of one line each", text)


def _a(kind: type) -> Callable[[object, attrs.Attribute[Any], object], None]:
    return lambda _, field, value: check_kind(field.name, value, kind)


def _one_of(*values: object) -> Callable[[object, attrs.Attribute[Any], object], None]:
    def validate(_: object, field: attrs.Attribute[Any], value: object) -> None:
        if value not in values:
            _refuse(field.name, f"one of {', '.join(map(str, values))}", value)

    return validate


@attrs.frozen(kw_only=True)
class Failing:
    """The items of a write that the store fails for, while it does the others.

    Attributes:
        positions: which items, counted from 0; none: all of them.
        status: the status of the inner error that names them.
        outer: the status of the answer.
        applied: whether the write takes effect for them all the same.
    """

    positions: frozenset[int]
    status: int = attrs.field(validator=_status)
    outer: int = attrs.field(validator=_one_of(207, 409))
    applied: bool

    def hits(self, position: int) -> bool:
        """Whether the store fails for this item."""
        return not self.positions or position in self.positions


@attrs.frozen(kw_only=True)
class Fault:
    """One thing that goes wrong with one request; made by the class methods.

    Attributes:
        latency: seconds before the request is looked at.
        jitter: up to so many seconds more, at random.
        change: what happens to the store just before the request is looked at.
        status: answer with this status instead.
        headers: headers of that answer.
        body: body of that answer.
        applied: whether a write takes effect all the same.
        lands_after: seconds between such an answer and the write's effect.
        failing: the items of a write that the store fails for.
        ending: how the answer ends: whole; `cut`, not a byte of it; `half` of its body, then the
            connection is cut; or `stall`, half of its body and then nothing more.
    """

    latency: float = attrs.field(default=0.0, validator=_SECONDS)
    jitter: float = attrs.field(default=0.0, validator=_SECONDS)
    change: Callable[[Store], object] | None = None
    status: int | None = attrs.field(default=None, validator=_status)
    headers: Mapping[str, str] = attrs.field(factory=dict[str, str], validator=_headers)
    body: bytes = attrs.field(default=b"", validator=_a(bytes))
    applied: bool = attrs.field(default=True, validator=_a(bool))
    lands_after: float = attrs.field(default=0.0, validator=_SECONDS)
    failing: Failing | None = None
    ending: Ending = attrs.field(default="whole", validator=_one_of(*get_args(Ending)))

    @classmethod
    def slow(cls, seconds: float, *, jitter: float = 0.0) -> Fault:
        """Take longer to answer, by `seconds` and up to `jitter` more."""
        return cls(latency=seconds, jitter=jitter)

    @classmethod
    def error(
        cls,
        status: int,
        *,
        body: Body = "json",
        headers: Mapping[str, str] | None = None,
        applied: bool = False,
        lands_after: float | None = None,
    ) -> Fault:
        """Answer with an error status and a body of a common kind.

        Args:
            status: the status.
            body: the kind of body.
            headers: more headers.
            applied: whether a write takes effect all the same, before the answer.
            lands_after: the write takes effect, but only so many seconds after the answer.
        """
        if body not in _BODIES:
            _refuse("body", f"one of {', '.join(_BODIES)}", body)
        content_type, text = _BODIES[body]
        filled = text.replace(b"%d", str(status).encode())
        merged = CIMultiDict({"Content-Type": content_type})
        merged.update(headers or {})
        return cls(
            status=status,
            body=filled,
            headers=merged,
            applied=applied or lands_after is not None,
            lands_after=lands_after or 0.0,
        )

    @classmethod
    def answer(
        cls,
        status: int,
        body: bytes,
        *,
        headers: Mapping[str, str] | None = None,
        applied: bool = True,
    ) -> Fault:
        """Answer with exactly this, as JSON unless the headers say otherwise."""
        return cls(status=status, body=body, headers=headers or {}, applied=applied)

    @classmethod
    def cut(cls, *, applied: bool, lands_after: float = 0.0) -> Fault:
        """Cut the connection without an answer, whether or not a write takes effect.

        If it does, it does so before the cut, or `lands_after` seconds later.
        """
        return cls(ending="cut", applied=applied, lands_after=lands_after)

    @classmethod
    def partial(
        cls,
        status: int,
        *positions: int,
        outer: Literal[207, 409] = 207,
        applied: bool = False,
    ) -> Fault:
        """Fail for some items of a POST or PUT, and do the others.

        Args:
            status: the status of the inner error that names the items, such as 503.
            positions: which items, counted from 0; none: all of them.
            outer: the status of the answer.
            applied: whether the write takes effect for those items all the same.
        """
        for position in positions:
            check_number("a position", position, least=0)
        which = frozenset(positions)
        return cls(failing=Failing(positions=which, status=status, outer=outer, applied=applied))

    @classmethod
    def half(cls) -> Fault:
        """Cut the connection in the middle of the answer's body."""
        return cls(ending="half")

    @classmethod
    def stall(cls) -> Fault:
        """Send half of the answer's body, and nothing more."""
        return cls(ending="stall")

    @classmethod
    def garbage(cls, *, size: int = 256, seed: int = 0) -> Fault:
        """Do what was asked, and answer with random bytes."""
        check_count("size", size, most=2**24)
        noise = random.Random(seed).randbytes(size)  # noqa: S311 - to be repeatable
        return cls.answer(200, noise)

    @classmethod
    def changing(cls, change: Callable[[Store], object]) -> Fault:
        """Change the store just before the request is looked at; the answer is as it should be."""
        return cls(change=change)


@attrs.define
class _Rule:
    fault: Fault
    method: str | None
    path: str | None
    nth: int | None
    probability: float
    times: int | None
    seen: int = 0

    def fits(self, method: str, path: str, rng: random.Random) -> bool:
        """Whether the rule holds for this request; it counts those that it is about."""
        if self.method not in {None, method}:
            return False
        if self.path is not None and not fits(self.path, path):
            return False
        self.seen += 1
        return (
            self.times != 0
            and self.nth in {None, self.seen}
            and rng.random() < self.probability
        )  # fmt: skip


def _require_fault(fault: object) -> None:
    if not isinstance(fault, Fault):
        _refuse("a fault", "made by a method of Fault, such as Fault.error(503)", fault)


class Faults:
    """Which request meets which fault: first those queued, then by rule, the first that fits."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._queue: deque[Fault] = deque()
        self._rules: list[_Rule] = []

    @property
    def unused(self) -> list[Fault]:
        """The faults that were queued and have met no request: their test has tested nothing."""
        return list(self._queue)

    def queue(self, *faults: Fault) -> None:
        """One fault for each of the next requests, whatever they are."""
        for fault in faults:
            _require_fault(fault)
        self._queue.extend(faults)

    def rule(
        self,
        fault: Fault,
        *,
        method: str | None = None,
        path: str | None = None,
        nth: int | None = None,
        probability: float = 1.0,
        times: int | None = None,
    ) -> None:
        """A fault for every request that fits.

        Args:
            fault: what goes wrong.
            method: only for this HTTP method.
            path: only for this path below `/v3/`, such as `shopper-profiles`, or
                `segments/*/shopper-profiles`, where `*` is any one part.
            nth: only for the nth request that fits so far, from 1.
            probability: only for this fraction of them, drawn with the sandbox's seed.
            times: at most so often.

        Raises:
            InvalidInputError: no request could ever fit.
        """
        _require_fault(fault)
        if method is not None and not re.fullmatch(r"[A-Z]+", method):
            _refuse("method", "in capitals, such as 'POST'", method)
        if path is not None and not re.fullmatch(r"[^/?\s]+(/[^/?\s]+)*", path):
            _refuse("path", "below /v3/, such as 'shopper-profiles', and end in no slash", path)
        if nth is not None:
            check_count("nth", nth)
        check_number("probability", probability, least=0, most=1)
        if times is not None and times != 0:
            check_count("times", times)
        self._rules.append(_Rule(fault, method, path, nth, probability, times))

    def clear(self) -> None:
        """Forget them all."""
        self._queue.clear()
        self._rules.clear()

    def take(self, method: str, path: str) -> Fault | None:
        """The fault that a request meets."""
        fitting = [rule for rule in self._rules if rule.fits(method, path, self._rng)]
        if self._queue:
            return self._queue.popleft()
        if not fitting:
            return None
        if fitting[0].times is not None:
            fitting[0].times -= 1
        return fitting[0].fault
