"""What a job would send, and how long that would take."""

from __future__ import annotations

from datetime import timedelta

from bcshopper._cli._job import Verb, plan
from bcshopper._cli._journal import Journal
from bcshopper._cli._output import REQUEST_COLUMNS, Output, request_row
from bcshopper._cli._settings import Settings
from bcshopper._cli._terminal import say

_MOST_PRINTED = 100
_WINDOW = 30.0
_PLANS = {"Standard and Plus": 150, "Pro": 450}
"""Requests per window of 30 s that the API documents for a store's plan; `quota` tells more."""


def print_plan(
    verb: Verb, settings: Settings, journal: Journal, output: Output, *, verbose: bool
) -> None:
    """Say how many requests would go and for how long, and print them if that is not too many."""
    count = sum(1 for _ in plan(verb, settings, journal))
    open_ids = journal.total - sum(journal.counts().values())
    say(
        f"{verb}: {open_ids:,} ids, {count:,} requests would go; none was sent",
        ids=open_ids, requests=count,
    )  # fmt: skip
    if estimate := _estimate(count, settings):
        say(estimate)
    if count > _MOST_PRINTED and not verbose and output.path is None:
        say("to see them, give --verbose, or --output FILE")
        return
    with output.open(REQUEST_COLUMNS) as rows:
        for request in plan(verb, settings, journal):
            rows.write(request_row(request))


def _estimate(requests: int, settings: Settings) -> str:
    times = []
    for name, limit in _PLANS.items():
        budget = max(1, int(limit * settings.quota.share))
        if requests > budget:
            seconds = (requests / budget) * _WINDOW
            times.append(f"{timedelta(seconds=round(seconds))} with the quota of {name}")
    return f"that takes about {', '.join(times)}" if times else ""
