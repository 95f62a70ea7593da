"""Jobs and their rows in SQLite or PostgreSQL: the one account of what became of every id.

A job is done in turns, one after the other. Whatever moves a job on, its next turn, `cancel` or
`retry`, gives it the next turn's number in the same transaction: what an older turn still has to
say of the job is ignored, and what it has to say of rows can't undo what is final.
"""

from __future__ import annotations

import json
import sqlite3
import sys
import time
from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import count, islice
from typing import Any, Self, TypeAlias
from uuid import UUID

import attrs
import sqlalchemy as sa
from dbos import DBOS, DBOSClient, EnqueueOptions
from sqlalchemy import event, exc
from sqlalchemy.dialects import postgresql, sqlite

from bcshopper._outcomes import Outcome, Status
from bcshopper.errors import BCShopperError, InvalidInputError

VERSION = 1
"""Of the tables and of what a chunk's workflow is called with."""
QUEUE = "bcshopper-fleet"
CHUNK_WORKFLOW = "bcshopper-chunk"
CHUNK = 500
"""Rows of one turn: ten requests of 50 ids, as many as may be in flight at a store."""

_BLOCK = 10_000  # rows that are read or written at once
_LEFTOVER = 86_400.0  # seconds after which a submission that was not finished never will be
_BUSY = 30.0  # seconds that a writer waits for another one in SQLite; as long as the engine's
# So that a server that can't be reached any more is noticed within three seconds.
_KEEPALIVES = {
    "keepalives_idle": "1", "keepalives_interval": "1", "keepalives_count": "2",
    "tcp_user_timeout": "3000", "connect_timeout": "5",
}  # fmt: skip
_Row: TypeAlias = tuple[int, str]
"""A position and an item."""

_METADATA = sa.MetaData()
_VERSIONS = sa.Table(
    "bcshopper_version", _METADATA, sa.Column("version", sa.Integer, primary_key=True)
)
_JOBS = sa.Table(
    "bcshopper_jobs",
    _METADATA,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("name", sa.Text, unique=True),  # none while its rows are being written
    sa.Column("verb", sa.Text, nullable=False),
    sa.Column("store", sa.Text, nullable=False),
    sa.Column("segment_id", sa.Text),
    sa.Column("max_removed", sa.Float, nullable=False),
    sa.Column("planned", sa.Boolean, nullable=False),
    sa.Column("first_removal", sa.Integer),  # the position of it, once a sync is planned
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("turn", sa.Integer, nullable=False),
    sa.Column("trouble", sa.Text),
    sa.Column("submitted_at", sa.Float, nullable=False),  # seconds since 1970, as all times here
    sa.Column("began_at", sa.Float),
    sa.Column("moved_at", sa.Float),
    sa.Column("handled", sa.Integer, nullable=False),  # ids since it began
    sa.Column("quota", sa.Float),  # requests a second that the store allows
    sqlite_autoincrement=True,  # no number comes twice: the engine knows turns by it
)
_ROWS = sa.Table(
    "bcshopper_rows",
    _METADATA,
    sa.Column("job", sa.Integer, primary_key=True),
    sa.Column("position", sa.Integer, primary_key=True),
    sa.Column("item", sa.Text, nullable=False),
    sa.Column("status", sa.Text),
    sa.Column("profile_id", sa.Text),
    sa.Column("error", sa.Text),  # of an open row: why nobody knows what its last turn did
    sa.UniqueConstraint("job", "item"),
    sqlite_with_rowid=False,
)
_J, _R = _JOBS.c, _ROWS.c
_IS_UNSURE = sa.or_(_R.status == Status.UNKNOWN.value, _R.status == Status.NOT_SENT.value)
"""Of an id without a result; all else no retry changes."""
# What one outcome changes: a later one may say more of what was not known, and nothing else.
_IS_OPEN = sa.or_(_R.status.is_(None), _IS_UNSURE)
"""What a later outcome may say more of; what is final stays so."""


@attrs.frozen
class Turn:
    """One workflow's part of a job: its open rows from a position on, as many as make a chunk.

    Attributes:
        job: the job's number.
        number: which of its turns this is.
        start: the position.
        attempt: how often the store was tried in vain before.
    """

    job: int
    number: int
    start: int = 0
    attempt: int = 0


