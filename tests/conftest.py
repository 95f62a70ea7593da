import asyncio

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
