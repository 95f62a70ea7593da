"""What became of every id of one job, in a SQLite file that outlives the process."""

from __future__ import annotations

import hashlib
import os
import sqlite3
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self, TypeAlias
from uuid import UUID

import attrs

from bcshopper._cli._files import OURS_ALONE, InUseError, beside, is_locked, open_locked
from bcshopper._cli._runner import CommandError
from bcshopper._outcomes import Outcome, Status
from bcshopper.errors import BCShopperError

Item: TypeAlias = Any
"""A customer id or the UUID of a profile, as the verb has it."""

_APPLICATION_ID = 0x62637368
_FORMAT = 4
_CACHE_KIB = 32 * 1024
_PATIENCE = 30.0  # seconds; whoever looks into the file is soon done
BLOCK = 1000

_TABLES = """
CREATE TABLE job (
    base_url TEXT NOT NULL, store_hash TEXT NOT NULL, verb TEXT NOT NULL,
    input BLOB NOT NULL, started TEXT NOT NULL, given INTEGER NOT NULL,
    rate REAL, seconds_left REAL, noted REAL
);
CREATE TABLE items (
    position INTEGER PRIMARY KEY, item UNIQUE NOT NULL, status TEXT, profile_id BLOB, error TEXT,
    run INTEGER
);
CREATE TABLE taken (last INTEGER PRIMARY KEY, at TEXT NOT NULL);
"""
_ADD = "INSERT OR IGNORE INTO items (item) VALUES (?)"
_RECORD = """
INSERT INTO items (item, status, profile_id, error, run) VALUES (?, ?, ?, ?, ?)
ON CONFLICT (item) DO UPDATE SET
    status = excluded.status, profile_id = excluded.profile_id, error = excluded.error,
    run = excluded.run
"""
# What has no outcome, or one that is no result: it is for the next run to try.
_OPEN = "(status IS NULL OR status IN ('unknown', 'not_sent'))"


@attrs.frozen
class Job:
    """What a journal belongs to: the API's address, the store and what is done there."""

    base_url: str
    store_hash: str
    verb: str


