"""The journal: a job that is killed, stopped or interrupted ends as if nothing had happened."""

import json
import random
import re
import shutil
import signal
import sqlite3
import subprocess
import threading
from contextlib import suppress
from datetime import UTC, datetime
from uuid import UUID

import pytest

from bcshopper._cli._journal import Journal
from bcshopper._outcomes import GOOD, Status
from bcshopper.sandbox import Fault, Rules, Sandbox
from tests.cli import BCSHOPPER, bcshopper, environment, posts, rows, start, wait_until

pytestmark = pytest.mark.real_time

LONG_AGO = datetime(2024, 5, 1, tzinfo=UTC)
KILLS = 10


@pytest.fixture
def sandbox():
    with Sandbox(customers=300) as sandbox:
        yield sandbox


@pytest.fixture
def journal(tmp_path):
    return tmp_path / "job.journal"


def lines(tmp_path, ids):
    file = tmp_path / "ids.txt"
    file.write_text("".join(f"{i}\n" for i in ids))
    return file


def counts(path):
    summary = json.loads(path.read_text())
    names = {status.value: status.value for status in Status} | {"exists": "existing"}
    return {status: summary[name] for status, name in names.items()}


def account(path):
    return {row["item"]: row["status"] for row in rows(path.read_text())}


def results(journal, scratch):
    """The ids that have a final outcome in a journal whose process is dead."""
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir()
    for file in journal.parent.glob(f"{journal.name}*"):
        shutil.copy(file, scratch)
    if not (scratch / journal.name).exists():
        return set()
    book = Journal(scratch / journal.name)
    known = set() if book.job is None else {
        outcome.item for outcome in book.outcomes(GOOD | {Status.REJECTED})
    }  # fmt: skip
    book.close()
    return known


class Create:
    """Customers who are new, had a profile long ago, are repeated or do not exist."""

    def __init__(self, seed):
        self.arguments = ["create"]
        self._rng = random.Random(seed)
        self._had_one = self._rng.sample(range(1, 1501), 300)
        strangers = self._rng.sample(range(5000, 9000), 60)
        ids = [*self._rng.sample(range(1, 1501), 1400), *strangers]
        self._rng.shuffle(ids)
        self.ids = ids[:1000] + ids[500:600] + ids[1000:]
        self.items = ids

    def prepare(self, sandbox):
        for customer in self._had_one:
            sandbox.store.create(customer, created_at=LONG_AGO)

    def sent(self, sandbox, since):
        return {customer for post in posts(sandbox, since) for customer in post}


class Delete:
    """Profiles that are there, are repeated or have gone long ago."""

    def __init__(self, seed):
        self.arguments = ["delete", "--yes"]
        self._seed = seed
        self.ids = self.items = []

    def prepare(self, sandbox):
        rng = random.Random(self._seed)
        for customer in range(1, 1501):
            sandbox.store.create(customer, created_at=LONG_AGO)
        gone = [UUID(int=rng.getrandbits(128), version=4) for _ in range(5)]
        ids = [*rng.sample(list(sandbox.store.profiles), 1200), *gone]
        rng.shuffle(ids)
        self.ids = ids[:600] + ids[300:400] + ids[600:]
        self.items = list(map(str, ids))

    def sent(self, sandbox, since):
        return {
            UUID(text)
            for request in list(sandbox.record.requests)[since:]
            if request.method == "DELETE"
            for text in dict(request.query)["id:in"].split(",")
        }


