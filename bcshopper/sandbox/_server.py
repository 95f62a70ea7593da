"""The sandbox over a real socket: who may ask, what goes wrong, and what is on record."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any
from weakref import WeakSet

import attrs
from aiohttp import web
from multidict import CIMultiDict

from bcshopper.sandbox._answers import Answer, Call, problem
from bcshopper.sandbox._api import API, RESOURCES, needs_modify, pattern_of
from bcshopper.sandbox._faults import Fault, Faults
from bcshopper.sandbox._http import Listener, abort, read_body, send
from bcshopper.sandbox._paths import is_admin
from bcshopper.sandbox._quota import Quota
from bcshopper.sandbox._record import LoggedRequest, Record
from bcshopper.sandbox._rules import Rules

_SLOWEST_CLOSE = 1.0
_MAX_URL = 2048  # characters, percent-encoded


class Server:
    """Serves one store, and what is below `/_sandbox/` if there is somebody to answer that."""

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
        self._tokens = tokens
        self.prefix = f"/stores/{store_hash}/v3/"
        self._rng = rng
        self._runner: web.ServerRunner | None = None
        self._handlers: set[asyncio.Task[object]] = set()
        self._used = WeakSet[asyncio.Transport]()
        self._clock: Callable[[], float] = time.monotonic
        self.admin: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]] | None = None
        self.record = Record()
        self.follow(rules)

    def follow(self, rules: Rules) -> None:
        """Behave so from now on, with a new quota window from the next request on."""
        self.rules = rules
        self.quota = None if rules.quota is None else Quota(rules.quota, rules, RESOURCES)

    def now(self) -> float:
        """Seconds on the event loop's clock."""
        return self._clock()

    async def start(self, port: int) -> int:
        """Listen on 127.0.0.1, and return the port."""
        self._clock = asyncio.get_running_loop().time
        self._runner = web.ServerRunner(Listener(self._handle), shutdown_timeout=_SLOWEST_CLOSE)
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
        if self.admin is not None and is_admin(request.path):
            return await self.admin(request)
        if self.rules.keep_alive == "dead" and request.transport is not None:
            if request.transport in self._used:
                return abort(request)
            self._used.add(request.transport)
        body = await read_body(request)
        path = request.path.removeprefix(self.prefix)
        record, logged = self.record, self._log(request, body)
        record.add(logged, pattern_of(path))
        try:
            fault = self.faults.take(request.method, path) or Fault()
            answer = await self._answer(request, path, body, fault)
            if fault.ending != "cut":
                record.answered(logged, answer.status)
            closed = self.rules.keep_alive == "closed"
            packed = self.rules.gzip and "Content-Encoding" not in answer.headers
            return await send(request, answer, fault.ending, packed=packed, closed=closed)
        finally:
            record.ended(logged, self._clock())

    def _log(self, request: web.BaseRequest, body: bytes | Answer) -> LoggedRequest:
        return LoggedRequest(
            request.method,
            request.path,
            tuple(request.query.items()),
            {
                k: "[secure]" if k.lower() == "x-auth-token" else v
                for k, v in request.headers.items()
            },
            body if isinstance(body, bytes) else b"",
            self._clock(),
        )

    def _own(self, task: asyncio.Task[Any] | None) -> None:
        if task is not None:  # a handler always is one
            self._handlers.add(task)
            task.add_done_callback(self._handlers.discard)

    async def _answer(
        self, request: web.BaseRequest, path: str, body: bytes | Answer, fault: Fault
    ) -> Answer:
        most = self.rules.max_concurrent
        crowded = most is not None and self.record.in_flight > most
        resource = path.partition("/")[0]
        spent = self.quota is not None and not self.quota.admit(self._clock(), resource)
        delay = self.rules.latency + fault.latency + self._rng.random() * fault.jitter
        if delay:
            await asyncio.sleep(delay)
        if fault.change is not None:
            fault.change(self.api.store)
        headers = CIMultiDict[str]()
        if self.quota is not None:
            headers.update(self.quota.headers(self._clock(), resource, spent=spent))
        if crowded:
            return problem(429, "too many requests at once")
        answer = self._refusal(request, path)
        if answer is None and spent:
            answer = problem(429, "the quota of this window is spent")
        if answer is None and isinstance(body, Answer):
            answer = body
        if answer is None and isinstance(body, bytes) and fault.applied:
            call = Call(request.method, request.query, request.content_type, body, fault.failing)
            if fault.lands_after:
                self._own(asyncio.create_task(self._land(path, call, fault.lands_after)))
            else:
                answer = self.api.answer(path, call)
        if fault.status is not None or answer is None:
            answer = Answer(fault.status or 500, fault.body, fault.headers)
        headers.update(answer.headers)
        return attrs.evolve(answer, headers=headers)

    async def _land(self, path: str, call: Call, seconds: float) -> None:
        store = self.api.store
        await asyncio.sleep(seconds)
        if self.api.store is store:  # no reset has come in between
            self.api.answer(path, call)

    def _refusal(self, request: web.BaseRequest, path: str) -> Answer | None:
        if not request.path.startswith(self.prefix):
            return problem(
                404, f"no such store or resource: {request.path}; the sandbox serves {self.prefix}"
            )
        length = len("http://") + len(request.host) + len(request.raw_path)
        if length > _MAX_URL and self.rules.above_max_ids == "refuse":
            return problem(414, f"a URL has at most {_MAX_URL} characters, not {length}")
        may_write = self._tokens.get(request.headers.get("X-Auth-Token", ""))
        if may_write is None:
            return problem(401, "the X-Auth-Token header is missing or wrong")
        if needs_modify(request.method, path) and not may_write:
            return problem(403, f"this token may not {request.method} {path}")
        return None
