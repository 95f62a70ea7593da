"""The commands and their arguments."""

from __future__ import annotations

import sys
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

import click
from click.shell_completion import get_completion_class

from bcshopper._cli import _options as options
from bcshopper._cli._config import add_profile, config
from bcshopper._cli._demo import run_demo
from bcshopper._cli._doctor import examine, show_json, show_line
from bcshopper._cli._files import check_distinct
from bcshopper._cli._input import Rejects, read_ids
from bcshopper._cli._job import (
    RESULTS,
    Verb,
    Writing,
    chunks,
    open_ids,
    print_plan,
    write_all,
    write_ids,
)
from bcshopper._cli._journal import Job, Journal
from bcshopper._cli._options import Context, Ids, examples
from bcshopper._cli._output import LOOKUPS, PROFILES, QUOTAS, REQUESTS, Output, Rows
from bcshopper._cli._pace import clock
from bcshopper._cli._progress import working
from bcshopper._cli._runner import CommandError, Exit, end_with, run
from bcshopper._cli._serve import serve, serve_options
from bcshopper._cli._settings import CONFIG_FILE, SANDBOX, Settings, choose_settings
from bcshopper._cli._source import CUSTOMER_IDS, PROFILE_IDS, IdKind
from bcshopper._cli._summary import Summary
from bcshopper._cli._terminal import Terminal, fail, log_response, say
from bcshopper._listing import MAX_LIMIT
from bcshopper._models import Page, ShopperProfile
from bcshopper._outcomes import GOOD, Status
from bcshopper._profiles import ProfileRequests
from bcshopper._quota import QuotaSnapshot
from bcshopper._transport import Effect, effect_of
from bcshopper._version import __version__
from bcshopper.errors import BCShopperError

T = TypeVar("T")
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


@bcshopper.command("list", **examples("bcshopper list", "bcshopper list --consistent --format csv"))
@options.prints
@click.option("--consistent", is_flag=True, help="Miss nothing, whatever is deleted meanwhile.")
@click.pass_obj
def list_profiles(context: Context, *, output: Output, consistent: bool) -> None:
    """List every shopper profile, oldest first."""
    with choose_settings(context.options) as settings, output.open(PROFILES) as rows:
        run(list_all(settings, rows, context.terminal, consistent=consistent))


async def list_all(settings: Settings, rows: Rows, terminal: Terminal, *, consistent: bool) -> None:
    """Print every profile, and how far that is."""
    async with working("list", None, settings, terminal) as work:
        profiles = work.session.shopper_profiles
        async for page in profiles.list(consistent=consistent).pages():
            work.pace.total = page.pagination.total
            work.print(rows, list(page))


@bcshopper.command(**examples("bcshopper page", "bcshopper page 3 --limit 250"))
@click.argument("number", type=click.IntRange(min=1), default=1)
@click.option("--limit", type=click.IntRange(1, MAX_LIMIT), default=50, show_default=True)
@options.prints
@click.pass_obj
def page(context: Context, *, number: int, limit: int, output: Output) -> None:
    """Print one page of the profiles, with one request."""
    with choose_settings(context.options) as settings, output.open(PROFILES) as rows:
        found, _ = run(_page(settings, number, limit))
        rows.write_all(found)
        said = found.pagination
        say(f"page {number} of {said.total_pages:,}; {said.total:,} profiles in all")


@bcshopper.command(**examples("bcshopper quota"))
@options.prints
@click.pass_obj
def quota(context: Context, *, output: Output) -> None:
    """Print the store's quota, as one request finds it."""
    with choose_settings(context.options) as settings, output.open(QUOTAS) as rows:
        _, found = run(_page(settings))
        if found is None:
            say("the API tells of no quota")
        else:
            rows.write(found)


async def _page(
    settings: Settings, number: int = 1, limit: int = 1
) -> tuple[Page[ShopperProfile], QuotaSnapshot | None]:
    async with settings.session(log_response) as session:
        return await session.shopper_profiles.page(number, limit=limit), session.quota


@bcshopper.command(
    **examples("bcshopper lookup 101 102", "bcshopper lookup --from orders.csv --column buyer")
)
@options.takes_ids("CUSTOMER_ID")
@options.prints
@click.pass_obj
def lookup(context: Context, *, ids: Ids, output: Output) -> None:
    """Print the profile id of each of these customers."""
    check_distinct(from_=ids.source.path, output=output.path)
    with choose_settings(context.options) as settings, Journal(None) as book:
        job = Job(settings.base_url, settings.store_hash, "lookup")
        skipped = _load(book, job, ids, CUSTOMER_IDS)
        with output.open(LOOKUPS) as rows:
            run(_look_up(settings, book, rows, context))
    if skipped:
        end_with(Exit.SOME_FAILED)


async def _look_up(settings: Settings, book: Journal, rows: Rows, context: Context) -> None:
    async with working("lookup", book.total, settings, context.terminal) as work:
        for some in chunks(open_ids(book), _LOOKED_UP_AT_ONCE):
            found = await work.session.shopper_profiles.lookup(some)
            work.print(rows, found.items())


