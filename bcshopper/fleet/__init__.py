"""Jobs for many stores on many machines, that survive the death of any of them (extra `fleet`).

A job is a verb, a store and its ids. `submit` writes it into a database, workers do it in chunks,
`status` and `outcomes` tell what became of it. Chunks run at least once on DBOS, a durable engine
in that database; everything that they do is safe to repeat.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, Callable, Collection, Mapping
from contextlib import aclosing
from typing import Any, Literal, TypeAlias, TypeVar
from uuid import UUID

try:
    import dbos as _dbos  # noqa: F401
    import platformdirs
except ModuleNotFoundError as _error:
    raise ModuleNotFoundError(
        "bcshopper.fleet needs an extra: pip install 'bcshopper[fleet]'", name=_error.name
    ) from None

import attrs

from bcshopper._inputs import (
    AnyIterable,
    check_kind,
    check_number,
    customer_ids,
    in_groups,
    profile_id,
    segment_id,
    shown,
)
from bcshopper._outcomes import GOOD, Outcome, Status
from bcshopper._transport import MAX_PER_WRITE
from bcshopper.errors import InvalidInputError
from bcshopper.fleet._rows import Job, Rows
from bcshopper.fleet._stores import OpenSession
from bcshopper.fleet._worker import Worker

__all__ = [
    "JobStatus", "cancel", "default_database", "outcomes", "retry", "status", "statuses", "submit",
    "worker",
]  # fmt: skip

T = TypeVar("T")
Verb: TypeAlias = Literal["create", "delete", "sync", "create-all-customers"]
VERBS: tuple[Verb, ...] = ("create", "delete", "sync", "create-all-customers")

_READ_AT_ONCE = 10_000  # ids
_LONGEST_NAME = 250  # characters; indexes of PostgreSQL take some 8000 bytes
_A_WINDOW = 60.0  # seconds after which the rate so far says more than the first burst


@attrs.frozen
class JobStatus:
    """How far a job is.

    Attributes:
        job: its name.
        verb: what it does.
        store: the name of the store.
        state: `running`, which includes that it waits for the store; `done`; or `cancelled`.
        counts: how many ids have which outcome.
        open: how many have none yet.
        rate: ids a second since it began or was retried; None: none so far.
        seconds_left: what is left, by the store's quota and the rate so far; None: not known.
        trouble: why the store is being left alone for a while, or why the job was given up.
    """

    job: str
    verb: str
    store: str
    state: str
    counts: Mapping[Status, int]
    open: int
    rate: float | None
    seconds_left: float | None
    trouble: str | None

    @property
    def done(self) -> int:
        """How many ids are as the job promises."""
        return sum(count for status, count in self.counts.items() if status in GOOD)

    @property
    def failed(self) -> int:
        """How many ids have another outcome."""
        return sum(self.counts.values()) - self.done


def default_database() -> str:
    """The URL in `BCSHOPPER_DATABASE`, or that of a file in the platform's data folder."""
    if url := os.environ.get("BCSHOPPER_DATABASE"):
        return url
    folder = platformdirs.user_data_path("bcshopper", appauthor=False, ensure_exists=True)
    return f"sqlite:///{folder / 'fleet.sqlite'}"


async def worker(open_session: OpenSession, *, database: str | None = None) -> None:
    """Do the jobs of all stores, in chunks, until cancelled.

    Args:
        open_session: makes the session of a store from its name and from settings to hand over to
            `Session`; called in a thread. So tokens are the worker's own, and in no database.
        database: `postgresql://...` for workers on any number of machines, or `sqlite:///FILE`
            for one worker; None: `default_database()`.

    Raises:
        InvalidInputError: an argument is refused, or there is a worker already: in this process,
            or at this SQLite file.
    """
    if not callable(open_session):
        raise InvalidInputError(f"open_session must be callable, not {shown(open_session)}")
    rows = await asyncio.to_thread(_open, database)
    try:
        await Worker(rows, open_session).run()
    finally:
        rows.close()


async def submit(
    verb: Verb,
    store: str,
    ids: AnyIterable[Any] = (),
    *,
    job: str,
    segment: UUID | str | None = None,
    max_removed: float = 0.5,
    database: str | None = None,
) -> bool:
    """Write a job down; safe to repeat.

    Nothing is sent: that is for the workers. A job whose submission was cut short does not exist.

    Args:
        verb: `create` profiles for customers, `delete` profiles, `sync` a segment with customers,
            or `create-all-customers`: profiles for all who have none by then.
        store: the store's name, by which workers know its hash and token.
        ids: of customers, or of profiles for `delete`; any iterable or async iterable, read as a
            stream. Repeats count once.
        job: its name. If there is such a job, it stays as it is, and `ids` are not read.
        segment: the segment's id, for `sync`.
        max_removed: the fraction of the segment's members that `sync` may remove.
        database: as for `worker`.

    Returns:
        Whether the job is new.

    Raises:
        InvalidInputError: an argument or an id is refused, or the job of that name is another one.
    """
    if verb not in VERBS:
        raise InvalidInputError(f"the verb must be one of {', '.join(VERBS)}, not {shown(verb)}")
    for what, name in ("store", store), ("job", job):
        if (
            not isinstance(name, str)
            or not name.isprintable()
            or not 0 < len(name) <= _LONGEST_NAME
        ):
            raise InvalidInputError(
                f"{what} must be a name, of up to {_LONGEST_NAME} printable characters, "
                f"not {shown(name)}"
            )
    check_number("max_removed", max_removed, least=0, most=1)
    if (verb == "sync") != (segment is not None):
        raise InvalidInputError("sync needs a segment, and no other verb takes one")
    fields = {
        "verb": verb,
        "store": store,
        "segment_id": None if segment is None else str(segment_id(segment)),
    }
    rows = await asyncio.to_thread(_open, database)
    try:
        is_new = False
        if not await asyncio.to_thread(rows.jobs, job):
            is_planned = verb in {"create", "delete"}
            begun = {"max_removed": max_removed, "planned": is_planned, **fields}
            number = await asyncio.to_thread(lambda: rows.begin(**begun))
            try:
                await _add_all(rows, number, verb, ids)
            except BaseException:
                rows.drop(number)
                raise
            is_new = await asyncio.to_thread(rows.open_for_work, number, job)
        (there,) = await asyncio.to_thread(rows.jobs, job)
        if any(getattr(there, name) != value for name, value in fields.items()):
            raise InvalidInputError(
                f"job {job!r} is there already, and another one: {there.verb} in {there.store}"
            )
        return is_new
    finally:
        rows.close()


