import asyncio
import logging
import os
import signal

import pytest
from hypothesis import HealthCheck, settings

from tests.virtual_time import VirtualTimeLoop

collect_ignore = ["examples"]  # programs, run by tests/docs

settings.register_profile(
    "default", deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=False
)
settings.load_profile("default")

# Commands that are tested are interrupted; a shell that runs the tests in the background would have
# them, and all that they start, ignore that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


LOGGERS = ("bcshopper", "bcshopper.cli", "bcshopper.transport")


@pytest.fixture(autouse=True)
def logging_as_it_was():
    """The command line sets up logging for its process, which here has other tests to run."""
    loggers = [logging.getLogger(name) for name in LOGGERS]
    before = [(logger, logger.handlers[:], logger.level, logger.propagate) for logger in loggers]
    yield
    for logger, handlers, level, propagate in before:
        logger.handlers, logger.propagate = handlers, propagate
        logger.setLevel(level)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers(config):
    """More than there are processors: many tests wait for other processes."""
    return (os.cpu_count() or 1) + 1


def pytest_asyncio_loop_factories(config, item):
    """Virtual time for every test, but for those that talk to another thread or process."""
    if item.get_closest_marker("real_time"):
        return {"real": asyncio.SelectorEventLoop}
    if item.get_closest_marker("thousands"):
        return {"virtual": UndebuggedLoop}
    return {"virtual": VirtualTimeLoop}


class UndebuggedLoop(VirtualTimeLoop):
    """For thousands of requests, which take three times as long in debug mode."""

    def set_debug(self, enabled):
        super().set_debug(False)


def run(coroutine):
    """Run a coroutine in virtual time, for tests that are not asynchronous themselves."""
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
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