@bcshopper.command(
    **examples(
        "bcshopper create 101 102",
        "bcshopper create --from customers.csv --column customer_id --journal night.journal",
        "zcat ids.gz | bcshopper create --share 0.5 --summary-json summary.json",
    )
)
@options.takes_ids("CUSTOMER_ID")
@click.option("--all-customers", is_flag=True, help="Everyone in the store without a profile.")
@options.modified_since
@options.writes
@click.pass_obj
def create(
    context: Context, /, *, all_customers: bool, modified_since: datetime | None, **given: Any
) -> None:
    """Give each of these customers a profile; safe to repeat."""
    if not all_customers:
        if modified_since is not None:
            raise click.UsageError("--modified-since goes with --all-customers")
        write("create", CUSTOMER_IDS, context, **given)
        return

    async def lacking(settings: Settings) -> array[int]:
        found = array("q")
        async with working("customers", None, settings, context.terminal) as work:
            customers = work.session.customers.list(modified_since=modified_since)
            async for page in customers.pages():
                work.pace.total = page.pagination.total
                found.extend(c.id for c in page if c.shopper_profile_id is None)
                work.pace.advance(len(page))
        return found

    what = f"--all-customers since {modified_since}" if modified_since else "--all-customers"
    find = lambda settings: run(lacking(settings))  # noqa: E731
    write("create", CUSTOMER_IDS, context, what=what, find=find, **given)


