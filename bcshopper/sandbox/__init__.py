"""A whole store on 127.0.0.1: for offline work, and for the tests of those who use bcshopper."""

from __future__ import annotations

import asyncio
import random
import threading
from concurrent.futures import Future
from types import TracebackType
from typing import Self, Unpack

from bcshopper._session import Session, SessionSettings
from bcshopper.sandbox._admin import Admin
from bcshopper.sandbox._api import API
from bcshopper.sandbox._documents import convert
from bcshopper.sandbox._faults import Fault, Faults
from bcshopper.sandbox._past import Past
from bcshopper.sandbox._record import LoggedRequest, Record
from bcshopper.sandbox._rules import Rules
from bcshopper.sandbox._seed import Seed, plant
from bcshopper.sandbox._server import Server
from bcshopper.sandbox._store import Look, Store
from bcshopper.sandbox._webhooks import SECRET, Webhooks

__all__ = ["Fault", "Faults", "LoggedRequest", "Record", "Rules", "Sandbox", "Store"]

_SLOWEST_START = 10.0  # seconds; a busy machine needs a tenth of one


class Sandbox:
    """A store that speaks the Shopper Profiles and Segments APIs over a real socket.

    `async with` runs it in the current event loop; a plain `with` runs it in a thread of its own,
    for code that is not asynchronous or has event loops of its own.

    Args:
        customers: customers to begin with, with ids from 1.
        profiles: how many of them have a profile.
        rules: how the store behaves.
        port: where to listen; 0 picks a free port.
        seed: of everything random, profile ids included.
        admin: whether the admin API and the page are served below `/_sandbox/`, for this machine.
        webhooks: the URL that gets `store/customer/created` and `deleted` when customers come
            and go; seeds tell of those that they add, the start and `reset` of nobody.
        webhook_secret: the key that these are signed with, in base64.

    Attributes:
        store: its customers, profiles and segments, to look at and to change.
        faults: what goes wrong with which request.
        record: the requests that came.
        store_hash: the store's hash.
        access_token: a token that may read and write.
        read_only_token: a token that may only read, and that not the members of segments.
        webhook_secret: the key that webhooks are signed with, in base64.
    """

    def __init__(
        self,
        customers: int = 0,
        *,
        profiles: int = 0,
        rules: Rules = Rules(),  # noqa: B008 - frozen
        port: int = 0,
        seed: int = 0,
        admin: bool = True,
        webhooks: str | None = None,
        webhook_secret: str = SECRET,
    ) -> None:
        self.store_hash = "sandbox"
        self.access_token = "sandbox-token"  # noqa: S105 - opens nothing else
        self.read_only_token = "sandbox-read-only-token"  # noqa: S105
        self.webhook_secret = webhook_secret
        self._starts = [Seed(customers, profiles)]
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
        self._webhooks: Webhooks | None = None
        if webhooks is not None:
            self._webhooks = Webhooks(
                webhooks, webhook_secret, self.store_hash, lambda: self.rules, seed
            )  # fmt: skip
        if admin:
            self._server.admin = Admin(self, self._server, self._webhooks).handle
        self._delivery: asyncio.Task[None] | None = None
        self._thread: threading.Thread | None = None
        self._ended = Future[None]()
        self._fill()

    @property
    def store(self) -> Store:
        """The store's customers, profiles and segments."""
        return self._api.store

    @property
    def rules(self) -> Rules:
        """How the store behaves; to set it begins a new quota window, `reset` brings it back."""
        return self._server.rules

    @rules.setter
    def rules(self, rules: Rules) -> None:
        self._api.rules = rules
        self._past.lag = rules.lag
        self._server.follow(rules)

    @property
    def record(self) -> Record:
        """The requests that came since the start or the last `reset`."""
        return self._server.record

    @property
    def url(self) -> str:
        """The `base_url` for a session."""
        return f"http://127.0.0.1:{self._port}"

    def session(self, **settings: Unpack[SessionSettings]) -> Session:
        """A session on this store; takes the settings of `Session`."""
        settings.setdefault("base_url", self.url)
        return Session(self.store_hash, self.access_token, **settings)

    def seed(self, *, customers: int = 0, profiles: int = 0) -> None:
        """Add customers, then give profiles to so many customers who have none."""
        self.store.add_customers(customers)
        self.store.add_profiles(profiles)

    def begin_with(self, document: object) -> None:
        """Add what a seed of the admin API says, now and after each `reset`."""
        seed = convert(document, Seed)
        plant(self.store, seed)
        self._starts.append(seed)
        self._settle()

    def reset(self) -> None:
        """Make store and rules as they were at the start, and forget faults and record."""
        self._rng.seed(self._seed)
        self._api.store = Store(self._rng, self._past)
        self.faults.clear()
        self._server.record = Record(self.record.last + 1)
        self.rules = self._rules
        self._fill()

    def _now(self) -> float:
        return self._server.now()

    def _fill(self) -> None:
        for seed in self._starts:
            plant(self.store, seed)
        self._settle()

    def _settle(self) -> None:
        """Let what there is have been there for ever."""
        self._past.forget()
        if self._webhooks is not None:
            self._webhooks.forget()
            self.store.customers.watch = self._webhooks.note

    def spend(self, count: int) -> None:
        """Use up some of the window's quota, as the store's other apps do."""
        self._server.spend(count)

    async def start(self) -> None:
        """Listen; `async with` does it."""
        self._past.forget()  # its times are those of another clock
        self._port = await self._server.start(self._port)
        if self._webhooks is not None:
            self._delivery = asyncio.create_task(self._webhooks.run())

    async def stop(self) -> None:
        """Stop listening and cut what is under way."""
        if self._delivery is not None:
            self._delivery.cancel()
            await asyncio.wait([self._delivery])
        await self._server.stop()
        if self._delivery is not None and not self._delivery.cancelled():
            self._delivery.result()

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
        started, self._ended = Future[None](), Future[None]()
        self._thread = threading.Thread(target=self._run, args=(started,), daemon=True)
        try:
            self._thread.start()
            started.result(_SLOWEST_START)
        except BaseException as error:
            self._end_thread(_SLOWEST_START)
            if isinstance(error, TimeoutError) and not started.done():
                raise TimeoutError(f"no sandbox after {_SLOWEST_START:.0f} s") from None
            raise
        return self

    def _run(self, started: Future[None]) -> None:
        try:
            with asyncio.Runner() as runner:
                runner.run(self._serve(started))
        except BaseException as error:
            if started.done():
                raise
            started.set_exception(error)  # whatever it is: somebody waits

    async def _serve(self, started: Future[None]) -> None:
        async with self:
            started.set_result(None)
            await asyncio.wrap_future(self._ended)

    def _end_thread(self, seconds: float | None = None) -> None:
        if not self._ended.done():
            self._ended.set_result(None)
        if self._thread is not None and self._thread.ident is not None:
            self._thread.join(seconds)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._end_thread()

    def __repr__(self) -> str:
        return f"<Sandbox at {self.url} with {len(self.store.profiles)} profiles>"
