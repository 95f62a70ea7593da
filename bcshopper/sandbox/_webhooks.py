"""Webhooks of customers who come and go, signed and delivered at least once."""

from __future__ import annotations

import asyncio
import base64
import hmac
import json
import random
import time
from collections.abc import Callable
from hashlib import sha256
from itertools import count

import aiohttp
import attrs
from yarl import URL

from bcshopper._inputs import shown
from bcshopper.errors import InvalidInputError
from bcshopper.sandbox._rules import Rules

SECRET = "c2FuZGJveC1zZWNyZXQ="  # noqa: S105 - guards nothing
"""The key of webhooks if no other is given."""

_AT_ONCE = 10  # deliveries under way
_PATIENCE = aiohttp.ClientTimeout(total=10.0)
_FIRST_RETRY, _SLOWEST_RETRY = 1.0, 600.0  # seconds; the real ones begin with a minute


@attrs.define(eq=False)
class _Event:
    """A webhook: its id and body, how often it has yet to be taken, and its last wait in s."""

    id: str
    body: bytes
    times: int
    wait: float = 0.0


class Webhooks:
    """Sends `store/customer/created` and `deleted` to a URL, signed with a key in base64."""

    def __init__(
        self, url: str, secret: str, store_hash: str, rules: Callable[[], Rules], seed: int
    ) -> None:
        self._url, self._store_hash = URL(url), store_hash
        if self._url.scheme not in {"http", "https"} or not self._url.host:
            raise InvalidInputError(f"webhooks must be an http or https URL, not {shown(url)}")
        try:
            self._key = base64.b64decode(secret.removeprefix("whsec_"), validate=True)
        except ValueError:
            self._key = b""
        if not self._key:
            raise InvalidInputError("the webhooks' secret must be the base64 of a key")
        self._rules = rules
        self._rng = random.Random(seed)  # noqa: S311 - to be repeatable
        self._numbers = count(1)
        self._open: dict[str, _Event] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._due = asyncio.Queue[_Event]()
        self._taken = self._failed = 0

    @property
    def counts(self) -> dict[str, int]:
        """How many wait, and how many deliveries were taken and were not."""
        return {"waiting": len(self._open), "taken": self._taken, "failed": self._failed}

    def note(self, verb: str, customer_id: int) -> None:
        """Have told that a customer was created or deleted; from any thread."""
        now = time.time()
        key = sha256(f"{next(self._numbers)} {verb} {customer_id} {now}".encode()).hexdigest()[:40]
        document = {
            "scope": f"store/customer/{verb}",
            "store_id": "1000000",
            "data": {"type": "customer", "id": customer_id},
            "hash": key,
            "created_at": int(now),
            "producer": f"stores/{self._store_hash}",
        }
        times = 2 if self._rng.random() < self._rules().webhooks_twice else 1
        event = self._open[key] = _Event(key, json.dumps(document).encode(), times)
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._due.put_nowait, event)

    def forget(self) -> None:
        """Tell nobody of what has not arrived yet."""
        self._open.clear()

    async def run(self) -> None:
        """Deliver until cancelled; what has not arrived by then goes out in the next run."""
        self._due, self._loop = asyncio.Queue(), asyncio.get_running_loop()
        for event in list(self._open.values()):
            self._due.put_nowait(event)
        try:
            # A kept connection may be dead by the time of the next event.
            fresh = aiohttp.TCPConnector(force_close=True)
            async with (
                aiohttp.ClientSession(connector=fresh, timeout=_PATIENCE) as http,
                asyncio.TaskGroup() as group,
            ):
                for _ in range(_AT_ONCE):
                    group.create_task(self._deliver(http))
        finally:
            self._loop = None

    async def _deliver(self, http: aiohttp.ClientSession) -> None:
        while True:
            event = await self._due.get()
            if event.id not in self._open:
                continue  # forgotten
            if await self._send(http, event):
                self._taken += 1
                event.times -= 1
                event.wait = 0.0
            else:
                self._failed += 1
            if not event.times:
                self._open.pop(event.id, None)
                continue
            event.wait = min(_SLOWEST_RETRY, 2 * event.wait or _FIRST_RETRY)
            asyncio.get_running_loop().call_later(event.wait, self._due.put_nowait, event)

    async def _send(self, http: aiohttp.ClientSession, event: _Event) -> bool:
        sent = str(int(time.time()))
        signed = b".".join([event.id.encode(), sent.encode(), event.body])
        signature = base64.b64encode(hmac.digest(self._key, signed, "sha256")).decode()
        headers = {
            "Content-Type": "application/json",
            "webhook-id": event.id,
            "webhook-timestamp": sent,
            "webhook-signature": f"v1,{signature}",
        }
        try:
            async with http.post(
                self._url, data=event.body, headers=headers, allow_redirects=False
            ) as answer:
                return answer.status // 100 == 2  # noqa: PLR2004
        except (aiohttp.ClientError, OSError, TimeoutError):
            return False
