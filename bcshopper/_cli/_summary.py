"""What a command has done, for people and for programs."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import attrs

from bcshopper._cli._files import whole_file
from bcshopper._cli._terminal import say
from bcshopper._outcomes import GOOD, Outcome, Status
from bcshopper._transport import SessionStats
from bcshopper.errors import TransportError

_SHOWN_REASONS = 3
_TOLD = 0.05  # seconds of waiting: less would be shown as none
_ALWAYS = {
    "create": {Status.CREATED, Status.EXISTS},
    "delete": {Status.DELETED},
    "delete-all": {Status.DELETED},
    "sync": {Status.ADDED, Status.REMOVED},
    "add": {Status.ADDED},
    "remove": {Status.REMOVED},
}
"""What is said though it be none."""


@attrs.define
class Summary:
    """Counts as a command goes.

    Attributes:
        verb: the command.
        store_hash: the store.
        total: how many ids it was given.
        skipped: how many bad lines of the input were left out.
        counts: how many ids ended how; in the end, `total` of them.
        ended: whether there was any work.
    """

    verb: str
    store_hash: str
    total: int
    skipped: int = 0
    counts: Counter[Status] = attrs.field(factory=Counter[Status])
    ended: bool = False
    _first: dict[str, object] = attrs.field(factory=dict[str, object])  # id that failed so
    _failed: Counter[str] = attrs.field(factory=Counter[str])
    _unreached: int = 0
    _stats: SessionStats = attrs.field(factory=SessionStats)
    _began: float = attrs.field(factory=time.monotonic)
    _seconds: float = 0.0

    def add(self, outcomes: Sequence[Outcome[Any]]) -> None:
        """Count outcomes."""
        for outcome in outcomes:
            status = outcome.status
            self.counts[status] += 1
            if status in GOOD:
                continue
            reason = str(outcome.error or status.value)
            if len(self._first) < _SHOWN_REASONS:
                self._first.setdefault(reason, outcome.item)
            if reason in self._first:
                self._failed[reason] += 1
            unsent = status is Status.NOT_SENT
            self._unreached += unsent and isinstance(outcome.error, TransportError)

    def end(self, stats: SessionStats) -> None:
        """The work is over."""
        self.ended = True
        self._stats = stats
        self._seconds = time.monotonic() - self._began

    @property
    def failed(self) -> int:
        """How many ids are not as they should be."""
        return self.counts.total() - sum(self.counts[status] for status in GOOD)

    @property
    def never_reached(self) -> bool:
        """Whether there were ids, and no request with any of them came through."""
        return 0 < self.counts.total() == self._unreached

    def _reasons(self, but: str = "") -> list[str]:
        told = []
        for reason, item in self._first.items():
            more = f" and {n - 1:,} more" if (n := self._failed[reason]) > 1 else ""
            told += [f"{item}{more}: {reason}"] if reason != but else []
        return told

    def as_dict(self) -> dict[str, Any]:
        """For programs."""
        return {
            "verb": self.verb,
            "store_hash": self.store_hash,
            "total": self.total,
            **{_name(status): self.counts[status] for status in Status},
            "skipped": self.skipped,
            "requests": self._stats.requests,
            "retries": self._stats.retries,
            "seconds": round(self._seconds, 3),
            "quota_seconds": round(self._stats.quota_seconds, 3),
            "failures": self._reasons(),
        }

    def lines(self, *, said: str = "", reasons: bool = True) -> list[str]:
        """For people; of the reasons for failures those that are told nowhere else."""
        counts = ", ".join(
            f"{self.counts[status]:,} {_name(status).replace('_', ' ')}"
            for status in Status
            if self.counts[status] or status in _ALWAYS[self.verb]
        )
        stats = self._stats
        work = f"{stats.requests:,} requests, {stats.retries:,} retries, {self._seconds:,.1f} s"
        seconds = stats.quota_seconds
        waited = f", of which {seconds:,.1f} s waiting for quota" if seconds >= _TOLD else ""
        lines = [f"{self.verb}: {counts}; {work}{waited}"]
        if self.skipped:
            lines.append(f"{self.skipped:,} bad lines were skipped")
        if self.failed:
            told = [f"  {reason}" for reason in self._reasons(said)] if reasons else []
            which = "the first" if self._failed.total() < self.failed else "they"
            lines.append(
                f"{self.failed:,} of {self.total:,} ids failed{f'; {which}:' if told else ''}"
            )
            lines += told
        return lines

    def report(self, path: Path | None, **told: Any) -> None:
        """If there was any work, say it, and write it there as JSON, whole or not at all."""
        if not self.ended:
            return
        for line in self.lines(**told):
            say(line)
        if path is not None:
            with whole_file(path) as file:
                file.write(json.dumps(self.as_dict(), indent=2).encode() + b"\n")


def _name(status: Status) -> str:
    """As `BatchReport` has it."""
    return "existing" if status is Status.EXISTS else status.value
