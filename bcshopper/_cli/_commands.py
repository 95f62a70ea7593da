"""The command `bcshopper`, what reads the store, and all that has no store of its own to change."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, TypeAlias

import click
from click.shell_completion import get_completion_class

from bcshopper._cli import _options as options
from bcshopper._cli._config import add_profile, list_accounts
from bcshopper._cli._doctor import examine
from bcshopper._cli._files import check_distinct
from bcshopper._cli._input import Ids
from bcshopper._cli._job import chunks
from bcshopper._cli._journal import Job, Journal
from bcshopper._cli._options import Context, command, examples
from bcshopper._cli._output import CUSTOMERS, LOOKUPS, PROFILES, QUOTAS, Columns, Output, Rows
from bcshopper._cli._pace import clock
from bcshopper._cli._progress import working
from bcshopper._cli._runner import Exit, end_with, run
from bcshopper._cli._sandbox import run_demo, serve
from bcshopper._cli._settings import CONFIG_FILE, SANDBOX, Settings
from bcshopper._cli._source import CUSTOMER_IDS
from bcshopper._cli._terminal import Terminal, fail, say
from bcshopper._listing import MAX_LIMIT, Paginator
from bcshopper._models import Page, ShopperProfile
from bcshopper._outcomes import GOOD, Status
from bcshopper._quota import QuotaSnapshot
from bcshopper._session import Session
from bcshopper._version import __version__

Choose: TypeAlias = Callable[[Session], Coroutine[Any, Any, Paginator[Any]]]

_LOOKED_UP_AT_ONCE = 10 * MAX_LIMIT
"""Customers: enough for all requests that may be in flight."""


def run_command(arguments: Sequence[str]) -> int:
    """Run a command line, say what stopped it, and give its exit code."""
    try:
        return bcshopper.main(list(arguments), "bcshopper", standalone_mode=False) or 0
    except click.Abort:
        return Exit.INTERRUPTED
    except click.ClickException as error:
        of = error.ctx if isinstance(error, click.UsageError) else None
        given = of.find_object(Context) if of else None
        if given and "log_json" in given.options:
            _ = given.terminal
            fail(error.format_message())
        else:
            error.show()  # with a hint beside it
        return error.exit_code


@click.group(
    "bcshopper",
    cls=options.Group,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    **examples(
        "bcshopper list --format csv --output profiles.csv",
        "bcshopper create --from customers.csv --journal customers.journal",
        "bcshopper --profile staging quota",
    ),
)
@click.version_option(__version__, prog_name="bcshopper")
def bcshopper() -> None:
    """Manage a BigCommerce store's shopper profiles.

    The account comes from BIGCOMMERCE_STORE_HASH and BIGCOMMERCE_ACCESS_TOKEN, or from a section
    of the config file, which --profile or BCSHOPPER_PROFILE names. Data goes to standard output,
    all else to standard error.

    Exit codes: 0 all well, 1 some ids failed or lines were skipped, 2 usage, 3 credentials or
    permission, 4 the API, the network or a full disk, 130 interrupted, 141 nobody reads the output.
    """


def print_list(context: Context, output: Output, columns: Columns, choose: Choose) -> None:
    """Print every item of a list of the store's."""
    settings = context.settings
    with output.open(columns) as rows:
        run(print_pages(settings, rows, context.terminal, choose))


async def print_pages(settings: Settings, rows: Rows, terminal: Terminal, choose: Choose) -> None:
    """Print every item, and how far that is."""
    async with working("list", None, settings, terminal) as work:
        async for page in (await choose(work.session)).pages():
            work.pace.total = page.pagination.total
            work.print(rows, page.items)


@command(bcshopper, "bcshopper list", "bcshopper list --consistent --format csv", name="list")
@options.prints
@click.option("--consistent", is_flag=True, help="Miss nothing, whatever is deleted meanwhile.")
def list_profiles(context: Context, *, output: Output, consistent: bool) -> None:
    """List every shopper profile, oldest first."""

    async def choose(session: Session) -> Paginator[Any]:
        return session.shopper_profiles.list(consistent=consistent)

    print_list(context, output, PROFILES, choose)


