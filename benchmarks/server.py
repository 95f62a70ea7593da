"""Servers that run in a process of their own: `python -m benchmarks.server pages|sandbox ...`.

The first line of output is the URL; the process ends when its input does.
"""

from __future__ import annotations

import argparse
import asyncio
import functools
import random
import sys

from aiohttp import web

from bcshopper.sandbox import Fault, Rules, Sandbox
from benchmarks.pages import page_body

_KEPT = 256


async def _serve_pages(pages: int, slowest: float, quickest: float) -> None:
    """Serve full pages of a list that never changes, each with a delay of its own.

    The sandbox draws its delays in the order in which requests come; here a page takes equally
    long whoever asks for it, and the server costs next to nothing.
    """
    body = functools.lru_cache(_KEPT)(functools.partial(page_body, pages=pages))
    for number in range(1, min(pages, _KEPT) + 1):
        body(number)

    async def answer(request: web.BaseRequest) -> web.Response:
        number = int(request.query["page"])
        delay = random.Random(number).uniform(quickest, slowest)
        if delay:
            await asyncio.sleep(delay)
        return web.Response(body=body(number), content_type="application/json")

    runner = web.ServerRunner(web.Server(answer, access_log=None))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    await _stay(f"http://127.0.0.1:{runner.addresses[0][1]}")
    await runner.cleanup()


async def _serve_sandbox(customers: int, profiles: int, delay: float, quota: int | None) -> None:
    async with Sandbox(customers, profiles=profiles, rules=Rules(quota=quota)) as sandbox:
        sandbox.faults.rule(Fault.slow(delay))
        await _stay(sandbox.url)


async def _stay(url: str) -> None:
    print(url, flush=True)
    await asyncio.to_thread(sys.stdin.read)


def main() -> None:
    parser = argparse.ArgumentParser()
    kinds = parser.add_subparsers(dest="kind", required=True)
    pages = kinds.add_parser("pages")
    pages.add_argument("--pages", type=int, required=True)
    pages.add_argument("--quickest", type=float, default=0.0)
    pages.add_argument("--slowest", type=float, default=0.0)
    sandbox = kinds.add_parser("sandbox")
    sandbox.add_argument("--customers", type=int, default=0)
    sandbox.add_argument("--profiles", type=int, default=0)
    sandbox.add_argument("--delay", type=float, default=0.0)
    sandbox.add_argument("--quota", type=int)
    given = parser.parse_args()
    if given.kind == "pages":
        asyncio.run(_serve_pages(given.pages, given.slowest, given.quickest))
    else:
        asyncio.run(_serve_sandbox(given.customers, given.profiles, given.delay, given.quota))


if __name__ == "__main__":
    main()
