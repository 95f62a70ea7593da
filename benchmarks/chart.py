"""The chart that README shows: how near to the floor, and how far from the alternatives."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas

from benchmarks.figures import Figure, Skipped

_OURS, _OVER, _MARK = "#2f6f9f", "#c8553d", "#222222"


def draw(results: Sequence[Figure | Skipped], path: Path) -> None:
    """Draw the ratios: those with a target at the left, those beside PyPI clients at the right."""
    ratios = [r for r in results if isinstance(r, Figure) and r.comparison == "ratio"]
    aimed = [f for f in ratios if f.limit is not None]
    beside = [f for f in ratios if f.rival.startswith("PyPI")]
    # The same input gives the same file; words stay words, to be searched and read aloud.
    with mpl.rc_context({"svg.hashsalt": "bcshopper", "svg.fonttype": "none", "font.size": 8}):
        canvas = Canvas(figsize=(10, 0.42 * len(aimed) + 1.4 + 0.42 * len(beside)), dpi=72)
        heights = [len(aimed), max(len(beside), 1)]
        upper, lower = canvas.subplots(2, 1, gridspec_kw={"height_ratios": heights})
        _bars(upper, aimed)
        upper.axvline(1, color=_MARK, linewidth=0.8)
        upper.set_title("bcshopper by the least code that does the same (lines: 1 and the targets)")
        _bars(lower, beside)
        lower.set_title("bcshopper by PyPI clients, pages per second (more is better)")
        canvas.tight_layout()
        canvas.savefig(path, metadata={"Date": None})


def _bars(axes: Axes, figures: Sequence[Figure]) -> None:
    names = [f"{f.name}\nagainst {f.rival}" for f in figures]
    colors = [_OVER if f.met is False else _OURS for f in figures]
    places = range(len(figures))
    axes.barh(places, [f.value for f in figures], color=colors, height=0.6)
    for place, figure in zip(places, figures, strict=True):
        label = f" {figure.value:.3g}" + (f" ({figure.target})" if figure.target else "")
        axes.text(max(figure.value, figure.limit or 0), place, label, va="center")
        if figure.limit is not None:
            axes.plot([figure.limit] * 2, [place - 0.4, place + 0.4], color=_MARK, linewidth=1.5)
    axes.set_yticks(places, names)
    axes.invert_yaxis()
    axes.margins(x=0.3)
    axes.spines[["top", "right"]].set_visible(False)
