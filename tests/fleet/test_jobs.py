"""Each verb, and what may be done with a job: a worker in this process, on SQLite."""

import asyncio
import contextlib
import json
import sqlite3

import pytest

from bcshopper import (
    BCShopperError,
    InvalidInputError,
    Outcome,
    RetryPolicy,
    Session,
    Status,
    fleet,
)
from bcshopper.fleet._rows import Rows, Turn
from bcshopper.sandbox import Fault, Rules, Sandbox
from tests.fleet.audit import audit
from tests.fleet.waiting import until_done

pytestmark = pytest.mark.real_time

FAST = {"retry": RetryPolicy(attempts=2, base_delay=0.01, max_delay=0.02)}


@contextlib.asynccontextmanager
async def working(database, **stores):
    """A worker that knows these stores: a sandbox each, or what to raise instead."""

    def open_session(name, settings):
        store = stores[name]
        if isinstance(store, Exception):
            raise store
        return Session(store.store_hash, store.access_token, base_url=store.url, **FAST, **settings)

    work = asyncio.create_task(fleet.worker(open_session, database=database))
    try:
        yield work
    finally:
        work.cancel()
        await asyncio.wait([work])
        if not work.cancelled():
            work.result()


async def all_of(job, database, *statuses):
    wanted = statuses or frozenset(Status)
    return [outcome async for outcome in fleet.outcomes(job, wanted, database=database)]


async def submit(verb, ids=(), *, database, job="night", store="A", **settings):
    return await fleet.submit(verb, store, ids, job=job, database=database, **settings)


async def test_create_and_delete(any_database):
    """Ids come as any iterable, repeats count once, and each has its outcome, in order."""
    async with Sandbox(customers=1200, profiles=10) as store, working(any_database, A=store):

        async def ids():
            for customer in [*range(1, 1203), *range(1, 500)]:
                yield customer

        assert await submit("create", ids(), database=any_database)
        (status,) = await until_done(1, any_database)
        assert (status.done, status.failed, status.open) == (1200, 2, 0)
        assert status.counts == {Status.CREATED: 1190, Status.EXISTS: 10, Status.REJECTED: 2}
        outcomes = await all_of("night", any_database)
        assert [outcome.item for outcome in outcomes] == list(range(1, 1203))
        assert {o.item: o.profile_id for o in outcomes if o.ok} == store.store.customers
        rejected = await all_of("night", any_database, Status.REJECTED)
        assert [outcome.item for outcome in rejected] == [1201, 1202]
        assert "1201" in str(rejected[0].error) or rejected[0].error is not None
        profiles = [outcome.profile_id for outcome in outcomes if outcome.ok]
        await submit("delete", map(str, profiles), job="away", database=any_database)
        await until_done(2, any_database)
        assert not store.store.profiles
        deleted = await all_of("away", any_database, Status.DELETED)
        assert [outcome.item for outcome in deleted] == profiles


async def test_sync_is_planned_once_and_adds_before_it_removes(any_database):
    """Afterwards the segment holds exactly these; everyone has an outcome."""
    async with Sandbox(customers=1500, profiles=1100) as store, store.session() as session:
        segment = await session.segments.create("VIP")
        await session.segments.members(segment.id).add_customers(range(1, 1001))
        wanted = range(401, 1402)
        store.record.requests.clear()
        async with working(any_database, A=store):
            await submit("sync", wanted, segment=segment.id, database=any_database)
            (status,) = await until_done(1, any_database)
        assert status.counts == {Status.EXISTS: 600, Status.ADDED: 401, Status.REMOVED: 400}
        members = await session.segments.members(segment.id).list().all()
        assert {member.customer_id for member in members} == set(wanted)
        writes = [r.method for r in store.record.requests if "segments/" in r.path]
        changes = [method for method in writes if method != "GET"]
        assert changes == sorted(changes, key=["POST", "DELETE"].index)
        removed = await all_of("night", any_database, Status.REMOVED)
        assert {outcome.item for outcome in removed} == set(range(1, 401))


