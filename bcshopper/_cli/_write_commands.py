"""The commands that change profiles: `create`, `delete` and `delete-all`."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

import click

from bcshopper._cli import _options as options
from bcshopper._cli._commands import ask_page, bcshopper
from bcshopper._cli._input import Ids
from bcshopper._cli._job import make_sure, write
from bcshopper._cli._options import Context, command
from bcshopper._cli._output import REQUESTS, Output
from bcshopper._cli._profile_changes import Create, CreateForEveryone, Delete
from bcshopper._cli._runner import run
from bcshopper._cli._settings import Settings
from bcshopper._cli._summary import Summary
from bcshopper._cli._terminal import log_response, say
from bcshopper._outcomes import Status
from bcshopper._profiles import ProfileRequests
from bcshopper._transport import Effect, effect_of
from bcshopper.errors import BCShopperError


@command(
    bcshopper,
    "bcshopper create 101 102",
    "bcshopper create --from customers.csv --column customer_id --journal night.journal",
    "zcat ids.gz | bcshopper create --share 0.5 --summary-json summary.json",
)
@options.takes_ids("CUSTOMER_ID")
@click.option("--all-customers", is_flag=True, help="Everyone in the store without a profile.")
@options.modified_since
@options.writes
def create(
    context: Context, /, *, all_customers: bool, modified_since: datetime | None, **given: Any
) -> None:
    """Give each of these customers a profile; safe to repeat."""
    ids: Ids = given["ids"]
    if all_customers and ids.are_given:
        raise click.UsageError("--all-customers is everyone: give no ids with it")
    if modified_since is not None and not all_customers:
        raise click.UsageError("--modified-since goes with --all-customers")
    everyone = CreateForEveryone(modified_since, context.terminal)
    write(everyone if all_customers else Create(), context, **given)


@command(
    bcshopper,
    "bcshopper delete 6f6a9a2e-1bd5-4b6f-9a41-5b1c2c1c7e11",
    "bcshopper list --format csv --output all.csv && bcshopper delete --from all.csv",
    "bcshopper delete --yes --from old.txt --journal old.journal",
)
@options.takes_ids("PROFILE_ID")
@options.yes
@options.writes
def delete(context: Context, /, *, yes: bool, **given: Any) -> None:
    """Delete these profiles; safe to repeat."""
    write(Delete(asks=not yes), context, **given)


@command(
    bcshopper,
    "bcshopper delete-all --confirm abc123",
    "bcshopper delete-all --dry-run",
    name="delete-all",
)
@click.option("--confirm", metavar="STORE_HASH", help="The store's hash, to be sure.")
@options.yes
@options.dry_run
@options.summary
def delete_all(
    context: Context, *, confirm: str | None, yes: bool, dry_run: bool, summary_json: Path | None
) -> None:
    """Delete every profile in the store."""
    settings = context.settings
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
    total = ask_page(settings)[0].pagination.total
    if not yes:
        make_sure(f"Delete all {total:,} shopper profiles", settings)
    summary = Summary("delete-all", settings.store_hash, total)
    try:
        run(_delete_all(settings, summary))
    finally:
        summary.report(summary_json)


async def _delete_all(settings: Settings, summary: Summary) -> None:
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
            summary.counts[became] = summary.total
            summary.end(session.stats)
