"""A worker that is started again, and a database that goes away for a while."""

import asyncio
import signal
import subprocess
import sys

import pytest

from bcshopper import fleet as library
from bcshopper.sandbox import Rules
from tests.fleet.audit import audit
from tests.fleet.servers import Postgres
from tests.fleet.waiting import until, until_done

pytestmark = pytest.mark.real_time

CUSTOMERS = 3000
BUSY = Rules(max_concurrent=10, latency=0.15)


async def begun(database, job="night"):
    """Wait until some of a job is done, and some is not."""
    while (await library.status(job, database=database)).done == 0:  # noqa: ASYNC110
        await asyncio.sleep(0.05)
    assert (await library.status(job, database=database)).open


async def test_a_killed_worker_that_starts_again_finishes(fleet, file_database):
    """On SQLite, where nobody else could."""
    store = fleet.add_store("A", customers=CUSTOMERS, rules=BUSY)
    everyone = range(1, CUSTOMERS + 1)
    await library.submit("create", "A", everyone, job="night", database=file_database)
    worker = fleet.start(file_database)
    await begun(file_database)
    worker.kill()
    worker.wait()
    assert (await library.status("night", database=file_database)).open
    fleet.start(file_database)
    await until_done(1, file_database)
    await audit("night", store, everyone, file_database)


async def test_sqlite_takes_one_worker(fleet, file_database):
    """The second one says what to do."""
    fleet.add_store("A", customers=500)
    await library.submit("create", "A", range(1, 501), job="night", database=file_database)
    fleet.start(file_database)
    await until_done(1, file_database)
    second = fleet.start(file_database)
    code = await asyncio.to_thread(second.wait, 60)
    assert code == 2
    assert "PostgreSQL" in second.stderr.read()


async def test_an_interrupted_worker_ends_soon_and_gives_back_what_it_had(fleet, database):
    """Nobody has to miss it first; its exit code is that of an interrupt."""
    store = fleet.add_store("A", customers=CUSTOMERS, rules=BUSY)
    everyone = range(1, CUSTOMERS + 1)
    await library.submit("create", "A", everyone, job="night", database=database)
    worker, watcher = fleet.start(database), fleet.watch(database)
    await begun(database)
    await until(lambda: watcher.under_way(worker))
    worker.send_signal(signal.SIGTERM)
    assert await asyncio.to_thread(worker.wait, 30) == 130
    assert not watcher.under_way(worker)
    errors = worker.stderr.read()
    assert "Traceback" not in errors, errors
    fleet.start(database)
    await until_done(1, database)
    await audit("night", store, everyone, database)


async def test_a_database_that_is_restarted(fleet):
    """Its workers come back to it, and finish."""
    server = Postgres()
    try:
        database = server.new_database("fleet")
        names = ("A", "B")
        for name in names:
            fleet.add_store(name, customers=CUSTOMERS, rules=BUSY)
            everyone = range(1, CUSTOMERS + 1)
            await library.submit("create", name, everyone, job=name, database=database)
        for _ in names:
            fleet.start(database)
        await begun(database, "A")
        await asyncio.to_thread(server.stop)
        await asyncio.sleep(1.0)
        await asyncio.to_thread(server.start)
        await until_done(2, database)
        for name in names:
            await audit(name, fleet.stores[name], range(1, CUSTOMERS + 1), database)
        assert all(worker.poll() is None for worker in fleet.workers)
    finally:
        fleet.kill_workers()
        server.close()


async def test_a_worker_that_loses_the_database_stops_its_chunks(fleet):
    """Others may be about to begin them; once it is back, they are finished."""
    server = Postgres()
    try:
        database = server.new_database("fleet")
        slow = Rules(quota=2, window=1.0, max_concurrent=10)
        store = fleet.add_store("A", customers=1000, rules=slow)
        await library.submit("create", "A", range(1, 1001), job="night", database=database)
        fleet.start(database)
        await until(lambda: store.record.counts.total() >= 2)
        await asyncio.to_thread(server.stop)
        await asyncio.sleep(6.0)
        assert store.record.counts.total() < 10  # of the chunk's ten requests, at two a second
        await asyncio.to_thread(server.start)
        await until_done(1, database)
        await audit("night", store, range(1, 1001), database)
    finally:
        fleet.kill_workers()
        server.close()


def test_without_the_extra_it_says_what_to_install(tmp_path):
    """The package itself and the rest of the command line want nothing of it."""
    program = """
import sys

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"dbos", "sqlalchemy", "platformdirs"}:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Missing())
sys.argv = ["bcshopper", *sys.argv[1:]]
from bcshopper._cli import main
main()
"""
    run = [sys.executable, "-W", "error", "-c", program]
    version = subprocess.run([*run, "--help"], capture_output=True, text=True, check=True)
    assert "fleet" in version.stdout
    told = subprocess.run([*run, "fleet", "status"], capture_output=True, text=True, check=False)
    assert told.returncode == 2
    assert "pip install 'bcshopper[fleet]'" in told.stderr
