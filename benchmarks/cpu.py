"""CPU of the client: what a page, a lone request and a chunk cost beside the raw calls.

On a machine that is not quiet CPU is steadier than time, and instructions are steadier still: where
valgrind is at hand, `python -m benchmarks.cpu` counts them too.
"""

from __future__ import annotations

import asyncio
import gc
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Mapping
from importlib.util import find_spec
from typing import Any

from bcshopper import Session
from bcshopper._listing import check_distinct
from bcshopper._transport import MAX_PER_WRITE
from benchmarks.clock import Step, fastest, seconds_of
from benchmarks.figures import Figure, Skipped
from benchmarks.processes import nginx, nginx_program, server
from benchmarks.report import line
from benchmarks.rivals import Raw, page_with_pyreqwest, raw

_PAGES = 300
_ROUNDS = 12
_CHUNKS = 60


async def measure_cpu() -> AsyncIterator[Figure | Skipped]:
    """How much CPU of this process each way of asking takes."""
    program = nginx_program()
    if program is None:
        yield Skipped("CPU per page from nginx", "there is no nginx here")
    else:
        with nginx(program, pages=_PAGES) as url:
            async with Session("x", "t", base_url=url) as session, raw(url) as rival:
                ways = _ways(session, rival, _PAGES)
                if find_spec("pyreqwest"):
                    ways["rust"] = lambda: page_with_pyreqwest(url, _PAGES)
                spent = await fastest(ways, rounds=_ROUNDS, clock=time.process_time)
        for figure in _compare(
            {way: 1e6 * seconds / _PAGES for way, seconds in spent.items()}, "µs of CPU", "s of CPU"
        ):
            yield figure
    async for figure in _measure_chunks():
        yield figure


def _ways(session: Session, rival: Raw, pages: int) -> dict[str, Step]:
    """Ways to read this many pages."""
    profiles = session.shopper_profiles

    async def by_page(*, consistent: bool = False) -> None:
        async for page in profiles.list(consistent=consistent).pages():
            for _ in page:
                pass

    async def by_profile() -> None:
        async for _ in profiles.list():
            pass

    async def one_by_one() -> None:
        for number in range(1, pages + 1):
            await profiles.page(number, limit=250)

    async def one_by_one_raw() -> None:
        for number in range(1, pages + 1):
            await rival.careful_page(number)

    return {
        "raw": lambda: rival.all_by_workers(pages),
        "checked": lambda: rival.all_by_workers(pages, check_distinct),
        "list().pages()": by_page,
        "list()": by_profile,
        "consistent": lambda: by_page(consistent=True),
        "page()": one_by_one,
        "raw page": one_by_one_raw,
    }


def _compare(spent: Mapping[str, float], unit: str, many: str) -> list[Figure]:
    """The figures of what a page takes in each of the ways; `many` are a million of the unit."""
    loop = "a raw aiohttp loop of 10 workers, the number of pages known"
    rows: list[tuple[str, str, str, str, float | None]] = [
        ("list().pages()", "list().pages()", loop, "raw", 0.95),
        ("list()", "list()", loop, "raw", 0.90),
        ("consistent", "consistent", "the plain list().pages()", "list().pages()", 0.90),
        # How far anybody could get who promises that no two rows of a page are of one customer.
        ("the raw loop that checks that no row comes twice", "checked", loop, "raw", None),
    ]
    if "rust" in spent:
        rows.append(("the raw loop over pyreqwest, a Rust client", "rust", loop, "raw", None))
    figures = [
        Figure(
            name=f"pages per {many}, {name}",
            rival=rival,
            ours=1e6 / spent[ours],
            theirs=1e6 / spent[theirs],
            unit="pages",
            limit=limit,
            at_least=True,
        )
        for name, ours, rival, theirs, limit in rows
    ]
    lone = Figure(
        name=f"{unit} for page()",
        rival="a raw call with timeout and status check",
        ours=spent["page()"],
        theirs=spent["raw page"],
        unit=unit,
        limit=1.12,
    )
    return [*figures, lone]


async def _measure_chunks() -> AsyncIterator[Figure]:
    """What a chunk of `create` takes, of a server in a process of its own."""
    count = _CHUNKS * MAX_PER_WRITE
    customers = range(1, count + 1)
    best: dict[str, float] = {}
    with server("sandbox", customers=count) as url:
        async with (
            Session("sandbox", "sandbox-token", base_url=url) as session,
            raw(url, store="sandbox", token="sandbox-token") as rival,
        ):

            async def create() -> None:
                await session.shopper_profiles.create(customers)

            async def create_raw() -> None:
                await rival.create(customers, size=MAX_PER_WRITE)

            for turn in range(_ROUNDS):
                ways: list[tuple[str, Step]] = [("ours", create), ("raw", create_raw)]
                for name, step in ways[:: -1 if turn % 2 else 1]:
                    spent = await seconds_of(step, time.process_time)
                    best[name] = min(best.get(name, spent), spent)
                    await session.shopper_profiles.delete_all(confirm="sandbox")
    yield Figure(
        name=f"µs of CPU per chunk of create({MAX_PER_WRITE} ids)",
        rival=f"the raw POST of the same {MAX_PER_WRITE}, decoded",
        ours=1e6 * best["ours"] / _CHUNKS,
        theirs=1e6 * best["raw"] / _CHUNKS,
        unit="µs of CPU",
        limit=1.4,
    )


def count_instructions() -> list[Figure]:
    """What the same takes in instructions, which no other process changes."""
    program, valgrind = nginx_program(), shutil.which("valgrind")
    if program is None or valgrind is None:
        return []
    counted: dict[str, float] = {}
    with nginx(program, pages=_PAGES) as url:
        lists = ("raw", "checked", "list().pages()", "list()", "consistent")
        for way in (*lists, "page()", "raw page"):
            few, many = (_instructions(valgrind, url, way, times) for times in (1, 2))
            counted[way] = (many - few) / _PAGES
    return _compare(counted, "instructions", "1,000,000 instructions")


def _instructions(valgrind: str, url: str, way: str, times: int) -> int:
    command = [valgrind, "--tool=callgrind", "--callgrind-out-file=/dev/null", sys.executable, "-m"]
    environment = os.environ | {"PYTHONHASHSEED": "0"}
    done = subprocess.run(
        [*command, "benchmarks.cpu", url, way, str(times)],
        env=environment, stderr=subprocess.PIPE, text=True, check=True,
    )  # fmt: skip
    found = re.search(r"Collected : (\d+)", done.stderr)
    if found is None:
        raise AssertionError(done.stderr)
    return int(found[1])


async def _run(url: str, way: str, times: int) -> None:
    gc.disable()  # when it runs depends on what else there is
    async with Session("x", "t", base_url=url) as session, raw(url) as rival:
        for _ in range(times):
            await _ways(session, rival, _PAGES)[way]()


async def _print_all() -> None:
    async for figure in measure_cpu():
        print(line(figure), flush=True)
    for figure in count_instructions():
        print(line(figure), flush=True)


if __name__ == "__main__":
    arguments: list[Any] = sys.argv[1:]
    if arguments:  # within valgrind
        asyncio.run(_run(arguments[0], arguments[1], int(arguments[2])))
    else:
        asyncio.run(_print_all())
