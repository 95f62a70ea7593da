"""The quota's state in Redis or Valkey: one atomic script, and the connection to run it."""

from __future__ import annotations

import hashlib
import math
from importlib.resources import files
from typing import Any

import msgspec
from redis.asyncio import ConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from bcshopper._quota.headers import QuotaSnapshot
from bcshopper._quota.leased import Grant, Report
from bcshopper._quota.slots import LEASE

_SCRIPT = files("bcshopper._quota").joinpath("redis.lua").read_text()
_PATIENCE = 2.0
"""Seconds after which a request that went alone is no longer waited for: its process may be dead.

All that it costs is that another one goes alone.
"""
_LONGEST_PAUSE = 120.0  # seconds for which others stop because one process was told to
_SETTINGS: dict[str, Any] = {
    "socket_connect_timeout": 0.5,  # also of disconnecting
    "protocol": 2,  # the answer is one string: nothing newer is needed
    "retry": Retry(NoBackoff(), 0),  # whoever asks goes on without, and asks again later
}


class QuotaStore:
    """The state of one store's quota on a Redis server; connects when it is first asked.

    Args:
        url: of the Redis server.
        store: base URL and store hash.
        member: a name for this process that no other has.
    """

    def __init__(self, url: str, store: tuple[str, str], member: str) -> None:
        self._redis = Redis.from_url(url, **_SETTINGS)
        self._run = self._redis.register_script(_SCRIPT)
        self._key = key_of(*store)
        self._member = member

    async def exchange(self, report: Report) -> Grant:
        """Hand in a report, and get the grant: one round trip."""
        answer = await self._run(
            keys=[self._key],
            args=[self._member, _encode(report), _milliseconds(_PATIENCE), _milliseconds(LEASE)],
        )
        return _decode(answer)

    def explain(self, error: Exception) -> str:
        """What went wrong and where, without the password."""
        pool = self._redis.connection_pool
        settings: dict[str, Any] = {"host": "localhost", "port": 6379} | pool.connection_kwargs
        place = settings.get("path") or "{host}:{port}".format_map(settings)
        text = f"{type(error).__name__} at {place}: {error}"
        password = settings.get("password")
        return text.replace(password, "[secure]") if password else text

    async def aclose(self) -> None:
        """Close the connection."""
        await self._redis.aclose()


def is_usable(url: str) -> bool:
    """Whether this is a URL that a client can be made of. Connects to nothing."""
    try:
        pool = ConnectionPool.from_url(url, **_SETTINGS)
        pool.connection_class(**pool.connection_kwargs)  # refuses unknown options
        QuotaStore(url, ("", ""), "")
    except Exception:  # noqa: BLE001 - redis raises whatever an option's own conversion raises
        return False
    return True


def key_of(base_url: str, store_hash: str) -> str:
    """The key under which a store's state is kept."""
    digest = hashlib.sha256(f"{base_url.rstrip('/')}|{store_hash}".encode()).hexdigest()
    return f"bcshopper:quota:3:{digest}"


def _encode(report: Report) -> bytes:
    fields: dict[str, Any] = {
        "window": report.window,
        "sent": report.sent,
        "in_flight": report.in_flight,
        "unused": report.unused,
        "wanted": report.wanted,
        "slots": report.slots,
        "answered": report.answered,
        "busy": report.busy,
        "share": report.share,
        "max_concurrent": report.max_concurrent,
        "is_free": report.is_free,
        "pause": _milliseconds(min(report.pause, _LONGEST_PAUSE)),
        "margin": _milliseconds(report.margin),
    }
    if report.told is not None:
        fields["told"] = {
            "limit": report.told.limit,
            "left": report.told.remaining,
            "length": _milliseconds(report.told.window),
            "reset": _milliseconds(report.told.reset_in),
        }
    return msgspec.json.encode(fields)


def _decode(answer: bytes) -> Grant:
    fields = msgspec.json.decode(answer)
    quota = fields.pop("quota", None)
    for name in ("valid", "closed", "pause", "margin"):
        fields[name] /= 1000
    if quota is not None:
        quota = QuotaSnapshot(
            quota["limit"], quota["left"], quota["length"] / 1000, quota["reset"] / 1000
        )
    return Grant(quota=quota, **fields)


def _milliseconds(seconds: float) -> int:
    return math.ceil(seconds * 1000)
