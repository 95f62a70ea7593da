"""The commands of segments: `bcshopper segment`."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any

import click

from bcshopper._cli import _options as options
from bcshopper._cli._commands import bcshopper, print_list
from bcshopper._cli._input import Ids
from bcshopper._cli._job import Verb, make_sure, write
from bcshopper._cli._membership import Membership, Sync, find_segment
from bcshopper._cli._options import Context, command, examples
from bcshopper._cli._output import PROFILES, SEGMENTS, Output
from bcshopper._listing import Paginator
from bcshopper._models import Segment
from bcshopper._session import Session


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


def _print_one(
    context: Context, output: Output, call: Callable[[Session], Coroutine[Any, Any, Segment]]
) -> None:
    settings = context.settings
    with output.open(SEGMENTS) as rows:
        rows.write(settings.ask(call))


@command(segment, "bcshopper segment list --format csv", name="list")
@options.prints
def list_segments(context: Context, *, output: Output) -> None:
    """List every segment, oldest first."""

    async def choose(session: Session) -> Paginator[Any]:
        return session.segments.list()

    print_list(context, output, SEGMENTS, choose)


@command(segment, "bcshopper segment members VIP --format csv --output vip.csv")
@_segment
@options.prints
def members(context: Context, *, name: str, output: Output) -> None:
    """List the profiles in a segment, in the order of joining."""

    async def choose(session: Session) -> Paginator[Any]:
        return session.segments.members((await find_segment(session, name)).id).list()

    print_list(context, output, PROFILES, choose)


@command(segment, "bcshopper segment show VIP")
@_segment
@options.prints
def show(context: Context, *, name: str, output: Output) -> None:
    """Print a segment."""
    _print_one(context, output, lambda session: find_segment(session, name))


@command(segment, "bcshopper segment create VIP --description 'spent 1,000'")
@click.argument("name", callback=_some_text)
@click.option("--description", default="", help="What people are told of it.")
@options.prints
def create(context: Context, *, name: str, description: str, output: Output) -> None:
    """Create a segment."""
    _print_one(context, output, lambda s: s.segments.create(name, description=description))


@command(segment, "bcshopper segment rename VIP Gold")
@_segment
@click.argument("new_name", callback=_some_text)
@options.prints
def rename(context: Context, *, name: str, new_name: str, output: Output) -> None:
    """Give a segment another name."""

    async def call(session: Session) -> Segment:
        found = await find_segment(session, name)
        return await session.segments.update(found.id, name=new_name)

    _print_one(context, output, call)


@command(segment, "bcshopper segment delete VIP")
@_segment
@options.yes
def delete(context: Context, *, name: str, yes: bool) -> None:
    """Delete a segment; no profile is deleted."""
    settings = context.settings
    found = settings.ask(lambda session: find_segment(session, name))
    if not yes:
        make_sure(f"Delete segment {found.name} ({found.id})", settings)
    settings.ask(lambda session: session.segments.delete([found.id]))


def _add_command(verb: Verb, text: str) -> None:
    @command(segment, f"bcshopper segment {verb} VIP 101 102", name=verb, help=text)
    @_segment
    @options.takes_ids("ID")
    @click.option("--profiles", is_flag=True, help="The ids are those of profiles.")
    @options.writes
    def _(context: Context, /, *, name: str, profiles: bool, **given: Any) -> None:
        write(Membership(verb, name, profiles=profiles), context, **given)


_add_command("add", "Put customers into a segment, with a new profile if need be; safe to repeat.")
_add_command("remove", "Take customers out of a segment; safe to repeat.")


@command(segment, "bcshopper segment sync VIP --from vip.csv --create --dry-run")
@_segment
@options.takes_ids("CUSTOMER_ID")
@click.option(
    "--max-removed", callback=_share, metavar="PERCENT", default="50%", show_default=True,
    help="Change nothing if more of the members would be removed.",
)  # fmt: skip
@click.option("--create", "makes", is_flag=True, help="Create the segment if there is none.")
@options.yes
@options.writes
def sync(
    context: Context, /, *, name: str, max_removed: float, makes: bool, yes: bool, **given: Any
) -> None:
    """Make a segment hold exactly these customers; safe to repeat."""
    ids: Ids = given["ids"]
    if ids.allow_empty:
        raise click.UsageError("no ids at all would empty the segment: leave out --allow-empty")
    write(Sync(name, max_removed, makes=makes, asks=not yes), context, **given)
