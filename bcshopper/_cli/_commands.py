"""The commands and their arguments."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import attrs
import click
from click.shell_completion import get_completion_class

from bcshopper._cli import _work
from bcshopper._cli._demo import run_demo
from bcshopper._cli._files import check_distinct
from bcshopper._cli._input import read_ids
from bcshopper._cli._journal import Job, Journal
from bcshopper._cli._options import Context, Group, examples
from bcshopper._cli._output import (
    LOOKUP_COLUMNS,
    OUTCOME_COLUMNS,
    PROFILE_COLUMNS,
    QUOTA_COLUMNS,
    REQUEST_COLUMNS,
    Rows,
    profile_row,
    request_row,
)
from bcshopper._cli._parameters import (
    Ids,
    Output,
    dry_run_option,
    journal_option,
    prints,
    summary_option,
    takes_ids,
    yes_option,
)
from bcshopper._cli._rejects import open_rejects, refuse
from bcshopper._cli._runner import Exit, run
from bcshopper._cli._serve import serve, serve_options
from bcshopper._cli._settings import (
    SANDBOX_CUSTOMERS,
    SANDBOX_PROFILES,
    Settings,
    choose_settings,
)
from bcshopper._cli._source import CUSTOMER_IDS, PROFILE_IDS, IdKind
from bcshopper._cli._summary import Summary
from bcshopper._cli._terminal import log_response, say
from bcshopper._listing import MAX_LIMIT
from bcshopper._outcomes import GOOD, Status
from bcshopper._profiles import ProfileRequests
from bcshopper._transport import Request
from bcshopper._version import __version__


@click.group(
    "bcshopper",
    cls=Group,
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
    of the config file. Data goes to standard output, all else to standard error.

    Exit codes: 0 all well, 1 some ids failed or lines were skipped, 2 usage, 3 credentials or
    permission, 4 the API, the network or a full disk, 130 interrupted, 141 nobody reads the output.
    """


@bcshopper.command("list", **examples("bcshopper list", "bcshopper list --consistent --format csv"))
@prints
@click.option("--consistent", is_flag=True, help="Miss nothing, whatever is deleted meanwhile.")
@click.pass_obj
def list_profiles(context: Context, *, output: Output, consistent: bool) -> None:
    """List every shopper profile, oldest first."""
    with choose_settings(context.options) as settings, output.open(PROFILE_COLUMNS) as rows:
        run(_work.list_all(settings, consistent=consistent, rows=rows, terminal=context.terminal))


@bcshopper.command(**examples("bcshopper page", "bcshopper page 3 --limit 250"))
@click.argument("number", type=click.IntRange(min=1), default=1)
@click.option("--limit", type=click.IntRange(1, MAX_LIMIT), default=50, show_default=True)
@prints
@click.pass_obj
def page(context: Context, *, number: int, limit: int, output: Output) -> None:
    """Print one page of the profiles, with one request."""

    async def job(settings: Settings, rows: Rows) -> None:
        async with settings.session(log_response) as session:
            found = await session.shopper_profiles.page(number, limit=limit)
        for profile in found:
            rows.write(profile_row(profile))
        said = found.pagination
        say(f"page {number} of {said.total_pages:,}; {said.total:,} profiles in all")

    with choose_settings(context.options) as settings, output.open(PROFILE_COLUMNS) as rows:
        run(job(settings, rows))


@bcshopper.command(**examples("bcshopper quota"))
@prints
@click.pass_obj
def quota(context: Context, *, output: Output) -> None:
    """Print the store's quota, as one request finds it."""

    async def job(settings: Settings, rows: Rows) -> None:
        async with settings.session(log_response) as session:
            await session.shopper_profiles.page(limit=1)
            if session.quota is None:
                say("the API tells of no quota")
            else:
                rows.write(attrs.asdict(session.quota))

    with choose_settings(context.options) as settings, output.open(QUOTA_COLUMNS) as rows:
        run(job(settings, rows))


