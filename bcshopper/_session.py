"""The session: one store, one token, one gate."""

from __future__ import annotations

import copy
import ipaddress
import os
import re
from collections.abc import Callable
from functools import cached_property
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypedDict, Unpack

import aiohttp
from yarl import URL

from bcshopper._inputs import check_count, check_kind, check_number, shown
from bcshopper._profiles import ShopperProfiles
from bcshopper._quota import QuotaPolicy, QuotaSnapshot, check_shared
from bcshopper._secret import Secret
from bcshopper._transport import Options, RetryPolicy, SessionStats, Transport, Wire
from bcshopper.errors import InvalidInputError

if TYPE_CHECKING:
    from bcshopper._customers.resource import Customers
    from bcshopper._segments import Segments
    from bcshopper.events import Event
else:
    Event = Any  # for those who evaluate the annotations of `Session`, as dependency injection does

DEFAULT_BASE_URL = "https://api.bigcommerce.com"


class SessionSettings(TypedDict, total=False):
    """The keyword arguments of `Session`, which says what they mean."""

    base_url: str | URL
    http: aiohttp.ClientSession | None
    concurrency: int | None
    timeout: float
    retry: RetryPolicy
    quota: QuotaPolicy
    on_event: Callable[[Event], None] | None


class Session:
    """A client of one store's shopper profiles and segments.

    Use it with `async with`, or call `aclose()` when done. Make one per store and event loop, and
    share it: all of its calls pass through one gate.

    See https://developer.bigcommerce.com/docs/start/authentication

    Args:
        store_hash: the store's permanent id, as in its API path.
        access_token: the API account's token, sent as `X-Auth-Token`.
        base_url: where the API is; plain `http://` only for a loopback address.
        http: an aiohttp session to send through, which stays the caller's to close.
        concurrency: requests of this session in flight at most; None: as many as the store takes at
            once, which `quota.max_concurrent` says for all of its sessions together.
        timeout: seconds for one attempt, from the moment it may go out. Bound a whole call with
            `asyncio.timeout`.
        retry: when to try again.
        quota: how to treat the store's request quota.
        on_event: called with each event of `bcshopper.events`, in the event loop's thread.

    Attributes:
        shopper_profiles: the store's shopper profiles.

    Raises:
        InvalidInputError: an argument is refused.
    """

    def __init__(
        self,
        store_hash: str,
        access_token: str,
        *,
        base_url: str | URL = DEFAULT_BASE_URL,
        http: aiohttp.ClientSession | None = None,
        concurrency: int | None = None,
        timeout: float = 30.0,
        retry: RetryPolicy = RetryPolicy(),  # noqa: B008 - frozen
        quota: QuotaPolicy = QuotaPolicy(),  # noqa: B008 - frozen
        on_event: Callable[[Event], None] | None = None,
    ) -> None:
        # First of all, so that no traceback shows it.
        access_token = Secret(access_token if isinstance(access_token, str) else "")
        if not re.fullmatch(r"[!-~]+", access_token):
            raise InvalidInputError("the access token is empty or has characters that no token has")
        if not isinstance(store_hash, str) or not re.fullmatch(r"[A-Za-z0-9_-]+", store_hash):
            raise InvalidInputError(
                f"{shown(store_hash)} is not a store hash: letters and digits only"
            )
        check_number("timeout", timeout, above=0)
        check_kind("retry", retry, RetryPolicy)
        check_kind("quota", quota, QuotaPolicy)
        if concurrency is None:
            concurrency = quota.max_concurrent
        check_count("concurrency", concurrency)
        if concurrency > quota.max_concurrent:
            raise InvalidInputError(
                f"concurrency is {concurrency}, but the store takes {quota.max_concurrent} "
                f"requests at once, from all of its sessions; if it takes more, give "
                f"quota=QuotaPolicy(max_concurrent={concurrency})"
            )
        if http is not None:
            check_kind("http", http, aiohttp.ClientSession)
        if on_event is not None and not callable(on_event):
            raise InvalidInputError(f"on_event must be callable, not {shown(on_event)}")
        if quota.shared is not None:
            check_shared(quota.shared)
        self._base_url = _check_base_url(base_url)
        self._store_hash = store_hash
        transport = Transport(
            Wire(access_token, http=http, connections=concurrency),
            store=(str(self._base_url), store_hash),
            concurrency=concurrency,
            options=Options(retry, quota, timeout),
            on_event=on_event,
        )
        self._root = self._base_url / "stores" / store_hash / "v3"
        self._use(transport, is_owner=True)

    def _use(self, transport: Transport, *, is_owner: bool) -> None:
        self._transport = transport
        self._is_owner = is_owner
        self.shopper_profiles = ShopperProfiles(self._transport, self._root, self._store_hash)
        for name in "customers", "segments":
            vars(self).pop(name, None)  # a copy's are made anew

    @cached_property
    def customers(self) -> Customers:
        """The store's customers: who has a profile, and who is in which segment."""
        from bcshopper._customers.resource import Customers  # noqa: PLC0415 - for those who use it

        return Customers(self._transport, self._root)

    @cached_property
    def segments(self) -> Segments:
        """The store's segments, and who is in them."""
        from bcshopper._segments import Segments  # noqa: PLC0415 - for those who use it

        return Segments(self._transport, self._root, self._store_hash)

    def with_options(
        self,
        *,
        retry: RetryPolicy | None = None,
        quota: QuotaPolicy | None = None,
        timeout: float | None = None,
    ) -> Self:
        """The same session with other patience, for some of its calls; sends nothing.

        What it returns goes through the same connections, gate, retry budget and counts, and ends
        with this session: closing it does nothing.

        Args:
            retry: when to try again; None: as it is.
            quota: how to treat the store's quota. What all sessions and processes share must be as
                it is: `max_concurrent` and `shared`, and with that `share`.
            timeout: seconds for one attempt.

        Raises:
            InvalidInputError: an argument is refused.
        """
        own = self._transport.options
        if retry is not None:
            check_kind("retry", retry, RetryPolicy)
        if timeout is not None:
            check_number("timeout", timeout, above=0)
        if quota is not None:
            check_kind("quota", quota, QuotaPolicy)
            for name in ("max_concurrent", "shared", *(["share"] if own.quota.shared else [])):
                if getattr(quota, name) != getattr(own.quota, name):
                    raise InvalidInputError(
                        f"with_options can't change {name} of the quota policy, which other calls "
                        f"share: give the session's own"
                    )
        options = Options(retry or own.retry, quota or own.quota, timeout or own.timeout)
        other = copy.copy(self)
        other._use(self._transport.with_options(options), is_owner=False)  # noqa: SLF001 - our own
        return other

    @classmethod
    def from_env(cls, **settings: Unpack[SessionSettings]) -> Self:
        """Make a session from environment variables.

        Reads `BIGCOMMERCE_STORE_HASH`, `BIGCOMMERCE_ACCESS_TOKEN` and, if it is set,
        `BIGCOMMERCE_BASE_URL`.

        Args:
            settings: the keyword arguments of `Session`.

        Raises:
            InvalidInputError: one of the first two is missing or empty.
        """
        names = ("BIGCOMMERCE_STORE_HASH", "BIGCOMMERCE_ACCESS_TOKEN")
        missing = [name for name in names if not os.environ.get(name)]
        if missing:
            raise InvalidInputError(f"set the environment variable {' and '.join(missing)}")
        base_url = os.environ.get("BIGCOMMERCE_BASE_URL")
        if base_url:
            settings.setdefault("base_url", base_url)
        return cls(*(os.environ[name] for name in names), **settings)

    @property
    def store_hash(self) -> str:
        """The store's permanent id."""
        return self._store_hash

    @property
    def stats(self) -> SessionStats:
        """What the session has done so far: a copy, which does not change."""
        return self._transport.stats

    @property
    def quota(self) -> QuotaSnapshot | None:
        """The store's quota as the newest answer gave it; None if none has."""
        return self._transport.quota

    @property
    def closed(self) -> bool:
        """Whether it was closed."""
        return self._transport.life.closed

    async def aclose(self) -> None:
        """Close the session: what is under way ends with `SessionClosedError`, nothing is left.

        One made by `with_options` is closed with the session that it was made of.
        """
        if self._is_owner:
            await self._transport.life.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    def __repr__(self) -> str:
        if "_transport" not in self.__dict__:
            return "<Session, not made>"  # a traceback of __init__ may ask
        state = " closed" if self.closed else ""
        return f"<Session of store {self._store_hash} at {self._base_url}{state}>"


def _check_base_url(base_url: str | URL) -> URL:
    try:
        url = URL(base_url)
    except (TypeError, ValueError):
        url = None
    if url is None:
        raise InvalidInputError(f"{shown(base_url)} is not a URL")
    if url.user or url.password:
        raise InvalidInputError("base_url must not hold a user or password")
    if url.scheme not in {"http", "https"} or not url.host:
        raise InvalidInputError(
            f"base_url must be an http or https URL with a host, not {shown(base_url)}"
        )
    if url.query_string or url.fragment:
        raise InvalidInputError(
            f"base_url must have no query and no fragment, not {shown(base_url)}"
        )
    if url.scheme == "http" and not is_loopback(url.host):
        raise InvalidInputError(
            f"base_url {shown(base_url)} would send the access token unencrypted: use https "
            f"(plain http is for loopback addresses)"
        )
    return url


def is_loopback(host: str) -> bool:
    """Whether a host, without its port, is surely this machine."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