class Journal:
    """The ids of a job, which of them are under way, and their outcomes.

    An id is open, taken (it may have been sent), or has an outcome. All of it is on disk, in the
    named file, before a method returns. Methods may be called from any thread, and wait for each
    other.

    To tell later what this job created, each taking has a time that lies before it: by the
    server's clock, from the newest profile created, or this machine's until there is one.

    Args:
        path: the file; None: one that lasts as long as the object, without the price of syncing.
        reads_only: whether it is only looked into, whoever is at work on it.

    Attributes:
        pace: tells items a second and seconds left, to be noted with every outcome.

    Raises:
        CommandError: it is no journal, or in use.
    """

    def __init__(self, path: Path | None, *, reads_only: bool = False) -> None:
        self.pace: Callable[[], tuple[float, float | None]] = lambda: (0.0, None)
        self._path = path
        self._lock = threading.Lock()
        self._run = time.time_ns()  # marks what this run records
        self._lost = set[Item]()  # outcomes came, and could not be recorded
        self._doubtful = self._cursor = self._told_to = 0  # positions
        self._clock = datetime.now(UTC)
        self._made_file = path is not None and not os.path.exists(path)  # noqa: PTH110 - never raises
        with ExitStack() as stack, self._refusals():
            if path is not None and not reads_only:
                lock = beside(path, "lock")  # SQLite's own would keep those off who only look
                stack.enter_context(open_locked(lock))
                stack.callback(lock.unlink, missing_ok=True)
                os.close(os.open(path, os.O_RDWR | os.O_CREAT, OURS_ALONE))
            self._db = sqlite3.connect(
                "" if path is None else path,  # "" is SQLite's name for a temporary file
                timeout=_PATIENCE, isolation_level=None, check_same_thread=False,
            )  # fmt: skip
            stack.enter_context(closing(self._db))
            self._refuse_foreign_file()
            if not reads_only:
                # All of it is in the one file, but for the moment of a commit.
                self._db.execute(f"PRAGMA journal_mode = {'DELETE' if path else 'MEMORY'}")
                self._db.execute(f"PRAGMA synchronous = {'FULL' if path else 'OFF'}")
                self._db.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
            self._closing = stack.pop_all()

    @contextmanager
    def _refusals(self) -> Iterator[None]:
        try:
            yield
        except InUseError:
            raise CommandError(f"{self._path} is in use by another command") from None
        except (OSError, sqlite3.DatabaseError) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            raise CommandError(f"{self._path} can't be used as a journal: {reason}") from None

    def _refuse_foreign_file(self) -> None:
        if not self._has_tables():
            return
        if self._value("PRAGMA application_id") != _APPLICATION_ID:
            raise CommandError(f"{self._path} is a database, but no journal of bcshopper")
        if self._value("PRAGMA user_version") != _FORMAT:
            raise CommandError(f"{self._path} was written by another version of bcshopper")

    def close(self) -> None:
        """Let go of the file; one that no job has begun in does not stay."""
        with self._lock:
            if self._path is not None and self._made_file and not self._has_tables():
                self._path.unlink()
            self._closing.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _value(self, statement: str) -> Any:
        return self._db.execute(statement).fetchone()[0]

    def _has_tables(self) -> bool:
        return bool(self._value("SELECT count(*) FROM sqlite_schema"))

    @property
    def job(self) -> Job | None:
        """What the journal belongs to; None if it is new."""
        with self._lock:
            if not self._has_tables():
                return None
            return Job(*self._db.execute("SELECT base_url, store_hash, verb FROM job").fetchone())

    def begin(self, job: Job, items: Iterable[Item] | None) -> None:
        """Take in the ids of a new job, or make sure that it is the one to go on with.

        Repeats count once. All of `items` is read; what it raises leaves the journal as it was.
        None: those that the journal has.

        Raises:
            CommandError: the journal is that of another store, verb or input.
        """
        digest = hashlib.sha256()

        def counted(item: Item) -> tuple[Any]:
            digest.update(f"{item}\n".encode())
            return (_stored(item),)

        known, rows = self.job, map(counted, items or ())
        if known is not None:
            self._check(job, known)
            deque(rows, maxlen=0)
            if items is not None and digest.digest() != self._value("SELECT input FROM job"):
                raise CommandError(
                    f"{self._path} is the journal of a job with other ids; "
                    f"give the same ids in the same order, or name another file"
                )
            newest = "SELECT at FROM taken ORDER BY last DESC LIMIT 1"
            newest = self._value(f"SELECT ifnull(({newest}), started) FROM job")  # noqa: S608 - our own words
            self._clock = datetime.fromisoformat(newest)
            self._doubtful = self._value("SELECT ifnull(max(last), 0) FROM taken")
            return
        with self._lock, self._transaction():
            for statement in _TABLES.split(";"):
                self._db.execute(statement)
            self._db.executemany(_ADD, rows)
            given = self._value("SELECT count(*) FROM items")
            row = (*attrs.astuple(job), digest.digest(), self._clock.isoformat(), given)
            self._db.execute("INSERT INTO job VALUES (?, ?, ?, ?, ?, ?, NULL, NULL, NULL)", row)
            self._db.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
            self._db.execute(f"PRAGMA user_version = {_FORMAT}")

    def _check(self, job: Job, known: Job) -> None:
        for name, theirs in attrs.asdict(known).items():
            if (ours := getattr(job, name)) != theirs:
                raise CommandError(
                    f"{self._path} is the journal of another job: its {name.replace('_', ' ')} "
                    f"is {theirs}, not {ours}; go on with that job, or name another file"
                )

    @property
    def total(self) -> int:
        """Distinct ids."""
        return self._count("true")

    @property
    def open_count(self) -> int:
        """Ids without an outcome, or with one that another run may change."""
        return self._count(_OPEN)

    def _count(self, where: str) -> int:
        with self._lock:
            return int(self._value(f"SELECT count(*) FROM items WHERE {where}"))  # noqa: S608 - our own words

    def given(self) -> Iterator[Item]:
        """The ids that the job was begun with, in order, whatever became of them."""
        return (o.item for _, o in self._outcomes("position <= (SELECT given FROM job)"))

    @property
    def is_resumed(self) -> bool:
        """Whether an earlier run may have sent something."""
        return self._doubtful > 0

    def expect(self, others: Iterable[Item]) -> None:
        """Take in further ids that the job is about; all of them may be sent from now on."""
        with self._lock, self._transaction():
            self._db.executemany(_ADD, ((_stored(item),) for item in others))
            self._db.execute(
                "INSERT OR IGNORE INTO taken SELECT ifnull(max(position), 0), ? FROM items",
                (self._clock.isoformat(),),
            )

    def counts(self) -> Counter[Status]:
        """How many ids have which outcome."""
        with self._lock:
            rows = self._db.execute("SELECT status, count(*) FROM items GROUP BY status")
            return Counter({Status(status): count for status, count in rows if status is not None})

    def outcomes(self, statuses: Collection[Status]) -> Iterator[Outcome[Item]]:
        """Every recorded outcome of these kinds, in the order in which the ids were given."""
        marks = ", ".join("?" * len(statuses))
        wanted = [status.value for status in statuses]
        return (outcome for _, outcome in self._outcomes(f"status IN ({marks})", wanted))

    def results(self) -> Iterator[Outcome[Item]]:
        """Every outcome that another run would not change, in order; each counts as told now."""
        for position, outcome in self._outcomes(f"NOT {_OPEN}"):
            self._told_to = position
            yield outcome

    def untold(self, why: Mapping[Status, BCShopperError]) -> Iterator[Outcome[Item]]:
        """What became of every id of which this run has neither told nor recorded it, in order.

        An open id is `UNKNOWN` if an earlier run may have sent it, and `NOT_SENT` otherwise, for
        the reason that is given for that.
        """
        where = f"run IS NOT ? AND (position > ? OR {_OPEN})"
        for position, outcome in self._outcomes(where, (self._run, self._told_to)):
            if outcome.item in self._lost:
                continue
            is_new = position > self._doubtful
            became = Status.NOT_SENT if is_new else Status.UNKNOWN
            is_open = outcome.status in {Status.NOT_SENT, Status.UNKNOWN}
            yield Outcome(outcome.item, became, error=why[became]) if is_open else outcome

    def _outcomes(
        self, where: str, values: Sequence[object] = ()
    ) -> Iterator[tuple[int, Outcome[Item]]]:
        """In blocks: no reader may keep a running job from writing. None means not sent."""
        after = 0
        while True:
            with self._lock:
                rows = self._db.execute(
                    "SELECT position, item, status, profile_id, error FROM items "  # noqa: S608 - our own words
                    f"WHERE {where} AND position > ? ORDER BY position LIMIT {BLOCK}",
                    (*values, after),
                ).fetchall()
            for after, item, status, profile_id, error in rows:
                yield after, Outcome(
                    _item(item), Status(status or "not_sent"), profile_id and _item(profile_id),
                    error=error and BCShopperError(error),
                )  # fmt: skip
            if not rows:
                return

    def doubtful_since(self) -> datetime:
        """A time before which nothing was sent of what is open."""
        with self._lock:
            first = self._value(f"SELECT min(position) FROM items WHERE {_OPEN}")  # noqa: S608 - our own words
            row = self._db.execute(
                "SELECT at FROM taken WHERE last >= ? ORDER BY last", (first,)
            ).fetchone()
            return datetime.fromisoformat(row[0]) if row else self._clock

    def open_ids(self, *, taken: bool | None = None) -> Iterator[Item]:
        """The open ids in order: all, or those that an earlier run has taken, or has not."""
        doubtful = {None: "", True: "AND position <= ?", False: "AND position > ?"}[taken]
        values = () if taken is None else (self._doubtful,)
        return (o.item for _, o in self._outcomes(f"{_OPEN} {doubtful}", values))

    def take(self) -> list[Item]:
        """The next open ids, in order: from now on they may have been sent."""
        with self._lock, self._transaction():
            rows = self._db.execute(
                f"SELECT position, item FROM items WHERE position > ? AND {_OPEN} "  # noqa: S608 - our own words
                f"ORDER BY position LIMIT {BLOCK}",
                (self._cursor,),
            ).fetchall()
            if rows:
                self._cursor = rows[-1][0]
                row = (self._cursor, self._clock.isoformat())
                self._db.execute("INSERT OR IGNORE INTO taken VALUES (?, ?)", row)
            return [_item(item) for _, item in rows]

    def record(self, outcomes: Sequence[Outcome[Item]]) -> None:
        """Keep what became of ids, which were read before or are new."""
        for outcome in outcomes:
            created_at = None if outcome.profile is None else outcome.profile.created_at
            if outcome.status is Status.CREATED and created_at is not None:
                self._clock = created_at
        self._lost.update(outcome.item for outcome in outcomes)  # until they are in
        with self._lock, self._transaction():
            self._db.executemany(_RECORD, map(self._row, outcomes))
            note = (*self.pace(), time.time())
            self._db.execute("UPDATE job SET rate = ?, seconds_left = ?, noted = ?", note)
        self._lost.difference_update(outcome.item for outcome in outcomes)

    def _row(self, outcome: Outcome[Item]) -> tuple[Any, ...]:
        error = None if outcome.error is None else str(outcome.error)
        ids = _stored(outcome.item), _stored(outcome.profile_id)
        return ids[0], outcome.status.value, ids[1], error, self._run

    def pace_now(self) -> tuple[float, float] | None:
        """Items a second and seconds left of the job, if it is running and could tell."""
        with self._lock:
            row = self._db.execute("SELECT rate, seconds_left, noted FROM job").fetchone()
        if self._path is None or None in row or not is_locked(beside(self._path, "lock")):
            return None
        rate, seconds_left, noted = row
        return rate, max(0.0, seconds_left - (time.time() - noted))

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            if self._db.in_transaction:  # a full disk has ended it already
                self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")


def _stored(item: Item) -> Any:
    return item.bytes if isinstance(item, UUID) else item


def _item(stored: Any) -> Item:
    return UUID(bytes=stored) if isinstance(stored, bytes) else stored