@bcshopper.command(
    **examples(
        "bcshopper delete 6f6a9a2e-1bd5-4b6f-9a41-5b1c2c1c7e11",
        "bcshopper list --format csv --output all.csv && bcshopper delete --from all.csv",
        "bcshopper delete --yes --from old.txt --journal old.journal",
    )
)
@options.takes_ids("PROFILE_ID")
@options.yes
@options.writes
@click.pass_obj
def delete(context: Context, /, *, ids: Ids, yes: bool, dry_run: bool, **given: Any) -> None:
    """Delete these profiles; safe to repeat."""
    if ids.source.is_stdin and not (yes or dry_run):
        raise click.UsageError("ids from standard input need --yes: nobody can be asked there")

    def ask(settings: Settings, _: Journal, count: int) -> None:
        if not yes:
            requests = -(-count // ProfileRequests(settings.root).delete_capacity)
            make_sure(f"Delete {count:,} shopper profiles in {requests:,} requests", settings)

    write("delete", PROFILE_IDS, context, ids=ids, dry_run=dry_run, ask=ask, **given)


def write(
    verb: Verb,
    kind: IdKind[Any],
    context: Context,
    *,
    ids: Ids,
    output: Output,
    summary_json: Path | None,
    journal: Path | None = None,
    dry_run: bool = False,
    ask: Callable[[Settings, Journal, int], None] = lambda *_: None,
    show_plan: Callable[..., Any] = print_plan,
    what: str = "",
    work: Callable[[Writing, Rows], Any] = write_ids,
    find: Callable[[Settings], Iterable[Any]] | None = None,
) -> None:
    """Do a job that writes to the store, or show its plan.

    `what` sets it apart from others of its verb; `find` finds the ids of a new one in the store.
    """
    check_distinct(
        from_=ids.source.path, output=output.path, journal=journal, summary_json=summary_json
    )
    place = journal if not dry_run or _is_begun(journal) else None  # a plan leaves no trace
    with choose_settings(context.options) as settings, Journal(place) as book:
        job = Job(settings.base_url, settings.store_hash, f"{verb} {what}".rstrip())
        skipped = 0
        if find:
            book.begin(job, None if book.job else find(settings))
        else:
            skipped = _load(book, job, ids, kind, keep_bad=not dry_run)
        if dry_run:
            show_plan(verb, settings, book, output, every="verbose" in context.options)
            return
        summary = Summary(verb, settings.store_hash, book.total, skipped)
        done = sum(n for status, n in book.counts().items() if status in RESULTS)
        if done:
            say(f"{journal}: {done:,} of {book.total:,} ids are done already", done=done)
        if done < book.total:
            ask(settings, book, book.total - done)
        why = ""
        try:
            write_all(Writing(verb, settings, book, output, summary, context.terminal), work)
        except BaseException as error:
            why = str(error)
            _say_how_to_go_on(error, summary, book.total, journal)
            raise
        finally:
            summary.total = book.total
            _report(summary, summary_json, said=why, reasons=not output.is_read_now)
    if summary.never_reached:
        end_with(Exit.API)
    if summary.failed or summary.skipped:
        end_with(Exit.SOME_FAILED)


def _is_begun(journal: Path | None) -> bool:
    with suppress(OSError):
        return journal is not None and journal.stat().st_size > 0
    return False


def _load(journal: Journal, job: Job, ids: Ids, kind: IdKind[Any], *, keep_bad: bool = True) -> int:
    """Read all ids, which checks them; gives how many bad lines were left out."""
    if not ids.skip_bad:
        journal.begin(job, _some(read_ids(ids.source, kind), ids))
        return 0
    with Rejects(ids.source if keep_bad else None) as rejects:
        journal.begin(job, _some(read_ids(ids.source, kind, rejects.add), ids))
    if rejects.count:
        place = f"are in {rejects.path}" if rejects.path else "would be left out"
        say(f"{rejects.count:,} bad lines {place}", skipped=rejects.count)
    return rejects.count


def _some(found: Iterator[T], ids: Ids) -> Iterator[T]:
    """The same, but for none at all: what was to write them may have failed."""
    first = next(found, None)
    if first is not None:
        yield first
        yield from found
    elif not ids.allow_empty:
        raise CommandError(
            f"no ids in {ids.source.label}: nothing was done; --allow-empty takes that for well",
            Exit.SOME_FAILED,
        )


def _report(summary: Summary, path: Path | None, **told: Any) -> None:
    if not summary.ended:
        return
    for line in summary.lines(**told):
        say(line)
    if path is not None:
        summary.write(path)


def _say_how_to_go_on(
    stop: BaseException, summary: Summary, total: int, journal: Path | None
) -> None:
    if not isinstance(stop, KeyboardInterrupt | BrokenPipeError):
        return
    why = "interrupted" if isinstance(stop, KeyboardInterrupt) else "nobody reads on"
    done = summary.counts.total() - summary.failed
    how = (
        f"the same command again goes on where {journal} ends"
        if journal
        else "the same command again is safe; with --journal FILE it would not begin anew"
    )
    say(f"{why}: {done:,} of {total:,} ids are done; {how}", done=done, total=total)


@bcshopper.command(
    "delete-all",
    **examples("bcshopper delete-all --confirm abc123", "bcshopper delete-all --dry-run"),
)
@click.option("--confirm", metavar="STORE_HASH", help="The store's hash, to be sure.")
@options.yes
@options.dry_run
@options.summary
@click.pass_obj
def delete_all(
    context: Context, *, confirm: str | None, yes: bool, dry_run: bool, summary_json: Path | None
) -> None:
    """Delete every profile in the store."""
    with choose_settings(context.options) as settings:
        if dry_run:
            with Output.choose().open(REQUESTS) as rows:
                rows.write(ProfileRequests(settings.root).delete_all())
            say("1 requests would go; none was sent", requests=1)
            return
        if confirm != settings.store_hash:
            raise click.UsageError(
                f"this deletes every profile in store {settings.store_hash}: "
                f"to be sure, give its hash with --confirm"
            )
        found, _ = run(_page(settings))
        total = found.pagination.total
        if not yes:
            make_sure(f"Delete all {total:,} shopper profiles", settings)
        summary = Summary("delete-all", settings.store_hash, total)
        try:
            run(_delete_all(settings, summary, total))
        finally:
            _report(summary, summary_json)


async def _delete_all(settings: Settings, summary: Summary, total: int) -> None:
    became = Status.UNKNOWN
    async with settings.session(log_response) as session:
        try:
            await session.shopper_profiles.delete_all(confirm=settings.store_hash)
            became = Status.DELETED
        except BCShopperError as error:
            unknown = effect_of(error) is Effect.UNKNOWN
            became = Status.UNKNOWN if unknown else Status.NOT_SENT
            raise
        finally:
            summary.counts[became] = total
            summary.end(session.stats)


def make_sure(what: str, settings: Settings) -> None:
    if sys.stdin is None:
        raise click.UsageError("nobody can be asked here: give --yes")
    question = f"{what}, of store {settings.store_hash} at {settings.base_url}?"
    try:
        agreed = click.confirm(question, err=True)
    except click.Abort:
        if sys.stdin.isatty():
            raise
        raise click.UsageError("nobody can be asked here: give --yes") from None
    if not agreed:
        say("nothing was changed")
        end_with(Exit.SOME_FAILED)


@bcshopper.group(**examples("bcshopper journal show night.journal"))
def journal() -> None:
    """Look into the journals of create and delete."""


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


@bcshopper.command(**examples("bcshopper doctor", "bcshopper --profile staging doctor --json"))
@click.option("--json", "as_json", is_flag=True, help="As JSON lines, for programs.")
@click.pass_obj
def doctor(context: Context, *, as_json: bool) -> None:
    """Check token, scope, plan, quota, clock, speed and Redis, and say what to do."""
    with choose_settings({"retries": 0, **context.options}) as settings:
        if code := run(examine(settings, show_json if as_json else show_line)):
            end_with(Exit(code))


bcshopper.add_command(config)


@config.command(**examples("bcshopper config init", "bcshopper --profile staging config init"))
@click.pass_context
def init(ctx: click.Context) -> None:
    """Ask for an account, write it to the config file, and check it."""
    name = add_profile(ctx.obj)
    say(f"profile {name!r} is in {CONFIG_FILE}")
    ctx.obj.options = {"profile": name}
    ctx.invoke(doctor, as_json=False)


@bcshopper.command(**examples("bcshopper demo --customers 20000"))
@click.option("--customers", default=5000, show_default=True, type=click.IntRange(min=1))
@click.pass_obj
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
@serve_options
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