async def test_a_sync_that_would_remove_too_many_changes_nothing(file_database):
    """The guard holds at planning, and everyone's outcome says why."""
    async with Sandbox(customers=100, profiles=100) as store, store.session() as session:
        segment = await session.segments.create("VIP")
        await session.segments.members(segment.id).add_customers(range(1, 101))
        async with working(file_database, A=store):
            await submit("sync", [1, 2], segment=segment.id, database=file_database)
            (status,) = await until_done(1, file_database)
        assert status.counts == {Status.NOT_SENT: 2}
        assert "max_removed=0.5" in status.trouble
        assert len(await session.segments.members(segment.id).list().all()) == 100


async def test_create_all_customers(any_database):
    """Everyone who has no profile when the job begins is given one."""
    async with Sandbox(customers=1300, profiles=300) as store, working(any_database, A=store):
        await submit("create-all-customers", database=any_database)
        (status,) = await until_done(1, any_database)
        assert status.counts == {Status.CREATED: 1000}
        assert None not in store.store.customers.values()


async def test_submit_is_idempotent_by_name(file_database):
    """The second time nothing is read; another job of that name is refused."""
    assert await submit("create", [1, 2], database=file_database)
    assert not await submit("create", [3], database=file_database)
    assert (await fleet.status("night", database=file_database)).open == 2
    with pytest.raises(InvalidInputError, match="another one: create in A"):
        await submit("create", [3], store="B", database=file_database)


@pytest.mark.parametrize(
    ("verb", "ids", "settings", "words"),
    [
        ("wipe", [1], {}, "verb must be one of"),
        ("create", [1, 0], {}, "0 is not a customer id"),
        ("create", ["7"], {}, "'7' is not a customer id"),
        ("delete", ["7"], {}, "not a profile id"),
        ("create", 7, {}, "not a collection"),
        ("create", [1], {"store": ""}, "store must be a name"),
        ("create", [1], {"job": ""}, "job must be a name"),
        ("create", [1], {"store": "a\0b"}, "store must be a name"),
        ("create", [1], {"job": "\ud800"}, "job must be a name"),
        ("create", [1], {"job": "x" * 251}, "job must be a name"),
        ("create", [1], {"segment": "x"}, "sync needs a segment"),
        ("sync", [1], {}, "sync needs a segment"),
        ("sync", [1], {"segment": "x"}, "not a segment id"),
        ("sync", [1], {"segment": "x", "max_removed": 2}, "max_removed must be"),
        ("create-all-customers", [1], {}, "give no ids"),
        ("create", [1], {"database": "mysql://x/y"}, "must be sqlite"),
        ("create", [1], {"database": "sqlite://"}, "must be sqlite"),
        ("create", [1], {"database": "sqlite:///:memory:"}, "must be sqlite"),
        ("create", [1], {"database": "postgresql://u:p@h:port/x"}, "must be sqlite"),
    ],
)
async def test_bad_input_is_refused_and_leaves_no_job(file_database, verb, ids, settings, words):
    """Before anything is written that a worker could see."""
    with pytest.raises(InvalidInputError, match=words):
        await submit(verb, ids, **{"database": file_database, **settings})
    assert await fleet.statuses(database=file_database) == []


@pytest.mark.parametrize("wrong", ["created", "created failed", None, 1])
async def test_what_is_no_status_is_refused_by_its_value(file_database, wrong):
    """Not by an attribute that it lacks."""
    assert await submit("create", [1], database=file_database)
    with pytest.raises(InvalidInputError, match=f"must be a Status, not .?{wrong}"):
        await all_of("night", file_database, Status.CREATED, wrong)


async def test_a_submission_that_fails_half_way_can_be_repeated(file_database):
    """The job does not exist until all of its ids are written."""

    def broken():
        yield from range(1, 25_000)
        raise OSError("the file system is gone")

    with pytest.raises(OSError, match="gone"):
        await submit("create", broken(), database=file_database)
    assert await submit("create", range(1, 25_001), database=file_database)
    assert (await fleet.status("night", database=file_database)).open == 25_000


async def test_rows_of_a_submission_that_was_dropped_go_to_no_other_job(any_database):
    """However late the thread that adds them is, whose caller was cancelled."""
    with Rows(any_database) as rows:
        fields = {"verb": "create", "store": "A", "max_removed": 0.5, "planned": True}
        dropped = rows.begin(**fields)
        rows.drop(dropped)
        with pytest.raises(InvalidInputError, match="submit the job again"):
            rows.add(dropped, 0, [1, 2])
        with pytest.raises(InvalidInputError, match="submit the job again"):
            rows.open_for_work(dropped, "night")
        assert await submit("create", [3], job="next", database=any_database)
        (job,) = rows.jobs()
        assert job.id != dropped
        assert rows.counts(dropped) == {}
        assert rows.open(Turn(job.id, 1)) == [(0, "3")]


