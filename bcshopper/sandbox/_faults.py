"""What can go wrong between a client and the store, on demand."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Mapping
from typing import Literal

import attrs
from multidict import CIMultiDict

from bcshopper.sandbox._store import Store

Body = Literal["json", "problem", "html", "empty"]

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
    status: int
    outer: int
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

    latency: float = 0.0
    jitter: float = 0.0
    change: Callable[[Store], object] | None = None
    status: int | None = None
    headers: Mapping[str, str] = attrs.field(factory=dict[str, str])
    body: bytes = b""
    applied: bool = True
    lands_after: float = 0.0
    failing: Failing | None = None
    ending: Literal["whole", "cut", "half", "stall"] = "whole"

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
        content_type, text = _BODIES[body]
        filled = text % status if b"%d" in text else text
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
        if self.method not in {None, method} or self.path not in {None, path}:
            return False
        self.seen += 1
        return (
            self.times != 0
            and self.nth in {None, self.seen}
            and rng.random() < self.probability
        )  # fmt: skip


class Faults:
    """Which request meets which fault: first those queued, then by rule, the first that fits."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._queue: deque[Fault] = deque()
        self._rules: list[_Rule] = []

    def queue(self, *faults: Fault) -> None:
        """One fault for each of the next requests, whatever they are."""
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
            path: only for this path below `/v3/`, such as `shopper-profiles`.
            nth: only for the nth request that fits so far, from 1.
            probability: only for this fraction of them, drawn with the sandbox's seed.
            times: at most so often.
        """
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