def run_job(job, rules, tmp_path, moments):
    """Run a job on a store of its own; kill it whenever so many requests have come."""
    tmp_path.mkdir()
    rng = random.Random(len(moments))
    journal, out, summary = (tmp_path / n for n in ("job.journal", "out.jsonl", "summary.json"))
    with Sandbox(customers=1500, rules=rules) as sandbox:
        job.prepare(sandbox)
        sandbox.faults.rule(Fault.slow(0.02, jitter=0.03))
        command = [
            *job.arguments, "--concurrency", "3", "--from", lines(tmp_path, job.ids), "--quiet",
            "--journal", journal, "--output", out, "--summary-json", summary,
        ]  # fmt: skip
        requests = sandbox.record.requests
        for moment in moments:
            process = start(*command, sandbox=sandbox)
            came = len(requests)
            if came < moment or rng.random() < 0.5:
                target = max(moment, came + 1)
                wait_until(lambda target=target: len(requests) >= target)
                delay = rng.uniform(0, 0.05)
            else:
                delay = rng.uniform(0, 0.5)  # while it starts or takes the ids in
            with suppress(subprocess.TimeoutExpired):
                process.communicate(timeout=delay)
            process.kill()
            process.communicate()
            assert process.returncode == -signal.SIGKILL
            assert not out.exists() or account(out).keys() == set(job.items)
            known = results(journal, tmp_path / "copy")
            since = len(requests)
            yield "killed", known, lambda since=since: job.sent(sandbox, since)
        done = bcshopper(*command, sandbox=sandbox)
        assert done.stderr == ""
        had = [p.customer_id for p in sandbox.store.profiles.values()]
        assert len(had) == len(set(had))
        for row in rows(out.read_text()):
            if row["status"] in {"created", "exists"}:
                assert row["profile_id"] == str(sandbox.store.customers[row["item"]])
        ends = (done.returncode, counts(summary), account(out), sorted(had))
        again = len(requests)
        repeated = bcshopper(*command, sandbox=sandbox)
        assert len(requests) == again
        assert (repeated.returncode, counts(summary), account(out)) == ends[:3]
        yield "ended", ends, len(requests)


@pytest.mark.parametrize(
    ("kind", "rules", "seed"),
    [
        pytest.param(Create, Rules(), 1, marks=pytest.mark.long),
        (Create, Rules(bad_items="207"), 2),
        pytest.param(Create, Rules(newest_first=True), 3, marks=pytest.mark.long),
        pytest.param(Delete, Rules(), 4, marks=pytest.mark.long),
        (Delete, Rules(vanished="not_found"), 5),
    ],
)
def test_a_job_killed_ten_times_ends_as_an_undisturbed_one(kind, rules, seed, tmp_path):
    """The same store, the same account, and nothing that was recorded is sent again."""
    ((_, expected, requests),) = run_job(kind(seed), rules, tmp_path / "undisturbed", [])
    moments = sorted(random.Random(seed).sample(range(int(requests * 0.85)), KILLS))
    *kills, (_, ends, _) = checked(run_job(kind(seed), rules, tmp_path / "killed", moments))
    assert len(kills) == KILLS
    assert ends == expected


def checked(steps):
    """Compare what was on record at each kill with what is sent after it, while that is known."""
    killed = []
    for step in steps:
        if step[0] == "killed":
            killed.append(step)
        else:
            for _, known, sent_later in killed:
                assert not known & sent_later()
        yield step


def test_a_resumed_job_finds_out_what_was_in_flight(sandbox, journal, tmp_path):
    """A POST took effect, and its answer never came to anybody: it counts as created, once."""
    sandbox.store.create(7, created_at=LONG_AGO)
    sandbox.faults.rule(Fault.slow(30), method="GET")
    sandbox.faults.rule(Fault.cut(applied=True), method="POST", nth=2)
    command = ["create", "--from", lines(tmp_path, range(1, 201)), "--journal", journal]
    process = start(*command, sandbox=sandbox)
    wait_until(lambda: len(sandbox.store.profiles) >= 150 and sandbox.record.in_flight)
    process.kill()
    process.communicate()
    sandbox.faults.clear()
    since = len(sandbox.record.requests)
    had = {p.customer_id for p in sandbox.store.profiles.values()}
    done = bcshopper(*command, sandbox=sandbox)
    assert done.returncode == 0
    assert {row["item"]: row["status"] for row in rows(done.stdout)} == {
        i: "exists" if i == 7 else "created" for i in range(1, 201)
    }
    assert not had & {i for post in posts(sandbox, since) for i in post}


def test_a_fatal_stop_is_resumed(sandbox, journal, tmp_path):
    """A token that expires on the way: what was done stays done, the rest goes on later."""
    sandbox.faults.rule(Fault.error(401), method="POST", nth=3)
    command = ["create", "--concurrency", "1", "--journal", journal,
               "--from", lines(tmp_path, range(1, 301))]  # fmt: skip
    stopped = bcshopper(*command, sandbox=sandbox)
    assert stopped.returncode == 3
    assert "100 created" in stopped.stderr
    assert "Traceback" not in stopped.stderr
    shown = bcshopper("journal", "show", journal)
    assert "100 created" in shown.stdout
    resumed = bcshopper(*command, sandbox=sandbox)
    assert resumed.returncode == 0
    assert "300 created" in resumed.stderr
    assert f"{journal}: 100 of 300 ids are done already" in resumed.stderr
    assert len(sandbox.store.profiles) == 300
    assert [i for post in posts(sandbox) for i in post].count(1) == 1


