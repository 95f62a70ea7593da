"""A whole store on 127.0.0.1: for offline work, and for the tests of those who use bcshopper."""

from __future__ import annotations

import asyncio
import random
import threading
from collections.abc import Callable
from concurrent.futures import Future
from types import TracebackType
from typing import Any, Self

from bcshopper._session import Session
from bcshopper.sandbox._api import API
from bcshopper.sandbox._faults import Fault, Faults
from bcshopper.sandbox._past import Past
from bcshopper.sandbox._rules import Rules
from bcshopper.sandbox._server import LoggedRequest, Record, Server
from bcshopper.sandbox._store import Look, Store

__all__ = ["Fault", "Faults", "LoggedRequest", "Record", "Rules", "Sandbox", "Store"]


class Sandbox:
    """A store that speaks the Shopper Profiles API over a real socket.

    `async with` runs it in the current event loop; a plain `with` runs it in a thread of its own,
    for code that is not asynchronous or has event loops of its own.

    Args:
        customers: customers to begin with, with ids from 1.
        profiles: how many of them have a profile.
        rules: how the store behaves.
        port: where to listen; 0 picks a free port.
        seed: of everything random, profile ids included.

    Attributes:
        store: its customers and profiles, to look at and to change.
        faults: what goes wrong with which request.
        record: the requests that came.
        store_hash: the store's hash.
        access_token: a token that may read and write.
        read_only_token: a token that may only read.
    """

    def __init__(
        self,
        customers: int = 0,
        *,
        profiles: int = 0,
        rules: Rules = Rules(),  # noqa: B008 - frozen
        port: int = 0,
        seed: int = 0,
    ) -> None:
        self.store_hash = "sandbox"
        self.access_token = "sandbox-token"  # noqa: S105 - opens nothing else
        self.read_only_token = "sandbox-read-only-token"  # noqa: S105
        self._customers = customers
        self._profiles = profiles
        self._rules = rules
        self._port = port
        self._seed = seed
        self._rng = random.Random(seed)  # noqa: S311 - to be repeatable
        self.faults = Faults(self._rng)
        self._past = Past[Look | None](rules.lag, self._now)
        self._api = API(Store(self._rng, self._past), rules)
        self._server = Server(
            self._api,
            store_hash=self.store_hash,
            tokens={self.access_token: True, self.read_only_token: False},
            faults=self.faults,
            rules=rules,
            rng=self._rng,
        )
        self._thread: threading.Thread | None = None
        self._stop_thread: Callable[[], object] = lambda: None
        self._fill()

    @property
    def store(self) -> Store:
        """The store's customers and profiles."""
        return self._api.store

    @property
    def record(self) -> Record:
        """The requests that came since the start or the last `reset`."""
        return self._server.record

    @property
    def url(self) -> str:
        """The `base_url` for a session."""
        return f"http://127.0.0.1:{self._port}"

    def session(self, **settings: Any) -> Session:
        """A session on this store; takes the settings of `Session`."""
        return Session(self.store_hash, self.access_token, base_url=self.url, **settings)

    def seed(self, *, customers: int = 0, profiles: int = 0) -> None:
        """Add customers, then give profiles to so many customers who have none."""
        self.store.add_customers(customers)
        self.store.add_profiles(profiles)

    def reset(self) -> None:
        """Make the store as it was at the start, and forget faults and record."""
        self._rng.seed(self._seed)
        self._api.store = Store(self._rng, self._past)
        self.faults.clear()
        self._server.reset()
        self._fill()

    def _now(self) -> float:
        return self._server.now()

    def _fill(self) -> None:
        self.seed(customers=self._customers, profiles=self._profiles)
        self._past.forget()

    def spend(self, count: int) -> None:
        """Use up some of the window's quota, as the store's other apps do."""
        self._server.spend(count)

    async def start(self) -> None:
        """Listen; `async with` does it."""
        self._past.forget()  # its times are those of another clock
        self._port = await self._server.start(self._port)

    async def stop(self) -> None:
        """Stop listening and cut what is under way."""
        await self._server.stop()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.stop()

    def __enter__(self) -> Self:
        started: Future[None] = Future()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve(started)))
        self._thread.start()
        try:
            started.result()
        except BaseException:
            self._thread.join()
            raise
        return self

    async def _serve(self, started: Future[None]) -> None:
        loop, stop = asyncio.get_running_loop(), asyncio.Event()
        self._stop_thread = lambda: loop.call_soon_threadsafe(stop.set)
        try:
            await self.start()
        except Exception as error:  # noqa: BLE001 - it goes to whoever waits
            started.set_exception(error)
            return
        started.set_result(None)
        await stop.wait()
        await self.stop()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stop_thread()
        if self._thread is not None:
            self._thread.join()

    def __repr__(self) -> str:
        return f"<Sandbox at {self.url} with {len(self.store.profiles)} profiles>"