@command(bcshopper, "bcshopper customers --modified-since 2026-01-31")
@options.modified_since
@options.prints
def customers(context: Context, *, output: Output, modified_since: datetime | None) -> None:
    """List every customer with its profile and its segments."""

    async def choose(session: Session) -> Paginator[Any]:
        return session.customers.list(modified_since=modified_since)

    print_list(context, output, CUSTOMERS, choose)


@command(bcshopper, "bcshopper page", "bcshopper page 3 --limit 250")
@click.argument("number", type=click.IntRange(min=1), default=1)
@click.option("--limit", type=click.IntRange(1, MAX_LIMIT), default=50, show_default=True)
@options.prints
def page(context: Context, *, number: int, limit: int, output: Output) -> None:
    """Print one page of the profiles, with one request."""
    settings = context.settings
    with output.open(PROFILES) as rows:
        found, _ = ask_page(settings, number, limit)
        rows.write_all(found)
        said = found.pagination
        say(f"page {number} of {said.total_pages:,}; {said.total:,} profiles in all")


@command(bcshopper, "bcshopper quota")
@options.prints
def quota(context: Context, *, output: Output) -> None:
    """Print the store's quota, as one request finds it."""
    settings = context.settings
    with output.open(QUOTAS) as rows:
        _, found = ask_page(settings)
        if found is None:
            say("the API tells of no quota")
        else:
            rows.write(found)


def ask_page(
    settings: Settings, number: int = 1, limit: int = 1
) -> tuple[Page[ShopperProfile], QuotaSnapshot | None]:
    """One page of the profiles, and the quota that its answer tells of."""

    async def call(session: Session) -> tuple[Page[ShopperProfile], QuotaSnapshot | None]:
        return await session.shopper_profiles.page(number, limit=limit), session.quota

    return settings.ask(call)


@command(bcshopper, "bcshopper lookup 101 102", "bcshopper lookup --from orders.csv --column buyer")
@options.takes_ids("CUSTOMER_ID")
@options.prints
def lookup(context: Context, *, ids: Ids, output: Output) -> None:
    """Print the profile id of each of these customers."""

    async def look_up(rows: Rows) -> None:
        async with working("lookup", book.total, settings, context.terminal) as work:
            for some in chunks(book.open_ids(), _LOOKED_UP_AT_ONCE):
                found = await work.session.shopper_profiles.lookup(some)
                work.print(rows, found.items())

    check_distinct(from_=ids.source_path, output=output.path)
    settings = context.settings
    with Journal(None) as book:
        job = Job(settings.base_url, settings.store_hash, "lookup")
        skipped = ids.begin(book, job, CUSTOMER_IDS)
        with output.open(LOOKUPS) as rows:
            run(look_up(rows))
    if skipped:
        end_with(Exit.SOME_FAILED)


@bcshopper.group(**examples("bcshopper journal show night.journal"))
def journal() -> None:
    """Look into the journals of jobs."""


@journal.command(
    **examples(
        "bcshopper journal show night.journal",
        "bcshopper journal show --failed night.journal > again.txt",
    )
)
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--failed", is_flag=True, help="Print the ids that failed, one a line, as input.")
def show(file: Path, *, failed: bool) -> None:
    """Tell what became of a job's ids, though it may be running."""
    with Journal(file, reads_only=True) as book:
        job = book.job
        if job is None:
            raise click.UsageError(f"{file} is no journal of a job")
        if failed:
            for outcome in book.outcomes(set(Status) - GOOD):
                click.echo(outcome.item)
            return
        total, counts = book.total, book.counts()
        click.echo(f"{job.verb} in store {job.store_hash} at {job.base_url}")
        click.echo(f"{total:,} ids, {total - counts.total():,} of them without an outcome")
        for status in Status:
            if counts[status]:
                click.echo(f"  {counts[status]:,} {status.value}")
        if (pace := book.pace_now()) is not None:
            rate, left = pace
            click.echo(f"running: {rate:,.0f} a second, {clock(left)} left")


