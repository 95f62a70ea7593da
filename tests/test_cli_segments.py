"""Segments on the command line: exactly these customers, and a true account, whatever happens."""

import json
import random
import signal
import subprocess
from contextlib import suppress

import pytest

from bcshopper.sandbox import Fault, Sandbox
from tests.cli import bcshopper, rows, start, wait_until

pytestmark = pytest.mark.real_time


@pytest.fixture
def sandbox():
    """300 customers, of whom 1 to 200 have a profile, and 1 to 100 are in segment VIP."""
    with Sandbox(customers=300, profiles=200) as sandbox:
        segment = sandbox.store.create_segment("VIP")
        profiles = [sandbox.store.customers[c] for c in range(1, 101)]
        sandbox.store.add_members(segment.id, profiles)
        yield sandbox


def members(sandbox, name="VIP"):
    (segment,) = (s for s in sandbox.store.segments.values() if s.name == name)
    return {sandbox.store.profiles[p].customer_id for p in segment.members}


def lines(tmp_path, ids):
    file = tmp_path / "ids.txt"
    file.write_text("".join(f"{i}\n" for i in ids))
    return file


def account(text):
    told = {row["item"]: row["status"] for row in rows(text)}
    assert len(told) == len(text.splitlines())
    return told


def test_segments_are_made_shown_renamed_and_deleted(sandbox):
    """By name as by id."""
    (made,) = rows(bcshopper("segment", "create", "Gold", sandbox=sandbox).stdout)
    renamed = bcshopper("segment", "rename", made["id"], "Silver", sandbox=sandbox)
    assert rows(renamed.stdout)[0]["name"] == "Silver"
    shown = [
        bcshopper("segment", "show", n, sandbox=sandbox).stdout for n in ("Silver", made["id"])
    ]
    assert shown[0] == shown[1] == renamed.stdout
    listed = bcshopper("segment", "list", sandbox=sandbox)
    assert [row["name"] for row in rows(listed.stdout)] == ["VIP", "Silver"]
    refused = bcshopper("segment", "delete", "Silver", sandbox=sandbox)
    assert (refused.returncode, "--yes" in refused.stderr) == (2, True)
    assert bcshopper("segment", "delete", "Silver", "--yes", sandbox=sandbox).returncode == 0
    gone = bcshopper("segment", "show", "Silver", sandbox=sandbox)
    assert (gone.returncode, gone.stdout) == (2, "")
    assert "no segment 'Silver'" in gone.stderr


def test_members_are_added_removed_and_listed(sandbox):
    """By customer or by profile, and who has no profile is given one."""
    added = bcshopper("segment", "add", "VIP", 100, 150, 250, 999, sandbox=sandbox)
    assert account(added.stdout) == {100: "exists", 150: "added", 250: "added", 999: "rejected"}
    assert added.returncode == 1
    profile = sandbox.store.customers[150]
    removed = bcshopper("segment", "remove", "VIP", profile, "--profiles", sandbox=sandbox)
    assert account(removed.stdout) == {str(profile): "removed"}
    assert bcshopper("segment", "remove", "VIP", 1, sandbox=sandbox).returncode == 0
    listed = bcshopper("segment", "members", "VIP", sandbox=sandbox)
    assert {row["customer_id"] for row in rows(listed.stdout)} == {*range(2, 101), 250}


def test_customers_are_listed_with_profiles_and_segments(sandbox):
    """All of them."""
    (segment,) = sandbox.store.segments
    listed = rows(bcshopper("customers", sandbox=sandbox).stdout)
    assert [row["customer_id"] for row in listed] == list(range(1, 301))
    assert listed[0]["segment_ids"] == str(segment)
    assert listed[299] | {"date_modified": ""} == {
        "customer_id": 300, "profile_id": None, "segment_ids": "", "date_modified": "",
    }  # fmt: skip