async def test_a_job_whose_rows_were_deleted_leaves_the_store_to_others(any_database):
    """What the engine still has of it does nothing, and the next job is not taken for it."""
    async with Sandbox(customers=2) as store:
        await submit("create", [1], job="gone", database=any_database)
        with Rows(any_database) as rows:
            rows.drop(rows.jobs("gone")[0].id)
        await submit("create", [2], job="next", database=any_database)
        async with working(any_database, A=store):
            (status,) = await until_done(1, any_database, seconds=30.0)
        assert status.counts == {Status.CREATED: 1}


async def test_words_of_the_store_may_have_any_character(any_database):
    """They are told, as far as a database can hold them, and the job goes on."""
    async with Sandbox(customers=1) as store, working(any_database, A=store):
        body = json.dumps({"title": "no\0way", "status": 422, "errors": {}}).encode()
        store.faults.rule(Fault.answer(422, body, applied=False), method="POST")
        await submit("create", [1], database=any_database)
        async with asyncio.timeout(30.0):
            while (trouble := (await fleet.status("night", database=any_database)).trouble) is None:  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        assert "no\N{REPLACEMENT CHARACTER}way" in trouble


@pytest.mark.parametrize("words", ["a\0b", "a\ud800b"])
async def test_trouble_may_be_told_in_any_characters(any_database, words):
    """So may the reason for which a job is given up."""
    await submit("create", [1], database=any_database)
    with Rows(any_database) as rows:
        (job,) = rows.jobs()
        rows.note(Turn(job.id, 1), [], start=0, trouble=words)
        assert rows.jobs()[0].trouble not in {None, words}
        rows.end(Turn(job.id, 2), why=words)
    (outcome,) = await all_of("night", any_database)
    assert (outcome.status, outcome.error is None) == (Status.NOT_SENT, False)


async def test_what_may_have_been_sent_is_unknown_when_a_job_is_given_up(any_database):
    """Also if the store could not even be reached in the end, and after a retry."""
    lost = BCShopperError("the answer was lost")
    doubts = [(0, Outcome(1, Status.UNKNOWN, error=lost))]
    await submit("create", [1, 2, 3], database=any_database)
    with Rows(any_database) as rows:
        (job,) = rows.jobs()
        rows.note(Turn(job.id, 1), [], start=0, attempt=1, doubts=doubts)
        assert rows.counts(job.id) == {None: 3}
        last = [(1, Outcome(2, Status.UNKNOWN, error=lost))]
        rows.end(Turn(job.id, 2), why="the store is down", doubts=last)
        for _ in range(2):
            given_up = {Status.UNKNOWN: 2, Status.NOT_SENT: 1}
            assert rows.counts(job.id) == given_up
            unknown = await all_of("night", any_database, Status.UNKNOWN)
            assert {str(outcome.error) for outcome in unknown} == {"the answer was lost"}
            rows.retry(job)
            assert rows.counts(job.id) == {None: 3}
            rows.end(Turn(job.id, rows.jobs()[0].turn), why="the store is down")
        rows.retry(job)
        created = [(0, Outcome(1, Status.CREATED))]
        turn = rows.jobs()[0].turn
        rows.note(Turn(job.id, turn), created, start=1)
        rows.note(Turn(job.id, turn), [], start=0, doubts=doubts)  # by whom it was taken from
        assert rows.counts(job.id) == {None: 2, Status.CREATED: 1}


async def test_no_time_is_told_for_a_job_that_is_not_planned(file_database):
    """How much there is to do is not known before."""
    await submit("create-all-customers", database=file_database)
    assert (await fleet.status("night", database=file_database)).seconds_left is None


