"""What a session's `on_event` is told of its requests; made only where there is one."""

from __future__ import annotations

import logging
from collections.abc import Callable

from bcshopper._quota import QuotaSnapshot
from bcshopper._transport.messages import Reply, Request
from bcshopper.errors import BCShopperError, ResponseFormatError, TransportError
from bcshopper.events import (
    Event,
    QuotaWait,
    RequestFailed,
    RequestGivenUp,
    RequestSent,
    ResponseReceived,
    RetryScheduled,
)

_log = logging.getLogger("bcshopper.transport")


class Reporter:
    """Makes events of what happens to requests, and hands them on.

    Args:
        on_event: told of each event; its own failures harm nobody else.
        store: the store hash.
    """

    def __init__(self, on_event: Callable[[Event], None], store: str) -> None:
        self._on_event = on_event
        self._store = store

    def emit(self, event: Event) -> None:
        """Hand on an event."""
        try:
            self._on_event(event)
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException:  # noqa: BLE001 - a CancelledError, too, is not the caller's
            _log.exception("on_event raised for %r", event)

    def sent(self, request: Request, attempt: int) -> None:
        """A request goes out."""
        self.emit(RequestSent(*self._about(request, attempt)))

    def answered(
        self,
        request: Request,
        attempt: int,
        seconds: float,
        reply: Reply,
        quota: QuotaSnapshot | None,
    ) -> None:
        """Its answer has come, and tells so much of the quota."""
        left, limit = (None, None) if quota is None else (quota.remaining, quota.limit)
        about = self._about(request, attempt)
        self.emit(ResponseReceived(*about, reply.status, seconds, len(reply.body), left, limit))

    def failed(self, request: Request, attempt: int, seconds: float, error: BaseException) -> None:
        """It came to nothing, or was given up."""
        about = self._about(request, attempt)
        if not isinstance(error, BCShopperError):
            self.emit(RequestGivenUp(*about, seconds))
            return
        status = error.status if isinstance(error, ResponseFormatError) else None
        sent = error.sent if isinstance(error, TransportError) else status is not None
        self.emit(RequestFailed(*about, type(error).__name__, status, sent, seconds))

    def retrying(self, request: Request, attempt: int, delay: float, error: BCShopperError) -> None:
        """It will be tried again."""
        about = self._about(request, attempt)
        self.emit(RetryScheduled(*about, delay, str(error), type(error).__name__))

    def waiting(self, seconds: float, reason: str, added: float) -> None:
        """Requests are held back for quota."""
        self.emit(QuotaWait(seconds, reason, added, self._store))

    def _about(self, request: Request, attempt: int) -> tuple[str, str, int, str, str]:
        return request.method, str(request.url), attempt, request.route, self._store
