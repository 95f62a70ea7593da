"""Whether a store can be worked with: what is wrong, and what to do about it."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from email.utils import parsedate_to_datetime
from importlib.util import find_spec
from statistics import median
from typing import Any, Literal
from uuid import UUID

import attrs
import click
from yarl import URL

from bcshopper._cli._runner import Exit
from bcshopper._cli._settings import Settings
from bcshopper._cli._terminal import log_response
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
    """What one check found, and the exit code if that is bad."""

    check: str
    text: str
    advice: str | None = None
    code: Exit | None = None

    @property
    def mark(self) -> Literal["ok", "FAIL", "-"]:
        """In a word."""
        return "FAIL" if self.code else "ok" if self.advice is None else "-"


async def examine(settings: Settings, show: Callable[[Finding], None]) -> int:
    """Make every check, show what each finds, and give the exit code of the first that failed."""
    code = 0
    async with settings.session(log_response) as session:
        async for finding in _findings(settings, session):
            show(finding)
            code = code or finding.code or 0
    return code


async def _findings(settings: Settings, session: Session) -> AsyncIterator[Finding]:
    seconds, replies = [], []

    async def get(path: str, **query: str | int) -> BCShopperError | None:
        request = Request("GET", settings.root.joinpath(path).with_query(query))
        began = time.monotonic()
        try:
            replies.append(await session._transport.send(request, _whole))  # noqa: SLF001 - no verb asks so
        except BCShopperError as error:
            return error
        finally:
            seconds.append(time.monotonic() - began)
        return None

    yield Finding("store", f"{settings.store_hash} at {settings.base_url}")
    refusal = await get("shopper-profiles", limit=1)
    if refusal is not None and not isinstance(refusal, APIError):
        yield Finding("API", str(refusal), "check the network and --base-url", Exit.API)
    elif isinstance(refusal, AuthenticationError):
        yield Finding("token", "refused", "make a new one, or give the right one", Exit.CREDENTIALS)
    elif refusal is not None and not isinstance(refusal, PermissionDeniedError):
        yield Finding("API", str(refusal), "check --store, or try again later", Exit.API)
    else:
        yield Finding("token", "accepted")
        can_read = refusal is None or await get("customers", limit=1) is None
        path = f"segments/{_NO_SEGMENT}/shopper-profiles"
        can_write = can_read and not isinstance(await get(path, limit=1), PermissionDeniedError)
        yield _scope(can_read=can_read, can_write=can_write, has_feature=refusal is None)
        if refusal is None:
            yield Finding("plan", "has shopper profiles")
        elif can_read:
            advice = "the store's plan must be Enterprise: ask its owner"
            yield Finding("plan", "has no shopper profiles", advice, Exit.CREDENTIALS)
    for reply in replies[:1]:
        yield _quota(session, settings)
        yield _clock(reply)
        yield Finding("latency", f"{median(seconds):.3f} s")
    if settings.quota.shared is not None:
        yield await _redis(settings.quota.shared)


def _whole(reply: Reply) -> Reply:
    return reply


def _scope(*, can_read: bool, can_write: bool, has_feature: bool) -> Finding:
    advice = "give its API account the OAuth scope Customers: modify"
    if not can_read:
        return Finding("scope", "no customers", advice, Exit.CREDENTIALS)
    if has_feature and not can_write:
        return Finding("scope", "reads customers, and writes nothing", advice, Exit.CREDENTIALS)
    return Finding("scope", "reads and writes customers" if can_write else "reads customers")


def _quota(session: Session, settings: Settings) -> Finding:
    quota = session.quota
    if quota is None:
        return Finding("quota", "the API tells of none")
    ours = max(1, int(quota.limit * settings.quota.share))
    used = f", of which {ours:,} are used" if ours < quota.limit else ""
    text = f"{quota.limit:,} requests per {quota.window:g} s{used}, {quota.remaining:,} left"
    if quota.remaining < quota.limit / 10:
        return Finding("quota", text, "another app is at work: give --share, or wait")
    return Finding("quota", text)


def _clock(reply: Reply) -> Finding:
    try:
        served = parsedate_to_datetime(reply.headers["Date"]).timestamp()
    except (KeyError, ValueError):
        return Finding("clock", "the API does not tell its time")
    off = time.time() - served
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
    try:
        async with asyncio.timeout(_REDIS), Redis.from_url(url) as redis:
            began = time.monotonic()
            await redis.ping()
            return Finding("redis", f"{place} answers in {time.monotonic() - began:.3f} s")
    except (OSError, RedisError) as error:
        text = f"{place}: {type(error).__name__}"
        return Finding("redis", text, "check --shared, and the server", Exit.API)


def show_line(finding: Finding) -> None:
    """For people."""
    advice = f" -> {finding.advice}" if finding.advice else ""
    click.echo(f"{finding.mark:<4}  {finding.check:<7}  {finding.text}{advice}")


def show_json(finding: Finding) -> None:
    """For programs, a line each."""
    row: dict[str, Any] = attrs.asdict(finding, filter=lambda field, _: field.name != "code")
    click.echo(json.dumps({**row, "ok": finding.code is None}))