def test_sync_tells_its_plan_and_asks(sandbox, tmp_path):
    """Nothing is written by a dry run, nor where nobody can agree."""
    command = ["segment", "sync", "VIP", "--from", lines(tmp_path, range(11, 251))]
    plan = bcshopper(*command, "--dry-run", sandbox=sandbox)
    assert plan.returncode == 0
    said = "VIP: +150 -10 =90, 50 profiles to be created; "
    assert plan.stderr.startswith(said)
    requests = int(plan.stderr.removeprefix(said).split()[0])
    assert bcshopper(*command, sandbox=sandbox).returncode == 2
    assert bcshopper(*command, sandbox=sandbox, stdin="n\n").returncode == 1
    assert {r.method for r in sandbox.record.requests} == {"GET"}
    done = bcshopper(
        *command, "--output", tmp_path / "out.jsonl", "--summary-json", tmp_path / "s.json",
        sandbox=sandbox, stdin="y\n",
    )  # fmt: skip
    assert done.returncode == 0
    assert members(sandbox) == set(range(11, 251))
    told = account((tmp_path / "out.jsonl").read_text())
    assert told == {
        c: "removed" if c < 11 else "exists" if c < 101 else "added" for c in range(1, 251)
    }
    summary = json.loads((tmp_path / "s.json").read_text())
    assert requests - 2 <= summary["requests"] <= requests
    counts = {name: summary[name] for name in ("total", "added", "removed", "existing")}
    assert counts == {"total": 250, "added": 150, "removed": 10, "existing": 90}


def test_sync_removes_no_more_than_it_may(sandbox):
    """Nothing is changed, and the message says how many and what to give."""
    refused = bcshopper("segment", "sync", "VIP", "--yes", 1, sandbox=sandbox)
    assert refused.returncode == 2
    assert "99 of 100 members" in refused.stderr
    assert members(sandbox) == set(range(1, 101))
    agreed = ["segment", "sync", "VIP", "--yes", 1, "--max-removed", "99%"]
    assert bcshopper(*agreed, sandbox=sandbox).returncode == 0
    assert members(sandbox) == {1}


def test_sync_makes_a_segment_only_if_told(sandbox):
    """A name that is misspelt is no new segment."""
    command = ["segment", "sync", "New", "--yes", 1, 250]
    refused = bcshopper(*command, sandbox=sandbox)
    assert (refused.returncode, "no segment 'New'" in refused.stderr) == (2, True)
    planned = bcshopper(*command, "--create", "--dry-run", sandbox=sandbox)
    assert "New (to be created): +2 -0 =0" in planned.stderr
    assert len(sandbox.store.segments) == 1
    assert bcshopper(*command, "--create", sandbox=sandbox).returncode == 0
    assert members(sandbox, "New") == {1, 250}


def test_an_interrupted_sync_accounts_for_everyone(sandbox, tmp_path):
    """Each is in one line, and what is told as done is done."""
    command = ["segment", "sync", "VIP", "--yes", "--from", lines(tmp_path, range(51, 301))]
    sandbox.faults.rule(Fault.slow(30), method="POST", path="segments/*/shopper-profiles", nth=3)
    out = tmp_path / "out.jsonl"
    with out.open("w") as file:
        process = start(
            *command, "--summary-json", tmp_path / "s.json", sandbox=sandbox, stdout=file
        )
        wait_until(lambda: '"added"' in out.read_text())
        process.send_signal(signal.SIGINT)
        process.communicate()
    assert process.returncode == 130
    told = account(out.read_text())
    assert told.keys() == set(range(1, 301))
    assert set(told.values()) == {"exists", "added", "unknown", "not_sent"}
    assert json.loads((tmp_path / "s.json").read_text())["total"] == 300
    now = members(sandbox)
    assert {c for c, status in told.items() if status in {"exists", "added"}} <= now
    assert not {c for c, status in told.items() if status == "removed"} & now


