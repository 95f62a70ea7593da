"""How far a job is: a bar for people who watch, a line now and then for those who read later."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Callable, Collection, Iterator
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager, nullcontext
from typing import Any, TypeAlias

import attrs
from rich.live import Live
from rich.text import Text

from bcshopper._cli._output import Rows
from bcshopper._cli._pace import Pace
from bcshopper._cli._settings import Settings
from bcshopper._cli._signals import signals
from bcshopper._cli._terminal import Terminal, log_response, say
from bcshopper._session import Session
from bcshopper.events import Event

Hidden: TypeAlias = Callable[[], AbstractContextManager[Any]]

LINE_EVERY = 10.0
"""Seconds between two lines where there are no bars."""
_WIDTH = 10
_SHOW_CURSOR = b"\x1b[?25h\r\n"


def _bar(pace: Pace) -> Text:
    total = pace.total or 0
    full = _WIDTH * pace.done // total if total else 0
    share = f"{pace.done:,}/{total:,}" if total else f"{pace.done:,}/?"
    rest = f" {share} {pace.rate:,.0f}/s {pace.left or '-:--:--'} {pace.notes}"
    bar = [("━" * full, "green"), ("─" * (_WIDTH - full), "bright_black")]
    return Text.assemble(f"{pace.name} ", *bar, rest, no_wrap=True, overflow="ellipsis")


@asynccontextmanager
async def shown(pace: Pace, terminal: Terminal) -> AsyncIterator[Hidden]:
    """Show how far a job is, while it runs.

    Yields:
        A context in which rows may be printed: no bar is in their way.
    """
    if not terminal.shows_bars:
        ticker = asyncio.create_task(_print_lines(pace))
        try:
            yield nullcontext
        finally:
            ticker.cancel()
            await asyncio.gather(ticker, return_exceptions=True)
        return
    live = Live(
        get_renderable=lambda: _bar(pace), console=terminal.console, refresh_per_second=10,
        transient=True, redirect_stdout=False,  # data is no business of standard error's console
    )  # fmt: skip

    @contextmanager
    def hidden() -> Iterator[None]:
        live.stop()
        try:
            yield
        finally:
            live.start()

    signals.last_words = _SHOW_CURSOR
    try:
        with live:
            yield hidden if sys.stdout.isatty() else nullcontext
    finally:
        signals.last_words = b""


async def _print_lines(pace: Pace) -> None:
    while True:
        await asyncio.sleep(LINE_EVERY)
        say(pace.line, done=pace.done, total=pace.total, seconds_left=pace.seconds_left)


@attrs.frozen
class Work:
    """A job under way: what it speaks through, how far it is, and how to print rows meanwhile."""

    session: Session
    pace: Pace
    hidden: Hidden

    def print(self, rows: Rows, items: Collection[Any]) -> None:
        """Write rows; so much more is done."""
        with self.hidden():
            rows.write_all(items)
        self.pace.advance(len(items))


@asynccontextmanager
async def working(
    name: str,
    total: int | None,
    settings: Settings,
    terminal: Terminal,
    on_event: Callable[[Event], None] = lambda _: None,
) -> AsyncIterator[Work]:
    """Open a session for a job of so many items, and show how far it is."""

    def listen(event: Event) -> None:
        pace.watch(event)
        log_response(event)
        on_event(event)

    async with settings.session(on_event=listen) as session:
        now = asyncio.get_running_loop().time
        pace = Pace(name, total, quota=lambda: session.quota, policy=settings.quota, now=now)
        async with shown(pace, terminal) as hidden:
            yield Work(session, pace, hidden)
