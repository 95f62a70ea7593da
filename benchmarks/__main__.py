"""Measure everything, print a table, write the JSON, draw the chart."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from benchmarks.chart import draw
from benchmarks.coalescing import measure_coalescing
from benchmarks.cpu import measure_cpu
from benchmarks.figures import Figure, Skipped
from benchmarks.fleet import draw_fleet, measure_fleet, simulate_fleet
from benchmarks.listing import measure_consistency, measure_latency, measure_throughput
from benchmarks.memory import measure_memory
from benchmarks.pure import measure_decoding, measure_import
from benchmarks.quota import count_refusals, draw_quota, run_all
from benchmarks.report import line, write_json
from benchmarks.service import measure_service
from benchmarks.sharing import measure_sharing
from benchmarks.stores import measure_stores
from benchmarks.syncing import measure_syncing
from benchmarks.writing import measure_writing

_MEASUREMENTS = (
    measure_decoding,
    measure_throughput,
    measure_cpu,
    measure_latency,
    measure_memory,
    measure_import,
    measure_writing,
    measure_syncing,
    measure_coalescing,
    measure_consistency,
    measure_sharing,
    measure_stores,
    measure_service,
)
_FOLDER = Path(__file__).parent


async def _measure() -> list[Figure | Skipped]:
    results: list[Figure | Skipped] = []
    for measure in _MEASUREMENTS:
        async for result in measure():
            print(line(result), flush=True)
            results.append(result)
    return results


def main() -> None:
    os.environ["NO_PROXY"] = "127.0.0.1"  # requests, in the PyPI clients, would ask a proxy
    results = asyncio.run(_measure())
    runs = run_all()
    results.append(count_refusals(runs))
    print(line(results[-1]))
    draw_quota(runs, _FOLDER / "quota.svg")
    figures, costs = asyncio.run(measure_fleet())
    for figure in figures:
        print(line(figure))
    results += figures
    if costs is not None:
        draw_fleet(*simulate_fleet(costs), _FOLDER / "fleet.svg")
    write_json(results, _FOLDER / "results.json")
    draw(results, _FOLDER / "chart.svg")


if __name__ == "__main__":
    main()
