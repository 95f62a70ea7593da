"""Taking times on a machine that is not quiet."""

from __future__ import annotations

import gc
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeAlias

Step: TypeAlias = Callable[[], Awaitable[Any]]
Clock: TypeAlias = Callable[[], float]


async def seconds_of(step: Step, clock: Clock = time.perf_counter) -> float:
    """How long a step takes by a clock, with no garbage of others to collect."""
    gc.collect()
    began = clock()
    await step()
    return clock() - began


async def fastest(
    contenders: Mapping[str, Step], *, rounds: int, clock: Clock = time.perf_counter
) -> dict[str, float]:
    """Seconds that each contender takes at best, by a clock.

    They take turns, in the opposite order every other round, after one round that does not
    count. The fastest of many is what noise on a shared machine changes least.
    """
    best = dict.fromkeys(contenders, float("inf"))
    for turn in range(rounds + 1):
        for name in list(contenders)[:: -1 if turn % 2 else 1]:
            seconds = await seconds_of(contenders[name], clock)
            if turn:
                best[name] = min(best[name], seconds)
    return best
