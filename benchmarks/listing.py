"""Listing: throughput, latency, and what consistency costs."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from importlib.util import find_spec
from typing import Any

from bcshopper import Paginator, Session, ShopperProfile
from benchmarks import rivals
from benchmarks.clock import fastest
from benchmarks.figures import Figure, Skipped
from benchmarks.pages import LIMIT
from benchmarks.processes import nginx, nginx_program, server
from benchmarks.rivals import Raw, raw

_NGINX_PAGES = 1000
_SLOW_PAGES = 100
_PYPI = {"bigc": rivals.list_with_bigc, "bigcommerce": rivals.list_with_bigcommerce}


@asynccontextmanager
async def _contenders(url: str) -> AsyncIterator[tuple[Session, Raw]]:
    async with Session("x", "t", base_url=url) as session, raw(url) as rival:
        yield session, rival


async def measure_throughput() -> AsyncIterator[Figure | Skipped]:
    """How many pages a second, from a server that answers at once."""
    name = "pages per second from nginx"
    program = nginx_program()
    if program is None:
        yield Skipped(name, "there is no nginx here")
        return
    with nginx(program, pages=_NGINX_PAGES) as url:
        async with _contenders(url) as (session, rival):
            paginator = session.shopper_profiles.list()
            careful = session.shopper_profiles.list(consistent=True)

            async def by_page(listing: Paginator[ShopperProfile]) -> None:
                async for page in listing.pages():
                    for _ in page:
                        pass

            async def by_profile() -> None:
                async for _ in paginator:
                    pass

            ways: dict[str, Callable[[], Awaitable[Any]]] = {
                "list().pages()": lambda: by_page(paginator),
                "list()": by_profile,
                "consistent": lambda: by_page(careful),
                "raw": lambda: rival.all_by_workers(_NGINX_PAGES),
            }
            seconds = await fastest(ways, rounds=15)
        rate = {way: _NGINX_PAGES / taken for way, taken in seconds.items()}
        for way, limit in (("list().pages()", 0.85), ("list()", None)):
            yield Figure(
                name=f"{name}, {way}",
                rival="a raw aiohttp loop of 10 workers, the number of pages known",
                ours=rate[way],
                theirs=rate["raw"],
                unit="pages/s",
                limit=limit,
                at_least=True,
            )
        yield Figure(
            name=f"{name}, list(consistent=True).pages()",
            rival="the plain list().pages()",
            ours=rate["consistent"],
            theirs=rate["list().pages()"],
            unit="pages/s",
            at_least=True,
        )
        async for result in _beside_pypi(name, url, _NGINX_PAGES, rounds=2):
            yield result


async def measure_latency() -> AsyncIterator[Figure | Skipped]:
    """How long 100 pages take where each takes its time."""
    for label, quickest, slowest in (("50 ms", 0.05, 0.05), ("20 to 80 ms", 0.02, 0.08)):
        name = f"{_SLOW_PAGES} pages at {label} each"
        with server("pages", pages=_SLOW_PAGES, quickest=quickest, slowest=slowest) as url:
            async with _contenders(url) as (session, rival):
                paginator = session.shopper_profiles.list()
                careful = session.shopper_profiles.list(consistent=True)
                seconds = await fastest(
                    {
                        "ours": paginator.all,
                        "consistent": careful.all,
                        "learnt": rival.all_learnt,
                        "known": lambda r=rival: r.all_known(_SLOW_PAGES),
                    },
                    rounds=7,
                )
            for way, description, limit in (
                ("learnt", "a raw gather, 10 at once, after page 1 told the number", 1.05),
                ("known", "a raw gather, 10 at once, the number known beforehand", 1.05),
            ):
                yield _milliseconds(name, description, seconds["ours"], seconds[way], limit)
            yield _milliseconds(
                f"{name}, consistent", "the plain list()", seconds["consistent"], seconds["ours"]
            )
            if quickest == slowest:
                async for result in _beside_pypi(name, url, _SLOW_PAGES, rounds=1):
                    yield result


async def measure_consistency() -> AsyncIterator[Figure | Skipped]:
    """How many requests consistency costs in a quiet store."""
    with server("pages", pages=_SLOW_PAGES) as url:
        async with _contenders(url) as (session, _):
            requests = [0]
            for consistent in (False, True):
                await session.shopper_profiles.list(consistent=consistent).all()
                requests.append(session.stats.requests)
    plain, careful = (after - before for before, after in itertools.pairwise(requests))
    yield Figure(
        name=f"requests of list(consistent=True), {_SLOW_PAGES} pages, unchanged store",
        rival="the plain list()",
        ours=careful,
        theirs=plain,
        unit="requests",
        comparison="difference",
        limit=2,
    )


def _milliseconds(
    name: str, rival: str, ours: float, theirs: float, limit: float | None = None
) -> Figure:
    return Figure(
        name=name, rival=rival, ours=1000 * ours, theirs=1000 * theirs, unit="ms", limit=limit
    )


async def _beside_pypi(
    name: str, url: str, pages: int, *, rounds: int
) -> AsyncIterator[Figure | Skipped]:
    for package, list_with in _installed():
        if list_with is None:
            yield Skipped(f"{name}, beside {package}", f"{package} is not installed")
            continue

        async def theirs(list_all: Callable[[str], int] = list_with) -> None:
            listed = list_all(url)
            if listed != pages * LIMIT:
                raise AssertionError(f"listed {listed} of {pages * LIMIT} profiles")

        async with Session("x", "t", base_url=url) as session:
            paginator = session.shopper_profiles.list()

            async def ours(paginator: Paginator[ShopperProfile] = paginator) -> None:
                async for _ in paginator:
                    pass

            seconds = await fastest({"ours": ours, "theirs": theirs}, rounds=rounds)
        yield Figure(
            name=f"{name}, list()",
            rival=f"PyPI client {package}, which reads one page after the other",
            ours=pages / seconds["ours"],
            theirs=pages / seconds["theirs"],
            unit="pages/s",
            at_least=True,
        )


def _installed() -> Iterator[tuple[str, Callable[[str], int] | None]]:
    for package, list_with in _PYPI.items():
        yield package, list_with if find_spec(package) else None