async def _add_all(rows: Rows, number: int, verb: Verb, ids: AnyIterable[Any]) -> None:
    first = 0
    async with aclosing(in_groups(ids, _READ_AT_ONCE)) as groups:
        async for group in groups:
            if group and verb == "create-all-customers":
                raise InvalidInputError("create-all-customers is for everyone: give no ids with it")
            items = list(map(profile_id, group)) if verb == "delete" else customer_ids(group)
            await asyncio.to_thread(rows.add, number, first, items)
            first += len(group)


async def status(job: str, *, database: str | None = None) -> JobStatus:
    """Tell how far a job is.

    Raises:
        InvalidInputError: there is none of that name.
    """
    return await _with(job, database, _status)


async def statuses(*, database: str | None = None) -> list[JobStatus]:
    """Tell how far each job is, oldest first."""

    def ask() -> list[JobStatus]:
        with _open(database) as rows:
            return [_status(rows, job) for job in rows.jobs()]

    return await asyncio.to_thread(ask)


async def outcomes(
    job: str, statuses: Collection[Status] = frozenset(Status), *, database: str | None = None
) -> AsyncGenerator[Outcome[Any]]:
    """Tell what became of a job's ids, in their order, while it is being read.

    Args:
        job: its name.
        statuses: only outcomes with one of these.
        database: as for `worker`.

    Yields:
        An outcome for each id that has one; its `error` has the words of the original.

    Raises:
        InvalidInputError: there is no job of that name, or something else than a `Status` is given.
    """
    for status in statuses:
        check_kind("each of statuses", status, Status)
    rows = await asyncio.to_thread(_open, database)
    try:
        found, after = await asyncio.to_thread(_find, rows, job), -1
        while some := await asyncio.to_thread(rows.outcomes, found, statuses, after):
            for after, outcome in some:  # noqa: B007 - the last one counts
                yield outcome
    finally:
        rows.close()


async def cancel(job: str, *, database: str | None = None) -> None:
    """Stop a job: no more chunks of it begin, and one that is under way ends. `retry` goes on.

    Raises:
        InvalidInputError: there is none of that name.
    """
    await _with(job, database, Rows.cancel)


async def retry(job: str, *, database: str | None = None) -> None:
    """Go on with what is not final: ids without an outcome, unknown ones, those not sent.

    Raises:
        InvalidInputError: there is no job of that name.
    """
    await _with(job, database, Rows.retry)


async def _with(job: str, database: str | None, ask: Callable[[Rows, Job], T]) -> T:
    def find_and_ask() -> T:
        with _open(database) as rows:
            return ask(rows, _find(rows, job))

    return await asyncio.to_thread(find_and_ask)


def _open(database: str | None) -> Rows:
    url = default_database() if database is None else database
    return Rows(url)


def _find(rows: Rows, name: str) -> Job:
    for job in rows.jobs(name):
        return job
    raise InvalidInputError(f"there is no job {name!r} in this database")


def _status(rows: Rows, job: Job) -> JobStatus:
    counts = rows.counts(job.id)
    left = counts.pop(None, 0)
    took = (job.moved_at or 0.0) - (job.began_at or 0.0)
    rate = job.handled / took if took > 0 and job.handled else None
    return JobStatus(
        job=job.name,
        verb=job.verb,
        store=job.store,
        state=job.state,
        counts={Status(known): count for known, count in counts.items() if known},
        open=left,
        rate=rate,
        seconds_left=seconds_left(left, rate=rate, took=took, quota=job.quota)
        if job.planned or job.state != "running"
        else None,  # it is not even known what is left
        trouble=job.trouble,
    )


def seconds_left(ids: int, *, rate: float | None, took: float, quota: float | None) -> float | None:
    """How long so many ids will take: as the quota allows, or slower if they have so far.

    Args:
        ids: how many.
        rate: of them a second, so far.
        took: seconds that this is the mean of.
        quota: requests a second.
    """
    paces = [] if quota is None else [quota * MAX_PER_WRITE]
    if rate is not None and (not paces or took > _A_WINDOW):
        paces.append(rate)
    if not ids:
        return 0.0
    return ids / min(paces) if paces else None