def test_a_refused_token_in_the_middle_accounts_for_everyone(sandbox, tmp_path):
    """The exit code tells why it ended."""
    sandbox.faults.rule(Fault.error(401), method="DELETE")
    command = ["segment", "sync", "VIP", "--yes", "--from", lines(tmp_path, range(11, 111))]
    done = bcshopper(*command, sandbox=sandbox)
    assert done.returncode == 3
    told = account(done.stdout)
    assert told.keys() == set(range(1, 111))
    assert {told[c] for c in range(1, 11)} == {"not_sent"}
    assert {told[c] for c in range(101, 111)} == {"added"}


def killed_sync(tmp_path, seed):
    """A sync that is killed at a seeded moment, and run again."""
    rng = random.Random(seed)
    before, wanted = rng.sample(range(1, 801), 400), rng.sample(range(1, 1001), 600)
    with Sandbox(customers=1000, profiles=800) as sandbox:
        segment = sandbox.store.create_segment("VIP")
        sandbox.store.add_members(segment.id, [sandbox.store.customers[c] for c in before])
        sandbox.faults.rule(Fault.slow(0.02, jitter=0.03))
        command = [
            "segment", "sync", "VIP", "--yes", "--from", lines(tmp_path, wanted), "--quiet",
            "--max-removed", "100%", "--concurrency", 3, "--journal", tmp_path / "vip.journal",
            "--output", tmp_path / "out.jsonl",
        ]  # fmt: skip
        process, requests = start(*command, sandbox=sandbox), rng.randint(1, 45)
        wait_until(lambda: len(sandbox.record.requests) >= requests or process.poll() is not None)
        with suppress(subprocess.TimeoutExpired):
            process.wait(timeout=rng.uniform(0, 0.05))
        process.kill()
        process.communicate()
        done = bcshopper(*command, sandbox=sandbox)
        assert (done.returncode, done.stderr) == (0, "")
        assert members(sandbox) == set(wanted)
        told = account((tmp_path / "out.jsonl").read_text())
        assert {c for c, s in told.items() if s == "removed"} == set(before) - set(wanted)
        assert {c for c, s in told.items() if s in {"added", "exists"}} == set(wanted)
        assert {c for c, s in told.items() if s == "added"} <= set(wanted) - set(before)
        came = len(sandbox.record.requests)
        again = bcshopper(*command, sandbox=sandbox)
        assert account((tmp_path / "out.jsonl").read_text()) == told
        assert (again.returncode, len(sandbox.record.requests)) == (0, came)


@pytest.mark.parametrize("seed", range(3))
def test_a_killed_sync_ends_in_the_exact_segment(tmp_path, seed):
    """Whenever it was killed; its journal tells all that was removed and nobody twice."""
    killed_sync(tmp_path, seed)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(3, 33))
def test_a_sync_killed_at_any_moment_ends_in_the_exact_segment(tmp_path, seed):
    """As above, at thirty moments."""
    killed_sync(tmp_path, seed)


def test_everyone_without_a_profile_gets_one(sandbox, tmp_path):
    """And a journal goes on with those who were found first."""
    command = ["create", "--all-customers", "--journal", tmp_path / "all.journal"]
    done = bcshopper(*command, sandbox=sandbox)
    assert account(done.stdout) == dict.fromkeys(range(201, 301), "created")
    came = len(sandbox.record.requests)
    again = bcshopper(*command, sandbox=sandbox)
    assert (again.returncode, again.stdout) == (0, done.stdout)
    assert len(sandbox.record.requests) == came
    assert bcshopper("create", "--all-customers", 5, sandbox=sandbox).returncode == 2
    later = ["create", "--all-customers", "--modified-since", "2999-01-01"]
    nobody = bcshopper(*later, sandbox=sandbox)
    assert (nobody.returncode, nobody.stdout) == (0, "")