@bcshopper.command(
    **examples("bcshopper lookup 101 102", "bcshopper lookup --from orders.csv --column buyer")
)
@takes_ids("CUSTOMER_ID")
@prints
@click.pass_obj
def lookup(context: Context, *, ids: Ids, output: Output) -> None:
    """Print the profile id of each of these customers."""
    check_distinct(from_=ids.source.path, output=output.path)
    with choose_settings(context.options) as settings, closing(Journal(None)) as journal:
        job = Job(settings.base_url, settings.store_hash, "lookup")
        skipped = _load(journal, job, ids, CUSTOMER_IDS)
        with output.open(LOOKUP_COLUMNS) as rows:
            run(_work.look_up(settings, journal, rows=rows, terminal=context.terminal))
    if skipped:
        sys.exit(Exit.SOME_FAILED)


@bcshopper.command(
    **examples(
        "bcshopper create 101 102",
        "bcshopper create --from customers.csv --column customer_id --journal night.journal",
        "zcat ids.gz | bcshopper create --share 0.5 --summary-json summary.json",
    )
)
@takes_ids("CUSTOMER_ID")
@prints
@journal_option
@dry_run_option
@summary_option
@click.pass_obj
def create(context: Context, /, **options: Any) -> None:
    """Give each of these customers a profile; safe to repeat."""
    _write("create", CUSTOMER_IDS, context, **options)


