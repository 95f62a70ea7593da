from opentelemetry.instrumentation.aiohttp_client import AioHttpClientInstrumentor
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

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
