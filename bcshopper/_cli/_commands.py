"""The commands, their arguments and their exit codes."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from typing import NoReturn, TextIO, TypeVar

import click

from bcshopper import _ids
from bcshopper._cli._demo import run_demo
from bcshopper._cli._input import is_stdin, read_ids
from bcshopper._cli._output import (
    FORMATS,
    OUTCOME_COLUMNS,
    PROFILE_COLUMNS,
    Format,
    outcome_row,
    profile_row,
    writer,
)
from bcshopper._cli._progress import progress_bar, stderr
from bcshopper._outcomes import Outcome, Status
from bcshopper._session import Session
from bcshopper._version import __version__
from bcshopper.errors import (
    AuthenticationError,
    BCShopperError,
    InvalidInputError,
    PermissionDeniedError,
    TransportError,
)
from bcshopper.events import Event, QuotaWait
from bcshopper.sandbox import Sandbox

T = TypeVar("T")

EXIT_SOME_FAILED = 1
EXIT_CREDENTIALS = 3
EXIT_API = 4
EXIT_INTERRUPTED = 130

_SANDBOX_CUSTOMERS = 1000
_SANDBOX_PROFILES = 100
_MOST_DIGITS = 100

_format_option = click.option(
    "--format", "fmt", type=click.Choice(FORMATS),
    help="How to print; a table on a terminal and JSON lines in a pipe if not given.",
)  # fmt: skip
_sandbox_option = click.option(
    "--sandbox", is_flag=True,
    help=f"Use a throw-away store with customers 1 to {_SANDBOX_CUSTOMERS}, "
    f"of whom {_SANDBOX_PROFILES} have a profile.",
)  # fmt: skip
_from_option = click.option(
    "--from", "source", type=click.File("r"), help="Read ids from a file, one a line; - is stdin."
)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="bcshopper")
def bcshopper() -> None:
    """Manage a BigCommerce store's shopper profiles.

    The account comes from BIGCOMMERCE_STORE_HASH and BIGCOMMERCE_ACCESS_TOKEN. Data goes to
    standard output, all else to standard error.

    Exit codes: 0 all well, 1 some ids failed, 2 usage, 3 credentials or permission, 4 the API or
    the network, 130 interrupted.
    """


@bcshopper.command()
@click.option("--customers", default=5000, show_default=True, type=click.IntRange(min=1))
def demo(customers: int) -> None:
    """Create, list and delete profiles on an embedded store, and say what it took."""
    _run(run_demo(customers))


@bcshopper.command("list")
@_format_option
@_sandbox_option
def list_profiles(fmt: Format | None, *, sandbox: bool) -> None:
    """List every shopper profile, oldest first."""

    async def job() -> None:
        async with _session(sandbox=sandbox) as session:
            write = writer(fmt, PROFILE_COLUMNS)
            async for profile in session.shopper_profiles.list():
                write(profile_row(profile))

    _run(job())


@bcshopper.command()
@click.argument("customer_ids", nargs=-1)
@_from_option
@_format_option
@_sandbox_option
def create(
    customer_ids: tuple[str, ...], source: TextIO | None, fmt: Format | None, *, sandbox: bool
) -> None:
    """Give each of these customers a profile; safe to repeat."""
    ids = read_ids(customer_ids, source, _customer_id)
    _run(_write("create", ids, lambda s: s.shopper_profiles.create_stream(ids), fmt, sandbox))


@bcshopper.command()
@click.argument("profile_ids", nargs=-1)
@_from_option
@_format_option
@_sandbox_option
@click.option("--yes", is_flag=True, help="Do not ask.")
def delete(
    profile_ids: tuple[str, ...],
    source: TextIO | None,
    fmt: Format | None,
    *,
    sandbox: bool,
    yes: bool,
) -> None:
    """Delete these profiles; safe to repeat."""
    ids = read_ids(profile_ids, source, _ids.profile_id)
    if not yes:
        if is_stdin(profile_ids, source):
            raise click.UsageError("ids from standard input need --yes: nobody can be asked there")
        click.confirm(f"Delete {len(set(ids)):,} shopper profiles?", abort=True, err=True)
    _run(_write("delete", ids, lambda s: s.shopper_profiles.delete_stream(ids), fmt, sandbox))


@bcshopper.command()
@click.option(
    "--port", default=8080, show_default=True, type=click.IntRange(0, 65535),
    help="0 picks a free one.",
)  # fmt: skip
@click.option(
    "--customers", default=_SANDBOX_CUSTOMERS, show_default=True, type=click.IntRange(min=0)
)
@click.option(
    "--profiles", default=_SANDBOX_PROFILES, show_default=True, type=click.IntRange(min=0)
)
def sandbox(port: int, customers: int, profiles: int) -> None:
    """Serve an embedded store until interrupted."""

    async def job() -> None:
        async with AsyncExitStack() as stack:
            store = Sandbox(customers=customers, profiles=profiles, port=port)
            try:
                await stack.enter_async_context(store)
            except OSError as error:
                _fail(error, EXIT_API)
            click.echo(f"export BIGCOMMERCE_BASE_URL={store.url}")
            click.echo(f"export BIGCOMMERCE_STORE_HASH={store.store_hash}")
            click.echo(f"export BIGCOMMERCE_ACCESS_TOKEN={store.access_token}")
            sys.stdout.flush()
            await asyncio.Event().wait()

    _run(job())


async def _write(
    verb: str,
    ids: Sequence[T],
    stream: Callable[[Session], AsyncGenerator[Outcome[T]]],
    fmt: Format | None,
    sandbox: bool,  # noqa: FBT001 - a flag of the command line, handed through
) -> None:
    failed = unreached = 0
    console = stderr()
    write = writer(fmt, OUTCOME_COLUMNS)
    with progress_bar(console) as progress:
        task = progress.add_task(verb, total=len(set(ids)))
        loop, waits_until = asyncio.get_running_loop(), 0.0

        def watch(event: Event) -> None:
            nonlocal waits_until
            if isinstance(event, QuotaWait):
                waits_until = loop.time() + event.seconds
                waiting = f"{verb}: waiting {event.seconds:.0f} s for quota"
                progress.update(task, description=waiting)

        async with (
            _session(sandbox=sandbox, on_event=watch) as session,
            aclosing(stream(session)) as outcomes,
        ):
            async for outcome in outcomes:
                write(outcome_row(outcome))
                failed += not outcome.ok
                unreached += _never_left(outcome)
                progress.advance(task)
                if loop.time() >= waits_until:
                    progress.update(task, description=verb)
    if failed:
        console.print(f"{failed:,} of {len(set(ids)):,} ids failed")
        sys.exit(EXIT_API if unreached == len(set(ids)) else EXIT_SOME_FAILED)


def _never_left(outcome: Outcome[object]) -> bool:
    return outcome.status is Status.NOT_SENT and isinstance(outcome.error, TransportError)


@asynccontextmanager
async def _session(
    *, sandbox: bool, on_event: Callable[[Event], None] | None = None
) -> AsyncIterator[Session]:
    async with AsyncExitStack() as stack:
        if sandbox:
            store = await stack.enter_async_context(
                Sandbox(customers=_SANDBOX_CUSTOMERS, profiles=_SANDBOX_PROFILES)
            )
            yield await stack.enter_async_context(store.session(on_event=on_event))
        else:
            yield await stack.enter_async_context(_session_from_env(on_event))


def _session_from_env(on_event: Callable[[Event], None] | None) -> Session:
    try:
        return Session.from_env(on_event=on_event)
    except InvalidInputError as error:
        _fail(error, EXIT_CREDENTIALS)


def _customer_id(text: str) -> int:
    # Python refuses to read a number of thousands of digits.
    return _ids.customer_id(int(text) if text.isdecimal() and len(text) <= _MOST_DIGITS else text)


def _run(job: Awaitable[None]) -> None:
    async def main() -> None:
        await job

    try:
        asyncio.run(main())
    except (AuthenticationError, PermissionDeniedError) as error:
        _fail(error, EXIT_CREDENTIALS)
    except BCShopperError as error:
        _fail(error, EXIT_API)
    except KeyboardInterrupt:
        sys.exit(EXIT_INTERRUPTED)


def _fail(error: Exception, code: int) -> NoReturn:
    click.echo(f"bcshopper: {error}", err=True)
    sys.exit(code)