@command(bcshopper, "bcshopper doctor", "bcshopper --profile staging doctor --json")
@click.option("--json", "as_json", is_flag=True, help="As JSON lines, for programs.")
def doctor(context: Context, *, as_json: bool) -> None:
    """Check token, scope, plan, quota, clock, speed and Redis, and say what to do."""
    context.options.setdefault("retries", 0)
    if code := run(examine(context.settings, as_json=as_json)):
        end_with(Exit(code))


@bcshopper.group(**examples("bcshopper config init", "bcshopper config list"))
def config() -> None:
    """Make and look into the config file."""


@config.command(**examples("bcshopper config path", '"$EDITOR" "$(bcshopper config path)"'))
def path() -> None:
    """Print where the config file is."""
    click.echo(CONFIG_FILE)


config.command("list", **examples("bcshopper config list"))(list_accounts)


@command(config, "bcshopper config init", "bcshopper --profile staging config init")
def init(context: Context) -> None:
    """Ask for an account, write it to the config file, and check it."""
    name = add_profile(context.options)
    say(f"profile {name!r} is in {CONFIG_FILE}")
    context.options = {"profile": name}
    click.get_current_context().invoke(doctor, as_json=False)


@command(bcshopper, "bcshopper demo --customers 20000")
@click.option("--customers", default=5000, show_default=True, type=click.IntRange(min=1))
def demo(context: Context, *, customers: int) -> None:
    """Create, list and delete profiles on an embedded store, and say what it took."""
    run(run_demo(customers, context.terminal))


@bcshopper.command(
    **examples(
        "bcshopper sandbox --port 0 --customers 100000",
        "bcshopper sandbox --quota 150 --fault 'cut applied=true method=POST nth=3'",
        "bcshopper sandbox --state store.json --webhooks http://127.0.0.1:8081/webhooks",
    )
)
@click.option(
    "--port", default=8080, show_default=True, type=click.IntRange(0, 65535),
    help="0 picks a free one.",
)  # fmt: skip
@click.option("--customers", default=SANDBOX["customers"], show_default=True, type=options.COUNT)
@click.option("--profiles", default=SANDBOX["profiles"], show_default=True, type=options.COUNT)
@click.option("--quota", type=int, help="Requests per window.")
@click.option("--window", type=float, help="Seconds that a window of the quota lasts.")
@click.option("--latency", type=float, help="Seconds that every answer takes longer.")
@click.option("--fault", "faults", multiple=True, metavar="JSON", help="What is to go wrong.")
@click.option("--rules", metavar="JSON", help="How the store behaves otherwise.")
@click.option("--seed-file", type=options.PATH, help="What the store holds besides, as JSON.")
@click.option(
    "--state", type=options.PATH,
    help="Keep the store there when it ends, and go on with it if it is there.",
)  # fmt: skip
@click.option("--webhooks", metavar="URL", help="Send webhooks of customers there.")
@click.option("--secret", envvar="WEBHOOK_SECRET", metavar="BASE64", help="What signs them.")
@click.option("--no-admin", is_flag=True, help="Without the page and its API.")
def sandbox(**given: Any) -> None:
    """Serve an embedded store until interrupted; see its page at /_sandbox/."""
    run(serve(**given))


@bcshopper.command(
    **examples(
        'eval "$(bcshopper completion bash)"',
        "bcshopper completion fish > ~/.config/fish/completions/bcshopper.fish",
    )
)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print what makes a shell complete commands, options, files and profiles."""
    kind = get_completion_class(shell)
    assert kind is not None  # noqa: S101 - click has these three
    click.echo(kind(bcshopper, {}, "bcshopper", "_BCSHOPPER_COMPLETE").source())
