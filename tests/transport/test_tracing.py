from opentelemetry.instrumentation.aiohttp_client import AioHttpClientInstrumentor
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from bcshopper.otel import Telemetry
from bcshopper.sandbox import Fault, Sandbox


async def test_opentelemetry_sees_every_attempt():
    """The instrumentation that users have needs no help of ours: a span for each request."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    AioHttpClientInstrumentor().instrument(tracer_provider=provider)
    try:
        async with Sandbox(customers=60) as sandbox, sandbox.session() as session:
            sandbox.faults.queue(Fault.error(503))
            await session.shopper_profiles.page()
            await session.shopper_profiles.create(range(1, 61))
            token = sandbox.access_token
    finally:
        AioHttpClientInstrumentor().uninstrument()
    spans = exporter.get_finished_spans()
    assert [s.name for s in spans] == ["GET", "GET", "POST", "POST"]
    statuses = [s.attributes["http.status_code"] for s in spans]
    assert statuses == [503, 200, 201, 201]
    assert not [s for s in spans if token in s.to_json()]


async def test_what_a_coalescer_sends_is_part_of_its_own_span():
    """From a caller's trace a link leads to that span, and below it are the requests."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    AioHttpClientInstrumentor().instrument(tracer_provider=provider)
    try:
        async with (
            Sandbox(customers=60) as sandbox,
            sandbox.session(on_event=Telemetry(tracer_provider=provider)) as session,
            session.shopper_profiles.coalesce() as one,
        ):
            sandbox.faults.queue(Fault.error(503))
            with provider.get_tracer("app").start_as_current_span("caller"):
                await one.create(1)
    finally:
        AioHttpClientInstrumentor().uninstrument()
    spans = exporter.get_finished_spans()
    (shared,) = (s for s in spans if s.name == "coalesced create")
    requests = [s for s in spans if s.name in {"GET", "POST"}]
    assert [s.name for s in requests] == ["POST", "GET", "POST"]
    assert {s.parent.span_id for s in requests} == {shared.context.span_id}
