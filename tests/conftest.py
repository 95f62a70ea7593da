import asyncio

import pytest
from hypothesis import HealthCheck, settings

from tests.virtual_time import VirtualTimeLoop

settings.register_profile(
    "default", deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=False
)
settings.load_profile("default")


def pytest_asyncio_loop_factories(config, item):
    """Virtual time for every test, but for those that talk to another thread or process."""
    if item.get_closest_marker("real_time"):
        return {"real": asyncio.SelectorEventLoop}
    return {"virtual": VirtualTimeLoop}


def run(coroutine):
    """Run a coroutine in virtual time, for tests that are not asynchronous themselves."""
    with asyncio.Runner(debug=True, loop_factory=VirtualTimeLoop) as runner:
        return runner.run(coroutine)


@pytest.fixture
async def raw_server():
    """A server whose answer to each request is what a function makes of the request's head."""
    servers = []

    async def serve(answer):
        async def handle(reader, writer):
            try:
                head = await reader.readuntil(b"\r\n\r\n")
                writer.write(answer(head))
                await writer.drain()
            except (ConnectionError, asyncio.IncompleteReadError):
                pass
            finally:
                writer.close()

        servers.append(await asyncio.start_server(handle, "127.0.0.1", 0))
        return f"http://127.0.0.1:{servers[-1].sockets[0].getsockname()[1]}"

    yield serve
    for server in servers:
        server.close()
