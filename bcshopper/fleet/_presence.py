"""Who is at work: a sign of life that ends with its worker, however that ends."""

from __future__ import annotations

import hashlib
import sqlite3
import time
from collections.abc import Collection
from contextlib import suppress
from typing import Any

import sqlalchemy as sa
from sqlalchemy import exc

from bcshopper.errors import InvalidInputError

LOOKS_EVERY = 0.5  # seconds
GONE = 2.5
"""Seconds without a sign of life after which a worker is dead: a server that was restarted has
heard of all the living by then."""

# A key's halves, in the two columns where PostgreSQL shows them.
_HELD = sa.text(
    "SELECT (classid::bigint << 32) | objid::bigint FROM pg_locks WHERE locktype = 'advisory'"
    " AND objsubid = 1 AND granted"
    " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
)


def lock_file(path: str) -> sqlite3.Connection:
    """Be the only worker at a SQLite file, until it is closed.

    Raises:
        InvalidInputError: there is one.
    """
    lock = sqlite3.connect(
        f"{path}.worker", timeout=0, isolation_level=None, check_same_thread=False
    )
    try:
        lock.execute("BEGIN EXCLUSIVE")
    except sqlite3.OperationalError:
        lock.close()
        raise InvalidInputError(
            f"a worker is at {path} already: SQLite takes one; give several a PostgreSQL URL"
        ) from None
    return lock


class Presence:
    """In PostgreSQL each worker holds an advisory lock, which ends with its connection.

    Its methods raise `DBAPIError` where the server can't be reached.

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
        """Show that this worker lives, and give those of the others who are dead."""
        held, now = set(self._ask(_HELD)), time.monotonic()
        missing = {other for other in others if _key(other) not in held}
        self._missed_since = {m: self._missed_since.get(m, now) for m in missing}
        return [m for m, since in self._missed_since.items() if now - since >= GONE]

    def claim(self, dead: str) -> bool:
        """Whether no other worker takes over from it now; should it come back, it has to wait."""
        return self._ask(sa.select(sa.func.pg_try_advisory_lock(_key(dead)))) == [True]

    def release(self, dead: str) -> None:
        """What it left is taken over."""
        self._ask(sa.select(sa.func.pg_advisory_unlock(_key(dead))))

    def close(self) -> None:
        """End the connection, and the locks with it."""
        connection, self._connection = self._connection, None
        self._missed_since.clear()
        if connection is not None:
            with suppress(exc.DBAPIError):
                connection.invalidate()  # a pool would keep it, and so the locks
                connection.close()

    def _ask(self, query: sa.Executable) -> list[Any]:
        try:
            if self._connection is None:
                self._connect()
            assert self._connection is not None  # noqa: S101 - it was made just now
            return list(self._connection.scalars(query))
        except BaseException:
            self.close()
            raise

    def _connect(self) -> None:
        self._connection = self._engine.connect().execution_options(isolation_level="AUTOCOMMIT")
        # The server, too, is to notice soon that this machine is gone.
        for name, value in ("idle", 1), ("interval", 1), ("count", 2):
            self._connection.execute(sa.text(f"SET tcp_keepalives_{name} = {value}"))
        # Waits for a last connection of its own, should the server still take that for alive.
        self._connection.execute(sa.select(sa.func.pg_advisory_lock(_key(self._executor_id))))


def _key(executor_id: str) -> int:
    """What PostgreSQL knows an executor's lock by."""
    digest = hashlib.sha256(f"bcshopper fleet {executor_id}".encode()).digest()
    return int.from_bytes(digest[:8], "big", signed=True)
