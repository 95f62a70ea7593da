"""Asyncio-native client for BigCommerce's Shopper Profiles API."""

from bcshopper._listing import Paginator
from bcshopper._models import Page, Pagination, ShopperProfile
from bcshopper._outcomes import BatchReport, Outcome, Status
from bcshopper._profiles import Coalescer, ShopperProfiles
from bcshopper._quota import QuotaPolicy, QuotaSnapshot
from bcshopper._session import Session
from bcshopper._transport import RetryPolicy, SessionStats
from bcshopper._version import __version__
from bcshopper.errors import (
    APIError,
    AuthenticationError,
    BadRequestError,
    BatchError,
    BCShopperError,
    ConflictError,
    InvalidInputError,
    NotFoundError,
    PayloadTooLargeError,
    PermissionDeniedError,
    RateLimitError,
    RequestTimeoutError,
    ResponseFormatError,
    ServerError,
    SessionClosedError,
    TransportError,
    UnprocessableError,
)

__all__ = [
    "APIError",
    "AuthenticationError",
    "BCShopperError",
    "BadRequestError",
    "BatchError",
    "BatchReport",
    "Coalescer",
    "ConflictError",
    "InvalidInputError",
    "NotFoundError",
    "Outcome",
    "Page",
    "Pagination",
    "Paginator",
    "PayloadTooLargeError",
    "PermissionDeniedError",
    "QuotaPolicy",
    "QuotaSnapshot",
    "RateLimitError",
    "RequestTimeoutError",
    "ResponseFormatError",
    "RetryPolicy",
    "ServerError",
    "Session",
    "SessionClosedError",
    "SessionStats",
    "ShopperProfile",
    "ShopperProfiles",
    "Status",
    "TransportError",
    "UnprocessableError",
    "__version__",
]
