"""An event loop whose clock jumps over every wait, while its sockets are real."""

from __future__ import annotations

import asyncio
import selectors
import time

# Real seconds. A loopback byte arrives as it is sent; this is for the rare one that the kernel
# hands on later, which takes longer where other programs keep it busy.
_GRACE = 0.001
_BUSY = 5 * _GRACE
_GRACE_IF_BUSY = 0.03
_STUCK = 60.0


class _Selector(selectors.DefaultSelector):
    """Waits for sockets, but skips the time until the next timer."""

    def __init__(self) -> None:
        super().__init__()
        self.skipped = 0.0

    def select(self, timeout=None):
        events = super().select(0)
        if events or (timeout is not None and timeout <= 0):
            return events
        if timeout is None:
            events = super().select(_STUCK)
            assert events, "no timer and no traffic: the test would hang"
            return events
        events = self._wait()
        if not events:
            self.skipped += timeout
        return events

    def _wait(self):
        """What comes within the grace."""
        began = time.perf_counter()
        events = super().select(_GRACE)
        if not events and time.perf_counter() - began > _BUSY:
            events = super().select(_GRACE_IF_BUSY)
        return events


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """Real sockets, virtual time: `time()` moves only when nothing else is left to do."""

    def __init__(self) -> None:
        self._skipper = _Selector()
        super().__init__(self._skipper)

    def time(self) -> float:
        return self._skipper.skipped

    def run_in_executor(self, executor, func, *args):
        """At once and here: the clock would run away from a thread."""
        future = self.create_future()
        try:
            future.set_result(func(*args))
        except Exception as error:  # noqa: BLE001 - whatever it is, as a thread would
            future.set_exception(error)
        return future
