"""The results as a table and as JSON."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

import attrs

from benchmarks.figures import Figure, Skipped

_PACKAGES = ("bcshopper", "aiohttp", "msgspec", "cattrs", "attrs", "yarl")


def line(result: Figure | Skipped) -> str:
    """One result in words."""
    if isinstance(result, Skipped):
        return f"  skipped  {result.name}: {result.reason}"
    verdict = {True: "met", False: "NOT MET", None: ""}[result.met]
    sign = "x" if result.comparison == "ratio" else "more"
    return (
        f"{result.value:8.3f} {sign:4}  {result.target:13} {verdict:8} {result.name}: "
        f"{result.ours:,.1f} {result.unit}; {result.rival}: {result.theirs:,.1f}"
    )


def write_json(results: Sequence[Figure | Skipped], path: Path) -> None:
    """Write all that was measured, and on what."""
    figures = [r for r in results if isinstance(r, Figure)]
    document = {
        "machine": {
            "python": platform.python_version(),
            "system": platform.system(),
            "processors": os.cpu_count(),
            "packages": {name: version(name) for name in _PACKAGES},
        },
        "figures": [
            attrs.asdict(f) | {"value": f.value, "target": f.target, "met": f.met} for f in figures
        ],
        "skipped": [attrs.asdict(r) for r in results if isinstance(r, Skipped)],
    }
    path.write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n")