async def test_cancel_and_retry(any_database):
    """A cancelled job stops; retried, it does the rest."""
    async with Sandbox(customers=4000, rules=Rules(latency=0.05)) as store:
        await submit("create", range(1, 4001), database=any_database)
        async with working(any_database, A=store):
            while not (await fleet.status("night", database=any_database)).done:  # noqa: ASYNC110
                await asyncio.sleep(0.02)
            await fleet.cancel("night", database=any_database)
            await asyncio.sleep(1.0)
            stopped = await fleet.status("night", database=any_database)
            assert stopped.state == "cancelled"
            assert stopped.open
            await asyncio.sleep(0.5)
            assert (await fleet.status("night", database=any_database)).open == stopped.open
            await fleet.retry("night", database=any_database)
            await until_done(1, any_database)
        await audit("night", store, range(1, 4001), any_database)


async def test_what_is_unknown_is_written_so_and_goes_again_with_retry(file_database):
    """What is final is not sent again."""
    async with Sandbox(customers=600) as store:
        # The last fifty get server errors only, and look-ups of them fail, too.
        store.faults.rule(Fault.error(500), method="POST", nth=3)
        store.faults.rule(Fault.error(500), method="GET")
        await submit("create", range(1, 601), database=file_database)
        async with working(file_database, A=store):
            (status,) = await until_done(1, file_database)
            assert status.counts == {Status.CREATED: 550, Status.UNKNOWN: 50}
            store.faults.clear()
            store.record.requests.clear()
            await fleet.retry("night", database=file_database)
            (status,) = await until_done(1, file_database)
            assert status.counts == {Status.CREATED: 600}
            sent = [r for r in store.record.requests if r.method == "POST"]
            assert len(sent) == 1
        await audit("night", store, range(1, 601), file_database)


async def test_troubled_stores_delay_only_their_own_jobs(file_database):
    """One whose token is refused, one that is down, one that nobody knows; later all are done."""
    async with Sandbox(customers=600) as good, Sandbox(customers=600) as refusing:
        down = Sandbox(customers=600)
        async with down:
            pass
        refusing.faults.rule(Fault.error(401))
        stores = {"good": good, "refusing": refusing, "down": down, "new": KeyError("no token")}
        for name in stores:
            await submit("create", range(1, 601), job=name, store=name, database=file_database)
        async with working(file_database, **stores):
            found = {}
            while found.get("good") != "done":
                found = {s.job: s.state for s in await fleet.statuses(database=file_database)}
                await asyncio.sleep(0.05)
            assert set(found.values()) == {"done", "running"}
            while None in [  # noqa: ASYNC110
                status.trouble
                for status in await fleet.statuses(database=file_database)
                if status.job != "good"
            ]:
                await asyncio.sleep(0.05)
            status = await fleet.status("refusing", database=file_database)
            assert "401" in status.trouble
            assert status.open == 600
            assert refusing.record.counts.total() <= 20
            refusing.faults.clear()
            await fleet.retry("refusing", database=file_database)  # or wait for the next attempt
            while (await fleet.status("refusing", database=file_database)).state != "done":  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        await audit("refusing", refusing, range(1, 601), file_database)


async def test_tokens_never_enter_the_database(file_database, tmp_path):
    """Not even where the server's words have them."""
    async with Sandbox(customers=600) as store, working(file_database, A=store):
        await submit("create", range(1, 601), database=file_database)
        await until_done(1, file_database)
    files = list(tmp_path.glob("fleet.sqlite*"))
    assert files
    assert all(store.access_token.encode() not in path.read_bytes() for path in files)


async def test_one_worker_in_a_process(file_database):
    """The engine has one application for all of it."""
    async with Sandbox(customers=1) as store, working(file_database, A=store):
        await submit("create", [1], database=file_database)
        await until_done(1, file_database)
        with pytest.raises(InvalidInputError, match="in this process already"):
            await fleet.worker(lambda *_: None, database=file_database)


async def test_tables_of_another_version_are_refused(file_database):
    """In words that say what to do."""
    await fleet.statuses(database=file_database)
    with contextlib.closing(sqlite3.connect(file_database.removeprefix("sqlite:///"))) as file:
        file.execute("UPDATE bcshopper_version SET version = 99")
        file.commit()
    with pytest.raises(InvalidInputError, match="version 99"):
        await fleet.statuses(database=file_database)


async def test_an_unknown_job_is_named(file_database):
    """By every call that takes one."""
    for call in (fleet.status, fleet.cancel, fleet.retry):
        with pytest.raises(InvalidInputError, match="no job 'x'"):
            await call("x", database=file_database)
    with pytest.raises(InvalidInputError, match="no job 'x'"):
        await all_of("x", file_database)
