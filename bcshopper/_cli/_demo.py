"""The main job from end to end, on a store of its own."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterable

from rich.console import Console
from rich.table import Table

from bcshopper._cli._pace import Pace
from bcshopper._cli._progress import shown
from bcshopper._cli._terminal import Terminal
from bcshopper._quota import QuotaPolicy
from bcshopper.sandbox import Sandbox


async def run_demo(customers: int, terminal: Terminal) -> None:
    """Create, list and delete a profile for each customer, and say what it took."""
    summary = Table(title=f"{customers:,} customers of an embedded store")
    for name in ("", "profiles", "requests", "seconds", "per second"):
        summary.add_column(name, justify="right" if name else "left")
    async with Sandbox(customers=customers) as sandbox, sandbox.session() as session:
        profiles = session.shopper_profiles

        async def step(name: str, items: AsyncIterable[object]) -> None:
            now = asyncio.get_running_loop().time
            pace = Pace(name, customers, quota=lambda: None, policy=QuotaPolicy(), now=now)
            before, began = session.stats.requests, time.perf_counter()
            async with shown(pace, terminal):
                async for _ in items:
                    pace.advance(1)
            seconds = time.perf_counter() - began
            requests = session.stats.requests - before
            summary.add_row(
                name, f"{pace.done:,}", f"{requests:,}",
                f"{seconds:.2f}", f"{pace.done / seconds:,.0f}",
            )  # fmt: skip

        await step("create", profiles.create_stream(range(1, customers + 1)))
        await step("list", profiles.list())
        await step("delete", profiles.delete_stream(list(sandbox.store.profiles)))
        left = len(sandbox.store.profiles)
    console = Console()
    console.print(summary)
    console.print(f"{left} profiles left in the store.")