def test_an_unknown_outcome_is_settled_by_the_next_run(sandbox, journal, tmp_path):
    """Whether it took effect is found out as soon as the API tells."""
    sandbox.faults.rule(Fault.error(502, applied=True), method="POST")
    sandbox.faults.rule(Fault.error(405), method="GET")
    command = ["create", "1", "2", "--journal", journal]
    first = bcshopper(*command, sandbox=sandbox)
    assert first.returncode == 1
    assert {row["status"] for row in rows(first.stdout)} == {"unknown"}
    sandbox.faults.clear()
    failed = bcshopper("journal", "show", "--failed", journal)
    assert failed.stdout == "1\n2\n"
    sent = len(posts(sandbox))
    second = bcshopper(*command, sandbox=sandbox)
    assert second.returncode == 0
    assert {row["status"] for row in rows(second.stdout)} == {"created"}
    assert len(posts(sandbox)) == sent


def test_an_interrupt_tells_how_to_go_on_and_the_job_is_resumed(sandbox, journal, tmp_path):
    """Ctrl-C gives the account so far; the same command does the rest."""
    sandbox.faults.rule(Fault.slow(0.1))
    command = ["create", "--concurrency", "1", "--journal", journal,
               "--from", lines(tmp_path, range(1, 301))]  # fmt: skip
    for stop in (signal.SIGINT, signal.SIGTERM):
        before = len(posts(sandbox))
        process = start(*command, sandbox=sandbox)
        wait_until(lambda before=before: len(posts(sandbox)) >= before + 2)
        process.send_signal(stop)
        _, err = process.communicate(timeout=240)
        assert process.returncode == 130
        assert f"the same command again goes on where {journal} ends" in err
        assert "Traceback" not in err
    sandbox.faults.clear()
    done = bcshopper(*command, sandbox=sandbox)
    assert "300 created" in done.stderr
    assert len(sandbox.store.profiles) == 300


def test_a_journal_belongs_to_one_store_verb_and_input(sandbox, journal):
    """Any other job is refused with the reason, before anything is sent."""
    assert bcshopper("create", 1, 2, "--journal", journal, sandbox=sandbox).returncode == 0
    sent = len(sandbox.record.requests)
    uuid = next(iter(sandbox.store.profiles))
    for arguments, words in [
        (["create", 1, 2, "--store", "other"], "its store hash is sandbox, not other"),
        (["create", 1, 2, "--base-url", "http://127.0.0.1:1"], "its base url is"),
        (["delete", "--yes", uuid], "its verb is create, not delete"),
        (["create", 1, 2, 3], "a job with other ids"),
        (["create", 1], "a job with other ids"),
        (["create", 2, 1], "a job with other ids"),
        (["create", 12], "a job with other ids"),
    ]:
        done = bcshopper(*arguments, "--journal", journal, sandbox=sandbox)
        assert words in done.stderr
        assert done.returncode == 2
    assert len(sandbox.record.requests) == sent
    shown = bcshopper("journal", "show", journal)
    assert "2 ids, 0 of them without an outcome" in shown.stdout


def test_another_file_is_no_journal_and_stays_as_it_is(sandbox, tmp_path):
    """A text, and another program's database."""
    text, database = tmp_path / "text", tmp_path / "database"
    text.write_text("dear diary\n" * 1000)
    connection = sqlite3.connect(database)
    connection.execute("CREATE TABLE items (a)")
    connection.close()
    for file, words in [(text, "not a database"), (database, "no journal of bcshopper")]:
        before = file.read_bytes()
        for command in (["create", 1, "--journal"], ["journal", "show"]):
            done = bcshopper(*command, file, sandbox=sandbox)
            assert words in done.stderr
            assert done.returncode == 2
            assert "Traceback" not in done.stderr
        assert file.read_bytes() == before
    assert not sandbox.record.requests


def test_an_empty_file_becomes_a_journal_and_shows_as_none(sandbox, tmp_path):
    """As `mktemp` makes it."""
    file = tmp_path / "empty"
    file.touch()
    for option in ([], ["--failed"]):
        done = bcshopper("journal", "show", *option, file)
        assert done.returncode == 2
        assert "is no journal of a job" in done.stderr
    assert bcshopper("create", 1, "--journal", file, sandbox=sandbox).returncode == 0


