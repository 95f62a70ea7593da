"""The fleet: what its engine costs, measured; and in simulated time how long large jobs take.

One store is played by the sandbox and the real client in virtual time, a sample of the ids, chunk
by chunk as a worker does them. Many stores are a simulation of events: workers that have 64 chunks
at once and a processor each, and one database, with the costs that were measured.
"""

from __future__ import annotations

import asyncio
import heapq
import random
import time
from collections.abc import Sequence
from pathlib import Path
from unittest import mock

import attrs
import matplotlib as mpl
import pytest
from matplotlib.figure import Figure as Canvas

from bcshopper import Outcome, Session, Status, fleet
from bcshopper._outcomes import BatchReport
from bcshopper.fleet import _worker
from bcshopper.fleet._rows import CHUNK, Rows, Turn
from bcshopper.sandbox import Rules, Sandbox
from benchmarks.figures import Figure, Skipped
from benchmarks.report import line
from tests.fleet.servers import Postgres
from tests.virtual_time import VirtualTimeLoop

IDS, STORES = 10_000_000, 10_000
_SAMPLE = 150_000  # ids; twenty windows of the smaller quota
_LATENCY = 0.2  # seconds that a store takes to answer
_MOST_COST = 10.0  # milliseconds
_MILLION, _MINUTE = 1_000_000, 60.0
_JOBS = 400
_CHUNKS_PER_STORE = 4  # 2,000 customers
_OURS, _MARK = "#2f6f9f", "#222222"
_LIMITS = {
    "150 per 30 s": Rules(quota=150, latency=_LATENCY),
    "450 per 30 s": Rules(quota=450, latency=_LATENCY),
    "6 at once": Rules(max_concurrent=6, latency=_LATENCY),
}


@attrs.frozen
class Costs:
    """What was measured of a chunk, in milliseconds.

    Attributes:
        engine: what it costs to be queued, claimed and ended.
        clock: that, and its rows.
        processor: of the worker, the client and half of a store included.
    """

    engine: float
    clock: float
    processor: float


@attrs.frozen
class Run:
    """A job in simulated time: hours, requests, and what bounds it."""

    name: str
    hours: float
    requests: int
    bound: str


async def measure_fleet() -> tuple[list[Figure | Skipped], Costs | None]:
    """The engine's cost of a chunk, and rows a second, on PostgreSQL; None where there is none."""
    try:
        server = Postgres()
    except pytest.skip.Exception as reason:
        return [Skipped("the fleet on PostgreSQL", str(reason))], None
    try:
        engine = await measure_engine(server.new_database("chunks"))
        rates = await measure_rows(server.new_database("rows"))
    finally:
        server.close()
    figures: list[Figure | Skipped] = [
        Figure(
            name="engine overhead per chunk of the fleet, PostgreSQL, one worker",
            rival="what is allowed", ours=engine.engine, theirs=_MOST_COST, unit="ms", limit=1.0,
        ),
        *(
            Figure(
                name=f"rows {name} per second by the fleet, PostgreSQL",
                rival="a million in a minute", ours=rate, theirs=_MILLION / _MINUTE,
                unit="rows/s", limit=1.0 if name == "written" else None, at_least=True,
            )
            for name, rate in rates.items()
        ),
    ]  # fmt: skip
    rows = 1000 * CHUNK / rates["given their outcomes"]
    processor = engine.processor + rows + await measure_client()
    return figures, Costs(engine.engine, engine.engine + rows, processor)


async def measure_engine(database: str) -> Costs:
    """Chunks of one id that nobody sends, of as many stores: what is left is the engine."""

    async def act(_: Session, __: object, items: Sequence[int], **___: bool) -> BatchReport[int]:
        return BatchReport(tuple(Outcome(item, Status.CREATED) for item in items))

    def open_session(store: str, settings: object) -> Session:
        return Session(store, "token", **settings)  # type: ignore[arg-type]

    with Rows(database) as rows:
        for number in range(_JOBS):
            job = rows.begin(
                verb="create", store=f"store{number}", max_removed=0.5, planned=True
            )  # fmt: skip
            rows.add(job, 0, [1])
            rows.open_for_work(job, f"job{number}")
        with mock.patch.object(_worker, "act", act):
            worker = asyncio.create_task(fleet.worker(open_session, database=database))
            turns = 2 * _JOBS  # the second one finds nothing left
            while (done := _done(rows)) < _JOBS // 8:  # noqa: ASYNC110 - it has started
                await asyncio.sleep(0.01)
            began, busy = time.perf_counter(), time.process_time()
            while _done(rows) < _JOBS:  # noqa: ASYNC110
                await asyncio.sleep(0.05)
            share = (_JOBS - done) / _JOBS
            clock, processor = time.perf_counter() - began, time.process_time() - busy
            worker.cancel()
            await asyncio.wait([worker])
    clock, processor = (1000 * seconds / turns / share for seconds in (clock, processor))
    return Costs(clock, clock, processor)


def _done(rows: Rows) -> int:
    return sum(job.state == "done" for job in rows.jobs())


async def measure_rows(database: str) -> dict[str, float]:
    """A million rows written by `submit` and read by `outcomes`; and outcomes written in chunks."""
    began = time.perf_counter()
    await fleet.submit("create", "A", range(1, _MILLION + 1), job="all", database=database)
    written = _MILLION / (time.perf_counter() - began)
    noted = 0
    with Rows(database) as rows:
        (job,) = rows.jobs("all")
        turn = Turn(job.id, 1)
        began = time.perf_counter()
        for _ in range(100):
            some = rows.open(turn)
            outcomes = [(at, Outcome(int(item), Status.CREATED)) for at, item in some]
            rows.note(turn, outcomes, start=some[-1][0] + 1)
            turn = Turn(job.id, turn.number + 1, some[-1][0] + 1)
            noted += len(some)
        updated = noted / (time.perf_counter() - began)
    began, read = time.perf_counter(), 0
    async for _ in fleet.outcomes("all", database=database):
        read += 1
    return {
        "written": written,
        "given their outcomes": updated,
        "read": read / (time.perf_counter() - began),
    }


