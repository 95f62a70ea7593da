"""The embedded store: `bcshopper sandbox` serves one, `bcshopper demo` works on one."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncIterable, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
import msgspec
from rich.console import Console
from rich.table import Table

from bcshopper._cli._files import whole_file
from bcshopper._cli._pace import Pace
from bcshopper._cli._progress import shown
from bcshopper._cli._terminal import Terminal, say
from bcshopper._quota import QuotaPolicy
from bcshopper.errors import InvalidInputError
from bcshopper.sandbox import Sandbox
from bcshopper.sandbox._documents import add_fault, read_rules
from bcshopper.sandbox._seed import dump
from bcshopper.sandbox._webhooks import SECRET


def serve(
    *, port: int, customers: int, profiles: int, faults: Sequence[str], rules: str | None,
    seed_file: Path | None, state: Path | None, webhooks: str | None, secret: str | None,
    no_admin: bool, **numbers: float | None,
) -> Coroutine[Any, Any, None]:  # fmt: skip
    """Make ready a store, which is then served until cancelled."""
    goes_on = state is not None and state.exists()
    with _refused("--rules"):
        given = {name: value for name, value in numbers.items() if value is not None}
        kept = read_rules(msgspec.json.decode(rules or "{}") | given)
    with _refused("--webhooks"):
        sandbox = Sandbox(
            0 if goes_on else customers, profiles=0 if goes_on else profiles, rules=kept,
            port=port, admin=not no_admin, webhooks=webhooks, webhook_secret=secret or SECRET,
        )  # fmt: skip
    with _refused("--fault"):
        for fault in faults:
            add_fault(sandbox.faults, msgspec.json.decode(fault))
    file = state if goes_on else seed_file
    if file is not None:
        with _refused(file):
            sandbox.begin_with(msgspec.json.decode(file.read_bytes()))
            say(f"{file}: {len(sandbox.store.profiles):,} profiles in the store")
    return _serve(sandbox, state, tells=webhooks is not None)


async def _serve(sandbox: Sandbox, state: Path | None, *, tells: bool) -> None:
    _keep(sandbox, state)  # it is known at once whether that can be done
    try:
        async with sandbox:
            click.echo(f"export BIGCOMMERCE_BASE_URL={sandbox.url}")
            click.echo(f"export BIGCOMMERCE_STORE_HASH={sandbox.store_hash}")
            click.echo(f"export BIGCOMMERCE_ACCESS_TOKEN={sandbox.access_token}")
            if tells:
                click.echo(f"export WEBHOOK_SECRET={sandbox.webhook_secret}")
            sys.stdout.flush()
            await asyncio.Event().wait()
    finally:
        _keep(sandbox, state)


def _keep(sandbox: Sandbox, state: Path | None) -> None:
    if state is not None:
        with whole_file(state) as file:
            file.write(msgspec.json.encode(dump(sandbox.store)))


@contextmanager
def _refused(what: object) -> Iterator[None]:
    try:
        yield
    except (InvalidInputError, msgspec.DecodeError, TypeError, OSError) as error:
        words = error.strerror if isinstance(error, OSError) else error
        raise click.UsageError(f"{what}: {words}") from None


async def run_demo(customers: int, terminal: Terminal) -> None:
    """Create, list and delete a profile for each customer, and say what it took."""
    summary = Table(title=f"{customers:,} customers of an embedded store")
    for name in ("", "profiles", "requests", "seconds", "per second"):
        summary.add_column(name, justify="right" if name else "left")
    async with Sandbox(customers=customers) as sandbox, sandbox.session() as session:
        profiles = session.shopper_profiles

        async def step(name: str, items: AsyncIterable[object]) -> None:
            now = asyncio.get_running_loop().time
            pace = Pace(name, customers, quota=lambda: None, policy=QuotaPolicy(), now=now)
            before, began = session.stats.requests, time.perf_counter()
            async with shown(pace, terminal):
                async for _ in items:
                    pace.advance(1)
            seconds = time.perf_counter() - began
            requests = f"{session.stats.requests - before:,}"
            rate = f"{pace.done / seconds:,.0f}"
            summary.add_row(name, f"{pace.done:,}", requests, f"{seconds:.2f}", rate)

        await step("create", profiles.create_stream(range(1, customers + 1)))
        await step("list", profiles.list())
        await step("delete", profiles.delete_stream(list(sandbox.store.profiles)))
        left = len(sandbox.store.profiles)
    console = Console()
    console.print(summary)
    console.print(f"{left} profiles left in the store.")
