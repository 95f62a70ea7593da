"""A measured figure: ours beside a rival's, with the target where there is one."""

from __future__ import annotations

from typing import Literal

import attrs


@attrs.frozen(kw_only=True)
class Figure:
    """One comparison, measured in one run.

    Attributes:
        name: what was measured.
        rival: what it is compared with.
        ours: what bcshopper came to.
        theirs: what the rival came to.
        unit: of both.
        comparison: `ratio` is ours by theirs, `difference` is ours less theirs.
        limit: the target for it; None if there is none.
        at_least: whether the target is a lower bound; an upper one otherwise.
    """

    name: str
    rival: str
    ours: float
    theirs: float
    unit: str
    comparison: Literal["ratio", "difference"] = "ratio"
    limit: float | None = None
    at_least: bool = False

    @property
    def value(self) -> float:
        return self.ours / self.theirs if self.comparison == "ratio" else self.ours - self.theirs

    @property
    def met(self) -> bool | None:
        if self.limit is None:
            return None
        return self.value >= self.limit if self.at_least else self.value <= self.limit

    @property
    def target(self) -> str:
        if self.limit is None:
            return ""
        return f"{'at least' if self.at_least else 'at most'} {self.limit:g}"


@attrs.frozen
class Skipped:
    """What could not be measured here."""

    name: str
    reason: str
