"""Outcomes on their way: into the journal first, and from there to whoever reads them."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator, Sequence
from contextlib import aclosing, contextmanager, suppress
from typing import Any

import attrs

from bcshopper._cli._journal import Item, Journal
from bcshopper._outcomes import Outcome, Status
from bcshopper.errors import BCShopperError

MOST_UNRECORDED = 5000
_COMMIT_EVERY = 0.1

UNSENT = "stopped before it was sent"
_UNANSWERED = "stopped before an answer came: it may have taken effect"


@attrs.define
class Recorder:
    """Puts outcomes into the journal as they come, and shows them once they are there.

    A commit costs as much for one as for hundreds, so there are no more than ten a second.
    Once outcomes can't be recorded or shown, no more ids go out, and what is under way is
    recorded and shown as well as it can be.
    """

    journal: Journal
    _show: Callable[[Sequence[Outcome[Any]]], None]
    _waiting: list[Outcome[Item]] = attrs.field(factory=list[Outcome[Item]])
    _news: asyncio.Event = attrs.field(factory=asyncio.Event)
    _room: asyncio.Event = attrs.field(factory=asyncio.Event)
    _ended: asyncio.Event = attrs.field(factory=asyncio.Event)
    _failure: OSError | sqlite3.Error | None = None

    def add(self, outcomes: Iterable[Outcome[Item]]) -> None:
        """Take outcomes; returns at once."""
        self._waiting.extend(map(_explained, outcomes))
        self._news.set()
        if len(self._waiting) > MOST_UNRECORDED:
            self._room.clear()

    async def keep(self, outcomes: Sequence[Outcome[Item]]) -> None:
        """Take outcomes; returns when they are recorded and shown."""
        await asyncio.to_thread(self.journal.record, outcomes)
        self._show(outcomes)

    async def run(self, work: AsyncGenerator[Any]) -> None:
        """Drive work whose outcomes are added meanwhile, until all of them are recorded."""
        self._room.set()
        writer = asyncio.create_task(self._write())
        writer.add_done_callback(lambda _: self._room.set())
        try:
            async with aclosing(work):
                async for _ in work:
                    await self._room.wait()
                    if writer.done() or self._failure is not None:
                        break
        finally:
            self._ended.set()
            self._news.set()
            await writer

    async def _write(self) -> None:
        while self._waiting or not self._ended.is_set():
            await self._news.wait()
            self._news.clear()
            outcomes, self._waiting = self._waiting, []
            self._room.set()
            with self._kept():
                await asyncio.to_thread(self.journal.record, outcomes)
            with self._kept():
                self._show(outcomes)
            with suppress(TimeoutError):
                await asyncio.wait_for(self._ended.wait(), _COMMIT_EVERY)
        if self._failure is not None:
            raise self._failure

    @contextmanager
    def _kept(self) -> Iterator[None]:
        try:
            yield
        except (OSError, sqlite3.Error) as error:
            self._failure = self._failure or error


def _explained(outcome: Outcome[Item]) -> Outcome[Item]:
    """Without a reason of its own, it was in the way when the job was stopped."""
    if outcome.ok or outcome.error is not None:
        return outcome
    words = _UNANSWERED if outcome.status is Status.UNKNOWN else UNSENT
    return attrs.evolve(outcome, error=BCShopperError(words))