Job: TypeAlias = sa.Row[Any]
"""A row of the jobs' table."""


def item_of(job: Job) -> type[int | UUID]:
    """What makes an item of a job's rows of its text."""
    return UUID if job.verb == "delete" else int


def can_use_sqlite(
    python: tuple[int, ...] = sys.version_info[:3],
    version: tuple[int, ...] = sqlite3.sqlite_version_info,
) -> bool:
    """Whether the engine can write to SQLite: it asks for times as older ones don't give them."""
    return python < (3, 12) or version >= (3, 42)


class Rows:
    """The tables in one database, made if they are not there; every method is blocking.

    Args:
        url: `sqlite:///FILE` or `postgresql://...`.

    Raises:
        InvalidInputError: it is no such URL, or the tables are of another version.
    """

    def __init__(self, url: str) -> None:
        self.url = _complete(url)
        self.is_sqlite = self.url.drivername == "sqlite"
        if self.is_sqlite and not can_use_sqlite():
            raise InvalidInputError(
                f"with Python 3.12 and newer the engine needs SQLite 3.42 or newer, and this is "
                f"{sqlite3.sqlite_version}: give a PostgreSQL URL"
            )
        self.engine = sa.create_engine(
            self.url if self.is_sqlite else self.url.set(drivername="postgresql+psycopg"),
            pool_pre_ping=True,
            connect_args={"timeout": _BUSY} if self.is_sqlite else {},
        )
        if self.is_sqlite:
            event.listen(self.engine, "connect", _prepare_sqlite)
        if not sa.inspect(self.engine).has_table(_VERSIONS.name):
            DBOS.migrate(self.text_url)
            self._make_tables()
        with self.engine.begin() as connection:
            version = connection.scalar(sa.select(sa.func.max(_VERSIONS.c.version)))
        if version != VERSION:
            self.engine.dispose()
            raise InvalidInputError(
                f"the fleet's tables in this database are of version {version}, and this release "
                f"of bcshopper has version {VERSION}: finish its jobs with the release that made "
                f"them, or give another database"
            )
        # What can't reach the database has to say so: a worker stops its chunks then.
        self.queue = DBOSClient(
            system_database_engine=self.engine, lazy=True, retry_connection_errors=False
        )

    @property
    def text_url(self) -> str:
        """The URL, with its password."""
        return self.url.render_as_string(hide_password=False)

    def close(self) -> None:
        """Let go of the database."""
        self.queue.destroy()
        self.engine.dispose()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # -- a new job

    def begin(self, **fields: Any) -> int:
        """A job without a name and so without a turn, for rows to be added to; gives its number."""
        now = time.time()
        with self.engine.begin() as connection:
            old = sa.and_(_J.name.is_(None), _J.submitted_at < now - _LEFTOVER)
            leftovers = sa.select(_J.id).where(old).scalar_subquery()
            connection.execute(sa.delete(_ROWS).where(_R.job.in_(leftovers)))
            connection.execute(sa.delete(_JOBS).where(old))
            values = {"submitted_at": now, "state": "running", "turn": 1, "handled": 0, **fields}
            made = connection.execute(sa.insert(_JOBS).values(values)).inserted_primary_key
        assert made is not None  # noqa: S101 - of one row
        return int(made[0])

    def add(self, job: int, first: int, items: Sequence[object]) -> None:
        """Add rows from a position on; what the job has already is left out."""
        with self.engine.begin() as connection:
            self._change_submission(connection, job, submitted_at=time.time())
            self._add(connection, job, first, items)

    def open_for_work(self, job: int, name: str) -> bool:
        """Name a job, whose first turn is then due; if there is one of that name, drop this one."""
        try:
            with self.engine.begin() as connection:
                self._change_submission(connection, job, name=name)
                self._tell_planner(connection)
                self._enqueue(connection, Turn(job, 1))
        except exc.IntegrityError:
            self.drop(job)
            return False
        return True

    def drop(self, job: int) -> None:
        """Remove a job and its rows."""
        with self.engine.begin() as connection:
            # First of all: rows that are being added for it are waited for, others refused.
            connection.execute(sa.delete(_JOBS).where(_J.id == job))
            connection.execute(sa.delete(_ROWS).where(_R.job == job))

    # -- reading

    def jobs(self, *names: str) -> list[Job]:
        """The jobs of these names, or all of them, oldest first."""
        query = sa.select(_JOBS).where(_J.name.in_(names) if names else _J.name.is_not(None))
        return self._jobs(query.order_by(_J.id))

    def job(self, number: int) -> Job | None:
        """A job by its number; None: its rows were deleted."""
        return next(iter(self._jobs(sa.select(_JOBS).where(_J.id == number))), None)

    def counts(self, job: int) -> dict[Status | None, int]:
        """How many rows have which status; None: those without an outcome."""
        query = sa.select(_R.status, sa.func.count()).where(_R.job == job).group_by(_R.status)
        with self.engine.begin() as connection:
            found = connection.execute(query).all()
        return {None if status is None else Status(status): count for status, count in found}

    def open(self, turn: Turn) -> list[_Row]:
        """The rows that this turn is for, by position."""
        query = sa.select(_R.position, _R.item).where(_R.job == turn.job, _R.status.is_(None))
        query = query.where(_R.position >= turn.start).order_by(_R.position).limit(CHUNK)
        with self.engine.begin() as connection:
            return [(position, item) for position, item in connection.execute(query)]

    def outcomes(
        self, job: Job, statuses: Collection[Status], after: int
    ) -> list[tuple[int, Outcome[Any]]]:
        """Some outcomes with one of these statuses and their positions, which are above `after`."""
        query = sa.select(_ROWS).where(_R.job == job.id, _R.position > after)
        query = query.where(_R.status.in_([status.value for status in statuses]))
        with self.engine.begin() as connection:
            found = connection.execute(query.order_by(_R.position).limit(_BLOCK)).all()
        parse = item_of(job)
        return [
            (
                row.position,
                Outcome(
                    parse(row.item),
                    Status(row.status),
                    row.profile_id and UUID(row.profile_id),
                    error=None if row.error is None else BCShopperError(row.error),
                ),
            )
            for row in found
        ]

    # -- what moves a job on

    def note(
        self,
        turn: Turn,
        outcomes: Iterable[tuple[int, Outcome[Any]]],
        *,
        start: int,
        attempt: int = 0,
        delay: float = 0.0,
        doubts: Iterable[tuple[int, Outcome[Any]]] = (),
        trouble: str | None = None,
        **fields: Any,
    ) -> None:
        """Write what became of a turn's rows, and let the next turn begin there, after a delay.

        Args:
            turn: it.
            outcomes: with their positions.
            start: the position from which the next one goes on.
            attempt: how often the store was tried in vain by then.
            delay: seconds.
            doubts: of rows that stay open, and may have been sent.
            trouble: what is wrong with the store, if anything.
            fields: what else is to be known of the job.
        """
        fields["trouble"] = None if trouble is None else _text(trouble)
        with self.engine.begin() as connection:
            # First of all: whoever moves the job on at the same time waits here.
            is_current = self._take(connection, turn, **fields)
            self._write(connection, turn.job, outcomes, doubts)
            if is_current:
                self._enqueue(
                    connection, Turn(turn.job, turn.number + 1, start, attempt), delay=delay
                )

    def plan(
        self, turn: Turn, *, new: Sequence[object], unchanged: Sequence[int], first: int
    ) -> None:
        """Write a plan: rows to add, from a position on, and those that are as they should be."""
        with self.engine.begin() as connection:
            if not self._take(connection, turn, planned=True, first_removal=first, trouble=None):
                return
            for at in range(0, len(unchanged), _BLOCK):
                of_these = _R.position.in_(unchanged[at : at + _BLOCK])
                connection.execute(
                    sa.update(_ROWS)
                    .where(_R.job == turn.job, of_these)
                    .values(status=Status.EXISTS.value)
                )
            for at in range(0, len(new), _BLOCK):
                self._add(connection, turn.job, first + at, new[at : at + _BLOCK])
            self._tell_planner(connection)
            self._enqueue(connection, Turn(turn.job, turn.number + 1))

    def end(
        self,
        turn: Turn,
        *,
        why: str | None = None,
        doubts: Iterable[tuple[int, Outcome[Any]]] = (),
    ) -> None:
        """End a job, unless rows were opened behind this turn; `why`: it is given up."""
        with self.engine.begin() as connection:
            if not self._take(connection, turn):
                return
            self._write(connection, turn.job, (), doubts)
            is_open = sa.and_(_R.job == turn.job, _R.status.is_(None))
            if why is not None:
                why = _text(why)
                not_sent, unknown = Status.NOT_SENT.value, Status.UNKNOWN.value
                given_up = {
                    "status": sa.case((_R.error.is_(None), not_sent), else_=unknown),
                    "error": sa.func.coalesce(_R.error, why),
                }
                connection.execute(sa.update(_ROWS).where(is_open).values(given_up))
            elif connection.scalar(sa.select(_R.position).where(is_open).limit(1)) is not None:
                self._enqueue(connection, Turn(turn.job, turn.number + 1))
                return
            ended = {"state": "done", "trouble": why}
            connection.execute(sa.update(_JOBS).where(_J.id == turn.job).values(ended))

    def cancel(self, job: Job) -> None:
        """Let no further turn begin."""
        with self.engine.begin() as connection:
            changes = {"state": "cancelled", "turn": _J.turn + 1}
            of_it = sa.and_(_J.id == job.id, _J.state == "running")
            connection.execute(sa.update(_JOBS).where(of_it).values(changes))

    def retry(self, job: Job) -> None:
        """Open the rows whose outcome is not final, and begin again."""
        anew = {"state": "running", "turn": _J.turn + 1, "trouble": None, "handled": 0}
        anew |= {"began_at": None, "moved_at": None}
        is_unsure = sa.and_(_R.job == job.id, _IS_UNSURE)
        doubt = sa.case((_R.status == Status.UNKNOWN.value, _R.error))
        opened = {"status": None, "profile_id": None, "error": doubt}
        with self.engine.begin() as connection:
            connection.execute(sa.update(_JOBS).where(_J.id == job.id).values(anew))
            connection.execute(sa.update(_ROWS).where(is_unsure).values(opened))
            number = connection.scalar(sa.select(_J.turn).where(_J.id == job.id))
            self._enqueue(connection, Turn(job.id, int(number or 0)))

    # -- inside

    def _tell_planner(self, connection: sa.Connection) -> None:
        """PostgreSQL would sort rows that it knows nothing of anew for every chunk."""
        if not self.is_sqlite:
            connection.execute(sa.text(f"ANALYZE {_ROWS.name}"))

    def _make_tables(self) -> None:
        with self.engine.begin() as connection:
            # Two of them at once would get in each other's way.
            alone = "BEGIN IMMEDIATE" if self.is_sqlite else "SELECT pg_advisory_xact_lock(7)"
            connection.execute(sa.text(alone))
            _METADATA.create_all(connection)
            versions = self._insert(_VERSIONS).on_conflict_do_nothing()
            connection.execute(versions, {"version": VERSION})

    def _insert(self, table: sa.Table) -> sqlite.Insert | postgresql.Insert:
        return sqlite.insert(table) if self.is_sqlite else postgresql.insert(table)

    def _insert_from_json(
        self, job: int, columns: Sequence[sa.Column[Any]]
    ) -> sqlite.Insert | postgresql.Insert:
        """Insert rows of a job that are one parameter, `given`: positions, and these columns.

        As parameters of their own they would cost several times as much.
        """
        given = sa.bindparam("given", type_=sa.Text)
        cells: Iterator[Any]
        if self.is_sqlite:
            row = sa.func.json_each(given).table_valued("value").c.value
            cells = (sa.func.json_extract(row, f"$[{place}]") for place in count())
        else:
            each = sa.func.json_array_elements(sa.cast(given, sa.JSON)).table_valued("value")
            cells = (each.c.value.op("->>")(place) for place in count())
        position = sa.cast(next(cells), sa.Integer)
        rows = sa.select(sa.literal(job), position, *islice(cells, len(columns)))
        # SQLite would take ON CONFLICT for a part of a SELECT without a WHERE.
        return self._insert(_ROWS).from_select(
            [_R.job, _R.position, *columns], rows.where(sa.true())
        )

    def _write(
        self,
        connection: sa.Connection,
        job: int,
        outcomes: Iterable[tuple[int, Outcome[Any]]],
        doubts: Iterable[tuple[int, Outcome[Any]]],
    ) -> None:
        columns = (_R.item, _R.status, _R.profile_id, _R.error)
        for told, changed, where in (
            (outcomes, ("status", "profile_id", "error"), _IS_OPEN),
            (doubts, ("error",), _R.status.is_(None)),
        ):
            notes = [
                (
                    position,
                    str(outcome.item),
                    outcome.status.value,
                    outcome.profile_id and str(outcome.profile_id),
                    None if outcome.error is None else _text(outcome.error),
                )
                for position, outcome in told
            ]
            if notes:
                added = self._insert_from_json(job, columns)
                written = added.on_conflict_do_update(  # all of them are there
                    index_elements=[_R.job, _R.position],
                    set_={name: added.excluded[name] for name in changed},
                    where=where,
                )
                connection.execute(written, {"given": json.dumps(notes)})

    def _add(
        self, connection: sa.Connection, job: int, first: int, items: Sequence[object]
    ) -> None:
        if items:
            rows = list(enumerate(map(str, items), first))
            added = self._insert_from_json(job, [_R.item]).on_conflict_do_nothing()
            connection.execute(added, {"given": json.dumps(rows)})

    def _jobs(self, query: sa.Select[Any]) -> list[Job]:
        with self.engine.begin() as connection:
            return list(connection.execute(query))

    def _change_submission(self, connection: sa.Connection, job: int, **fields: Any) -> None:
        changed = sa.update(_JOBS).where(_J.id == job, _J.name.is_(None)).values(fields)
        if connection.execute(changed).rowcount != 1:
            raise InvalidInputError("the submission was given up meanwhile: submit the job again")

    def _take(self, connection: sa.Connection, turn: Turn, **fields: Any) -> bool:
        """Whether the turn is the job's current one, which it then is no more."""
        of_it = sa.and_(_J.id == turn.job, _J.turn == turn.number)
        taken = sa.update(_JOBS).where(of_it).values({"turn": turn.number + 1, **fields})
        return connection.execute(taken).rowcount == 1

    def _enqueue(self, connection: sa.Connection, turn: Turn, *, delay: float = 0.0) -> None:
        store = connection.scalar(sa.select(_J.store).where(_J.id == turn.job))
        options = EnqueueOptions(
            workflow_name=CHUNK_WORKFLOW,
            queue_name=QUEUE,
            workflow_id=f"bcshopper-{turn.job}-{turn.number}",
            queue_partition_key=str(store),
            app_version=str(VERSION),
        )
        if delay > 0:
            options["delay_seconds"] = delay
        self.queue.enqueue_in_transaction(connection, options, *attrs.astuple(turn))


def _complete(url: str) -> sa.URL:
    """The URL with what every connection is to have."""
    try:
        found = sa.make_url(url)
    except (exc.ArgumentError, ValueError):  # of a port that is no number
        found = None
    kind = "" if found is None else found.drivername.partition("+")[0]
    if (
        found is None
        or kind not in {"sqlite", "postgresql", "postgres"}
        or found.database in {None, "", ":memory:"}
    ):
        raise InvalidInputError(
            "the database must be sqlite:///FILE or postgresql://HOST/NAME; it is not shown here, "
            "as it may hold a password"
        )
    if kind == "sqlite":
        return found.set(drivername="sqlite")
    return found.set(drivername="postgresql", query={**_KEEPALIVES, **found.query})


def _text(words: object) -> str:
    """Words that both databases take: a store can answer with any characters."""
    return str(words).replace("\0", "\N{REPLACEMENT CHARACTER}").encode(errors="replace").decode()


def _prepare_sqlite(connection: Any, _: object) -> None:
    connection.isolation_level = "IMMEDIATE"  # writers wait for each other; none fails half-way
    connection.execute("PRAGMA journal_mode=WAL")  # and nobody who reads waits
    connection.execute("PRAGMA synchronous=NORMAL")
