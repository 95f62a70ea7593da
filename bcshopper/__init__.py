"""Asyncio-native client for BigCommerce's Shopper Profiles API."""

from bcshopper._listing.paginator import Paginator
from bcshopper._models import Page, Pagination, ShopperProfile
from bcshopper._outcomes import BatchReport, Outcome, Status
from bcshopper._profiles.coalescer import Coalescer
from bcshopper._quota.headers import QuotaSnapshot
from bcshopper._quota.policy import QuotaPolicy
from bcshopper._session import Session
from bcshopper._transport.retry import RetryPolicy
from bcshopper._transport.transport import SessionStats
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
    "Status",
    "TransportError",
    "UnprocessableError",
    "__version__",
]
