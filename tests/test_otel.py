"""Metrics and links for OpenTelemetry, seen through its own in-memory reader and exporter."""

import asyncio

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from bcshopper import BCShopperError, RetryPolicy
from bcshopper.otel import Telemetry
from bcshopper.sandbox import Fault, Rules, Sandbox

pytestmark = pytest.mark.lowest


@pytest.fixture
def reader():
    return InMemoryMetricReader()


@pytest.fixture
def exporter():
    return InMemorySpanExporter()


@pytest.fixture
def tracers(exporter):
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    return provider


@pytest.fixture
def telemetry(reader, tracers):
    return Telemetry(meter_provider=MeterProvider([reader]), tracer_provider=tracers)


def points(reader):
    """Of each metric: its data points, each with its attributes."""
    data = reader.get_metrics_data()
    return {
        metric.name: list(metric.data.data_points)
        for resource in data.resource_metrics
        for scope in resource.scope_metrics
        for metric in scope.metrics
    }


def by(found, *names):
    """A metric's points by some of their attributes."""
    return {tuple(p.attributes.get(name) for name in names): p for p in found}


async def test_requests_are_measured_by_the_semantic_conventions(telemetry, reader):
    """Duration with method, route, status and error type; what was sent has ended."""
    async with (
        Sandbox(profiles=3) as sandbox,
        sandbox.session(on_event=telemetry, retry=RetryPolicy(attempts=3), timeout=2.0) as session,
    ):
        sandbox.faults.queue(Fault.error(503), Fault.cut(applied=True), Fault.slow(0.5))
        await session.shopper_profiles.page()
        sandbox.faults.queue(Fault.slow(1.0))
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3):
                await session.segments.page()
        sandbox.faults.queue(Fault.garbage())
        with pytest.raises(BCShopperError):
            await session.with_options(retry=RetryPolicy(attempts=1)).segments.page()
        port, store = int(sandbox.url.rpartition(":")[2].strip("/")), sandbox.store_hash
    found = points(reader)
    durations = by(
        found["http.client.request.duration"],
        "url.template", "http.response.status_code", "error.type",
    )  # fmt: skip
    assert {key: point.count for key, point in durations.items()} == {
        ("/shopper-profiles", 503, "503"): 1,
        ("/shopper-profiles", None, "TransportError"): 1,
        ("/shopper-profiles", 200, None): 1,
        ("/segments", None, "cancelled"): 1,
        ("/segments", 200, "ResponseFormatError"): 1,
    }
    good = durations["/shopper-profiles", 200, None]
    assert good.sum == pytest.approx(0.5, abs=0.1)
    assert good.attributes["http.request.method"] == "GET"
    assert good.attributes["server.address"] == "127.0.0.1"
    assert good.attributes["server.port"] == port
    assert good.attributes["bcshopper.store"] == store
    assert {point.value for point in found["http.client.active_requests"]} == {0}
    retries = by(found["bcshopper.retries"], "error.type")
    assert {key: point.value for key, point in retries.items()} == {
        ("ServerError",): 1,
        ("TransportError",): 1,
    }


async def test_quota_and_outcomes_are_measured(telemetry, reader):
    """What is left, how long was waited, and what became of ids."""
    async with (
        Sandbox(customers=60, rules=Rules(quota=4)) as sandbox,
        sandbox.session(on_event=telemetry) as session,
    ):
        await session.shopper_profiles.create([*range(1, 61), 99], check=False)
        for _ in range(3):
            await session.shopper_profiles.page()
        waited = session.stats.quota_seconds
        quota = session.quota
    found = points(reader)
    (left,), (limit,) = found["bcshopper.quota.remaining"], found["bcshopper.quota.limit"]
    assert (left.value, limit.value) == (quota.remaining, 4)
    (wait,) = found["bcshopper.quota.wait"]
    assert wait.value == pytest.approx(waited, abs=1.0)
    assert waited > 10
    outcomes = by(found["bcshopper.outcomes"], "bcshopper.verb", "bcshopper.status")
    assert {key: point.value for key, point in outcomes.items()} == {
        ("create", "created"): 60,
        ("create", "rejected"): 1,
    }


async def test_the_coalescer_is_measured_and_linked(telemetry, reader, tracers, exporter):
    """Its request is a span of its own, linked from and to each caller's."""
    tracer = tracers.get_tracer("app")
    async with (
        Sandbox(customers=60) as sandbox,
        sandbox.session(on_event=telemetry) as session,
        session.shopper_profiles.coalesce() as one,
    ):

        async def handle(customer_id):
            with tracer.start_as_current_span(f"handle {customer_id}"):
                await one.create(customer_id)

        await asyncio.gather(*(handle(n) for n in range(1, 11)), one.create(11))
    spans = {span.name: span for span in exporter.get_finished_spans()}
    shared = spans.pop("coalesced create")
    assert len(spans) == 10
    assert {link.context.span_id for link in shared.links} == {
        span.context.span_id for span in spans.values()
    }
    for span in spans.values():
        (link,) = span.links
        assert link.context.span_id == shared.context.span_id
        assert span.context.trace_id != shared.context.trace_id
    found = points(reader)
    (size,) = found["bcshopper.coalescer.batch.size"]
    assert (size.count, size.sum) == (1, 11)
    (waiting,) = found["bcshopper.coalescer.waiting"]
    assert waiting.value == 11


async def test_without_a_setup_nothing_is_recorded_and_nothing_fails():
    """As OpenTelemetry does for every library."""
    async with (
        Sandbox(customers=10) as sandbox,
        sandbox.session(on_event=Telemetry()) as session,
        session.shopper_profiles.coalesce() as one,
    ):
        assert (await one.create(1)).profile_id
