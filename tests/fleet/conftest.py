"""Databases, stores and worker processes."""

import contextlib
import json
import shutil
import signal
import subprocess
import uuid

import psycopg
import pytest

from bcshopper.fleet._rows import can_use_sqlite
from bcshopper.sandbox import Sandbox
from tests.cli import start
from tests.fleet.servers import Postgres, free_port


@pytest.fixture(scope="session")
def postgres():
    """A PostgreSQL server of this test run."""
    server = Postgres()
    yield server
    server.close()


@pytest.fixture
def database(postgres):
    """An empty database in it, by its URL."""
    return postgres.new_database(uuid.uuid4().hex)


@pytest.fixture
def redis_url(tmp_path):
    """A Redis server of this test."""
    if shutil.which("redis-server") is None:
        pytest.skip("no Redis on this machine: there is no redis-server")
    port = free_port()
    server = subprocess.Popen(
        ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", ""],
        cwd=tmp_path, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    yield f"redis://127.0.0.1:{port}/0"
    server.kill()
    server.wait()


@pytest.fixture
def file_database(tmp_path):
    """A SQLite file that is not there yet, by its URL."""
    if not can_use_sqlite():
        pytest.skip("the engine can't use the SQLite that this Python has")
    return f"sqlite:///{tmp_path}/fleet.sqlite"


@pytest.fixture(params=["sqlite", "postgresql"])
def any_database(request):
    """The same on both."""
    return request.getfixturevalue("file_database" if request.param == "sqlite" else "database")


class Watcher:
    """Looks into the engine's tables: which worker has what under way."""

    def __init__(self, connection):
        self.connection = connection

    def under_way(self, worker):
        query = (
            "SELECT count(*) FROM dbos.workflow_status "
            "WHERE status = 'PENDING' AND executor_id LIKE %s"
        )
        return self.connection.execute(query, [f"%-{worker.pid}-%"]).fetchone()[0]


class Fleet:
    """Stores by name, and worker processes that know their tokens from a config file."""

    def __init__(self, folder):
        self.folder = folder
        self.stores = {}
        self.workers = []
        self._stack = contextlib.ExitStack()

    def add_store(self, name, *, url=None, token="sandbox-token", **settings):
        """A store in a thread of its own; with `url`, only an account of one."""
        if url is None:
            store = self.stores[name] = self._stack.enter_context(Sandbox(**settings))
            url = store.url
        (self.folder / "bcshopper").mkdir(exist_ok=True)
        (self.folder / f"{name}.token").write_text(token)
        (self.folder / f"{name}.token").chmod(0o600)
        with (self.folder / "bcshopper" / "config.toml").open("a") as file:
            file.write(
                f'[profiles.{name}]\nstore_hash = "sandbox"\nbase_url = {json.dumps(url)}\n'
                f'token_file = "{self.folder}/{name}.token"\n'
            )
        return self.stores.get(name)

    def start(self, database, *options):
        """A worker process."""
        with (self.folder / f"worker{len(self.workers)}.log").open("wb") as log:
            worker = start(
                "fleet", "worker", "--database", database, *options,
                stdout=log, XDG_CONFIG_HOME=str(self.folder), NO_PROXY="127.0.0.1",
            )  # fmt: skip
        self.workers.append(worker)
        return worker

    def watch(self, database):
        """Looks into the engine's tables while the test lasts."""
        connection = self._stack.enter_context(psycopg.connect(database, autocommit=True))
        return Watcher(connection)

    def kill_workers(self):
        """End all of them."""
        for worker in self.workers:
            if worker.poll() is None:
                worker.send_signal(signal.SIGCONT)
                worker.kill()
                worker.communicate()

    def end(self):
        """Leave nothing behind."""
        self.kill_workers()
        for worker in self.workers:
            worker.stderr.close()
        self._stack.close()


@pytest.fixture
def fleet(tmp_path):
    """Nothing of it yet."""
    made = Fleet(tmp_path)
    yield made
    made.end()
