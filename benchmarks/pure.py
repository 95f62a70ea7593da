"""What needs no network: decoding and importing."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import timeit
from collections.abc import AsyncIterator

import msgspec

from bcshopper._listing import ListDocument
from bcshopper._models import ShopperProfile
from bcshopper._transport import converter
from benchmarks.figures import Figure
from benchmarks.pages import page_body

_ROUNDS = 50
_REPEATS = 40
_IMPORTS = 21


async def measure_decoding() -> AsyncIterator[Figure]:
    """How long one page takes to become objects."""
    body = page_body(1, 100)
    decode = msgspec.json.Decoder(ListDocument[ShopperProfile]).decode
    ours = timeit.Timer(lambda: converter.loads(body, ListDocument[ShopperProfile]))
    theirs = timeit.Timer(lambda: decode(body))
    times = [(ours.timeit(_REPEATS), theirs.timeit(_REPEATS)) for _ in range(_ROUNDS)]
    best, best_theirs = (1e6 * min(column) / _REPEATS for column in zip(*times, strict=True))
    yield Figure(
        name="decode one page of 250 profiles",
        rival="bare msgspec.json.Decoder into the same classes",
        ours=best,
        theirs=best_theirs,
        unit="µs",
        limit=1.1,
    )


async def measure_import() -> AsyncIterator[Figure]:
    """How long the import takes in a fresh interpreter."""
    times = [(_import_time("bcshopper"), _import_time("aiohttp")) for _ in range(_IMPORTS)]
    ours, theirs = (1000 * statistics.median(column) for column in zip(*times[1:], strict=True))
    yield Figure(
        name="import bcshopper, in a fresh interpreter",
        rival="import aiohttp",
        ours=ours,
        theirs=theirs,
        unit="ms",
        limit=1.15,
    )


def _import_time(module: str) -> float:
    code = f"import time; t = time.perf_counter(); import {module}; print(time.perf_counter() - t)"
    # Installing compiled aiohttp; the first, uncounted import compiles ours, if it is allowed to.
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    return float(subprocess.check_output([sys.executable, "-c", code], env=environment))
