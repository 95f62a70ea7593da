"""Rows on standard output, as they come: a table, JSON lines or CSV."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, Literal

import click

from bcshopper._models import ShopperProfile
from bcshopper._outcomes import Outcome

Format = Literal["table", "jsonl", "csv"]
FORMATS: tuple[Format, ...] = ("table", "jsonl", "csv")

PROFILE_COLUMNS: Mapping[str, int] = {
    "id": 36, "customer_id": 11, "created_at": 25, "updated_at": 25,
}  # fmt: skip
OUTCOME_COLUMNS: Mapping[str, int] = {"item": 36, "status": 8, "profile_id": 36, "error": 0}


def profile_row(profile: ShopperProfile) -> dict[str, Any]:
    """A profile under `PROFILE_COLUMNS`."""
    return {name: _plain(getattr(profile, name)) for name in PROFILE_COLUMNS}


def outcome_row(outcome: Outcome[Any]) -> dict[str, Any]:
    """An outcome under `OUTCOME_COLUMNS`."""
    return {
        "item": _plain(outcome.item),
        "status": outcome.status.value,
        "profile_id": _plain(outcome.profile_id),
        "error": None if outcome.error is None else str(outcome.error),
    }


def writer(fmt: Format | None, columns: Mapping[str, int]) -> Callable[[Mapping[str, Any]], None]:
    """A function that prints one row; without a format, a table for people and JSON for pipes."""
    if fmt is None:
        fmt = "table" if sys.stdout.isatty() else "jsonl"
    if fmt == "jsonl":
        return lambda row: click.echo(json.dumps(row))
    if fmt == "csv":
        rows = csv.DictWriter(sys.stdout, columns, lineterminator="\n")
        rows.writeheader()
        return lambda row: _ignore(rows.writerow(row))
    _print_aligned([name.upper() for name in columns], columns)
    return lambda row: _print_aligned(
        ["-" if row[name] is None else str(row[name]) for name in columns], columns
    )


def _print_aligned(cells: Sequence[str], columns: Mapping[str, int]) -> None:
    click.echo(
        "  ".join(f"{cell:<{w}}" for cell, w in zip(cells, columns.values(), strict=True)).rstrip()
    )


def _ignore(_: object) -> None:
    pass


def _plain(value: object) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    return value if value is None or isinstance(value, int) else str(value)