def test_one_process_at_a_time_has_the_journal(sandbox, journal, tmp_path):
    """Two would send the same ids; looking into it meanwhile disturbs nothing."""
    sandbox.faults.rule(Fault.slow(30))
    command = ["create", 1, 2, "--journal", journal]
    process = start(*command, sandbox=sandbox)
    wait_until(lambda: sandbox.record.in_flight)
    done = bcshopper(*command, sandbox=sandbox)
    assert done.returncode == 2
    assert f"{journal} is in use by another command" in done.stderr
    shown = bcshopper("journal", "show", journal)
    assert "2 ids, 2 of them without an outcome" in shown.stdout
    assert len(posts(sandbox)) == 1
    process.kill()
    process.communicate()
    sandbox.faults.clear()
    assert bcshopper(*command, sandbox=sandbox).returncode == 0


def test_a_bad_line_leaves_no_journal(sandbox, journal, tmp_path):
    """With the line corrected, the same command works."""
    file = tmp_path / "ids.txt"
    file.write_text("1\nx\n")
    command = ["create", "--from", file, "--journal", journal]
    done = bcshopper(*command, sandbox=sandbox)
    assert (done.returncode, "line 2" in done.stderr) == (2, True)
    assert sorted(tmp_path.iterdir()) == [file]
    file.write_text("1\n2\n")
    assert bcshopper(*command, sandbox=sandbox).returncode == 0


@pytest.mark.parametrize("verb", ["create", "delete"])
def test_the_named_file_alone_is_the_journal(sandbox, journal, tmp_path, verb):
    """After a kill, whoever copies it goes on with it and does not begin anew."""
    if verb == "delete":
        sandbox.seed(profiles=300)
    ids = {"create": range(1, 301), "delete": sandbox.store.profiles}[verb]
    options = ["--yes"] if verb == "delete" else []
    file = lines(tmp_path, ids)
    sandbox.faults.rule(Fault.slow(60), method={"create": "POST", "delete": "DELETE"}[verb], nth=4)
    process = start(verb, *options, "--from", file, "--journal", journal, "--concurrency", 1,
                    "--output", tmp_path / "out", sandbox=sandbox)  # fmt: skip
    wait_until(lambda: len(sandbox.record.requests) == 4)
    wait_until(lambda: "150" in bcshopper("journal", "show", journal).stdout)
    process.kill()
    process.communicate()
    copy = tmp_path / "elsewhere" / "copy.journal"
    copy.parent.mkdir()
    shutil.copy(journal, copy)
    sandbox.faults.clear()
    done = bcshopper(verb, *options, "--from", file, "--journal", copy, sandbox=sandbox)
    assert done.returncode == 0, done.stderr
    assert f"{copy}: 150 of 300 ids are done already" in done.stderr
    assert "300 created" in done.stderr or "300 deleted" in done.stderr


def test_a_journal_is_looked_into_while_the_job_runs(sandbox, journal, tmp_path):
    """Neither is in the other's way, however often and however slowly it is read."""
    may_go_on = threading.Semaphore(0)  # the sandbox has a thread of its own, which can wait
    sandbox.faults.rule(Fault.changing(lambda _: may_go_on.acquire(timeout=60)))
    process = start("create", "--from", lines(tmp_path, range(1, 301)), "--journal", journal,
                    "--concurrency", 1, "--output", tmp_path / "out", sandbox=sandbox)  # fmt: skip
    wait_until(journal.exists)
    seen = []
    while process.poll() is None:
        for options in ([], ["--failed"]):
            shown = bcshopper("journal", "show", *options, journal)
            assert shown.returncode in {0, 2}, shown.stderr
            assert not shown.returncode or "is no journal of a job" in shown.stderr
            seen.append(shown.stdout)
        may_go_on.release()
    _, err = process.communicate()
    assert process.returncode == 0, err
    assert "300 created" in err
    assert any(re.search(r"running: \d+ a second, \d:\d\d:\d\d left\n", text) for text in seen), (
        seen
    )
    assert "running" not in bcshopper("journal", "show", journal).stdout


def test_a_plan_leaves_no_journal_and_tells_of_an_open_one(sandbox, journal, tmp_path):
    """`--dry-run` says what the same command would send now."""
    command = ["create", "--from", lines(tmp_path, range(1, 121)), "--journal", journal]
    plan = bcshopper(*command, "--dry-run", sandbox=sandbox)
    assert "3 requests would go" in plan.stderr
    assert not journal.exists()
    bcshopper(*command, sandbox=sandbox)
    plan = bcshopper(*command, "--dry-run", sandbox=sandbox)
    assert (plan.returncode, plan.stdout) == (0, "")
    assert "0 requests would go" in plan.stderr


