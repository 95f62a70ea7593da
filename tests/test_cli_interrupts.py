"""What stops a job leaves a whole account behind, and a second interrupt ends it at once."""

import json
import random
import signal
import subprocess
from collections import Counter
from contextlib import suppress

import pytest

from bcshopper._outcomes import Status
from bcshopper.sandbox import Fault, Sandbox
from tests.cli import BCSHOPPER, bcshopper, environment, posts, rows, start, wait_until

pytestmark = pytest.mark.real_time

COUNT = 10_000
NAMES = {status.value: status.value for status in Status} | {"exists": "existing"}


@pytest.fixture
def sandbox():
    with Sandbox(customers=COUNT) as sandbox:
        yield sandbox


@pytest.fixture
def ids(tmp_path):
    file = tmp_path / "ids.txt"
    file.write_text("".join(f"{i}\n" for i in range(1, COUNT + 1)))
    return file


def check_account(printed, summary, store):
    """Every id has one line and one count, and none of them is false."""
    outcomes = {row["item"]: row for row in printed}
    told = json.loads(summary.read_text())
    assert len(printed) == len(outcomes) == told["total"] == COUNT
    counts = Counter(row["status"] for row in printed)
    assert {status: told[name] for status, name in NAMES.items() if told[name]} == counts
    assert sum(told[name] for name in NAMES.values()) == COUNT
    for item, row in outcomes.items():
        if row["status"] in {"created", "exists"}:
            assert row["profile_id"] == str(store.customers[item])
        else:
            assert row["error"]
        if row["status"] == "not_sent":
            assert store.customers[item] is None
    return counts


@pytest.mark.parametrize("to_file", [True, False])
@pytest.mark.parametrize("with_journal", [True, False])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_job_accounts_for_every_id(
    sandbox, ids, tmp_path, to_file, with_journal, number
):
    """In the output, which is whole, and in the summary; the ids that were not sent say why."""
    sandbox.faults.rule(Fault.slow(0.02))
    out, summary = tmp_path / "out.jsonl", tmp_path / "summary.json"
    command = ["create", "--from", ids, "--summary-json", summary, "--output", out]
    if with_journal:
        command += ["--journal", tmp_path / "journal"]
    with out.open("w") as file:
        process = start(*command[: None if to_file else -2], sandbox=sandbox, stdout=file)
        wait_until(lambda: len(posts(sandbox)) >= 20)
        process.send_signal(number)
        _, err = process.communicate(timeout=240)
    assert process.returncode == 130
    assert "interrupted: " in err
    assert "Traceback" not in err
    printed = rows(out.read_text())
    counts = check_account(printed, summary, sandbox.store)
    assert counts["created"] >= 500
    assert counts["not_sent"] >= 5000
    reasons = {row["error"] for row in printed if row["status"] in {"not_sent", "unknown"}}
    assert all(reason.startswith("stopped before ") for reason in reasons)


@pytest.mark.parametrize("status", [401, 403])
@pytest.mark.parametrize("nth", [1, 20])
def test_a_refused_job_accounts_for_every_id(sandbox, ids, tmp_path, status, nth):
    """The token ran out, or the permission was taken away; the reason is said once."""
    sandbox.faults.rule(Fault.error(status), method="POST", nth=nth)
    out, summary = tmp_path / "out.jsonl", tmp_path / "summary.json"
    done = bcshopper("create", "--from", ids, "--summary-json", summary, "--output", out,
                     sandbox=sandbox)  # fmt: skip
    assert done.returncode == 3
    assert done.stderr.count(f"answered {status}") == 1
    counts = check_account(rows(out.read_text()), summary, sandbox.store)
    assert counts["not_sent"] >= 5000
    assert "created" in counts or nth == 1


def test_an_interrupted_resumption_accounts_for_every_id(sandbox, ids, tmp_path):
    """What an earlier run may have sent is unknown, and never said not to have been sent."""
    out, summary = tmp_path / "out.jsonl", tmp_path / "summary.json"
    command = ["create", "--from", ids, "--journal", tmp_path / "journal", "--output", out,
               "--summary-json", summary]  # fmt: skip
    sandbox.faults.rule(Fault.slow(0.02))
    process = start(*command, sandbox=sandbox)
    wait_until(lambda: len(posts(sandbox)) >= 20)
    process.kill()
    process.communicate()
    assert not out.exists()
    sandbox.faults.clear()
    sandbox.faults.rule(Fault.slow(60), method="GET")
    process = start(*command, sandbox=sandbox)
    wait_until(lambda: any(r.method == "GET" for r in list(sandbox.record.requests)))
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=30)
    assert process.returncode == 130
    counts = check_account(rows(out.read_text()), summary, sandbox.store)
    assert counts["unknown"] > 0
    assert counts["not_sent"] > 5000


