"""The quota: requests over time, ours and those of a client that waits only after a 429.

In simulated time, so that minutes of windows pass in seconds; the sockets are real.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import aiohttp
import attrs
import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas

from bcshopper.sandbox import Fault, Rules, Sandbox
from benchmarks.figures import Figure
from tests.virtual_time import VirtualTimeLoop

QUOTA, WINDOW = 150, 30.0
_REQUESTS = 1000
_WORKERS = 10
_OURS, _OVER, _MARK = "#2f6f9f", "#c8553d", "#222222"
_TOO_MANY = 429


@attrs.frozen
class Run:
    """When each request came, and whether it was refused."""

    name: str
    times: list[float]
    refused: list[bool]


def run_all() -> list[Run]:
    """Both clients, each on a store of its own."""
    runs: list[Run] = []
    for name, client in (("bcshopper", _ours), ("a client that waits only after a 429", _naive)):
        with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
            runs.append(runner.run(_record(name, client)))
    return runs


def count_refusals(runs: list[Run]) -> Figure:
    """The 429s of both."""
    ours, theirs = runs
    return Figure(
        name=f"answers of 429 in {_REQUESTS:,} requests, {QUOTA} allowed in {WINDOW:g} s",
        rival=theirs.name,
        ours=sum(ours.refused),
        theirs=sum(theirs.refused),
        unit="answers",
        limit=0.0,
    )


def draw_quota(runs: list[Run], path: Path) -> None:
    """Requests per second over time, with the windows' edges."""
    with mpl.rc_context({"svg.hashsalt": "bcshopper", "svg.fonttype": "none", "font.size": 8}):
        canvas = Canvas(figsize=(10, 4), dpi=72)
        upper, lower = canvas.subplots(2, 1, sharex=True)
        for axes, run in zip((upper, lower), runs, strict=True):
            _steps(axes, run)
        lower.set_xlabel("seconds")
        canvas.tight_layout()
        canvas.savefig(path, metadata={"Date": None})


def _steps(axes: Axes, run: Run) -> None:
    """How many requests each window has had so far: refused ones rise above the quota's edge."""
    end = max(run.times)
    for window in range(int(end // WINDOW) + 1):
        inside = sorted(t for t in run.times if t // WINDOW == window)
        axes.step(inside, range(1, len(inside) + 1), where="post", color=_OURS)
        axes.axvline(window * WINDOW, color=_MARK, linewidth=0.4)
    over = [t for t, refused in zip(run.times, run.refused, strict=True) if refused]
    axes.plot(over, [QUOTA * 1.05] * len(over), "x", color=_OVER, markersize=4)
    axes.axhline(QUOTA, color=_MARK, linewidth=1, linestyle="--")
    axes.set_ylabel("requests in the window")
    axes.set_title(f"{run.name}: {len(over)} answers of 429 (x); the quota is the dashed line")


async def _record(name: str, client: Callable[[Sandbox], Awaitable[None]]) -> Run:
    async with Sandbox(rules=Rules(quota=QUOTA, window=WINDOW)) as sandbox:
        sandbox.faults.rule(Fault.slow(0.3, jitter=0.4))
        await client(sandbox)
        requests = list(sandbox.record.requests)
    opened = requests[0].at
    return Run(name, [r.at - opened for r in requests], [r.status == _TOO_MANY for r in requests])


async def _ours(sandbox: Sandbox) -> None:
    async with sandbox.session() as session:
        await _spend(session.shopper_profiles.page)


async def _naive(sandbox: Sandbox) -> None:
    url = f"{sandbox.url}/stores/{sandbox.store_hash}/v3/shopper-profiles"
    headers = {"X-Auth-Token": sandbox.access_token}

    async with aiohttp.ClientSession(headers=headers) as http:

        async def page() -> None:
            while True:
                async with http.get(url) as response:
                    if response.status != _TOO_MANY:
                        return
                    reset = int(response.headers["X-Rate-Limit-Time-Reset-Ms"]) / 1000
                await asyncio.sleep(reset)

        await _spend(page)


async def _spend(request: Callable[[], Awaitable[object]]) -> None:
    remaining = iter(range(_REQUESTS))

    async def work() -> None:
        for _ in remaining:
            await request()

    await asyncio.gather(*(work() for _ in range(_WORKERS)))
