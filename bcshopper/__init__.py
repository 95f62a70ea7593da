"""Asyncio-native client for BigCommerce's customer segmentation API.

A map of the rooms; imports only point down:

    sandbox  _cli  fleet  a whole store in this process; the command line; jobs on many machines
    otel                  metrics and traces, made of a session's events
    _session              Session: one store, one token, one connection pool
    _segments             session.segments: the verbs, and who is in them; sync
    _profiles             session.shopper_profiles: the verbs, and single calls sent together
    _customers            GET /customers: who has a profile
    _listing  _batch      a list of the API, page by page; any number of ids, one outcome each
    _transport            the only way to the network: one request, and again if need be
    _quota                when a request may go out: one gate for each store
    _models _outcomes errors events _inputs _secret       plain data
"""

from importlib import import_module
from typing import TYPE_CHECKING

from bcshopper import errors
from bcshopper._listing import Paginator
from bcshopper._models import Customer, Page, Pagination, Segment, ShopperProfile
from bcshopper._profiles import ShopperProfiles
from bcshopper._quota import QuotaPolicy, QuotaSnapshot
from bcshopper._session import Session
from bcshopper._transport import RetryPolicy, SessionStats
from bcshopper._version import __version__
from bcshopper.errors import *  # noqa: F403 - every one of them is public here, too

if TYPE_CHECKING:
    from bcshopper import events as events
    from bcshopper._customers.resource import Customers
    from bcshopper._outcomes import BatchReport, Outcome, Status, SyncPlan, SyncReport
    from bcshopper._profiles.coalescer import Coalescer
    from bcshopper._segments import SegmentMembers, Segments

__all__ = [
    "BatchReport",
    "Coalescer",
    "Customer",
    "Customers",
    "Outcome",
    "Page",
    "Pagination",
    "Paginator",
    "QuotaPolicy",
    "QuotaSnapshot",
    "RetryPolicy",
    "Segment",
    "SegmentMembers",
    "Segments",
    "Session",
    "SessionStats",
    "ShopperProfile",
    "ShopperProfiles",
    "Status",
    "SyncPlan",
    "SyncReport",
    "__version__",
]
__all__ += errors.__all__

# Imported when they are first used: most programs name none of them.
_LATE = {
    "Coalescer": "bcshopper._profiles.coalescer",
    "Customers": "bcshopper._customers.resource",
    **dict.fromkeys(
        ("BatchReport", "Outcome", "Status", "SyncPlan", "SyncReport"), "bcshopper._outcomes"
    ),
    "SegmentMembers": "bcshopper._segments",
    "Segments": "bcshopper._segments",
    "events": "bcshopper.events",
}


def __getattr__(name: str) -> object:
    if name not in _LATE:
        raise AttributeError(f"module 'bcshopper' has no attribute {name!r}", name=name)
    module = import_module(_LATE[name])
    thing: object = module if name == "events" else getattr(module, name)
    globals()[name] = thing
    return thing


def __dir__() -> list[str]:
    return sorted({*globals(), *_LATE})
