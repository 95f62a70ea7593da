"""A job that writes to the store: its plan, its work, and an account of every id."""

from __future__ import annotations

import sqlite3
import sys
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from itertools import chain, islice
from pathlib import Path
from typing import Any, ClassVar, Literal, TypeAlias, TypeVar

import attrs
import click

from bcshopper._cli._files import check_distinct
from bcshopper._cli._input import Ids
from bcshopper._cli._journal import Job, Journal
from bcshopper._cli._options import Context
from bcshopper._cli._output import OUTCOMES, REQUESTS, Output, Rows
from bcshopper._cli._pace import clock
from bcshopper._cli._progress import working
from bcshopper._cli._recorder import MOST_UNRECORDED, UNSENT, Recorder
from bcshopper._cli._runner import Exit, end_with, run
from bcshopper._cli._settings import Settings
from bcshopper._cli._source import IdKind
from bcshopper._cli._summary import Summary
from bcshopper._cli._terminal import Terminal, say
from bcshopper._outcomes import Outcome, Status
from bcshopper._session import Session
from bcshopper._transport import MAX_PER_WRITE, Request, SessionStats
from bcshopper.errors import BCShopperError
from bcshopper.events import ChunkDone, Event

T = TypeVar("T")
Verb: TypeAlias = Literal["create", "delete", "sync", "add", "remove"]

_MOST_PRINTED = 100
_QUOTAS = {"Standard and Plus": 150, "Pro": 450}
"""Requests per window of 30 s, as the API documents them for a store's plan."""
_SENT_EARLIER = "stopped before it was looked up: an earlier run may have sent it"


@attrs.define
class Change:
    """What a job does to ids in the store.

    Attributes:
        verb: the command.
        kind: of ids.
        what: sets it apart from other jobs of its verb, such as a segment's name.
        asks: whether somebody is asked before anything is changed.
        hears_chunks: whether its outcomes are those of the session's chunks.
        starts_over: whether a job that is not done begins anew, so that earlier results may change.
    """

    hears_chunks: ClassVar[bool] = False
    starts_over: ClassVar[bool] = False

    verb: Verb
    kind: IdKind[Any]
    what: str = ""
    asks: bool = False

    def begin(self, journal: Journal, job: Job, ids: Ids, settings: Settings, *, keep: bool) -> int:
        """Put the ids into the journal; gives how many bad lines there were, and may keep them."""
        del settings
        return ids.begin(journal, job, self.kind, keep_bad=keep)

    def prepare(self, settings: Settings, journal: Journal, count: int) -> None:
        """Get ready to change so many ids, and ask whether to go on."""

    def run(self, session: Session, recorder: Recorder) -> AsyncGenerator[Any]:
        """Do what is open in the journal; all outcomes go to the recorder, however it ends."""
        raise NotImplementedError

    def plan(self, settings: Settings, journal: Journal) -> Iterator[Request] | None:
        """The requests that `run` would send, if all succeed; None: that is not known before."""

    def tell_plan(self, settings: Settings, journal: Journal) -> None:
        """Say how many requests would go, and for how long."""
        requests = sum(1 for _ in self.plan(settings, journal) or ())
        say_plan(self.verb, journal.open_count, requests, settings)


@attrs.define
class Writing:
    """A job under way, and where its outcomes go."""

    change: Change
    settings: Settings
    journal: Journal
    output: Output
    summary: Summary
    terminal: Terminal

    def do(self) -> None:
        """Do what is open in the journal, and account for every id, whatever happens."""
        count, stop = self.journal.open_count, None
        if count:
            stop = _stopped(lambda: self.change.prepare(self.settings, self.journal, count))
        try:
            with self.output.open(OUTCOMES) as rows:
                stop = stop or _stopped(lambda: run(self.write(rows)))
                if stop is not None:
                    self._tell_the_rest(rows, stop)
        except OSError as error:  # of the rows
            if stop is None:
                self._tell_the_rest(None, error)
            raise
        if stop is not None:
            raise stop

    async def write(self, rows: Rows) -> None:
        """What is done already comes first in the rows."""

        def on_event(event: Event) -> None:
            if self.change.hears_chunks and isinstance(event, ChunkDone):
                recorder.add(event.outcomes)

        def show(outcomes: Sequence[Outcome[Any]]) -> None:
            self.summary.add(outcomes)
            work.print(rows, outcomes)

        journal, settings = self.journal, self.settings
        recorder = Recorder(journal, show)
        async with working(
            self.change.verb, journal.total, settings, self.terminal, on_event
        ) as work:
            journal.pace = lambda: (work.pace.rate, work.pace.seconds_left)
            is_open = journal.open_count > 0
            try:
                if not (is_open and self.change.starts_over):
                    for earlier in chunks(journal.results(), MAX_PER_WRITE):
                        work.pace.resume(len(earlier))
                        show(earlier)
                if is_open:
                    await recorder.run(self.change.run(work.session, recorder))
            finally:
                self.summary.end(work.session.stats)

    def _tell_the_rest(self, rows: Rows | None, stop: BaseException) -> None:
        """Tell what became of the ids that a run did not come to, because something stopped it."""
        unsent = stop if isinstance(stop, BCShopperError) else BCShopperError(UNSENT)
        why = {Status.NOT_SENT: unsent, Status.UNKNOWN: BCShopperError(_SENT_EARLIER)}
        failure = None
        if not self.summary.ended:
            self.summary.end(SessionStats())
        for some in chunks(self.journal.untold(why), MOST_UNRECORDED):
            self.summary.add(some)
            try:
                if rows is not None and failure is None:
                    rows.write_all(some)
            except OSError as error:
                failure = error
        if failure is not None:
            raise failure


