"""How far a job is: bars for people who watch, a line now and then for those who read later."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager, nullcontext
from typing import Any, TypeAlias

from rich.console import RenderableType
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from bcshopper._cli._terminal import Terminal, say
from bcshopper._quota import QuotaSnapshot
from bcshopper.events import Event, QuotaWait

Hidden: TypeAlias = Callable[[], AbstractContextManager[Any]]

LINE_EVERY = 10.0
"""Seconds between two lines where there are no bars."""


class Pace:
    """How far a job is, and how fast it gets on.

    Args:
        name: of the job.
        total: how many items it has; None while that is not known.
        quota: tells the store's quota.
    """

    def __init__(
        self, name: str, total: int | None, quota: Callable[[], QuotaSnapshot | None]
    ) -> None:
        self.name = name
        self.total = total
        self.done = 0
        self._earlier = 0
        self._quota = quota
        # Bars are drawn in a thread of their own.
        self._now = asyncio.get_running_loop().time
        self._began = self._now()
        self._waits_until = 0.0

    def advance(self, count: int) -> None:
        """So many more are done."""
        self.done += count

    def resume(self, count: int) -> None:
        """So many were done by an earlier run."""
        self.done += count
        self._earlier += count

    def watch(self, event: Event) -> None:
        """Take note of waits."""
        if isinstance(event, QuotaWait):
            self._waits_until = self._now() + event.seconds

    @property
    def rate(self) -> float:
        """Items a second, in this run."""
        return (self.done - self._earlier) / max(self._now() - self._began, 1e-9)

    @property
    def notes(self) -> str:
        """What is left of the quota, and how long the job waits for it."""
        quota, waiting = self._quota(), self._waits_until - self._now()
        parts = [] if quota is None else [f"quota {quota.remaining:,}/{quota.limit:,}"]
        if waiting > 0:
            parts.append(f"waits {waiting:.0f} s for it")
        return ", ".join(parts)

    @property
    def line(self) -> str:
        """All of it in one line."""
        total = "" if self.total is None else f" of {self.total:,}"
        parts = [f"{self.name}: {self.done:,}{total}", f"{self.rate:,.0f} a second"]
        if self.total is not None and self.done > self._earlier:
            parts.append(f"{(self.total - self.done) / self.rate:,.0f} s left")
        return ", ".join([*parts, *filter(None, [self.notes])])


class _FromPace(ProgressColumn):
    def __init__(self, read: Callable[[Pace], str]) -> None:
        super().__init__()
        self._read = read

    def render(self, task: Task) -> Text:
        return Text(self._read(task.fields["pace"]))


class _Bar(Progress):
    """A bar that reads how far the job is whenever it is drawn."""

    def __init__(self, terminal: Terminal, pace: Pace) -> None:
        super().__init__(
            TextColumn("{task.description}"),
            BarColumn(bar_width=20),
            MofNCompleteColumn(),
            _FromPace(lambda pace: f"{pace.rate:,.0f}/s"),
            TimeRemainingColumn(),
            _FromPace(lambda pace: pace.notes),
            console=terminal.console,
            transient=True,
            redirect_stdout=False,  # data is no business of standard error's console
        )
        self._pace = pace
        self.add_task(pace.name, total=pace.total, pace=pace)

    def get_renderable(self) -> RenderableType:
        """What is drawn, each time."""
        for task_id in self.task_ids:
            self.update(task_id, total=self._pace.total, completed=self._pace.done)
        return super().get_renderable()

    @contextmanager
    def hidden(self) -> Iterator[None]:
        """Out of the way of what is printed meanwhile."""
        self.stop()
        try:
            yield
        finally:
            self.start()


@asynccontextmanager
async def shown(pace: Pace, terminal: Terminal) -> AsyncIterator[Hidden]:
    """Show how far a job is, while it runs.

    Yields:
        A context in which rows may be printed: no bar is in their way.
    """
    if terminal.shows_bars:
        with _Bar(terminal, pace) as bar:
            yield bar.hidden if sys.stdout.isatty() else nullcontext
        return
    ticker = asyncio.create_task(_print_lines(pace))
    try:
        yield nullcontext
    finally:
        ticker.cancel()
        await asyncio.gather(ticker, return_exceptions=True)


async def _print_lines(pace: Pace) -> None:
    while True:
        await asyncio.sleep(LINE_EVERY)
        say(pace.line, done=pace.done, total=pace.total)