def test_a_plan_leaves_an_empty_journal_empty(sandbox, journal, tmp_path):
    """As `mktemp` makes one: the job itself has not begun."""
    journal.touch()
    command = ["create", "--from", lines(tmp_path, range(1, 121)), "--journal", journal]
    assert bcshopper(*command, "--dry-run", sandbox=sandbox).returncode == 0
    assert journal.stat().st_size == 0


@pytest.mark.parametrize("place", ["nowhere/job.journal", "."])
def test_a_journal_that_cant_be_there_is_one_line(sandbox, tmp_path, place):
    """And nothing is sent."""
    done = bcshopper("create", 1, "--journal", tmp_path / place, sandbox=sandbox)
    assert done.returncode == 2
    assert str(tmp_path) in done.stderr
    assert "Traceback" not in done.stderr
    assert not sandbox.record.requests


@pytest.mark.parametrize("size", [30_000, 110_000])
def test_a_full_disk_ends_the_job_with_one_line_and_it_is_resumed(sandbox, journal, tmp_path, size):
    """While the ids are taken in, or while they are sent: what is recorded is not sent again."""
    sandbox.seed(customers=2000)
    command = ["create", "--from", lines(tmp_path, range(1, 2001)), "--journal", journal]
    limited = ["sh", "-c", f'ulimit -f {size // 512}; exec "$@"', "sh", *BCSHOPPER]
    # Else what Python compiles on the way would be cut off, too, and stay so for all others.
    env = {**environment(sandbox), "PYTHONDONTWRITEBYTECODE": "1"}
    stopped = subprocess.run(
        [*limited, *map(str, command)], env=env, capture_output=True, text=True,
        check=False, timeout=240,
    )  # fmt: skip
    assert stopped.returncode == 4
    assert "the journal can't be read or written: disk I/O error" in stopped.stderr
    assert "Traceback" not in stopped.stderr
    recorded = results(journal, tmp_path / "copy")
    assert bool(sandbox.record.requests) == (size > 100_000)
    since = len(sandbox.record.requests)
    done = bcshopper(*command, sandbox=sandbox)
    assert done.returncode == 0
    assert "2,000 created" in done.stderr
    assert not recorded & {i for post in posts(sandbox, since) for i in post}


def test_show_summarises_and_gives_the_failed_ids_back(sandbox, journal, tmp_path):
    """In input form: the next job's."""
    done = bcshopper("create", 1, 9998, 2, 9999, "--journal", journal, sandbox=sandbox)
    assert done.returncode == 1
    shown = bcshopper("journal", "show", journal)
    assert shown.stdout == (
        f"create in store sandbox at {sandbox.url}\n"
        "4 ids, 0 of them without an outcome\n"
        "  2 created\n"
        "  2 rejected\n"
    )
    failed = bcshopper("journal", "show", "--failed", journal)
    assert failed.stdout == "9998\n9999\n"
    sandbox.store.customers |= {9998: None, 9999: None}
    again = bcshopper("create", sandbox=sandbox, stdin=failed.stdout)
    assert "2 created" in again.stderr


def test_the_journal_of_a_delete_holds_profile_ids(sandbox, journal):
    """They come back as they were given."""
    sandbox.faults.rule(Fault.error(403), method="DELETE")
    profile = sandbox.store.create(1)
    done = bcshopper("delete", "--yes", profile.id, "--journal", journal, sandbox=sandbox)
    assert done.returncode == 3
    assert bcshopper("journal", "show", "--failed", journal).stdout == f"{profile.id}\n"
    sandbox.faults.clear()
    done = bcshopper("delete", "--yes", profile.id, "--journal", journal, sandbox=sandbox)
    assert "1 deleted" in done.stderr


def test_a_finished_delete_asks_nothing(sandbox, journal):
    """There is nothing left to agree to."""
    profile = sandbox.store.create(1)
    command = ["delete", profile.id, "--journal", journal]
    assert bcshopper(*command, sandbox=sandbox, stdin="y\n").returncode == 0
    done = bcshopper(*command, sandbox=sandbox)
    assert done.returncode == 0
    assert "?" not in done.stderr
    assert rows(done.stdout)[0]["status"] == "deleted"
