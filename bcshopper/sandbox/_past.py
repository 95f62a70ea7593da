"""What things looked like a while ago: for answers that are behind the store's writes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Past(Generic[T]):
    """Remembers for `lag` seconds what things looked like before they changed.

    Args:
        lag: for how many seconds; it may be changed.
        clock: tells the time in seconds.
    """

    def __init__(self, lag: float, clock: Callable[[], float]) -> None:
        self.lag = lag
        self._clock = clock
        self._before: dict[int, list[tuple[float, T]]] = {}

    def note(self, key: int, look: Callable[[int], T]) -> None:
        """Keep what a thing looks like, right before it changes."""
        if self.lag <= 0:
            return
        now = self._clock()
        recent = [(at, value) for at, value in self._before.get(key, ()) if at + self.lag > now]
        self._before[key] = [*recent, (now, look(key))]

    def seen(self, key: int, look: Callable[[int], T]) -> T:
        """What a thing looked like `lag` seconds ago: as now, if it has not changed since."""
        for at, value in self._before.get(key, ()):
            if at + self.lag > self._clock():
                return value
        return look(key)

    def recent(self) -> list[int]:
        """What has changed within the lag; what had changed before is dropped."""
        now = self._clock()
        for key in [k for k, past in self._before.items() if past[-1][0] + self.lag <= now]:
            del self._before[key]
        return list(self._before)

    def forget(self) -> None:
        """Let everything have been for ever as it is now."""
        self._before.clear()
