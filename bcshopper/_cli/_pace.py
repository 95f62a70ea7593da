"""How far a job is, how fast it gets on, and when it will be done."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from datetime import timedelta

import attrs

from bcshopper._quota import MARGIN, QuotaPolicy, QuotaSnapshot
from bcshopper.events import ChunkDone, Event, QuotaWait, ResponseReceived, RetryScheduled

_WINDOWS = 5
"""Whole windows that an estimate looks back on: what other apps take changes."""


def clock(seconds: float) -> str:
    """A time as a clock has it."""
    return str(timedelta(seconds=round(seconds)))


@attrs.frozen
class _Window:
    """A window of the quota, as this job's first answer in it found it."""

    reached: int
    answers: int
    allowed: int
    resets_at: float


@attrs.define
class Pace:
    """How far a job is, and how fast it gets on.

    The time left is what a quota allows: a window gives so many items, as fast as they come, and
    then there is a pause. What a window gives is what the last whole ones gave, which has the
    requests of other apps, retries and pauses in it; before there was one, it is what the API
    says of its quota. Without a quota, the job goes on as it went so far.

    Args:
        name: of the job.
        total: how many items it has; None while that is not known.
        quota: tells the store's quota.
        policy: what of it may be used.
        now: a clock, in seconds.
    """

    name: str
    total: int | None
    quota: Callable[[], QuotaSnapshot | None]
    policy: QuotaPolicy
    now: Callable[[], float]
    done: int = 0
    _began: float = attrs.field(init=False)
    _earlier: int = 0
    _unrecorded: int = 0
    _answers: int = 0
    _retries: int = 0
    _waits_until: float = 0.0
    _waited: float = 0.0
    _window: _Window | None = None
    _is_first: bool = True
    _whole_windows: deque[int] = attrs.field(factory=lambda: deque(maxlen=_WINDOWS))

    def __attrs_post_init__(self) -> None:
        self._began = self.now()

    def advance(self, count: int) -> None:
        """So many more are done."""
        self.done += count
        self._unrecorded = max(0, self._unrecorded - count)

    def resume(self, count: int) -> None:
        """So many of those that are to come were done by an earlier run."""
        self._earlier += count

    def watch(self, event: Event) -> None:
        """Take note of answers, outcomes, waits and retries."""
        if isinstance(event, QuotaWait):
            until = self.now() + event.seconds
            self._waited += max(0.0, until - max(self.now(), self._waits_until))
            self._waits_until = max(until, self._waits_until)
        elif isinstance(event, RetryScheduled):
            self._retries += 1
        elif isinstance(event, ChunkDone):
            self._unrecorded += len(event.outcomes)
        elif isinstance(event, ResponseReceived):
            self._answers += 1
            if (quota := self.quota()) is not None:
                self._learn(quota)

    def _learn(self, quota: QuotaSnapshot) -> None:
        resets_at, window = self.now() + quota.reset_in, self._window
        if window is not None and resets_at < window.resets_at + quota.window / 2:
            self._window = attrs.evolve(window, resets_at=min(window.resets_at, resets_at))
            return
        if window is not None and not self._is_first:
            self._whole_windows.append(self._reached - window.reached)
        self._is_first = window is None
        self._window = _Window(self._reached, self._answers - 1, quota.remaining + 1, resets_at)

    @property
    def _reached(self) -> int:
        return self.done + self._unrecorded

    @property
    def rate(self) -> float:
        """Items a second, in this run."""
        return (self.done - self._earlier) / max(self.now() - self._began, 1e-9)

    @property
    def seconds_left(self) -> float | None:
        """Until all is done; None as long as that can't be told."""
        ran = self._reached - self._earlier
        if self.total is None or ran <= 0:
            return None
        todo = max(0, self.total - self._reached)
        quota, window, now = self.quota(), self._window, self.now()
        if quota is None or window is None:
            return todo * (now - self._began) / ran
        waited = self._waited - max(0.0, self._waits_until - now)
        speed = ran / max(now - self._began - waited, 1e-3)
        # Before the first window is over, some answers are not worked up yet.
        before, answers = window.reached - self._earlier, window.answers
        each = before / answers if before and answers else ran / max(self._answers, 1)
        per_window = min(max(1, int(quota.limit * self.policy.share)) * each, speed * quota.window)
        left_here = min(window.allowed * each, per_window)
        if self._whole_windows:
            left_here = per_window = max(1, sum(self._whole_windows) / len(self._whole_windows))
        left_here -= self._reached - window.reached
        if now >= window.resets_at:
            left_here = 0.0
        left_here = max(0.0, left_here) + each  # a job may fill its last window to the brim
        if todo <= left_here:
            return todo / speed
        until_next = max(0.0, window.resets_at + MARGIN - now)
        whole = math.ceil((todo - left_here) / per_window) - 1
        last = todo - left_here - whole * per_window
        return until_next + whole * quota.window + last / speed

    @property
    def left(self) -> str | None:
        """The time left as a clock has it."""
        seconds = self.seconds_left
        return None if seconds is None else clock(seconds)

    @property
    def notes(self) -> str:
        """What is left of the quota, how long the job waits for it, and what was tried again."""
        quota, waiting = self.quota(), self._waits_until - self.now()
        parts = [] if quota is None else [f"quota {quota.remaining:,}/{quota.limit:,}"]
        if waiting > 0:
            parts.append(f"waits {waiting:.0f} s for it" if quota else f"waits {waiting:.0f} s")
        if self._retries:
            parts.append(f"{self._retries:,} retries")
        return ", ".join(parts)

    @property
    def line(self) -> str:
        """All of it in one line."""
        total = "" if self.total is None else f" of {self.total:,}"
        left = f"{self.left} left" if self.left is not None else ""
        parts = [f"{self.name}: {self.done:,}{total}", f"{self.rate:,.0f} a second"]
        return ", ".join(filter(None, [*parts, left, self.notes]))