async def play_one_store(name: str, rules: Rules, costs: Costs) -> Run:
    """Ten million ids of one store, from a sample of them."""
    rng = random.Random(0)
    async with Sandbox(customers=_SAMPLE, rules=rules) as sandbox, sandbox.session() as session:
        for first in range(1, _SAMPLE, CHUNK):
            await session.shopper_profiles.create(range(first, first + CHUNK))
            # What a store waits for its next chunk: to be looked at, and the engine's cost.
            gap = rng.uniform(0, 1.05) * _worker.POLLED_EVERY + costs.clock / 1000
            await asyncio.sleep(gap)
        requests = list(sandbox.record.requests)
    # From the first request on, as many windows as were spent; the last one may not have been.
    last = (len(requests) - 1) // rules.quota * rules.quota if rules.quota else len(requests) - 1
    rate = last / (requests[last].at - requests[0].at)
    total = round(len(requests) * IDS / _SAMPLE)
    is_quota = rules.quota and rate > 0.9 * rules.quota / rules.window
    bound = "its quota" if is_quota else "what it takes at once"
    return Run(name, total / rate / 3600, total, bound)


def simulate_night(workers: int, costs: Costs) -> Run:
    """Ten thousand stores of 2,000 customers each, at 150 per 30 s."""
    rng = random.Random(workers)
    slots = [(0.0, worker) for worker in range(workers) for _ in range(_worker.AT_ONCE)]
    processors = [0.0] * workers
    waiting = [(0.0, store, 0) for store in range(STORES)]
    heapq.heapify(slots)
    database = end = 0.0
    while waiting:
        ready, store, chunk = heapq.heappop(waiting)
        free, worker = heapq.heappop(slots)
        # The database has the chunk for a while, as if no two could share it; then the worker's
        # processor; then the store answers, ten requests at once.
        database = max(database, ready, free) + costs.engine / 1000
        start = database + rng.uniform(0, _worker.POLLED_EVERY)
        processors[worker] = max(processors[worker], start) + costs.processor / 1000
        done = processors[worker] + 2 * _LATENCY * rng.uniform(0.8, 1.2)
        end = max(end, done)
        heapq.heappush(slots, (done, worker))
        if chunk + 1 < _CHUNKS_PER_STORE:
            heapq.heappush(waiting, (done, store, chunk + 1))
    chunks = STORES * _CHUNKS_PER_STORE
    shares = {
        "the workers' processors": chunks * costs.processor / workers,
        "the database": chunks * costs.engine,
    }
    bound = max(shares, key=shares.__getitem__)
    if shares[bound] < 0.8 * 1000 * end:
        bound = f"{_worker.AT_ONCE} chunks at once"
    requests = STORES * _CHUNKS_PER_STORE * CHUNK // 50
    return Run(f"{workers} worker{'s' * (workers > 1)}", end / 3600, requests, bound)


def draw_fleet(stores: Sequence[Run], nights: Sequence[Run], path: Path) -> None:
    """Hours, with the requests and what bounds them."""
    with mpl.rc_context({"svg.hashsalt": "bcshopper", "svg.fonttype": "none", "font.size": 8}):
        canvas = Canvas(figsize=(10, 3.6), dpi=72)
        upper, lower = canvas.subplots(2, 1)
        titles = (f"{IDS:,} ids of one store", f"{STORES:,} stores of 2,000 customers each")
        for axes, title, runs in zip((upper, lower), titles, (stores, nights), strict=True):
            places = range(len(runs))
            axes.barh(places, [run.hours for run in runs], color=_OURS, height=0.6)
            for place, run in zip(places, runs, strict=True):
                words = f" {run.hours:.2g} h, {run.requests:,} requests, bounded by {run.bound}"
                axes.text(run.hours, place, words, va="center", color=_MARK)
            axes.set_yticks(places, [run.name for run in runs])
            axes.invert_yaxis()
            axes.margins(x=0.6)
            axes.set_title(f"{title}, in hours")
            axes.spines[["top", "right"]].set_visible(False)
        canvas.tight_layout()
        canvas.savefig(path, metadata={"Date": None})


def simulate_fleet(costs: Costs) -> tuple[list[Run], list[Run]]:
    """One large store, under each limit; many small ones, with so many workers."""
    stores = []
    for name, rules in _LIMITS.items():
        with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
            stores.append(runner.run(play_one_store(name, rules, costs)))
    return stores, [simulate_night(workers, costs) for workers in (1, 4, 16)]


async def measure_client() -> float:
    """Milliseconds of the processor that the client takes for a chunk; the store has half of it."""
    chunks = 40
    async with Sandbox(customers=chunks * CHUNK) as sandbox, sandbox.session() as session:
        busy = time.process_time()
        for first in range(1, chunks * CHUNK, CHUNK):
            await session.shopper_profiles.create(range(first, first + CHUNK))
        return 1000 * (time.process_time() - busy) / chunks


def main() -> None:
    """Measure, simulate and draw the fleet alone."""
    figures, costs = asyncio.run(measure_fleet())
    for figure in figures:
        print(line(figure))
    if costs is None:
        return
    stores, nights = simulate_fleet(costs)
    print(costs)
    for run in (*stores, *nights):
        print(run)
    draw_fleet(stores, nights, Path(__file__).parent / "fleet.svg")


if __name__ == "__main__":
    main()
