"""What the commands that write no ids do over the wire, once everything is checked."""

from __future__ import annotations

from bcshopper._cli._job import chunks, open_ids
from bcshopper._cli._journal import Journal
from bcshopper._cli._output import Rows, lookup_row, profile_row
from bcshopper._cli._progress import working
from bcshopper._cli._settings import Settings
from bcshopper._cli._summary import Summary
from bcshopper._cli._terminal import Terminal, log_response
from bcshopper._listing import MAX_LIMIT
from bcshopper._outcomes import Status
from bcshopper.errors import APIError, ServerError

_LOOKED_UP_AT_ONCE = 10 * MAX_LIMIT
"""Customers: enough for all requests that may be in flight."""


async def delete_everything(settings: Settings, total: int, summary: Summary) -> None:
    """The documented wipe."""
    async with settings.session(log_response) as session:
        became = Status.UNKNOWN
        try:
            await session.shopper_profiles.delete_all(confirm=settings.store_hash)
            became = Status.DELETED
        except APIError as error:
            became = Status.UNKNOWN if isinstance(error, ServerError) else Status.NOT_SENT
            raise
        finally:
            summary.counts[became] = total
            summary.end(session.stats)


async def list_all(settings: Settings, *, consistent: bool, rows: Rows, terminal: Terminal) -> None:
    """Every profile."""
    async with working("list", None, settings, terminal) as work:
        profiles = work.session.shopper_profiles
        async for page in profiles.list(consistent=consistent).pages():
            work.pace.total = page.pagination.total
            with work.hidden():
                for profile in page:
                    rows.write(profile_row(profile))
                rows.flush()
            work.pace.advance(len(page))


async def look_up(settings: Settings, journal: Journal, *, rows: Rows, terminal: Terminal) -> None:
    """The profile of each customer, in the order given."""
    async with working("lookup", journal.total, settings, terminal) as work:
        for some in chunks(open_ids(journal), _LOOKED_UP_AT_ONCE):
            found = await work.session.shopper_profiles.lookup(some)
            with work.hidden():
                for customer_id, profile_id in found.items():
                    rows.write(lookup_row(customer_id, profile_id))
                rows.flush()
            work.pace.advance(len(found))
