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
from bcshopper._outcomes import GOOD, Outcome, Status
from bcshopper._transport import SessionStats
from bcshopper.errors import TransportError

_SHOWN_REASONS = 3


@attrs.define
class _Reason:
    """Why ids failed: of them, the first and how many."""

    item: object
    text: str
    count: int = 0

    def __str__(self) -> str:
        more = f" and {self.count - 1:,} more" if self.count > 1 else ""
        return f"{self.item}{more}: {self.text}"


class Summary:
    """Counts as a command goes.

    Args:
        verb: the command.
        store_hash: the store.
        total: how many ids it was given.
        skipped: how many bad lines of the input were left out.

    Attributes:
        total: as given; a job may come upon more.
        counts: how many ids ended how; in the end, `total` of them.
        ended: whether there was any work.
    """

    def __init__(self, verb: str, store_hash: str, total: int, skipped: int = 0) -> None:
        self.counts: Counter[Status] = Counter()
        self.skipped = skipped
        self.ended = False
        self._verb = verb
        self._store_hash = store_hash
        self.total = total
        self._reasons: dict[str, _Reason] = {}
        self._unreached = 0
        self._stats = SessionStats()
        self._began = time.monotonic()
        self._seconds = 0.0

    def add(self, outcomes: Sequence[Outcome[Any]]) -> None:
        """Count outcomes."""
        for outcome in outcomes:
            status = outcome.status
            self.counts[status] += 1
            if status in GOOD:
                continue
            text = str(outcome.error or status.value)
            if text not in self._reasons and len(self._reasons) < _SHOWN_REASONS:
                self._reasons[text] = _Reason(outcome.item, text)
            if text in self._reasons:
                self._reasons[text].count += 1
            self._unreached += status is Status.NOT_SENT and isinstance(
                outcome.error, TransportError
            )

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

    def as_dict(self) -> dict[str, Any]:
        """For programs."""
        return {
            "verb": self._verb,
            "store_hash": self._store_hash,
            "total": self.total,
            **{_name(status): self.counts[status] for status in Status},
            "skipped": self.skipped,
            "requests": self._stats.requests,
            "retries": self._stats.retries,
            "seconds": round(self._seconds, 3),
            "quota_seconds": round(self._stats.quota_seconds, 3),
            "failures": list(map(str, self._reasons.values())),
        }

    def lines(self, *, said: str = "", reasons: bool = True) -> list[str]:
        """For people; of the reasons for failures those that are told nowhere else."""
        counts = ", ".join(
            f"{self.counts[status]:,} {_name(status).replace('_', ' ')}"
            for status in Status
            if self.counts[status] or (self._verb, status) in _ALWAYS
        )
        stats = self._stats
        work = f"{stats.requests:,} requests, {stats.retries:,} retries, {self._seconds:,.1f} s"
        waited = f"of which {stats.quota_seconds:,.1f} s waiting for quota"
        lines = [f"{self._verb}: {counts}; {work}, {waited}"]
        if self.skipped:
            lines.append(f"{self.skipped:,} bad lines were skipped")
        if self.failed:
            told = [f"  {r}" for r in self._reasons.values() if reasons and r.text != said]
            some = sum(reason.count for reason in self._reasons.values()) < self.failed
            named = f"; {'the first' if some else 'they'}:" if told else ""
            lines += [f"{self.failed:,} of {self.total:,} ids failed{named}", *told]
        return lines

    def write(self, path: Path) -> None:
        """Write it as JSON, whole or not at all."""
        with whole_file(path) as file:
            file.write(json.dumps(self.as_dict(), indent=2).encode() + b"\n")


_ALWAYS = {
    ("create", Status.CREATED),
    ("create", Status.EXISTS),
    ("delete", Status.DELETED),
    ("delete-all", Status.DELETED),
    ("sync", Status.ADDED),
    ("sync", Status.REMOVED),
    ("add", Status.ADDED),
    ("remove", Status.REMOVED),
}


def _name(status: Status) -> str:
    """As `BatchReport` has it."""
    return "existing" if status is Status.EXISTS else status.value
