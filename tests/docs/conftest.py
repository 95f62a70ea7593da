"""PostgreSQL and the programs that use it."""

import os
import subprocess
import sys
from uuid import uuid4

import psycopg
import pytest
from psycopg.sql import SQL, Identifier

from tests.docs.blocks import EXAMPLES, environment

ADDRESS = "postgresql://postgres@127.0.0.1:5432/test"


class Database:
    """A schema of its own, which the program's connections see as the only one."""

    def __init__(self, connection, name):
        self.url = f"{ADDRESS}?options=-csearch_path%3D{name}"
        self._connection = connection

    def run(self, statement, *values):
        return self._connection.execute(statement, values)


@pytest.fixture
def database():
    name = f"test_{uuid4().hex}"
    try:
        connection = psycopg.connect(ADDRESS, autocommit=True, connect_timeout=2)
    except psycopg.OperationalError as error:
        pytest.skip(f"no PostgreSQL on 127.0.0.1:5432: {error}")
    with connection:
        connection.execute("SET client_min_messages TO warning")
        connection.execute(SQL("CREATE SCHEMA {}").format(Identifier(name)))
        connection.execute(SQL("SET search_path TO {}").format(Identifier(name)))
        yield Database(connection, name)
        connection.execute(SQL("DROP SCHEMA {} CASCADE").format(Identifier(name)))


@pytest.fixture
def start(database):
    """Starts a program of the examples, and ends what is left of it."""
    started = []

    def start(sandbox, *arguments):
        job = subprocess.Popen(
            [sys.executable, *arguments],
            cwd=EXAMPLES, env={**os.environ, **environment(sandbox), "DATABASE_URL": database.url},
            text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        started.append(job)
        return job

    yield start
    for job in started:
        job.kill()
        job.communicate()
