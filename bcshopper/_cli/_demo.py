"""The main job from end to end, on a store of its own."""

from __future__ import annotations

import time
from collections.abc import AsyncIterable

from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from bcshopper._cli._progress import progress_bar, stderr
from bcshopper._session import Session
from bcshopper.sandbox import Sandbox


async def run_demo(customers: int) -> None:
    """Create, list and delete a profile for each customer, and say what it took."""
    summary = Table(title=f"{customers:,} customers of an embedded store")
    for name in ("", "profiles", "requests", "seconds", "per second"):
        summary.add_column(name, justify="right" if name else "left")
    async with Sandbox(customers=customers) as sandbox, sandbox.session() as session:
        profiles = session.shopper_profiles
        with progress_bar(stderr()) as progress:
            job = _Job(session, progress, summary, customers)
            await job.run("create", profiles.create_stream(range(1, customers + 1)))
            await job.run("list", profiles.list())
            await job.run("delete", profiles.delete_stream(list(sandbox.store.profiles)))
        left = len(sandbox.store.profiles)
    console = Console()
    console.print(summary)
    console.print(f"{left} profiles left in the store.")


class _Job:
    def __init__(self, session: Session, progress: Progress, summary: Table, total: int) -> None:
        self._session = session
        self._progress = progress
        self._summary = summary
        self._total = total

    async def run(self, name: str, items: AsyncIterable[object]) -> None:
        task = self._progress.add_task(name, total=self._total)
        before, began, count = self._session.stats.requests, time.perf_counter(), 0
        async for _ in items:
            count += 1
            self._progress.update(task, completed=count)
        seconds = time.perf_counter() - began
        requests = self._session.stats.requests - before
        self._summary.add_row(
            name, f"{count:,}", f"{requests:,}", f"{seconds:.2f}", f"{count / seconds:,.0f}"
        )
