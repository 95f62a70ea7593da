"""The FastAPI service of the examples under load: `python -m benchmarks.service ours|plain` serves.

200 clients, and an API that takes its time and fails for one request in twenty. Beside it, the
plainest handler: one POST for each request, sent as it comes, and never repeated.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import aiohttp

from bcshopper.sandbox import Fault, Sandbox
from benchmarks.figures import Figure, Skipped

_CLIENTS = 200
_REQUESTS = 4000
_FAULTS = 0.05
_LATENCY = 0.05  # seconds that the API takes
_EXAMPLES = Path(__file__).parent.parent / "tests" / "examples"
_LONGEST = 60.0  # seconds; a process that is not done then never will be
_BAD = 400


async def measure_service() -> AsyncIterator[Figure | Skipped]:
    """Slow answers and lost ones, in the middle of a shutdown too."""
    slow, failed, _ = await _load("ours")
    slow_plain, failed_plain, _ = await _load("plain")
    yield Figure(
        name=f"99th percentile of {_CLIENTS} clients of the example's service, 5 % faults",
        rival="the plainest handler, which gives up at once",
        ours=1000 * slow,
        theirs=1000 * slow_plain,
        unit="ms",
    )
    yield Figure(
        name=f"answers of {_REQUESTS:,} that were no success, 5 % faults",
        rival="the plainest handler",
        ours=failed,
        theirs=failed_plain,
        unit="answers",
        comparison="difference",
        limit=0.0,
    )
    _, _, lost = await _load("ours", end_after=_REQUESTS // 2)
    yield Figure(
        name="accepted requests without an answer, SIGTERM in the middle",
        rival="none",
        ours=lost,
        theirs=0.0,
        unit="requests",
        comparison="difference",
        limit=0.0,
    )


async def _load(kind: str, *, end_after: int | None = None) -> tuple[float, int, int]:
    """The 99th percentile in seconds, how many were no success, how many got no answer at all."""
    seconds: list[float] = []
    failed = lost = 0
    customers = iter(range(1, _REQUESTS + 1))
    with Sandbox(customers=_REQUESTS + 1) as sandbox, _serving(kind, sandbox) as (process, url):
        sandbox.faults.rule(Fault.error(503), probability=_FAULTS)
        sandbox.faults.rule(Fault.slow(_LATENCY))
        connector = aiohttp.TCPConnector(limit=0, force_close=True)
        async with aiohttp.ClientSession(url, connector=connector) as http:
            await _wait_for(http)

            async def ask_on() -> None:
                nonlocal failed, lost
                for customer_id in customers:
                    began = time.perf_counter()
                    try:
                        async with http.put(f"/customers/{customer_id}/profile") as answer:
                            await answer.read()
                    except aiohttp.ClientConnectorError:
                        return  # it takes no more
                    except aiohttp.ClientError:
                        lost += 1
                        return
                    seconds.append(time.perf_counter() - began)
                    failed += answer.status >= _BAD
                    if len(seconds) == end_after:
                        process.send_signal(signal.SIGTERM)

            await asyncio.gather(*(ask_on() for _ in range(_CLIENTS)))
    return statistics.quantiles(seconds, n=100)[-1], failed, lost


@contextlib.contextmanager
def _serving(kind: str, sandbox: Sandbox) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    account = {
        "BIGCOMMERCE_STORE_HASH": sandbox.store_hash,
        "BIGCOMMERCE_ACCESS_TOKEN": sandbox.access_token,
        "BIGCOMMERCE_BASE_URL": sandbox.url,
        "PYTHONPATH": os.pathsep.join([str(_EXAMPLES), os.environ.get("PYTHONPATH", "")]),
    }
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.service", kind, str(port)], env=os.environ | account
    )
    with process:
        try:
            yield process, f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
            process.wait(_LONGEST)


async def _wait_for(http: aiohttp.ClientSession) -> None:
    async with asyncio.timeout(_LONGEST):
        while True:
            with contextlib.suppress(aiohttp.ClientError):
                async with http.get("/openapi.json"):
                    return
            await asyncio.sleep(0.05)


def _plain() -> object:
    """The least that does the same, while nothing goes wrong."""
    from fastapi import FastAPI, Request, Response  # noqa: PLC0415 - only this process needs it

    store, token = os.environ["BIGCOMMERCE_STORE_HASH"], os.environ["BIGCOMMERCE_ACCESS_TOKEN"]
    url = f"{os.environ['BIGCOMMERCE_BASE_URL']}/stores/{store}/v3/shopper-profiles"

    @contextlib.asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[dict[str, object]]:
        headers = {"X-Auth-Token": token}
        async with aiohttp.ClientSession(headers=headers) as http:
            yield {"http": http}

    app = FastAPI(lifespan=lifespan)

    async def create(customer_id: int, request: Request, response: Response) -> None:
        http: aiohttp.ClientSession = request.state.http
        async with http.post(url, json=[{"customer_id": customer_id}]) as answer:
            await answer.read()
            response.status_code = answer.status

    create.__annotations__ |= {"request": Request, "response": Response}
    app.put("/customers/{customer_id}/profile")(create)
    return app


def _serve(kind: str, port: int) -> None:
    import uvicorn  # noqa: PLC0415 - only this process needs it

    if kind == "plain":
        app = _plain()
    else:
        from service import app  # noqa: PLC0415 - the example
    uvicorn.run(app, port=port, log_level="error", backlog=1000)


if __name__ == "__main__":
    _serve(sys.argv[1], int(sys.argv[2]))
