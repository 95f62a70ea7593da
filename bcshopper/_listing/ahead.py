"""Several calls ahead of the reader, in order, and never one left behind."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine
from typing import Any, Protocol, TypeVar

T = TypeVar("T")
U = TypeVar("U")


class Spawn(Protocol):
    """Starts a task that the session waits for when it closes."""

    def __call__(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]: ...


async def in_order(
    next_call: Callable[[], Coroutine[Any, Any, T] | None],
    finish: Callable[[T], Awaitable[U]],
    *,
    ahead: int,
    spawn: Spawn,
) -> AsyncGenerator[U]:
    """Yield the results of calls in the order in which they are handed out.

    Args:
        next_call: hands out the next call; None if there is none, for now: it is asked again
            after each result.
        finish: makes of a result, when its turn comes, what is yielded; `next_call` is asked after.
        ahead: how many calls may be under way or done and not yet yielded.
        spawn: starts a task.
    """
    tasks: deque[asyncio.Task[T]] = deque()

    def fill() -> None:
        while len(tasks) < ahead and (call := next_call()) is not None:
            tasks.append(spawn(call))

    # Not a TaskGroup: closing a generator inside of one raises a BaseExceptionGroup.
    try:
        fill()
        while tasks:
            result = await tasks[0]
            tasks.popleft()
            finished = await finish(result)
            fill()
            yield finished
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
