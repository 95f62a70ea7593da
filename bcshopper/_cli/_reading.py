"""The command `bcshopper`, and those of its commands that read the store."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from datetime import datetime
from typing import Any, TypeAlias

import click

from bcshopper._cli import _options as options
from bcshopper._cli._files import check_distinct
from bcshopper._cli._input import Ids
from bcshopper._cli._job import chunks
from bcshopper._cli._journal import Job, Journal
from bcshopper._cli._options import Context, command, examples
from bcshopper._cli._output import CUSTOMERS, LOOKUPS, PROFILES, QUOTAS, Columns, Output, Rows
from bcshopper._cli._progress import working
from bcshopper._cli._runner import Exit, end_with, run
from bcshopper._cli._settings import Settings
from bcshopper._cli._source import CUSTOMER_IDS
from bcshopper._cli._terminal import Terminal, say
from bcshopper._listing import MAX_LIMIT, Paginator
from bcshopper._models import Page, ShopperProfile
from bcshopper._quota import QuotaSnapshot
from bcshopper._session import Session
from bcshopper._version import __version__

Choose: TypeAlias = (
    Callable[[Session], Paginator[Any]] | Callable[[Session], Coroutine[Any, Any, Paginator[Any]]]
)

_LOOKED_UP_AT_ONCE = 10 * MAX_LIMIT
"""Customers: enough for all requests that may be in flight."""


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
        chosen = choose(work.session)
        items = chosen if isinstance(chosen, Paginator) else await chosen
        async for page in items.pages():
            work.pace.total = page.pagination.total
            work.print(rows, page.items)


@command(bcshopper, "bcshopper list", "bcshopper list --consistent --format csv", name="list")
@options.prints
@click.option("--consistent", is_flag=True, help="Miss nothing, whatever is deleted meanwhile.")
def list_profiles(context: Context, *, output: Output, consistent: bool) -> None:
    """List every shopper profile, oldest first."""
    print_list(context, output, PROFILES, lambda s: s.shopper_profiles.list(consistent=consistent))


@command(bcshopper, "bcshopper customers --modified-since 2026-01-31")
@options.modified_since
@options.prints
def customers(context: Context, *, output: Output, modified_since: datetime | None) -> None:
    """List every customer with its profile and its segments."""
    print_list(
        context, output, CUSTOMERS, lambda s: s.customers.list(modified_since=modified_since)
    )


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