def _stopped(work: Callable[[], None]) -> BaseException | None:
    """Do it; gives what stopped it, if ids are left of which something is to be told."""
    try:
        work()
    except (BCShopperError, sqlite3.Error, KeyboardInterrupt) as error:
        return error
    return None


def write(
    change: Change,
    context: Context,
    *,
    ids: Ids,
    output: Output,
    summary_json: Path | None,
    journal: Path | None,
    dry_run: bool,
) -> None:
    """Do a job, or show its plan, as the options say."""
    check_distinct(
        from_=ids.source_path, output=output.path, journal=journal, summary_json=summary_json
    )
    if change.asks and not dry_run and ids.source.is_stdin:
        raise click.UsageError("ids from standard input need --yes: nobody can be asked there")
    place = journal if not dry_run or _is_begun(journal) else None  # a plan leaves no trace
    settings = context.settings
    with Journal(place) as book:
        job = Job(settings.base_url, settings.store_hash, f"{change.verb} {change.what}".rstrip())
        skipped = change.begin(book, job, ids, settings, keep=not dry_run)
        if dry_run:
            change.tell_plan(settings, book)
            if (requests := change.plan(settings, book)) is not None:
                _print_requests(requests, output, every="verbose" in context.options)
            return
        summary = Summary(change.verb, settings.store_hash, book.total, skipped)
        if done := book.total - book.open_count:
            say(f"{journal}: {done:,} of {book.total:,} ids are done already", done=done)
        why = ""
        try:
            Writing(change, settings, book, output, summary, context.terminal).do()
        except BaseException as error:
            why = str(error)
            _say_how_to_go_on(error, summary, book.total, journal)
            raise
        finally:
            summary.total = book.total
            summary.report(summary_json, said=why, reasons=not output.is_read_now)
    if summary.never_reached:
        end_with(Exit.API)
    if summary.failed or summary.skipped:
        end_with(Exit.SOME_FAILED)


def _print_requests(requests: Iterator[Request], output: Output, *, every: bool) -> None:
    """Print them, if they are not too many for a terminal."""
    first = list(islice(requests, _MOST_PRINTED + 1))
    if len(first) > _MOST_PRINTED and not every and output.path is None:
        say("to see them, give --verbose, or --output FILE")
        return
    with output.open(REQUESTS) as rows:
        for request in chain(first, requests):
            rows.write(request)


def _is_begun(journal: Path | None) -> bool:
    with suppress(OSError):
        return journal is not None and journal.stat().st_size > 0
    return False


def _say_how_to_go_on(
    stop: BaseException, summary: Summary, total: int, journal: Path | None
) -> None:
    if not isinstance(stop, KeyboardInterrupt | BrokenPipeError):
        return
    why = "interrupted" if isinstance(stop, KeyboardInterrupt) else "nobody reads on"
    done = summary.counts.total() - summary.failed
    how = (
        f"the same command again goes on where {journal} ends"
        if journal
        else "the same command again is safe; with --journal FILE it would not begin anew"
    )
    say(f"{why}: {done:,} of {total:,} ids are done; {how}", done=done, total=total)


def make_sure(what: str, settings: Settings) -> None:
    """Ask whether to do it; a no ends the command."""
    nobody = click.UsageError("nobody can be asked here: give --yes")
    if sys.stdin is None:
        raise nobody
    question = f"{what}, of store {settings.store_hash} at {settings.base_url}?"
    try:
        agreed = click.confirm(question, err=True)
    except click.Abort:
        if sys.stdin.isatty():
            raise
        raise nobody from None
    if not agreed:
        say("nothing was changed")
        end_with(Exit.SOME_FAILED)


def say_plan(what: str, ids: int, requests: int, settings: Settings, *, most: str = "") -> None:
    """Say how many requests would go for so many ids, and how long they would take."""
    text = f"{what}: {ids:,} ids; {most}{requests:,} requests would go; none was sent"
    say(text, ids=ids, requests=requests)
    say_time(requests, settings)


def say_time(requests: int, settings: Settings) -> None:
    """Say how long so many requests take, if that is more than a window of the quota."""
    for name, limit in _QUOTAS.items():
        windows = requests / max(1, int(limit * settings.quota.share))
        if windows > 1:
            say(f"with the quota of {name}, that takes {clock(windows * 30)}")


def chunks(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Lists of so many, and the rest."""
    iterator = iter(items)
    while some := list(islice(iterator, size)):
        yield some
