"""`bcshopper sandbox`: how the store behaves, what it holds, and whom it tells."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import click
import msgspec

from bcshopper._cli._files import whole_file
from bcshopper._cli._terminal import say
from bcshopper.errors import InvalidInputError
from bcshopper.sandbox import Sandbox
from bcshopper.sandbox._documents import add_fault_in_words, read_rules_in_words
from bcshopper.sandbox._seed import dump
from bcshopper.sandbox._webhooks import SECRET

_FILE = click.Path(dir_okay=False, path_type=Path)
_OPTIONS = (
    click.option("--quota", type=int, help="Requests per window."),
    click.option("--window", type=float, help="Seconds that a window of the quota lasts."),
    click.option("--latency", type=float, help="Seconds that every answer takes longer."),
    click.option(
        "--fault", "faults", multiple=True, metavar="FAULT",
        help='What goes wrong, such as "error status=503 method=POST probability=0.1"; may be '
        "given several times, and of those that fit the first counts.",
    ),
    click.option(
        "--rules", multiple=True, metavar="RULES",
        help='How the store behaves otherwise, such as "lag=2 bad_items=207".',
    ),
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
    """Give a command the options of a served sandbox, but for its port and its size."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def serve(
    *, port: int, customers: int, profiles: int, faults: Sequence[str], rules: Sequence[str],
    seed_file: Path | None, state: Path | None, webhooks: str | None, secret: str | None,
    no_admin: bool, **settings: float | None,
) -> Coroutine[Any, Any, None]:  # fmt: skip
    """Make ready a store, which is then served until cancelled."""
    goes_on = state is not None and state.exists()
    with _refused_as_usage():
        named = {name: value for name, value in settings.items() if value is not None}
        sandbox = Sandbox(
            customers=0 if goes_on else customers,
            profiles=0 if goes_on else profiles,
            rules=read_rules_in_words(" ".join(rules), **named),
            port=port,
            admin=not no_admin,
            webhooks=webhooks,
            webhook_secret=secret or SECRET,
        )
        for fault in faults:
            add_fault_in_words(sandbox.faults, fault)
    if goes_on and state is not None:
        _read(sandbox, state)
        say(f"{state}: the store goes on with {len(sandbox.store.profiles):,} profiles")
    elif seed_file is not None:
        _read(sandbox, seed_file)
    return _serve(sandbox, state, secret=None if webhooks is None else sandbox.webhook_secret)


async def _serve(sandbox: Sandbox, state: Path | None, *, secret: str | None) -> None:
    with nullcontext() if state is None else _kept(sandbox, state):
        async with sandbox:
            click.echo(f"export BIGCOMMERCE_BASE_URL={sandbox.url}")
            click.echo(f"export BIGCOMMERCE_STORE_HASH={sandbox.store_hash}")
            click.echo(f"export BIGCOMMERCE_ACCESS_TOKEN={sandbox.access_token}")
            if secret is not None:
                click.echo(f"export WEBHOOK_SECRET={secret}")
            sys.stdout.flush()
            await asyncio.Event().wait()


@contextmanager
def _refused_as_usage(*what: object) -> Iterator[None]:
    try:
        yield
    except (InvalidInputError, msgspec.DecodeError, OSError) as error:
        words = (error.strerror or "") if isinstance(error, OSError) else str(error)
        raise click.UsageError(": ".join([*map(str, what), words])) from None


def _read(sandbox: Sandbox, path: Path) -> None:
    with _refused_as_usage(path):
        sandbox.begin_with(msgspec.json.decode(path.read_bytes()))


@contextmanager
def _kept(sandbox: Sandbox, path: Path) -> Iterator[None]:
    """Write the store down in the end, however that comes; first, to see that it can be."""
    _write(sandbox, path)
    try:
        yield
    finally:
        _write(sandbox, path)


def _write(sandbox: Sandbox, path: Path) -> None:
    with whole_file(path) as file:
        file.write(msgspec.json.encode(dump(sandbox.store)))
