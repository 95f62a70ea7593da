"""How far a job is: bars for people who watch, a line now and then for those who read later."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager, nullcontext
from typing import Any, TypeAlias

import attrs
from rich.console import RenderableType
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn
from rich.text import Text

from bcshopper._cli._pace import Pace
from bcshopper._cli._settings import Settings
from bcshopper._cli._signals import signals
from bcshopper._cli._terminal import Terminal, log_response, say
from bcshopper._session import Session
from bcshopper.events import Event

Hidden: TypeAlias = Callable[[], AbstractContextManager[Any]]

LINE_EVERY = 10.0
"""Seconds between two lines where there are no bars."""
_SHOW_CURSOR = b"\x1b[?25h\r\n"


class _FromPace(ProgressColumn):
    def __init__(self, read: Callable[[Pace], str]) -> None:
        super().__init__()
        self._read = read

    def render(self, task: Task) -> Text:
        return Text(self._read(task.fields["pace"]))


def _share(pace: Pace) -> str:
    return f"{pace.done:,}/{'?' if pace.total is None else f'{pace.total:,}'}"


class _Bar(Progress):
    """A bar that reads how far the job is whenever it is drawn."""

    def __init__(self, terminal: Terminal, pace: Pace) -> None:
        super().__init__(
            TextColumn("{task.description}"),
            BarColumn(bar_width=10),
            _FromPace(_share),
            _FromPace(lambda pace: f"{pace.rate:,.0f}/s"),
            _FromPace(lambda pace: pace.left or "-:--:--"),
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
        signals.last_words = _SHOW_CURSOR
        try:
            with _Bar(terminal, pace) as bar:
                yield bar.hidden if sys.stdout.isatty() else nullcontext
        finally:
            signals.last_words = b""
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
        say(pace.line, done=pace.done, total=pace.total, seconds_left=pace.seconds_left)


@attrs.frozen
class Work:
    """A job under way.

    Attributes:
        session: what it speaks through.
        pace: how far it is.
        hidden: a context in which rows may be printed.
    """

    session: Session
    pace: Pace
    hidden: Hidden


@asynccontextmanager
async def working(
    name: str,
    total: int | None,
    settings: Settings,
    terminal: Terminal,
    on_event: Callable[[Event], None] = lambda _: None,
) -> AsyncIterator[Work]:
    """Open a session for a job, and show how far it is.

    Args:
        name: of the job.
        total: how many items it has; None while that is not known.
        settings: of the session.
        terminal: where to show it.
        on_event: told of every event.
    """

    def listen(event: Event) -> None:
        pace.watch(event)
        log_response(event)
        on_event(event)

    async with settings.session(listen) as session:
        pace = Pace(
            name, total, quota=lambda: session.quota, policy=settings.quota,
            now=asyncio.get_running_loop().time,
        )  # fmt: skip
        async with shown(pace, terminal) as hidden:
            yield Work(session, pace, hidden)
