"""Everything that bcshopper raises.

    BCShopperError
    ├── InvalidInputError      (also a ValueError)    refused before anything was sent
    ├── SessionClosedError                            the session or a block of it has ended
    ├── TransportError                                no whole answer came
    │   └── RequestTimeoutError (also a TimeoutError) ... within the session's timeout
    ├── ResponseFormatError                           an answer that the API does not document
    ├── APIDownError                                  a batch stopped: nothing succeeds any more
    ├── BatchError                                    some ids of a batch failed; has the report
    ├── TooManyRemovalsError                          a sync was not begun; has the plan
    └── APIError                                      the API said no
        ├── BadRequestError        400
        ├── AuthenticationError    401
        ├── PermissionDeniedError  403
        ├── NotFoundError          404
        ├── ConflictError          409
        ├── PayloadTooLargeError   413
        ├── UnprocessableError     422
        ├── RateLimitError         429
        └── ServerError            5xx

All of them can be pickled, and none of them carries the access token.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from bcshopper._outcomes import BatchReport, SyncPlan

__all__ = [
    "APIDownError",
    "APIError",
    "AuthenticationError",
    "BCShopperError",
    "BadRequestError",
    "BatchError",
    "ConflictError",
    "InvalidInputError",
    "NotFoundError",
    "PayloadTooLargeError",
    "PermissionDeniedError",
    "RateLimitError",
    "RequestTimeoutError",
    "ResponseFormatError",
    "ServerError",
    "SessionClosedError",
    "TooManyRemovalsError",
    "TransportError",
    "UnprocessableError",
]


def _rebuild(cls: type[BCShopperError], args: tuple[Any, ...]) -> BCShopperError:
    error = cls.__new__(cls, *args)
    error.args = args
    return error


class BCShopperError(Exception):
    """The root of every error that bcshopper raises.

    Attributes:
        resume_page: the page to go on with, where a listing failed half-way.
    """

    resume_page: int | None = None

    def __reduce__(self) -> tuple[Callable[..., BCShopperError], tuple[Any, ...], dict[str, Any]]:
        # BaseException would call the class with `args` alone, which keyword-only fields refuse.
        # The state comes apart from them: a report in it may hold this very error.
        return _rebuild, (type(self), self.args), self.__dict__


class InvalidInputError(BCShopperError, ValueError):
    """An argument was refused; nothing was sent."""


class SessionClosedError(BCShopperError):
    """The session, or the block of a `Coalescer`, has ended, or belongs to another event loop."""


class TransportError(BCShopperError):
    """No whole answer came: a connection, DNS, TLS or protocol failure.

    Its `__cause__` has the type and the words of what went wrong, and nothing else.

    Attributes:
        method: the request's HTTP method.
        url: the request's URL.
        sent: False if the request surely never left, so that it can't have taken effect.
    """

    def __init__(self, message: str, *, method: str, url: str, sent: bool) -> None:
        super().__init__(message)
        self.method = method
        self.url = url
        self.sent = sent


class RequestTimeoutError(TransportError, TimeoutError):
    """One attempt took longer than the session's `timeout`."""


class ResponseFormatError(BCShopperError):
    """An answer that is not what the API documents.

    Attributes:
        method: the request's HTTP method.
        url: the request's URL.
        status: the answer's HTTP status.
        field: where in the document it went wrong, such as `$.data[3].id`; `$` is the whole.
        excerpt: the first 200 characters of the body.
    """

    def __init__(
        self, message: str, *, method: str, url: str, status: int, field: str, excerpt: str
    ) -> None:
        super().__init__(message)
        self.method = method
        self.url = url
        self.status = status
        self.field = field
        self.excerpt = excerpt


class APIDownError(BCShopperError):
    """A batch has stopped, because for a while no request to the API has succeeded.

    Its `__cause__` is the last failure. `RetryPolicy.budget` says how much is tried before.
    """


class BatchError(BCShopperError):
    """Some ids of a batch failed.

    Attributes:
        report: what became of every id, the successful ones included.
    """

    def __init__(self, message: str, report: BatchReport[Any]) -> None:
        super().__init__(message)
        self.report = report


class TooManyRemovalsError(BCShopperError):
    """A `sync` would remove a larger part of the segment than `max_removed`; nothing was changed.

    Attributes:
        plan: what it would have done.
    """

    def __init__(self, message: str, plan: SyncPlan) -> None:
        super().__init__(message)
        self.plan = plan


class APIError(BCShopperError):
    """The API answered with an error status.

    Attributes:
        status: the HTTP status.
        title: the API's one-line description, or the HTTP reason where it gave none.
        type: the URI of the API's problem type, if given.
        errors: the API's messages by field or by position in the request, such as
            `{"0.customer_id": "..."}`; empty if it gave none.
        method: the request's HTTP method.
        url: the request's URL.
        request_id: the answer's `X-Request-ID`, to quote to support.
        retry_after: seconds that the API asked to wait, if it did.
        body: the first 2,000 characters of the body.
    """

    def __init__(
        self,
        message: str,
        *,
        status: int,
        title: str,
        method: str,
        url: str,
        type: str | None = None,  # noqa: A002 - the API's own field name
        errors: Mapping[str, str] = {},
        request_id: str | None = None,
        retry_after: float | None = None,
        body: str = "",
    ) -> None:
        super().__init__(message)
        self.status = status
        self.title = title
        self.type = type
        self.errors = dict(errors)
        self.method = method
        self.url = url
        self.request_id = request_id
        self.retry_after = retry_after
        self.body = body


class BadRequestError(APIError):
    """400: the request was malformed."""


class AuthenticationError(APIError):
    """401: the access token is missing or wrong."""


class PermissionDeniedError(APIError):
    """403: the token lacks a scope, or the store's plan lacks shopper profiles."""


class NotFoundError(APIError):
    """404: no such store or resource."""


class ConflictError(APIError):
    """409: it exists already."""


class PayloadTooLargeError(APIError):
    """413: too much was asked for or sent at once."""


class UnprocessableError(APIError):
    """422: well-formed, but refused."""


class RateLimitError(APIError):
    """429: the store's quota is spent, or the platform is under load."""


class ServerError(APIError):
    """5xx: the API failed."""
