"""Who is at work: a sign of life that ends with its worker, however that ends."""

from __future__ import annotations

import hashlib
import sqlite3
import time
from collections.abc import Collection
from contextlib import suppress
from typing import Any, Protocol

import sqlalchemy as sa

from bcshopper.errors import InvalidInputError

LOOKS_EVERY = 0.5  # seconds
GONE = 2.5
"""Seconds without a sign of life after which a worker is dead: a server that was restarted has
heard of all the living by then."""


class Presence(Protocol):
    """The sign of life of one worker, and what it sees of the others'."""

    def look(self, others: Collection[str]) -> list[str]:
        """Show that this worker lives, and give those of the others who are dead.

        Raises:
            sa.exc.DBAPIError: it can't be shown now.
        """

    def claim(self, other: str) -> bool:
        """Whether this worker, and for now no other one, may take over what a dead one left."""

    def release(self, other: str) -> None:
        """That is done."""

    def close(self) -> None:
        """Be gone."""


class FilePresence:
    """In SQLite there is one worker: whoever else was is dead.

    Args:
        path: the database file.

    Raises:
        InvalidInputError: there is another one.
    """

    def __init__(self, path: str) -> None:
        self._lock = sqlite3.connect(
            f"{path}.worker", timeout=0, isolation_level=None, check_same_thread=False
        )
        try:
            self._lock.execute("BEGIN EXCLUSIVE")
        except sqlite3.OperationalError:
            self._lock.close()
            raise InvalidInputError(
                f"a worker is at {path} already: SQLite takes one; give several a PostgreSQL URL"
            ) from None

    def look(self, others: Collection[str]) -> list[str]:
        """All of them are dead."""
        return list(others)

    def claim(self, other: str) -> bool:
        """There is nobody else."""
        return bool(other)

    def release(self, other: str) -> None:
        """There is nobody else."""

    def close(self) -> None:
        """Let another worker begin."""
        self._lock.close()


class ServerPresence:
    """In PostgreSQL each worker holds an advisory lock, which ends with its connection.

    Args:
        engine: of the database.
        executor_id: the worker.
    """

    def __init__(self, engine: sa.Engine, executor_id: str) -> None:
        self._engine = engine
        self._executor_id = executor_id
        self._connection: sa.Connection | None = None
        self._missed_since: dict[str, float] = {}

    def look(self, others: Collection[str]) -> list[str]:
        """Those without a lock for `GONE` seconds."""
        held = set(self._ask(_HELD))
        now = time.monotonic()
        missing = {other for other in others if _key(other) not in held}
        self._missed_since = {m: self._missed_since.get(m, now) for m in missing}
        return [m for m, since in self._missed_since.items() if now - since >= GONE]

    def claim(self, other: str) -> bool:
        """By holding the dead one's lock, for which it would have to wait, should it come back."""
        return self._ask(sa.select(sa.func.pg_try_advisory_lock(_key(other)))) == [True]

    def release(self, other: str) -> None:
        """Let go of that lock."""
        self._ask(sa.select(sa.func.pg_advisory_unlock(_key(other))))

    def close(self) -> None:
        """End the connection, and the locks with it."""
        connection, self._connection = self._connection, None
        self._missed_since.clear()
        if connection is not None:
            with suppress(sa.exc.DBAPIError):
                connection.invalidate()  # a pool would keep it, and so the lock
                connection.close()

    def _ask(self, query: sa.Executable) -> list[Any]:
        connection = self._connection or self._connect()
        try:
            return list(connection.scalars(query))
        except BaseException:
            self.close()
            raise

    def _connect(self) -> sa.Connection:
        connection = self._engine.connect().execution_options(isolation_level="AUTOCOMMIT")
        try:
            # The server, too, is to notice soon that this machine is gone.
            for name, value in ("idle", 1), ("interval", 1), ("count", 2):
                connection.execute(sa.text(f"SET tcp_keepalives_{name} = {value}"))
            # Waits for a worker's own last connection, should the server still take it for alive.
            connection.execute(sa.select(sa.func.pg_advisory_lock(_key(self._executor_id))))
        except BaseException:
            connection.invalidate()
            connection.close()
            raise
        self._connection = connection
        return connection


# A key's halves, in the two columns where PostgreSQL shows them.
_HELD = sa.text(
    "SELECT (classid::bigint << 32) | objid::bigint FROM pg_locks WHERE locktype = 'advisory'"
    " AND objsubid = 1 AND granted"
    " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
)


def _key(executor_id: str) -> int:
    """What PostgreSQL knows an executor's lock by."""
    digest = hashlib.sha256(f"bcshopper fleet {executor_id}".encode()).digest()
    return int.from_bytes(digest[:8], "big", signed=True)