@pytest.mark.parametrize("verb", ["sync", "add", "remove"])
def test_a_token_refused_while_planning_accounts_for_everyone(sandbox, tmp_path, verb):
    """One line and one count for each, and the reason once on standard error."""
    sandbox.faults.rule(Fault.error(401))
    options = ["--yes"] if verb == "sync" else []
    command = ["segment", verb, "VIP", *options, 1, 150, 250, "--summary-json", tmp_path / "s.json"]
    done = bcshopper(*command, sandbox=sandbox)
    assert done.returncode == 3
    assert account(done.stdout) == dict.fromkeys((1, 150, 250), "not_sent")
    summary = json.loads((tmp_path / "s.json").read_text())
    assert (summary["total"], summary["not_sent"]) == (3, 3)
    assert done.stderr.count("answered 401") == 1


def test_a_resumed_sync_that_can_not_plan_tells_what_is_done(sandbox, tmp_path):
    """What an earlier run did, and of the rest that it is not known."""
    file, journal = lines(tmp_path, range(91, 301)), tmp_path / "vip.journal"
    command = ["segment", "sync", "VIP", "--yes", "--max-removed", 1, "--from", file]
    command += ["--journal", journal, "--concurrency", 1]
    segment = "segments/*/shopper-profiles"
    sandbox.faults.rule(Fault.error(401), method="POST", path=segment, nth=2)
    first = bcshopper(*command, sandbox=sandbox)
    assert first.returncode == 3
    sandbox.faults.clear()
    sandbox.faults.rule(Fault.error(401))
    told = account(bcshopper(*command, sandbox=sandbox).stdout)
    before = account(first.stdout)
    assert told.keys() == before.keys() == set(range(1, 301))
    done = {c: s for c, s in before.items() if s in {"added", "exists"}}
    assert 0 < len(done) < 210
    assert {c: told[c] for c in done} == done
    assert {told[c] for c in told.keys() - done.keys()} == {"unknown"}
    sandbox.faults.clear()
    assert bcshopper(*command, sandbox=sandbox).returncode == 0
    assert members(sandbox) == set(range(91, 301))


@pytest.mark.parametrize("verb", ["add", "remove"])
def test_members_are_planned_without_a_change(sandbox, verb):
    """A dry run says how many ids and requests; a segment that is not there is found out."""
    command = ["segment", verb, "VIP", 1, 150, 250, "--dry-run"]
    done = bcshopper(*command, sandbox=sandbox)
    assert (done.returncode, done.stdout) == (0, "")
    assert f"{verb} VIP: 3 ids; up to " in done.stderr
    assert {r.method for r in sandbox.record.requests} == {"GET"}
    command[2] = "Gold"
    assert bcshopper(*command, sandbox=sandbox).returncode == 2


@pytest.mark.parametrize("by", ["customers", "profiles"])
def test_adding_and_removing_go_on_where_they_were_killed(sandbox, tmp_path, by):
    """What is done is not sent again; the segment is right and everyone is told once."""
    ids = list(range(101, 201))
    given = ids if by == "customers" else [sandbox.store.customers[c] for c in ids]
    options = ["--from", lines(tmp_path, given), "--profiles"][: 2 if by == "customers" else 3]
    for verb, journal in [("add", tmp_path / "add"), ("remove", tmp_path / "remove")]:
        command = ["segment", verb, "VIP", *options, "--journal", journal]
        method = "POST" if verb == "add" else "DELETE"
        sandbox.faults.rule(Fault.slow(30), method=method, path="segments/*/shopper-profiles")
        came = len(sandbox.record.requests)
        process = start(*command, sandbox=sandbox)

        def is_sent(since=came, method=method):
            return method in {r.method for r in list(sandbox.record.requests)[since:]}

        wait_until(is_sent)
        process.kill()
        process.communicate()
        sandbox.faults.clear()
        done = bcshopper(*command, sandbox=sandbox)
        assert done.returncode == 0, done.stderr
        assert len(account(done.stdout)) == 100
        assert members(sandbox) >= set(ids) if verb == "add" else not members(sandbox) & set(ids)
        came = len(sandbox.record.requests)
        again = bcshopper(*command, sandbox=sandbox)
        assert account(again.stdout) == account(done.stdout)
        assert [r.method for r in list(sandbox.record.requests)[came:]] == []
