"""The batch job of the examples, run as a program against PostgreSQL."""

import json
import os
import signal
import subprocess
import sys
import time
from uuid import uuid4

import psycopg
import pytest
from psycopg.sql import SQL, Identifier

from bcshopper.sandbox import Fault, Sandbox
from tests.docs.blocks import EXAMPLES, environment

pytestmark = pytest.mark.real_time

ADDRESS = "postgresql://postgres@127.0.0.1:5432/test"
# Prints the most memory that the job had, in KiB; the interpreter itself is part of it.
MEASURED = """
import resource, runpy
runpy.run_path("batch_job.py", run_name="__main__")
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


class Database:
    """A schema of its own, which the job's connections see as the only one."""

    def __init__(self, connection, name):
        self.url = f"{ADDRESS}?options=-csearch_path%3D{name}"
        self._connection = connection

    def add(self, count):
        """Add customers; their ids go on from the last one's, or from 1."""
        self._run("CREATE TABLE IF NOT EXISTS customers (id bigserial PRIMARY KEY, name text)")
        self._run("INSERT INTO customers (name) SELECT 'n' FROM generate_series(1, %s)", count)

    def outcomes(self):
        """What the job wrote, by customer: status, profile and error."""
        rows = self._run("SELECT * FROM profile_outcomes ORDER BY customer_id").fetchall()
        return {row[0]: row[1:] for row in rows}

    def written(self):
        """How many outcomes there are yet."""
        (table,) = self._run("SELECT to_regclass('profile_outcomes')").fetchone()
        return self._run("SELECT count(*) FROM profile_outcomes").fetchone()[0] if table else 0

    def _run(self, statement, *values):
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
    """Starts the job, and ends what is left of it."""
    started = []

    def start(sandbox, *arguments):
        arguments = arguments or ("-W", "error", "batch_job.py")
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


def finish(job, code=0):
    """Wait for the job's end, and give back what it printed."""
    printed, errors = job.communicate(timeout=120)
    assert job.returncode == code, errors
    return printed + errors


def posted(sandbox):
    """The customers that were sent, in order."""
    posts = [json.loads(r.body) for r in sandbox.record.requests if r.method == "POST"]
    return [row["customer_id"] for post in posts for row in post]


def test_every_outcome_is_written(database, start):
    """Also of those who had a profile or are unknown to the store; then nothing is left to do."""
    database.add(2300)
    with Sandbox(customers=2299, profiles=10) as sandbox:
        assert not finish(start(sandbox))
        outcomes = database.outcomes()
        assert {i: o[1] for i, o in outcomes.items() if i < 2300} == sandbox.store.customers
        assert [o[0] for o in outcomes.values()] == 10 * ["exists"] + 2289 * ["created"] + [
            "rejected"
        ]
        assert outcomes[2300][2]
        sandbox.record.requests.clear()
        assert not finish(start(sandbox))
        assert not sandbox.record.requests


def test_a_killed_job_goes_on_where_it_was(database, start):
    """Started again it finishes; what was written down is not sent again."""
    database.add(5000)
    with Sandbox(customers=5000) as sandbox:
        sandbox.faults.rule(Fault.slow(0.1), method="POST")
        job = start(sandbox)
        deadline = time.monotonic() + 60
        while not database.written():
            assert job.poll() is None, job.communicate()
            assert time.monotonic() < deadline
            time.sleep(0.01)
        job.send_signal(signal.SIGKILL)
        job.communicate()
        before = database.outcomes()
        assert 0 < len(before) < 5000
        sandbox.record.requests.clear()
        assert not finish(start(sandbox))
        assert not set(posted(sandbox)) & before.keys()
        assert {i: o[1] for i, o in database.outcomes().items()} == sandbox.store.customers
        assert None not in sandbox.store.customers.values()
        assert len(sandbox.store.profiles) == 5000


def test_what_was_done_before_an_error_is_written(database, start):
    """A job that can't go on says so and leaves what it knows; the next one does the rest."""
    database.add(500)
    with Sandbox(customers=500) as sandbox:
        sandbox.faults.queue(Fault.slow(0.5), Fault.error(401))
        assert "AuthenticationError" in finish(start(sandbox), code=1)
        left = {i for i, profile in sandbox.store.customers.items() if profile is None}
        assert left
        assert database.outcomes().keys() == sandbox.store.customers.keys() - left
        assert not finish(start(sandbox))
        assert {i: o[1] for i, o in database.outcomes().items()} == sandbox.store.customers


def test_memory_does_not_grow_with_the_rows(database, start):
    """100,000 rows take no more of it than 10,000, give or take a tenth."""
    memory = {}
    with Sandbox(customers=110_000) as sandbox:
        for rows in (10_000, 100_000):
            database.add(rows)
            memory[rows] = int(finish(start(sandbox, "-c", MEASURED)))
    assert database.written() == 110_000
    assert memory[100_000] <= 1.1 * memory[10_000], memory
