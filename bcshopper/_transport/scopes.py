"""What ends a part of a call early: its deadline, or the close of the session."""

from __future__ import annotations

import asyncio
import math
from types import TracebackType
from typing import Self

from bcshopper.errors import SessionClosedError

CLOSED = "the session is closed; open a new one"


class Scopes:
    """The cancel scopes of a session, with one timer between them.

    `asyncio.timeout` does the same for one scope, with a timer and two coroutines of its own. Each
    request has two scopes, which hardly ever end early: it would cost more than the rest of `send`.

    Attributes:
        closed: whether all scopes were ended, for good.
    """

    def __init__(self) -> None:
        self.closed = False
        self._open: set[CancelScope] = set()
        self._dated: set[CancelScope] = set()  # the few of them that have had a deadline
        self._left: asyncio.Event | None = None  # only a session that closes needs it
        self._timer: asyncio.TimerHandle | None = None
        self._due_at = math.inf

    async def aclose(self) -> None:
        """End all scopes, and wait until they have been left."""
        left = self._left = self._left or asyncio.Event()
        if not self.closed:
            self.closed = True
            for scope in self._open:
                scope.end()
        while self._open:
            left.clear()
            await left.wait()
        self._set_timer(math.inf)

    def add(self, scope: CancelScope) -> None:
        """End this scope at its deadline, or when all are ended."""
        self._open.add(scope)
        if scope.deadline < math.inf:
            self._dated.add(scope)
        if scope.deadline < self._due_at:
            self._set_timer(scope.deadline)

    def discard(self, scope: CancelScope) -> None:
        """Forget a scope that was left. The timer stays: it is set again less often so."""
        self._open.discard(scope)
        self._dated.discard(scope)
        if self._left is not None:
            self._left.set()

    def _set_timer(self, due_at: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._due_at = due_at
        if due_at < math.inf:
            self._timer = asyncio.get_running_loop().call_at(due_at, self._end_overdue)

    def _end_overdue(self) -> None:
        # Thousands of calls may wait, without a deadline, for those whose time this is.
        for scope in self._dated:
            if scope.deadline <= self._due_at:
                scope.end()
        self._set_timer(min((scope.deadline for scope in self._dated), default=math.inf))


class CancelScope:
    """A part of a call that may end early, as under `asyncio.timeout`.

    Args:
        scopes: of the session.
        seconds: how long it may take, from its beginning on; infinity for no limit.

    Attributes:
        seconds: how long it may take.
        deadline: when it ends, by the event loop's clock; infinity for never.
        expired: whether it was ended.
    """

    __slots__ = ("_cancelling", "_scopes", "_task", "deadline", "expired", "seconds")

    def __init__(self, scopes: Scopes, seconds: float = math.inf) -> None:
        self.seconds = seconds
        self.deadline = math.inf
        self.expired = False
        self._scopes = scopes
        self._task: asyncio.Task[object] | None = None
        self._cancelling = 0

    def __enter__(self) -> Self:
        """Begin it.

        Raises:
            RuntimeError: this is in no task, so that nothing can be cancelled.
        """
        task = self._task = asyncio.current_task()
        if task is None:
            raise RuntimeError("requests can only be made in a task")
        self._cancelling = task.cancelling()
        if self.seconds < math.inf:
            self.deadline = asyncio.get_running_loop().time() + self.seconds
        self._scopes.add(self)
        return self

    def end_at(self, deadline: float) -> None:
        """Let it end at this time of the event loop's clock."""
        self.deadline = deadline
        self._scopes.add(self)

    def lift(self) -> None:
        """Let it take as long as it takes."""
        self.deadline = math.inf

    def end(self) -> None:
        """Cancel what is under way in it."""
        self.deadline = math.inf
        if self._task is not None and not self.expired:
            self.expired = True
            self._task.cancel()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        """Leave it.

        Raises:
            TimeoutError: its deadline has passed.
            SessionClosedError: the session was closed.
        """
        self._scopes.discard(self)
        task, self._task = self._task, None
        if not self.expired or task is None or task.uncancel() > self._cancelling:
            return
        del task  # to which what is raised here would lead, and which holds it
        if kind is not None and issubclass(kind, asyncio.CancelledError):
            if self._scopes.closed:
                raise SessionClosedError(CLOSED) from None
            raise TimeoutError from error
