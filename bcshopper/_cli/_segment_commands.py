"""The commands of segments, and who is in them: `segment` and `customers`."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from contextlib import suppress
from datetime import datetime
from typing import Any, TypeVar

import click

from bcshopper._cli import _options as options
from bcshopper._cli._commands import bcshopper, make_sure, write
from bcshopper._cli._job import Verb
from bcshopper._cli._membership import Membership, Sync, ask_store, find_segment
from bcshopper._cli._options import Context, Ids, examples
from bcshopper._cli._output import CUSTOMERS, PROFILES, SEGMENTS, Columns, Output
from bcshopper._cli._progress import working
from bcshopper._cli._runner import run
from bcshopper._cli._settings import choose_settings
from bcshopper._cli._source import CUSTOMER_IDS, PROFILE_IDS
from bcshopper._listing import Paginator
from bcshopper._models import Segment
from bcshopper._session import Session

T = TypeVar("T")


def _print_all(
    context: Context,
    output: Output,
    columns: Columns,
    choose: Callable[[Session], Paginator[T]]
    | Callable[[Session], Coroutine[Any, Any, Paginator[T]]],
) -> None:
    async def job() -> None:
        async with working("list", None, settings, context.terminal) as work:
            chosen = choose(work.session)
            items = chosen if isinstance(chosen, Paginator) else await chosen
            async for page in items.pages():
                work.pace.total = page.pagination.total
                work.print(rows, page.items)

    with choose_settings(context.options) as settings, output.open(columns) as rows:
        run(job())


def _print_one(
    context: Context, output: Output, call: Callable[[Session], Coroutine[Any, Any, Segment]]
) -> None:
    with choose_settings(context.options) as settings, output.open(SEGMENTS) as rows:
        rows.write(ask_store(settings, call))


@bcshopper.command(**examples("bcshopper customers --modified-since 2026-01-31"))
@options.modified_since
@options.prints
@click.pass_obj
def customers(context: Context, *, output: Output, modified_since: datetime | None) -> None:
    """List every customer with its profile and its segments."""
    _print_all(
        context, output, CUSTOMERS,
        lambda session: session.customers.list(modified_since=modified_since),
    )  # fmt: skip


@bcshopper.group(**examples("bcshopper segment sync VIP --from vip.csv"))
def segment() -> None:
    """Manage segments and who is in them. SEGMENT is an id or an exact name."""


def _some_text(_: click.Context, __: click.Parameter, text: str) -> str:
    if not text.strip():
        raise click.BadParameter("it is blank")
    return text


def _share(_: click.Context, __: click.Parameter, text: str) -> float:
    with suppress(ValueError):
        share = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
        if 0 <= share <= 1:
            return share
    raise click.BadParameter(f"{text!r} is no part of a whole, such as 50% or 0.5")


_segment = click.argument("name", metavar="SEGMENT", callback=_some_text)


@segment.command("list", **examples("bcshopper segment list --format csv"))
@options.prints
@click.pass_obj
def list_segments(context: Context, *, output: Output) -> None:
    """List every segment, oldest first."""
    _print_all(context, output, SEGMENTS, lambda s: s.segments.list())


@segment.command(**examples("bcshopper segment members VIP --format csv --output vip.csv"))
@_segment
@options.prints
@click.pass_obj
def members(context: Context, *, name: str, output: Output) -> None:
    """List the profiles in a segment, in the order of joining."""

    async def choose(session: Session) -> Paginator[Any]:
        return session.segments.members((await find_segment(session, name)).id).list()

    _print_all(context, output, PROFILES, choose)


@segment.command(**examples("bcshopper segment show VIP"))
@_segment
@options.prints
@click.pass_obj
def show(context: Context, *, name: str, output: Output) -> None:
    """Print a segment."""
    _print_one(context, output, lambda session: find_segment(session, name))


@segment.command(**examples("bcshopper segment create VIP --description 'spent 1,000'"))
@click.argument("name", callback=_some_text)
@click.option("--description", default="", help="What people are told of it.")
@options.prints
@click.pass_obj
def create(context: Context, *, name: str, description: str, output: Output) -> None:
    """Create a segment."""
    _print_one(context, output, lambda s: s.segments.create(name, description=description))


@segment.command(**examples("bcshopper segment rename VIP Gold"))
@_segment
@click.argument("new_name", callback=_some_text)
@options.prints
@click.pass_obj
def rename(context: Context, *, name: str, new_name: str, output: Output) -> None:
    """Give a segment another name."""

    async def call(session: Session) -> Segment:
        found = await find_segment(session, name)
        return await session.segments.update(found.id, name=new_name)

    _print_one(context, output, call)


@segment.command(**examples("bcshopper segment delete VIP"))
@_segment
@options.yes
@click.pass_obj
def delete(context: Context, *, name: str, yes: bool) -> None:
    """Delete a segment; no profile is deleted."""
    with choose_settings(context.options) as settings:
        found = ask_store(settings, lambda session: find_segment(session, name))
        if not yes:
            make_sure(f"Delete segment {found.name} ({found.id})", settings)
        ask_store(settings, lambda session: session.segments.delete([found.id]))


def _add_command(verb: Verb, text: str) -> None:
    @segment.command(verb, help=text, **examples(f"bcshopper segment {verb} VIP 101 102"))
    @_segment
    @options.takes_ids("ID")
    @click.option("--profiles", is_flag=True, help="The ids are those of profiles.")
    @options.prints
    @options.summary
    @click.pass_obj
    def _(context: Context, /, *, name: str, profiles: bool, **given: Any) -> None:
        kind = PROFILE_IDS if profiles else CUSTOMER_IDS
        change = Membership(name, verb if profiles else f"{verb}_customers")
        write(verb, kind, context, ask=change.ask, work=change.work, **given)


_add_command("add", "Put customers into a segment, with a new profile if need be; safe to repeat.")
_add_command("remove", "Take customers out of a segment; safe to repeat.")


@segment.command(**examples("bcshopper segment sync VIP --from vip.csv --create --dry-run"))
@_segment
@options.takes_ids("CUSTOMER_ID")
@click.option(
    "--max-removed", callback=_share, metavar="PERCENT", default="50%", show_default=True,
    help="Change nothing if more of the members would be removed.",
)  # fmt: skip
@click.option("--create", "makes", is_flag=True, help="Create the segment if there is none.")
@options.yes
@options.writes
@click.pass_obj
def sync(
    context: Context, /, *, name: str, max_removed: float, makes: bool, yes: bool, **given: Any
) -> None:
    """Make a segment hold exactly these customers; safe to repeat."""
    ids: Ids = given["ids"]
    if ids.source.is_stdin and not (yes or given["dry_run"]):
        raise click.UsageError("ids from standard input need --yes: nobody can be asked there")
    if ids.allow_empty:
        raise click.UsageError("no ids at all would empty the segment: leave out --allow-empty")
    change = Sync(name, max_removed, makes=makes, confirm=None if yes else make_sure)
    write(
        "sync", CUSTOMER_IDS, context, what=name,
        ask=change.ask, show_plan=change.show_plan, work=change.work, **given,
    )  # fmt: skip