def test_a_full_disk_accounts_for_every_id(sandbox, ids, tmp_path):
    """What is known of an id is told, although it could not be recorded."""
    journal, out, summary = (tmp_path / n for n in ("journal", "out.jsonl", "summary.json"))
    command = ["create", "--from", ids, "--journal", journal, "--summary-json", summary]
    sandbox.faults.rule(Fault.error(401))
    assert bcshopper(*command, sandbox=sandbox).returncode == 3
    sandbox.faults.clear()
    room = journal.stat().st_size // 512 + 20
    limited = ["sh", "-c", f'ulimit -f {room}; exec "$@"', "sh", *BCSHOPPER]
    with (
        out.open("w") as file,
        subprocess.Popen(["sh", "-c", "cat", "sh"], stdin=subprocess.PIPE, stdout=file) as cat,
    ):  # the rows have room
        done = subprocess.run(
            [*limited, *map(str, command)],
            env={**environment(sandbox), "PYTHONDONTWRITEBYTECODE": "1"},
            stdout=cat.stdin, stderr=subprocess.PIPE, text=True, check=False, timeout=240,
        )  # fmt: skip
    assert done.returncode == 4
    assert done.stderr.count("the journal can't be read or written") == 1
    counts = check_account(rows(out.read_text()), summary, sandbox.store)
    assert counts["created"] > 0


def test_a_job_whose_reader_hangs_up_counts_every_id(sandbox, ids, tmp_path):
    """Though there is no output any more."""
    summary = tmp_path / "summary.json"
    process = start("create", "--from", ids, "--summary-json", summary, sandbox=sandbox)
    process.stdout.close()
    assert process.wait(timeout=240) == 141
    process.stderr.close()
    told = json.loads(summary.read_text())
    assert sum(told[name] for name in NAMES.values()) == told["total"] == COUNT
    made = len(sandbox.store.profiles)
    assert told["created"] <= made <= told["created"] + told["unknown"]


def interrupt_twice(sandbox, ids, tmp_path, rng):
    """At a moment of the job's, and once more within 200 ms."""
    sandbox.faults.clear()
    sandbox.faults.rule(Fault.slow(rng.choice([0.0, 0.01, 5.0])))
    verb = rng.choice(["create", "delete"])
    options = ["--yes", "--from", tmp_path / "profiles.txt"] if verb == "delete" else [
        "--from", ids
    ]  # fmt: skip
    if rng.random() < 0.5:
        options += ["--journal", tmp_path / f"{rng.random()}.journal"]
    came = len(sandbox.record.requests)
    process = start(verb, *options, sandbox=sandbox, stdout=subprocess.DEVNULL)
    wait_until(lambda: len(sandbox.record.requests) > came or process.poll() is not None)
    with_delay(process, rng.uniform(0, 0.3))
    process.send_signal(rng.choice([signal.SIGINT, signal.SIGTERM]))
    with_delay(process, rng.uniform(0, 0.2) if rng.random() < 0.9 else 0)
    process.send_signal(rng.choice([signal.SIGINT, signal.SIGTERM]))
    try:
        _, err = process.communicate(timeout=240)
    finally:
        process.kill()
        process.wait()
    assert process.returncode in {130, 0}, err
    assert "Traceback" not in err
    assert "Error" not in err


def with_delay(process, seconds):
    """Wait, unless it ends before."""
    with suppress(subprocess.TimeoutExpired):
        process.wait(timeout=seconds)


@pytest.mark.parametrize(("seed", "times"), [(1, 8), pytest.param(2, 200, marks=pytest.mark.long)])
def test_two_interrupts_never_hang(sandbox, ids, tmp_path, seed, times):
    """Whatever the job is at, and whichever they are; none of them prints a traceback."""
    sandbox.seed(profiles=2000)
    profiles = tmp_path / "profiles.txt"
    profiles.write_text("".join(f"{p}\n" for p in sandbox.store.profiles))
    rng = random.Random(seed)
    for _ in range(times):
        interrupt_twice(sandbox, ids, tmp_path, rng)


def test_a_second_interrupt_gives_the_terminal_its_cursor_back(sandbox, ids):
    """The bar had hidden it."""
    terminals = pytest.importorskip("tests.test_cli_terminal")
    sandbox.faults.rule(Fault.slow(60))
    with terminals.AtTerminal("create", "--from", ids, sandbox=sandbox) as terminal:
        wait_until(lambda: sandbox.record.in_flight and b"\x1b[?25l" in terminal.shown)
        terminal.process.send_signal(signal.SIGINT)
        terminal.process.send_signal(signal.SIGINT)
        assert terminal.end() == 130
        shown = terminal.shown
    assert shown.rfind(b"\x1b[?25h") > shown.rfind(b"\x1b[?25l")


def test_an_ignored_interrupt_stays_ignored(sandbox, ids):
    """As `nohup` and shells that run a command in the background ask for."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        process = start("create", "--from", ids, sandbox=sandbox, stdout=subprocess.DEVNULL)
    finally:
        signal.signal(signal.SIGINT, before)
    wait_until(lambda: sandbox.record.requests)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=240)
    assert process.returncode == 0
    assert len(sandbox.store.profiles) == COUNT