@bcshopper.command(
    **examples(
        "bcshopper delete 6f6a9a2e-1bd5-4b6f-9a41-5b1c2c1c7e11",
        "bcshopper list --format csv --output all.csv && bcshopper delete --from all.csv",
        "bcshopper delete --yes --from old.txt --journal old.journal",
    )
)
@takes_ids("PROFILE_ID")
@prints
@journal_option
@yes_option
@dry_run_option
@summary_option
@click.pass_obj
def delete(context: Context, /, *, ids: Ids, yes: bool, dry_run: bool, **options: Any) -> None:
    """Delete these profiles; safe to repeat."""
    if ids.source.is_stdin and not (yes or dry_run):
        raise click.UsageError("ids from standard input need --yes: nobody can be asked there")

    def ask(settings: Settings, count: int) -> None:
        if not yes:
            requests = -(-count // ProfileRequests(settings.root).delete_capacity)
            _confirm(f"Delete {count:,} shopper profiles in {requests:,} requests", settings)

    _write("delete", PROFILE_IDS, context, ids=ids, dry_run=dry_run, ask=ask, **options)


def _write(
    verb: _work.Verb,
    kind: IdKind[Any],
    context: Context,
    *,
    ids: Ids,
    output: Output,
    journal: Path | None,
    dry_run: bool,
    summary_json: Path | None,
    ask: Callable[[Settings, int], None] = lambda *_: None,
) -> None:
    check_distinct(
        from_=ids.source.path, output=output.path, journal=journal, summary_json=summary_json
    )
    with choose_settings(context.options) as settings:
        # A plan leaves no trace.
        is_begun = journal is not None and journal.exists() and journal.stat().st_size > 0
        place = journal if not dry_run or is_begun else None
        with closing(Journal(place)) as book:
            job = Job(settings.base_url, settings.store_hash, verb)
            summary = Summary(verb, settings.store_hash)
            summary.skipped = _load(book, job, ids, kind, keep_bad=not dry_run)
            if dry_run:
                _print_plan(_work.plan(verb, settings, book), output)
                return
            done = sum(n for status, n in book.counts().items() if status in _work.RESULTS)
            if done:
                say(f"{journal}: {done:,} of {book.total:,} ids are done already", done=done)
            if done < book.total:
                ask(settings, book.total - done)
            try:
                with output.open(OUTCOME_COLUMNS) as rows:
                    run(
                        _work.write_ids(
                            verb, settings, book,
                            rows=rows, summary=summary, terminal=context.terminal,
                        )
                    )  # fmt: skip
            except (KeyboardInterrupt, BrokenPipeError) as stop:
                why = "interrupted" if isinstance(stop, KeyboardInterrupt) else "nobody reads on"
                _say_how_to_go_on(why, summary, book.total, journal)
                raise
            finally:
                _report(summary, summary_json)
    if summary.never_reached:
        sys.exit(Exit.API)
    if summary.failed or summary.skipped:
        sys.exit(Exit.SOME_FAILED)


def _load(journal: Journal, job: Job, ids: Ids, kind: IdKind[Any], *, keep_bad: bool = True) -> int:
    """Read all ids, which checks them; gives how many bad lines were left out."""
    if not ids.skip_bad:
        journal.begin(job, read_ids(ids.source, kind, refuse))
        return 0
    with open_rejects(ids.source.rejects_path if keep_bad else None) as rejects:
        journal.begin(job, read_ids(ids.source, kind, rejects.add))
    if rejects.count:
        place = f"are in {rejects.path}" if rejects.path else "would be left out"
        say(f"{rejects.count:,} bad lines {place}", skipped=rejects.count)
    return rejects.count


def _print_plan(requests: Iterator[Request], output: Output) -> None:
    count = 0
    with output.open(REQUEST_COLUMNS) as rows:
        for request in requests:
            rows.write(request_row(request))
            count += 1
    say(f"{count:,} requests would go; none was sent", requests=count)


def _report(summary: Summary, path: Path | None) -> None:
    if not summary.ended:
        return
    for line in summary.lines():
        say(line)
    if path is not None:
        summary.write(path)


def _say_how_to_go_on(why: str, summary: Summary, total: int, journal: Path | None) -> None:
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
@yes_option
@dry_run_option
@summary_option
@click.pass_obj
def delete_all(
    context: Context, *, confirm: str | None, yes: bool, dry_run: bool, summary_json: Path | None
) -> None:
    """Delete every profile in the store."""
    with choose_settings(context.options) as settings:
        if dry_run:
            _print_plan(iter([ProfileRequests(settings.root).delete_all()]), Output.choose())
            return
        if confirm != settings.store_hash:
            raise click.UsageError(
                f"this deletes every profile in store {settings.store_hash}: "
                f"to be sure, give its hash with --confirm"
            )
        total = _count(settings)
        if not yes:
            _confirm(f"Delete all {total:,} shopper profiles", settings)
        summary = Summary("delete-all", settings.store_hash)
        try:
            run(_work.delete_everything(settings, total, summary))
        finally:
            _report(summary, summary_json)


def _count(settings: Settings) -> int:
    total = 0

    async def job() -> None:
        nonlocal total
        async with settings.session(log_response) as session:
            total = (await session.shopper_profiles.page(limit=1)).pagination.total

    run(job())
    return total


def _confirm(what: str, settings: Settings) -> None:
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
        say("nothing was deleted")
        sys.exit(Exit.SOME_FAILED)


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
    """Tell what became of a job's ids."""
    with closing(Journal(file)) as book:
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
@click.option(
    "--customers", default=SANDBOX_CUSTOMERS, show_default=True, type=click.IntRange(min=0)
)
@click.option("--profiles", default=SANDBOX_PROFILES, show_default=True, type=click.IntRange(min=0))
@serve_options
def sandbox(**options: Any) -> None:
    """Serve an embedded store until interrupted; see its page at /_sandbox/."""
    run(serve(**options))


@bcshopper.command(
    **examples(
        'eval "$(bcshopper completion bash)"',
        "bcshopper completion fish > ~/.config/fish/completions/bcshopper.fish",
    )
)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print what makes a shell complete commands and options."""
    kind = get_completion_class(shell)
    assert kind is not None  # noqa: S101 - click has these three
    click.echo(kind(bcshopper, {}, "bcshopper", "_BCSHOPPER_COMPLETE").source())
