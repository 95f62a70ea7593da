"""Whether a store can be worked with: what is wrong, and what to do about it."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from email.utils import parsedate_to_datetime
from importlib.util import find_spec
from statistics import median
from uuid import UUID

import attrs
import click
from yarl import URL

from bcshopper._cli._runner import Exit
from bcshopper._cli._settings import Settings
from bcshopper._cli._terminal import log_response
from bcshopper._quota import QuotaSnapshot
from bcshopper._session import Session
from bcshopper._transport import Reply, Request
from bcshopper.errors import APIError, AuthenticationError, BCShopperError, PermissionDeniedError

_CLOCK = 30.0
"""Seconds that a clock may be wrong: an HTTP date is whole seconds, and answers take time."""
_REDIS = 5.0
"""Seconds for a Redis server to answer."""
_NO_SEGMENT = UUID(int=0)


@attrs.frozen
class Finding:
    """What one check found, what to do about it, and the exit code if that is bad."""

    check: str
    text: str
    advice: str | None = None
    code: Exit | None = None

    def show(self, *, as_json: bool) -> None:
        """Print it, for programs or for people."""
        mark = "FAIL" if self.code else "ok" if self.advice is None else "-"
        if as_json:
            row = {"check": self.check, "text": self.text, "advice": self.advice}
            click.echo(json.dumps({**row, "ok": self.code is None}))
        else:
            advice = f" -> {self.advice}" if self.advice else ""
            click.echo(f"{mark:<4}  {self.check:<7}  {self.text}{advice}")


async def examine(settings: Settings, *, as_json: bool) -> int:
    """Make every check, show what each finds, and give the exit code of the first that failed."""
    code = 0
    async with settings.session(on_event=log_response) as session:
        async for finding in _findings(settings, session):
            finding.show(as_json=as_json)
            code = code or finding.code or 0
    return code


async def _findings(settings: Settings, session: Session) -> AsyncIterator[Finding]:
    seconds, replies = list[float](), list[Reply]()

    async def get(path: str) -> BCShopperError | None:
        request = Request("GET", settings.root.joinpath(path).with_query(limit=1))
        began = time.monotonic()
        try:
            await session._transport.send(request, replies.append)  # noqa: SLF001 - no verb asks so
        except BCShopperError as error:
            return error
        finally:
            seconds.append(time.monotonic() - began)
        return None

    yield Finding("store", f"{settings.store_hash} at {settings.base_url}")
    refusal = await get("shopper-profiles")
    if refusal is not None and not isinstance(refusal, APIError):
        yield Finding("API", str(refusal), "check the network and --base-url", Exit.API)
    elif isinstance(refusal, AuthenticationError):
        yield Finding("token", "refused", "make a new one, or give the right one", Exit.CREDENTIALS)
    elif refusal is not None and not isinstance(refusal, PermissionDeniedError):
        yield Finding("API", str(refusal), "check --store, or try again later", Exit.API)
    else:
        yield Finding("token", "accepted")
        reads = refusal is None or await get("customers") is None
        asked = await get(f"segments/{_NO_SEGMENT}/shopper-profiles") if reads else refusal
        writes = not isinstance(asked, PermissionDeniedError)
        yield _scope(reads=reads, writes=writes, has_feature=refusal is None)
        if refusal is None:
            yield Finding("plan", "has shopper profiles")
        elif reads:
            advice = "the store's plan must be Enterprise: ask its owner"
            yield Finding("plan", "has no shopper profiles", advice, Exit.CREDENTIALS)
    if replies:
        yield _quota(session.quota, settings.quota.share)
        yield _clock(replies[0])
        yield Finding("latency", f"{median(seconds):.3f} s")
    if settings.quota.shared is not None:
        yield await _redis(settings.quota.shared)


def _scope(*, reads: bool, writes: bool, has_feature: bool) -> Finding:
    advice = "give its API account the OAuth scope Customers: modify"
    if not reads:
        return Finding("scope", "no customers", advice, Exit.CREDENTIALS)
    if has_feature and not writes:
        return Finding("scope", "reads customers, and writes nothing", advice, Exit.CREDENTIALS)
    return Finding("scope", "reads and writes customers" if writes else "reads customers")


def _quota(quota: QuotaSnapshot | None, share: float) -> Finding:
    if quota is None:
        return Finding("quota", "the API tells of none")
    ours = max(1, int(quota.limit * share))
    used = f", of which {ours:,} are used" if ours < quota.limit else ""
    text = f"{quota.limit:,} requests per {quota.window:g} s{used}, {quota.remaining:,} left"
    is_low = quota.remaining < quota.limit / 10
    return Finding(
        "quota", text, "another app is at work: give --share, or wait" if is_low else None
    )


def _clock(reply: Reply) -> Finding:
    try:
        off = time.time() - parsedate_to_datetime(reply.headers["Date"]).timestamp()
    except (KeyError, ValueError):
        return Finding("clock", "the API does not tell its time")
    if abs(off) <= _CLOCK:
        return Finding("clock", f"within {_CLOCK:g} s of the API's")
    text = f"{abs(off):,.0f} s {'ahead of' if off > 0 else 'behind'} the API's"
    return Finding("clock", text, "set it: resumed jobs tell new from old by it", Exit.API)


async def _redis(url: str) -> Finding:
    if find_spec("redis") is None:
        return Finding("redis", "not installed", "pip install 'bcshopper[redis]'", Exit.USAGE)
    from redis.asyncio import Redis  # noqa: PLC0415 - only who shares needs the extra
    from redis.exceptions import RedisError  # noqa: PLC0415

    place = URL(url).with_user(None)  # and without its password
    began = time.monotonic()
    try:
        async with asyncio.timeout(_REDIS), Redis.from_url(url) as redis:
            await redis.ping()
    except (OSError, RedisError) as error:
        text = f"{place}: {type(error).__name__}"
        return Finding("redis", text, "check --shared, and the server", Exit.API)
    return Finding("redis", f"{place} answers in {time.monotonic() - began:.3f} s")
