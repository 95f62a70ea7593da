"""Metrics and traces for OpenTelemetry (extra `otel`).

One line switches them on: `Session(..., on_event=Telemetry())`. What is recorded goes where the
application's own OpenTelemetry setup sends it.

| metric | kind, unit | attributes |
|---|---|---|
| `http.client.request.duration` | histogram, s | method, `url.template`, status, `error.type` |
| `http.client.active_requests` | up-down counter | method, `url.template` |
| `bcshopper.retries` | counter | `url.template`, `error.type` |
| `bcshopper.quota.limit`, `bcshopper.quota.remaining` | gauge | |
| `bcshopper.quota.wait` | counter, s | |
| `bcshopper.outcomes` | counter | `bcshopper.verb`, `bcshopper.status` |
| `bcshopper.coalescer.waiting` | gauge | |
| `bcshopper.coalescer.batch.size` | histogram | `bcshopper.verb` |

All of them carry `bcshopper.store`. The first two follow the semantic conventions for HTTP clients,
whose other attributes they have too; an attempt that was cancelled has the error type `cancelled`.
See https://opentelemetry.io/docs/specs/semconv/http/http-metrics/

A request that calls of a `Coalescer` share is a span `coalesced <verb>` of its own, linked from and
to the span that was current where each of these calls was made.
"""

from __future__ import annotations

from urllib.parse import urlsplit

from opentelemetry import context, metrics, trace
from opentelemetry.util.types import AttributeValue

from bcshopper._version import __version__
from bcshopper.events import (
    ChunkDone,
    CoalescedDone,
    CoalescedStarted,
    Event,
    QuotaWait,
    RequestEvent,
    RequestFailed,
    RequestGivenUp,
    RequestSent,
    ResponseReceived,
    RetryScheduled,
)

__all__ = ["Telemetry"]

_NAME = "bcshopper"
_PORTS = {"http": 80, "https": 443}
_ERRORS_FROM = 400  # HTTP
# Seconds, as the semantic conventions advise for this metric.
_BOUNDARIES = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10)


class Telemetry:
    """Records what sessions do; to be given to one or more of them as `on_event`.

    Args:
        meter_provider: where metrics go; None: the application's global one.
        tracer_provider: where spans go; None: the application's global one.
    """

    def __init__(
        self,
        *,
        meter_provider: metrics.MeterProvider | None = None,
        tracer_provider: trace.TracerProvider | None = None,
    ) -> None:
        meter = metrics.get_meter(_NAME, __version__, meter_provider=meter_provider)
        self._tracer = trace.get_tracer(_NAME, __version__, tracer_provider=tracer_provider)
        self._spans: dict[int, trace.Span] = {}
        self._duration = meter.create_histogram(
            "http.client.request.duration",
            unit="s",
            description="Duration of HTTP client requests.",
            explicit_bucket_boundaries_advisory=_BOUNDARIES,
        )
        self._active = meter.create_up_down_counter(
            "http.client.active_requests",
            unit="{request}",
            description="Number of active HTTP requests.",
        )
        self._retries = meter.create_counter(
            "bcshopper.retries", unit="{retry}", description="Requests to be repeated, by cause."
        )
        self._limit = meter.create_gauge(
            "bcshopper.quota.limit",
            unit="{request}",
            description="Requests per window of the store's quota.",
        )
        self._remaining = meter.create_gauge(
            "bcshopper.quota.remaining",
            unit="{request}",
            description="Requests left in the window of the store's quota.",
        )
        self._wait = meter.create_counter(
            "bcshopper.quota.wait",
            unit="s",
            description="Time for which requests are held back, in waits of a second and more.",
        )
        self._outcomes = meter.create_counter(
            "bcshopper.outcomes", unit="{id}", description="What became of ids."
        )
        self._waiting = meter.create_gauge(
            "bcshopper.coalescer.waiting",
            unit="{call}",
            description="Calls of a coalescer without an answer, as a request went out.",
        )
        self._batch_size = meter.create_histogram(
            "bcshopper.coalescer.batch.size",
            unit="{id}",
            description="Ids that share a request.",
            explicit_bucket_boundaries_advisory=(1, 2, 5, 10, 20, 30, 40, 50, 100, 250),
        )

    def __call__(self, event: Event) -> None:
        """Record an event."""
        if isinstance(event, RequestEvent):
            self._record_request(event)
        elif isinstance(event, QuotaWait):
            self._wait.add(event.added, {"bcshopper.store": event.store})
        elif isinstance(event, ChunkDone):
            for outcome in event.outcomes:
                status = {"bcshopper.verb": event.verb, "bcshopper.status": outcome.status.value}
                self._outcomes.add(1, status | {"bcshopper.store": event.store})
        elif isinstance(event, CoalescedStarted):
            self._begin_shared(event)
        else:
            self._end_shared(event)

    def _record_request(self, event: RequestEvent) -> None:
        about = _about(event)
        if isinstance(event, RequestSent):
            self._active.add(1, about)
        elif isinstance(event, RetryScheduled):
            store = {"bcshopper.store": event.store, "url.template": about["url.template"]}
            self._retries.add(1, store | {"error.type": event.error})
        elif isinstance(event, ResponseReceived | RequestFailed | RequestGivenUp):
            self._active.add(-1, about)
            self._duration.record(event.seconds, about | _ending(event))
            if isinstance(event, ResponseReceived) and event.quota_limit is not None:
                store = {"bcshopper.store": event.store}
                self._limit.set(event.quota_limit, store)
                self._remaining.set(event.quota_left or 0, store)

    def _begin_shared(self, event: CoalescedStarted) -> None:
        verb, store = {"bcshopper.verb": event.verb}, {"bcshopper.store": event.store}
        self._waiting.set(event.waiting, store)
        self._batch_size.record(event.size, verb | store)
        span = self._tracer.start_span(
            f"coalesced {event.verb}",
            context=context.Context(),  # a trace of its own
            attributes={**verb, **store, "bcshopper.coalescer.batch.size": event.size},
        )
        self._spans[event.number] = span
        # Of the task that sends it, which ends with it: so its requests are part of this span.
        context.attach(trace.set_span_in_context(span))

    def _end_shared(self, event: CoalescedDone) -> None:
        span = self._spans.pop(event.number, None)
        if span is None:
            return
        for caller in event.callers:
            theirs = caller.run(trace.get_current_span)
            if theirs.get_span_context().is_valid:
                span.add_link(theirs.get_span_context())
                theirs.add_link(span.get_span_context())
        span.end()


def _about(event: RequestEvent) -> dict[str, AttributeValue]:
    url = urlsplit(event.url)
    return {
        "http.request.method": event.method,
        "server.address": url.hostname or "",
        "server.port": url.port or _PORTS[url.scheme],
        "url.template": event.route.partition(" ")[2],
        "bcshopper.store": event.store,
    }


def _ending(event: ResponseReceived | RequestFailed | RequestGivenUp) -> dict[str, AttributeValue]:
    if isinstance(event, RequestGivenUp):
        return {"error.type": "cancelled"}
    ending: dict[str, AttributeValue] = {}
    if event.status is not None:
        ending["http.response.status_code"] = event.status
    if isinstance(event, RequestFailed):
        ending["error.type"] = event.error
    elif event.status >= _ERRORS_FROM:
        ending["error.type"] = str(event.status)
    return ending
