"""The sandbox over a real socket: who may ask, what goes wrong, and what is on record."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping
from typing import Any
from weakref import WeakSet

import attrs
from aiohttp import web
from multidict import CIMultiDict

from bcshopper.sandbox._answers import Answer, Call, problem
from bcshopper.sandbox._api import API
from bcshopper.sandbox._faults import Fault, Faults
from bcshopper.sandbox._quota import Quota
from bcshopper.sandbox._rules import Rules

_LOG_LENGTH = 10_000
_SLOWEST_CLOSE = 1.0
_GLANCE = 1.0


@attrs.define
class LoggedRequest:
    """A request that the sandbox has seen.

    Attributes:
        method: its HTTP method.
        path: its whole path.
        query: its query, in order.
        headers: its headers, the token masked.
        body: its body.
        at: when it came, in seconds on the event loop's clock.
        status: the answer's status; None while, or if, there is none.
    """

    method: str
    path: str
    query: tuple[tuple[str, str], ...]
    headers: Mapping[str, str]
    body: bytes
    at: float
    status: int | None = None


class Record:
    """What the sandbox has seen.

    Attributes:
        requests: the last 10,000 requests, oldest first.
        counts: how many there were in all, by method and path below `/v3/`, such as
            `("POST", "shopper-profiles")`.
        statuses: how many answers there were, by status.
        in_flight: requests under way now.
        peak: the most that were ever under way at once.
    """

    def __init__(self) -> None:
        self.requests: deque[LoggedRequest] = deque(maxlen=_LOG_LENGTH)
        self.counts: Counter[tuple[str, str]] = Counter()
        self.statuses: Counter[int] = Counter()
        self.in_flight = 0
        self.peak = 0


class Server:
    """Serves one store."""

    def __init__(
        self,
        api: API,
        *,
        store_hash: str,
        tokens: Mapping[str, bool],
        faults: Faults,
        rules: Rules,
        rng: random.Random,
    ) -> None:
        self.faults = faults
        self.api = api
        self._rules = rules
        self._tokens = tokens
        self._prefix = f"/stores/{store_hash}/v3/"
        self._rng = rng
        self._runner: web.ServerRunner | None = None
        self._handlers: set[asyncio.Task[object]] = set()
        self._used = WeakSet[asyncio.Transport]()
        self.reset()
        self._clock: Callable[[], float] = time.monotonic

    def reset(self) -> None:
        """Begin a new record, and a new quota window with the next request."""
        rules = self._rules
        self.record = Record()
        self.quota = None if rules.quota is None else Quota(rules.quota, rules, self.api.resources)

    def now(self) -> float:
        """Seconds on the event loop's clock."""
        return self._clock()

    async def start(self, port: int) -> int:
        """Listen on 127.0.0.1, and return the port."""
        self._clock = asyncio.get_running_loop().time
        self._runner = web.ServerRunner(
            web.Server(self._handle, access_log=None), shutdown_timeout=_SLOWEST_CLOSE
        )
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", port)
        await site.start()
        actual: int = self._runner.addresses[0][1]
        return actual

    async def stop(self) -> None:
        """Stop listening and cut what is under way."""
        if self._runner is None:
            return
        for site in list(self._runner.sites):
            await site.stop()
        # Handlers whose client has gone are unknown to aiohttp by now.
        handlers = list(self._handlers)
        for handler in handlers:
            handler.cancel()
        await asyncio.gather(*handlers, return_exceptions=True)
        await self._runner.cleanup()

    def spend(self, count: int) -> None:
        """Use up quota, as another app on the store does."""
        if self.quota is not None:
            self.quota.spend(count, self._clock())

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        self._own(asyncio.current_task())
        if self._rules.keep_alive == "dead" and request.transport is not None:
            if request.transport in self._used:
                return _abort(request)
            self._used.add(request.transport)
        record = self.record
        path = request.path.removeprefix(self._prefix)
        logged = LoggedRequest(
            request.method,
            request.path,
            tuple(request.query.items()),
            {
                k: "[secure]" if k.lower() == "x-auth-token" else v
                for k, v in request.headers.items()
            },
            await request.read(),
            self._clock(),
        )
        record.requests.append(logged)
        record.counts[request.method, path] += 1
        record.in_flight += 1
        record.peak = max(record.peak, record.in_flight)
        try:
            crowded = (
                self._rules.max_concurrent is not None
                and record.in_flight > self._rules.max_concurrent
            )
            fault = self.faults.take(request.method, path) or Fault()
            answer = await self._answer(request, path, logged.body, fault, crowded=crowded)
            if fault.ending != "cut":
                logged.status = answer.status
                record.statuses[answer.status] += 1
            return await self._send(request, answer, fault)
        finally:
            record.in_flight -= 1

    def _own(self, task: asyncio.Task[Any] | None) -> None:
        if task is not None:  # a handler always is one
            self._handlers.add(task)
            task.add_done_callback(self._handlers.discard)

    async def _answer(
        self, request: web.BaseRequest, path: str, body: bytes, fault: Fault, *, crowded: bool
    ) -> Answer:
        quota_headers: dict[str, str] = {}
        resource = path.partition("/")[0]
        spent = False
        if self.quota is not None:
            spent = not self.quota.admit(self._clock(), resource)
        delay = fault.latency + self._rng.random() * fault.jitter
        if delay:
            await asyncio.sleep(delay)
        if fault.change is not None:
            fault.change(self.api.store)
        if self.quota is not None:
            quota_headers = self.quota.headers(self._clock(), resource)
        if crowded:
            return problem(429, "too many requests at once")
        answer = self._refusal(request, path)
        if answer is None and spent:
            answer = problem(429, "the quota of this window is spent")
        if answer is None and fault.applied:
            call = Call(request.method, request.query, request.content_type, body, fault.failing)
            if fault.lands_after:
                self._own(asyncio.create_task(self._land(path, call, fault.lands_after)))
            else:
                answer = self.api.answer(path, call)
        if fault.status is not None or answer is None:
            answer = Answer(fault.status or 500, fault.body, fault.headers)
        headers = CIMultiDict(quota_headers)
        headers.update(answer.headers)
        return attrs.evolve(answer, headers=headers)

    async def _land(self, path: str, call: Call, seconds: float) -> None:
        store = self.api.store
        await asyncio.sleep(seconds)
        if self.api.store is store:  # no reset has come in between
            self.api.answer(path, call)

    def _refusal(self, request: web.BaseRequest, path: str) -> Answer | None:
        if not request.path.startswith(self._prefix):
            return problem(
                404, f"no such store or resource: {request.path}; the sandbox serves {self._prefix}"
            )
        may_write = self._tokens.get(request.headers.get("X-Auth-Token", ""))
        if may_write is None:
            return problem(401, "the X-Auth-Token header is missing or wrong")
        if request.method != "GET" and not may_write:
            return problem(403, f"this token may not {request.method} {path}")
        return None

    async def _send(
        self, request: web.BaseRequest, answer: Answer, fault: Fault
    ) -> web.StreamResponse:
        headers = CIMultiDict({"Content-Type": "application/json"})
        headers.update(answer.headers)
        if fault.ending == "whole":
            whole = web.Response(status=answer.status, body=answer.body, headers=headers)
            if self._rules.keep_alive == "closed":
                await whole.prepare(request)
                await whole.write_eof()
                if request.transport is not None:
                    request.transport.close()
            return whole
        response = web.StreamResponse(status=answer.status, headers=headers)
        if fault.ending != "cut" and answer.body:
            response.content_length = len(answer.body)
            await response.prepare(request)
            await response.write(answer.body[: len(answer.body) // 2])
        while fault.ending == "stall" and not _is_gone(request):  # noqa: ASYNC110 - nothing tells
            await asyncio.sleep(_GLANCE)
        return _abort(request, response)


def _abort(
    request: web.BaseRequest, response: web.StreamResponse | None = None
) -> web.StreamResponse:
    if request.transport is not None:
        request.transport.abort()
    return response or web.Response()


def _is_gone(request: web.BaseRequest) -> bool:
    return request.transport is None or request.transport.is_closing()
