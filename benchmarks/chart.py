"""The chart that README shows: how near to the floor, and how far from the alternatives."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

import matplotlib as mpl
from matplotlib.figure import Figure as Canvas

from benchmarks.figures import Figure, Skipped

_INK = "#222222"
_FILLS = {True: ("#b0b0b0", ""), None: ("#e4e4e4", ""), False: ("#ffffff", "////")}
_LEFT = 0.3  # where the axis begins; what is less is only written there
_ROOM = 2  # times the largest value, for the words at its right


def draw(results: Sequence[Figure | Skipped], path: Path) -> None:
    """Draw all ratios on one axis, under the rivals' names; it can be read in black and white."""
    ratios = [r for r in results if isinstance(r, Figure) and r.comparison == "ratio" and r.value]
    ratios.sort(key=lambda f: f.rival)
    groups = [(rival, list(figures)) for rival, figures in groupby(ratios, lambda f: f.rival)]
    rows = len(ratios) + len(groups)
    # The same input gives the same file; words stay words, to be searched and read aloud.
    with mpl.rc_context({"svg.hashsalt": "bcshopper", "svg.fonttype": "none", "font.size": 8}):
        canvas = Canvas(figsize=(10, 0.19 * rows + 1), dpi=72)
        axes = canvas.subplots()
        names: dict[int, str] = {}
        place = 0
        for rival, figures in groups:
            axes.text(0, place, f"against {rival}", transform=axes.get_yaxis_transform(),
                      weight="bold", va="center")  # fmt: skip
            for figure in figures:
                place += 1
                names[place] = figure.name
                color, hatch = _FILLS[figure.met]
                axes.barh(place, figure.value, 0.7, color=color, hatch=hatch, edgecolor=_INK)
                words = f" {figure.value:.3g}" + (f" ({figure.target})" if figure.target else "")
                axes.text(max(figure.value, figure.limit or 0, _LEFT), place, words, va="center")
                if figure.limit is not None:
                    axes.plot([figure.limit] * 2, [place - 0.5, place + 0.5], color=_INK, lw=2.5)
            place += 1
        axes.set_xscale("log")
        axes.set_xlim(_LEFT, _ROOM * max(f.value for f in ratios))
        axes.set_ylim(rows, -1)
        axes.axvline(1, color=_INK, linewidth=0.8, linestyle=":")
        axes.set_yticks(list(names), list(names.values()))
        axes.set_xticks([0.5, 1, 2, 5, 10], ["0.5", "1", "2", "5", "10"])
        axes.minorticks_off()
        axes.set_title("bcshopper by its rivals: marks are targets, hatched bars miss theirs")
        axes.spines[["top", "right"]].set_visible(False)
        canvas.tight_layout()
        canvas.savefig(path, metadata={"Date": None})
