"""`bcshopper fleet`: the same from a terminal."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Coroutine, Iterable, Iterator
from contextlib import ExitStack, suppress
from typing import Any, TypeVar

import click
from sqlalchemy import exc

from bcshopper import fleet as library
from bcshopper._cli import _input, _options, _output, _runner, _settings, _source, _terminal
from bcshopper._outcomes import GOOD, Status
from bcshopper._session import Session, SessionSettings
from bcshopper.errors import InvalidInputError
from bcshopper.fleet import JobStatus, Verb

T = TypeVar("T")
_LOOKS_EVERY = 2.0  # seconds


def _cells(status: JobStatus) -> list[Any]:
    left = status.seconds_left
    return [
        status.job, status.verb, status.store, status.state, status.done, status.failed,
        status.open, None if status.rate is None else round(status.rate),
        None if left is None else round(left), status.trouble,
    ]  # fmt: skip


_STATUS = _output.Columns(
    (
        "job", "verb", "store", "state", "done", "failed", "open", "per_second", "seconds_left",
        "trouble",
    ),
    _cells,
)  # fmt: skip

_database = click.option(
    "--database", metavar="URL", envvar="BCSHOPPER_DATABASE",
    help="postgresql://... or sqlite:///FILE, instead of BCSHOPPER_DATABASE.  "
    "[default: a file in the platform's data folder]",
)  # fmt: skip


def _run(job: Coroutine[Any, Any, T]) -> T:
    try:
        return _runner.run(job)
    except InvalidInputError as error:
        raise click.UsageError(str(error)) from None
    except exc.SQLAlchemyError as error:
        words = str(getattr(error, "orig", None) or error)
        raise _runner.CommandError(f"the database: {words}", _runner.Exit.API) from None


@click.group(cls=_options.Group)
def fleet() -> None:
    """Run jobs for many stores, on many machines."""


@fleet.command(**_options.examples("bcshopper fleet worker", "bcshopper fleet worker --share 0.8"))
@_database
@click.pass_obj
def worker(context: _options.Context, *, database: str | None) -> None:
    """Do jobs until interrupted.

    A store's name is that of its profile in the config file, or the hash in
    BIGCOMMERCE_STORE_HASH; limits that are given here are for all stores.
    """
    for name in ("profile", "store_hash", "base_url", "sandbox"):
        if name in context.options:
            option = "store" if name == "store_hash" else name.replace("_", "-")
            raise click.UsageError(f"a worker is for the stores of all jobs: leave out --{option}")
    limits = {n: v for n, v in context.options.items() if n in _settings.LIMITS}

    def open_session(store: str, lent: SessionSettings) -> Session:
        profiles: Iterable[str] = ()
        with suppress(FileNotFoundError):
            profiles = _settings.read_profiles()
        name = {"profile": store} if store in profiles else {}
        with _settings.choose_settings({**limits, **name}) as found:
            if not name and found.store_hash != store:
                raise _runner.CommandError(
                    f"no profile {store!r} in {_settings.CONFIG_FILE}, and "
                    f"BIGCOMMERCE_STORE_HASH names another store",
                    _runner.Exit.CREDENTIALS,
                )
            return found.session(**lent)

    _terminal.say("working; an interrupt hands what is under way to others")
    _run(library.worker(open_session, database=database))


@fleet.command(
    **_options.examples(
        "bcshopper fleet submit create --profile A --from ids.csv --job night",
        "bcshopper fleet submit create --profile A --all-customers",
        "bcshopper fleet submit sync --profile A --segment 6f6a9a2e-1bd5-4b6f-9a41-5b1c2c1c7e11 "
        "--from vip.csv",
    )
)
@click.argument("verb", type=click.Choice(["create", "delete", "sync"]))
@_options.takes_ids("ID")
@click.option("--all-customers", is_flag=True, help="create: for everyone who has no profile.")
@click.option("--segment", metavar="ID", help="sync: which segment is to hold these customers.")
@click.option(
    "--max-removed",
    type=float,
    default=0.5,
    show_default=True,
    help="sync: the fraction of the members that may be removed.",
)
@click.option("--job", metavar="NAME", help="Its name; a time of day if not given.")
@_database
@click.pass_obj
def submit(
    context: _options.Context,
    /,
    *,
    verb: Verb,
    ids: _options.Ids,
    all_customers: bool,
    job: str | None,
    **given: Any,
) -> None:
    """Write a job down, for workers to do; safe to repeat with the same --job."""
    if all_customers:
        if verb != "create":
            raise click.UsageError("--all-customers goes with create")
        verb = "create-all-customers"
    store = _store(context)
    name = job or f"{verb}-{store}-{time.strftime('%Y%m%dT%H%M%S')}"
    kind: _source.IdKind[Any] = _source.PROFILE_IDS if verb == "delete" else _source.CUSTOMER_IDS
    with ExitStack() as stack:
        bad: _input.Bad = _input.refuse
        if ids.skip_bad:
            bad = stack.enter_context(_input.Rejects(ids.source)).add
        found = () if all_customers else _some(_input.read_ids(ids.source, kind, bad), ids)
        is_new = _run(library.submit(verb, store, found, job=name, **given))
    what = "submitted" if is_new else "there already, and left as it is"
    _terminal.say(f"job {name} is {what}", job=name)


def _store(context: _options.Context) -> str:
    """The name of the store that is meant; who submits needs no token."""
    given, environ = context.options, os.environ
    for name in given.get("profile"), environ.get("BCSHOPPER_PROFILE"), given.get("store_hash"):
        if name:
            return str(name)
    return environ.get("BIGCOMMERCE_STORE_HASH") or "default"


def _some(found: Iterator[Any], ids: _options.Ids) -> Iterator[Any]:
    is_empty = True
    for item in found:
        is_empty = False
        yield item
    if is_empty and not ids.allow_empty:
        raise click.UsageError(f"no ids in {ids.source.label}; --allow-empty takes that for well")


@fleet.command(**_options.examples("bcshopper fleet status", "bcshopper fleet status --watch"))
@click.argument("job", required=False)
@click.option("--watch", is_flag=True, help="Look again, until nothing is running.")
@_database
@_options.prints
def status(*, job: str | None, watch: bool, database: str | None, output: _output.Output) -> None:
    """Tell how far jobs are: ids done, failed and open, their rate, and the time left by quota."""

    async def look(rows: _output.Rows) -> None:
        while True:
            if job is None:
                found = await library.statuses(database=database)
            else:
                found = [await library.status(job, database=database)]
            rows.write_all(found)
            if not watch or all(one.state != "running" for one in found):
                return
            await asyncio.sleep(_LOOKS_EVERY)

    with output.open(_STATUS) as rows:
        _run(look(rows))


@fleet.command(**_options.examples("bcshopper fleet outcomes night --failed --format csv"))
@click.argument("job")
@click.option("--failed", is_flag=True, help="Only those that are not as the job promises.")
@_database
@_options.prints
def outcomes(*, job: str, failed: bool, database: str | None, output: _output.Output) -> None:
    """Print what became of a job's ids."""
    wanted = frozenset(Status) - GOOD if failed else frozenset(Status)

    async def write(rows: _output.Rows) -> None:
        async for outcome in library.outcomes(job, wanted, database=database):
            rows.write(outcome)

    with output.open(_output.OUTCOMES) as rows:
        _run(write(rows))


@fleet.command(**_options.examples("bcshopper fleet cancel night"))
@click.argument("job")
@_database
def cancel(*, job: str, database: str | None) -> None:
    """Let no more chunks of a job begin."""
    _run(library.cancel(job, database=database))


@fleet.command(**_options.examples("bcshopper fleet retry night"))
@click.argument("job")
@_database
def retry(*, job: str, database: str | None) -> None:
    """Go on with what has no final outcome."""
    _run(library.retry(job, database=database))
