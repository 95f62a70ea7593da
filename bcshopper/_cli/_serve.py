"""`bcshopper sandbox`: how the store behaves, what it holds, and whom it tells."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
import msgspec

from bcshopper._cli._files import whole_file
from bcshopper._cli._settings import SANDBOX
from bcshopper._cli._terminal import say
from bcshopper.errors import InvalidInputError
from bcshopper.sandbox import Sandbox
from bcshopper.sandbox._documents import add_fault, read_rules
from bcshopper.sandbox._seed import dump
from bcshopper.sandbox._webhooks import SECRET

_FILE = click.Path(dir_okay=False, path_type=Path)
_COUNT = click.IntRange(min=0)
_OPTIONS = (
    click.option(
        "--port", default=8080, show_default=True, type=click.IntRange(0, 65535),
        help="0 picks a free one.",
    ),
    click.option("--customers", default=SANDBOX["customers"], show_default=True, type=_COUNT),
    click.option("--profiles", default=SANDBOX["profiles"], show_default=True, type=_COUNT),
    click.option("--quota", type=int, help="Requests per window."),
    click.option("--window", type=float, help="Seconds that a window of the quota lasts."),
    click.option("--latency", type=float, help="Seconds that every answer takes longer."),
    click.option(
        "--fault", "faults", multiple=True, metavar="JSON", help="What goes wrong; repeatable."
    ),
    click.option("--rules", metavar="JSON", help="How the store behaves otherwise."),
    click.option("--seed-file", type=_FILE, help="What the store holds besides, as JSON."),
    click.option(
        "--state", type=_FILE,
        help="Keep the store there when it ends, and go on with it if it is there.",
    ),
    click.option("--webhooks", metavar="URL", help="Send webhooks of customers there."),
    click.option(
        "--secret", envvar="WEBHOOK_SECRET", metavar="BASE64", help="The key that signs them.",
    ),
    click.option("--no-admin", is_flag=True, help="Without the page and its API."),
)  # fmt: skip


def serve_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options of a served sandbox."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


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
