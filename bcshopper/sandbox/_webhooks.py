"""Webhooks of customers who come and go, signed and delivered at least once."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import random
import time
from collections.abc import Callable

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
_GIVE_UP = 48 * 3600.0  # seconds, as the real ones do


@attrs.define(eq=False)
class _Event:
    """One webhook.

    Attributes:
        id: it keeps it.
        body: what it tells.
        noted_at: when it was due first, in seconds on the event loop's clock.
        wait: seconds between its last two tries.
        times: how often it has yet to be taken.
    """

    id: str
    body: bytes
    noted_at: float | None = None
    wait: float = 0.0
    times: int = 1


class Webhooks:
    """Sends `store/customer/created` and `deleted` to one receiver.

    Args:
        url: the receiver's.
        secret: the key in base64, as Standard Webhooks has it.
        producer: what the events say that they are of.
        rules: tells how the store behaves now.
        seed: of which webhooks are delivered again.

    Attributes:
        delivered: how often the receiver has taken one.
        failed: how often it has not.
        lost: how many it has not taken within 48 hours.
    """

    def __init__(
        self, url: str, secret: str, *, producer: str, rules: Callable[[], Rules], seed: int
    ) -> None:
        self._url = URL(url)
        if self._url.scheme not in {"http", "https"} or not self._url.host:
            raise InvalidInputError(f"webhooks must be an http or https URL, not {shown(url)}")
        try:
            self._key = base64.b64decode(secret.removeprefix("whsec_"), validate=True)
        except ValueError:
            self._key = b""
        if not self._key:
            raise InvalidInputError("the webhooks' secret must be the base64 of a key")
        self._producer = producer
        self._rules = rules
        self._rng = random.Random(seed)  # noqa: S311 - to be repeatable
        self._count = 0
        self._open: dict[str, _Event] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._due = asyncio.Queue[_Event]()
        self.delivered = self.failed = self.lost = 0

    @property
    def waiting(self) -> int:
        """Events that have not arrived yet, or not as often as they shall."""
        return len(self._open)

    def note(self, verb: str, customer_id: int) -> None:
        """Have told that a customer was created or deleted; from any thread."""
        self._count += 1
        told = f"{self._producer} {self._count} {verb} {customer_id}"
        digest = hashlib.sha1(told.encode(), usedforsecurity=False).hexdigest()
        document = {
            "scope": f"store/customer/{verb}",
            "store_id": "1000000",
            "data": {"type": "customer", "id": customer_id},
            "hash": digest,
            "created_at": int(time.time()),
            "producer": self._producer,
        }
        event = self._open[digest] = _Event(digest, json.dumps(document).encode())
        if self._rng.random() < self._rules().webhooks_twice:
            event.times = 2
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._due.put_nowait, event)

    def forget(self) -> None:
        """Tell nobody of what has not arrived yet."""
        self._open.clear()

    async def run(self) -> None:
        """Deliver until cancelled; what has not arrived by then goes out in the next run."""
        self._due, self._loop = asyncio.Queue(), asyncio.get_running_loop()
        for event in list(self._open.values()):
            event.noted_at = None  # the clock is another one
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
        loop = asyncio.get_running_loop()
        while True:
            event = await self._due.get()
            if event.id not in self._open:
                continue  # forgotten
            event.noted_at = loop.time() if event.noted_at is None else event.noted_at
            if await self._send(http, event):
                self.delivered += 1
                event.times -= 1
                if event.times:
                    loop.call_later(_FIRST_RETRY, self._due.put_nowait, event)
                else:
                    self._open.pop(event.id, None)
                continue
            self.failed += 1
            if loop.time() - event.noted_at > _GIVE_UP:
                self.lost += self._open.pop(event.id, None) is not None
                continue
            event.wait = min(_SLOWEST_RETRY, 2 * event.wait or _FIRST_RETRY)
            loop.call_later(event.wait, self._due.put_nowait, event)

    async def _send(self, http: aiohttp.ClientSession, event: _Event) -> bool:
        try:
            async with http.post(
                self._url, data=event.body, headers=self._headers(event), allow_redirects=False
            ) as answer:
                return 200 <= answer.status < 300  # noqa: PLR2004
        except (aiohttp.ClientError, OSError, TimeoutError):
            return False

    def _headers(self, event: _Event) -> dict[str, str]:
        sent = str(int(time.time()))
        signed = b".".join([event.id.encode(), sent.encode(), event.body])
        signature = base64.b64encode(hmac.digest(self._key, signed, "sha256")).decode()
        return {
            "Content-Type": "application/json",
            "webhook-id": event.id,
            "webhook-timestamp": sent,
            "webhook-signature": f"v1,{signature}",
        }
