"""Asyncio-native client for BigCommerce's Shopper Profiles API."""

from bcshopper import errors
from bcshopper._listing import Paginator
from bcshopper._models import Page, Pagination, ShopperProfile
from bcshopper._outcomes import BatchReport, Outcome, Status
from bcshopper._profiles import Coalescer, ShopperProfiles
from bcshopper._quota import QuotaPolicy, QuotaSnapshot
from bcshopper._session import Session
from bcshopper._transport import RetryPolicy, SessionStats
from bcshopper._version import __version__
from bcshopper.errors import *  # noqa: F403 - every one of them is public here, too

__all__ = [
    "BatchReport",
    "Coalescer",
    "Outcome",
    "Page",
    "Pagination",
    "Paginator",
    "QuotaPolicy",
    "QuotaSnapshot",
    "RetryPolicy",
    "Session",
    "SessionStats",
    "ShopperProfile",
    "ShopperProfiles",
    "Status",
    "__version__",
]
__all__ += errors.__all__
