"""The commands, as processes against a store in another thread."""

import asyncio
import csv
import gzip
import io
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from uuid import uuid4

import pytest

from bcshopper import __version__
from bcshopper._cli._commands import run_command
from bcshopper.sandbox import Fault, Rules, Sandbox
from tests.cli import BCSHOPPER, bcshopper, environment, rows, start, wait_until
from tests.conftest import run

NOBODYS = "6f6a9a2e-1bd5-4b6f-9a41-5b1c2c1c7e11"

pytestmark = [pytest.mark.real_time, pytest.mark.lowest]


@pytest.fixture
def sandbox():
    with Sandbox(customers=200, profiles=120) as sandbox:
        yield sandbox


def test_list_prints_every_profile_as_json_lines_in_a_pipe(sandbox):
    """Data for programs, and nothing else on standard output."""
    done = bcshopper("list", sandbox=sandbox)
    found = rows(done.stdout)
    assert [row["id"] for row in found] == [str(i) for i in sandbox.store.profiles]
    assert found[0].keys() == {"id", "customer_id", "created_at", "updated_at"}
    assert (done.returncode, done.stderr) == (0, "")


def test_list_prints_csv_and_tables(sandbox):
    """The format is the caller's choice."""
    printed = bcshopper("list", "--format", "csv", sandbox=sandbox).stdout
    assert [row["customer_id"] for row in csv.DictReader(io.StringIO(printed))] == [
        str(i) for i in range(1, 121)
    ]
    header, first, *_ = bcshopper("list", "--format", "table", sandbox=sandbox).stdout.splitlines()
    assert header.split() == ["ID", "CUSTOMER_ID", "CREATED_AT", "UPDATED_AT"]
    assert first.split()[1] == "1"


def test_create_takes_ids_from_arguments_a_file_and_stdin(sandbox, tmp_path):
    """Three ways in, one result."""
    file = tmp_path / "ids.txt"
    file.write_text("131\n\n132\n")
    for arguments, stdin in [
        (["130"], ""),
        (["--from", str(file)], ""),
        (["--from", "-"], "133\n"),
        ([], "134"),
    ]:
        done = bcshopper("create", *arguments, sandbox=sandbox, stdin=stdin)
        assert done.returncode == 0, done.stderr
    assert all(sandbox.store.customers[i] is not None for i in range(130, 135))


def test_create_reports_failures_and_exits_with_1(sandbox):
    """The good ids are created all the same, and each id has a line."""
    done = bcshopper("create", "1", "130", "9999", sandbox=sandbox)
    found = {row["item"]: row for row in rows(done.stdout)}
    assert {k: row["status"] for k, row in found.items()} == {
        1: "exists", 130: "created", 9999: "rejected"
    }  # fmt: skip
    assert "does not exist" in found[9999]["error"]
    assert done.returncode == 1
    assert "1 of 3 ids failed" in done.stderr


def test_delete_asks_first(sandbox):
    """Without a yes nothing is deleted."""
    target = str(next(iter(sandbox.store.profiles)))
    refused = bcshopper("delete", target, sandbox=sandbox, stdin="n\n")
    assert refused.returncode == 1
    assert "Delete 1 shopper profiles in 1 requests" in refused.stderr
    assert not sandbox.record.requests
    assert bcshopper("delete", target, sandbox=sandbox, stdin="y\n").returncode == 0
    assert len(sandbox.store.profiles) == 119


def test_delete_yes_does_not_ask(sandbox):
    """For scripts."""
    done = bcshopper(
        "delete", "--yes", str(uuid4()), *map(str, sandbox.store.profiles), sandbox=sandbox
    )
    assert done.returncode == 0
    assert sandbox.store.profiles == {}
    assert sandbox.store.wipes == 0


@pytest.mark.parametrize("stdin", ["", "\n\n", " \n"])
def test_delete_of_nothing_sends_nothing(sandbox, stdin):
    """An empty file is no wipe."""
    bcshopper("delete", "--yes", "--from", "-", sandbox=sandbox, stdin=stdin)
    assert not sandbox.record.requests


@pytest.mark.parametrize(
    ("arguments", "stdin", "words"),
    [
        (["create", "1", "x"], "", "argument 2: 'x' is not a customer id"),
        (["create", "--from", "-"], "1\nx\n", "<stdin>, line 2: 'x' is not a customer id"),
        (["create", "1", "--from", "-"], "2", "not both"),
        (["delete", "7"], "", "argument 1: '7' is not a profile id"),
        (["create", "--from", "/nowhere"], "", "No such file"),
        (["nonsense"], "", "No such command"),
        (["create", "9" * 5000], "", "is not a customer id"),
        (["create", "--from", sys.executable], "", "is no text file"),
        (["delete"], NOBODYS, "ids from standard input need --yes"),
        (["delete", "--from", "-"], NOBODYS, "ids from standard input need --yes"),
        (["sandbox", "--port", "65536"], "", "--port"),
        (["sandbox", "--port", "-1"], "", "--port"),
        (["sandbox", "--customers", "-1"], "", "--customers"),
        (["sandbox", "--profiles", "-1"], "", "--profiles"),
    ],
)
def test_bad_usage_is_named_and_exits_with_2(sandbox, arguments, stdin, words):
    """Before anything is sent."""
    done = bcshopper(*arguments, sandbox=sandbox, stdin=stdin)
    assert done.returncode == 2
    assert words in done.stderr
    assert "Traceback" not in done.stderr
    assert len(done.stderr) < 1000
    assert not sandbox.record.requests


def test_a_repeated_id_is_asked_for_once(sandbox):
    """The question has the number of profiles, not of arguments."""
    target = str(next(iter(sandbox.store.profiles)))
    done = bcshopper("delete", target, target.upper(), sandbox=sandbox, stdin="y\n")
    assert "Delete 1 shopper profiles in 1 requests" in done.stderr
    assert done.returncode == 0


def test_a_port_in_use_is_one_line_and_exits_with_4(sandbox):
    """No traceback for another program's port."""
    done = bcshopper("sandbox", "--port", sandbox.url.rpartition(":")[2])
    assert done.returncode == 4
    assert len(done.stderr.splitlines()) == 1
    assert "address already in use" in done.stderr


@pytest.mark.parametrize("verb", ["create", "delete"])
def test_a_store_out_of_reach_exits_with_4(verb, monkeypatch, capsys):
    """Where nothing at all could be sent; the ids have their lines all the same."""
    with Sandbox() as sandbox:
        pass
    for name, value in environment(sandbox).items():
        monkeypatch.setenv(name, value)
    ids = {"create": ["1", "2"], "delete": ["--yes", str(uuid4()), str(uuid4())]}[verb]
    monkeypatch.setattr(asyncio, "run", run)  # in virtual time, for the retries
    assert run_command([verb, *ids]) == 4
    out, err = capsys.readouterr()
    assert len(out.splitlines()) == 2
    assert "2 of 2 ids failed" in err
    assert err.count("could not connect") == 1


def test_missing_or_refused_credentials_exit_with_3(sandbox):
    """The message says what to set or to check, without a traceback."""
    missing = bcshopper("list")
    assert missing.returncode == 3
    assert "BIGCOMMERCE_STORE_HASH" in missing.stderr
    refused = bcshopper("list", sandbox=sandbox, BIGCOMMERCE_ACCESS_TOKEN="wrong-token")
    assert refused.returncode == 3
    assert "check the access token" in refused.stderr
    assert "Traceback" not in missing.stderr + refused.stderr
    assert "wrong-token" not in refused.stderr


def test_a_failing_api_exits_with_4(sandbox):
    """What the API said is on standard error."""
    sandbox.faults.rule(Fault.error(405))
    done = bcshopper("list", sandbox=sandbox)
    assert done.returncode == 4
    assert "answered 405" in done.stderr
    assert "Traceback" not in done.stderr


def test_sandbox_serves_until_interrupted():
    """It prints what to export, and Ctrl-C ends it with 130 and no traceback."""
    with subprocess.Popen(
        [*BCSHOPPER, "sandbox", "--port", "0", "--profiles", "7"], env=environment(),
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        lines = [process.stdout.readline() for _ in range(3)]
        exported = dict(line.removeprefix("export ").strip().split("=", 1) for line in lines)
        done = bcshopper("list", **exported)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=240)
    assert len(done.stdout.splitlines()) == 7
    assert process.returncode == 130
    assert errors == ""


def test_demo_tells_what_happened():
    """Profiles, requests, seconds and rate for each step, and an empty store in the end."""
    done = bcshopper("demo", "--customers", "500")
    assert done.returncode == 0, done.stderr
    cells = {
        row[0]: row[1:3]
        for line in done.stdout.splitlines()
        if len(row := [c.strip() for c in line.strip("│ ").split("│")]) == 5
    }
    assert cells["create"] == ["500", "10"]
    assert cells["list"] == ["500", "2"]
    assert cells["delete"] == ["500", "10"]
    assert "0 profiles left" in done.stdout


def test_the_version_is_the_packages():
    """`--version` says what is installed."""
    assert __version__ in bcshopper("--version").stdout


def test_without_the_extra_one_line_says_how_to_install_it(tmp_path):
    """No traceback for a missing option."""
    for name in ("click", "rich"):
        (tmp_path / f"{name}.py").write_text(f"raise ModuleNotFoundError(name={name!r})")
    done = bcshopper("demo", PYTHONPATH=str(tmp_path))
    assert done.stderr == "the command line needs an extra: pip install 'bcshopper[cli]'\n"
    assert done.returncode == 2


@pytest.mark.parametrize("name", ["create", "delete", "lookup"])
@pytest.mark.parametrize("content", ["", "\n \n"])
@pytest.mark.parametrize("options", [[], ["--journal"]])
def test_an_empty_input_is_no_success(sandbox, tmp_path, name, content, options):
    """What was to write the ids may have failed; the journal of the right ones is not taken."""
    if name == "lookup" and options:
        return
    file, journal = tmp_path / "ids.txt", tmp_path / "journal"
    file.write_text(content)
    command = [name, "--from", file, *options, *([journal] if options else [])]
    done = bcshopper(*command, sandbox=sandbox)
    assert (done.returncode, done.stdout) == (1, "")
    assert f"no ids in {file}: nothing was done" in done.stderr
    assert not journal.exists()
    allowed = bcshopper(*command, "--allow-empty", sandbox=sandbox)
    assert allowed.returncode == 0
    assert not sandbox.record.requests


@pytest.mark.parametrize(
    "arguments",
    [
        ["create", "--from", "{folder}"],
        ["create", "--from", "{folder}/none"],
        ["create", "--from", "{file}/none"],
        ["create", "--from", "{long}"],
        ["create", "1", "--journal", "{folder}"],
        ["create", "1", "--journal", "{folder}/none/j"],
        ["create", "1", "--journal", "{file}/j"],
        ["create", "1", "--journal", "{long}"],
        ["create", "1", "--output", "{folder}/none/o"],
        ["create", "1", "--output", "{file}/o"],
        ["create", "1", "--output", "{folder}"],
        ["create", "1", "--output", "{long}"],
        ["create", "1", "--summary-json", "{folder}/none/s"],
        ["create", "1", "--summary-json", "{file}/s"],
        ["create", "1", "--summary-json", "{long}"],
        ["list", "--output", "{folder}"],
        ["lookup", "--from", "{folder}"],
        ["journal", "show", "{folder}"],
        ["journal", "show", "{folder}/none"],
        ["journal", "show", "{long}"],
        ["--base-url", "http://example.com", "create", "1"],
        ["--base-url", "nonsense", "create", "1"],
        ["--base-url", "https://u:p@example.com", "create", "1"],
        ["--shared", "http://example.com", "create", "1"],
        ["--timeout", "0", "create", "1"],
        ["--retries", "-1", "create", "1"],
        ["--max-wait", "-1", "create", "1"],
        ["--share", "0", "create", "1"],
    ],
)
def test_what_can_not_be_used_is_usage(sandbox, tmp_path, arguments):
    """A path that can't be read or written, an address, a limit: 2, before anything is sent."""
    file = tmp_path / "file"
    file.touch()
    names = {"folder": tmp_path, "file": file, "long": "x" * 300}
    done = bcshopper(*(a.format(**names) for a in arguments), sandbox=sandbox)
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    assert not sandbox.record.requests
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read_is_usage(sandbox, tmp_path):
    """As one that is not there."""
    file = tmp_path / "file"
    file.touch(mode=0)
    for option in ("--from", "--journal"):
        done = bcshopper("create", option, file, sandbox=sandbox, stdin="1\n")
        assert done.returncode == 2


def test_the_package_is_a_command_too(sandbox):
    """`python -m bcshopper`, where no script is on the path."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "bcshopper", "create", "130"],
        env=environment(sandbox), capture_output=True, text=True, check=False, timeout=240,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert sandbox.store.customers[130] is not None


def test_the_help_shows_a_commands_own_options_first():
    """The global ones by name only; the first page explains them."""
    text = bcshopper("create", "--help").stdout
    own, _, others = text.partition("Global options")
    assert own.index("--from") < own.index("--journal")
    assert "--store" not in own
    assert "--store, --base-url, --profile" in others
    assert "Requests in flight" not in others
    first = bcshopper("--help").stdout
    assert "Requests in flight" in first
    assert "BCSHOPPER_PROFILE" in first


COMMANDS = [
    "list", "page", "quota", "lookup", "create", "delete", "delete-all", "journal", "journal show",
    "demo", "sandbox", "completion", "doctor", "config", "config init", "config list",
    "config path",
]  # fmt: skip


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_with_examples(name):
    """And says which options every command has."""
    done = bcshopper(*name.split(), "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert f"$ bcshopper {name}" in done.stdout or f'"$(bcshopper {name}' in done.stdout
    assert name in {"journal", "config"} or "Global options" in done.stdout


def test_the_help_lists_every_command_and_exit_code():
    """Documented where people look first."""
    text = bcshopper("--help").stdout
    for name in COMMANDS:
        assert f"\n  {name.split()[0]} " in text
    for code in ("0 all well", "1 some", "2 usage", "3 credentials", "4 the API", "130 interr"):
        assert code in " ".join(text.split())


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts_are_printed(shell):
    """For three shells."""
    done = bcshopper("completion", shell)
    assert "_BCSHOPPER_COMPLETE" in done.stdout
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash")
def test_bash_completes_commands_and_options(tmp_path):
    """With the script that it was given."""
    command = tmp_path / "bcshopper"
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -m bcshopper._cli "$@"\n')
    command.chmod(0o755)
    script = """
        eval "$(bcshopper completion bash)"
        complete_it() { COMPREPLY=(); COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1))
                        _bcshopper_completion bcshopper; echo "${COMPREPLY[@]}"; }
        complete_it bcshopper de
        complete_it bcshopper list --for
    """
    path = f"{tmp_path}:{environment()['PATH']}"
    done = subprocess.run(
        ["bash", "-c", script], env=environment(PATH=path), capture_output=True, text=True,
        check=True, timeout=60,
    )  # fmt: skip
    assert [line.split() for line in done.stdout.splitlines()] == [
        ["delete", "delete-all", "demo"], ["--format"]
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "read"),
    [
        ("out.jsonl", rows),
        ("out.json", json.loads),
        ("out.csv", lambda text: list(csv.DictReader(io.StringIO(text)))),
        ("out.jsonl.gz", None),
    ],
)
def test_a_file_has_the_format_of_its_suffix(sandbox, tmp_path, name, read):
    """And nothing is on standard output then."""
    file = tmp_path / name
    done = bcshopper("list", "--output", file, sandbox=sandbox)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    found = rows(gzip.decompress(file.read_bytes()).decode()) if read is None else read(
        file.read_text()
    )  # fmt: skip
    assert [row["id"] for row in found] == [str(i) for i in sandbox.store.profiles]
    assert list(tmp_path.iterdir()) == [file]


def test_an_input_of_every_format_is_read(sandbox, tmp_path):
    """The suffix tells, or the option that names column or field."""
    for number, (name, text, options) in enumerate([
        ("ids.txt", "{}\n", []),
        ("ids.csv", "name,customer_id\nAda,{}\n", []),
        ("ids.dat", "name,buyer\nAda,{}\n", ["--column", "buyer"]),
        ("ids.jsonl", '{{"customer_id": {}}}\n', []),
        ("ids.log", '{{"buyer": {}}}\n', ["--field", "buyer"]),
        ("ids.json", "[{}]", []),
    ]):  # fmt: skip
        file = tmp_path / name
        file.write_text(text.format(130 + number))
        packed = tmp_path / f"{name}.gz"
        packed.write_bytes(gzip.compress(text.format(140 + number).encode()))
        for source, customer in ((file, 130 + number), (packed, 140 + number)):
            done = bcshopper("create", "--from", source, *options, sandbox=sandbox)
            assert done.returncode == 0, done.stderr
            assert sandbox.store.customers[customer] is not None


def test_skipped_lines_are_in_a_rejects_file(sandbox, tmp_path):
    """The good ids are done, and the exit code says that it was not all."""
    file = tmp_path / "ids.txt"
    file.write_text("130\nx\n131\n")
    done = bcshopper("create", "--from", file, "--skip-bad", sandbox=sandbox)
    assert done.returncode == 1
    assert len(rows(done.stdout)) == 2
    assert (tmp_path / "ids.rejects.txt").read_text() == "x\n"
    assert f"1 bad lines are in {tmp_path / 'ids.rejects.txt'}" in done.stderr


@pytest.mark.parametrize("how", ["killed", "terminated", "failed"])
def test_a_file_is_never_half_there(sandbox, tmp_path, how):
    """What was there before stays until all is well."""
    file = tmp_path / "out.csv"
    file.write_text("before")
    fault = Fault.error(405) if how == "failed" else Fault.slow(60)
    sandbox.seed(profiles=600)
    sandbox.faults.rule(fault, method="GET", nth=3)
    process = start("list", "--concurrency", "1", "--output", file, sandbox=sandbox)
    if how != "failed":
        wait_until(lambda: len(sandbox.record.requests) == 3)
        process.send_signal(signal.SIGKILL if how == "killed" else signal.SIGTERM)
    process.communicate(timeout=240)
    assert process.returncode == {"killed": -9, "terminated": 130, "failed": 4}[how]
    assert file.read_text() == "before"
    assert how == "killed" or list(tmp_path.iterdir()) == [file]


def test_what_a_killed_command_left_is_taken_over(sandbox, tmp_path):
    """Every kill leaves a part of the output; the next run of the same command leaves none."""
    file = tmp_path / "out.csv"
    sandbox.seed(profiles=600)
    sandbox.faults.rule(Fault.slow(60), method="GET", nth=3)
    for _ in range(2):
        sandbox.faults.clear()
        sandbox.faults.rule(Fault.slow(60), method="GET", nth=3)
        came = len(sandbox.record.requests)
        process = start("list", "--concurrency", "1", "--output", file, sandbox=sandbox)
        wait_until(lambda came=came: len(sandbox.record.requests) == came + 3)
        process.kill()
        process.communicate()
        (left,) = tmp_path.iterdir()
        assert left.suffix == ".part"
    sandbox.faults.clear()
    assert bcshopper("list", "--output", file, sandbox=sandbox).returncode == 0
    assert list(tmp_path.iterdir()) == [file]
    assert len(file.read_text().splitlines()) == len(sandbox.store.profiles) + 1


def test_two_commands_do_not_write_one_file(sandbox, tmp_path):
    """The second is refused, and does the first no harm."""
    file = tmp_path / "out.csv"
    sandbox.faults.rule(Fault.slow(60), method="GET", nth=1)
    process = start("list", "--output", file, sandbox=sandbox)
    wait_until(lambda: sandbox.record.in_flight)
    (part,) = tmp_path.iterdir()
    other = bcshopper("list", "--output", file, sandbox=sandbox)
    assert other.returncode == 2
    assert f"{file} is being written by another command" in other.stderr
    assert list(tmp_path.iterdir()) == [part]
    process.terminate()
    process.communicate(timeout=30)
    assert process.returncode == 130
    assert bcshopper("list", "--output", file, sandbox=sandbox).returncode == 0
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize("option", ["--output", "--journal", "--summary-json"])
def test_what_is_written_is_its_owners_alone(sandbox, tmp_path, option):
    """Ids are customers' data."""
    file = tmp_path / "file"
    done = subprocess.run(
        ["sh", "-c", 'umask 0; exec "$@"', "sh", *BCSHOPPER, "create", "130", option, str(file)],
        env=environment(sandbox), capture_output=True, text=True, check=False, timeout=240,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert file.stat().st_mode & 0o777 == 0o600


def test_rejects_are_their_owners_alone(sandbox, tmp_path):
    """As the ids are."""
    file = tmp_path / "ids.txt"
    file.write_text("130\nx\n")
    bcshopper("create", "--from", file, "--skip-bad", sandbox=sandbox)
    assert (tmp_path / "ids.rejects.txt").stat().st_mode & 0o777 == 0o600


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
def test_a_full_disk_is_one_line_and_exits_with_4(sandbox):
    """Rows that can't be written are no success."""
    done = bcshopper("list", "--output", "/dev/full", sandbox=sandbox)
    assert done.returncode == 4
    assert done.stderr == "ERROR: /dev/full: No space left on device\n"


def test_list_misses_nothing_when_consistent(sandbox):
    """Although profiles are deleted while it reads."""
    sandbox.seed(customers=800, profiles=600)
    late = list(sandbox.store.profiles)[-300:]
    sandbox.faults.rule(
        Fault.changing(lambda store: store.delete_oldest(20)), method="GET", nth=2
    )  # fmt: skip
    done = bcshopper("list", "--consistent", "--concurrency", "1", sandbox=sandbox)
    assert done.returncode == 0
    assert {row["id"] for row in rows(done.stdout)} >= set(map(str, late))


def test_page_and_quota_cost_one_request_each():
    """For a glance."""
    with Sandbox(profiles=60, rules=Rules(quota=450)) as sandbox:
        page = bcshopper("page", "2", "--limit", "50", sandbox=sandbox)
        assert [row["customer_id"] for row in rows(page.stdout)] == list(range(51, 61))
        assert page.stderr == "page 2 of 2; 60 profiles in all\n"
        quota = bcshopper("quota", sandbox=sandbox)
        assert rows(quota.stdout)[0].items() >= {"limit": 450, "remaining": 448}.items()
        assert len(sandbox.record.requests) == 2


def test_lookup_prints_every_customer_in_order(sandbox):
    """With null for those who have none."""
    done = bcshopper("lookup", "130", "2", "9999", "2", sandbox=sandbox)
    assert [(row["customer_id"], row["profile_id"]) for row in rows(done.stdout)] == [
        (130, None), (2, str(sandbox.store.customers[2])), (9999, None)
    ]  # fmt: skip
    assert done.returncode == 0


@pytest.mark.parametrize("verb", ["create", "delete"])
def test_a_dry_run_tells_exactly_the_requests_that_go_then(sandbox, tmp_path, verb):
    """Which and how many."""
    ids = {"create": range(121, 201), "delete": sandbox.store.profiles}[verb]
    file = tmp_path / "ids.txt"
    file.write_text("".join(f"{i}\n" for i in ids))
    command = [verb, "--from", file, *(["--yes"] if verb == "delete" else [])]
    plan = bcshopper(*command, "--dry-run", sandbox=sandbox)
    assert not sandbox.record.requests
    expected = rows(plan.stdout)
    assert f"{len(expected)} requests would go; none was sent" in plan.stderr
    assert bcshopper(*command, sandbox=sandbox).returncode == 0
    sent = sandbox.record.requests
    assert sorted((r["method"], r["body"] or "") for r in expected) == sorted(
        (r.method, r.body.decode()) for r in sent
    )
    assert sorted(r["url"].partition("id:in=")[2] for r in expected) == sorted(
        dict(r.query).get("id:in", "") for r in sent
    )


def test_a_large_plan_tells_counts_and_times_first(sandbox, tmp_path):
    """Its requests are megabytes: they come if they are asked for."""
    file, out = tmp_path / "ids.txt", tmp_path / "plan.jsonl"
    file.write_text("".join(f"{i}\n" for i in range(1, 300_001)))
    command = ["create", "--from", file, "--dry-run"]
    plan = bcshopper(*command, sandbox=sandbox)
    assert (plan.returncode, plan.stdout) == (0, "")
    assert plan.stderr.splitlines() == [
        "create: 300,000 ids; 6,000 requests would go; none was sent",
        "with the quota of Standard and Plus, that takes 0:20:00",
        "with the quota of Pro, that takes 0:06:40",
        "to see them, give --verbose, or --output FILE",
    ]
    half = bcshopper(*command, "--share", "0.5", sandbox=sandbox)
    assert "Standard and Plus, that takes 0:40:00" in half.stderr
    assert len(bcshopper(*command, "-v", sandbox=sandbox).stdout.splitlines()) == 6000
    bcshopper(*command, "--output", out, sandbox=sandbox)
    assert len(out.read_text().splitlines()) == 6000
    assert not sandbox.record.requests


def test_delete_all_wants_the_stores_hash_and_a_yes(sandbox):
    """Neither alone is enough."""
    for arguments in (["--yes"], ["--yes", "--confirm", "other"], ["--confirm", "sandbox"]):
        done = bcshopper("delete-all", *arguments, sandbox=sandbox)
        assert done.returncode == 2
        assert len(sandbox.store.profiles) == 120
    plan = bcshopper("delete-all", "--dry-run", sandbox=sandbox)
    assert [row["method"] for row in rows(plan.stdout)] == ["DELETE"]
    assert sandbox.store.wipes == 0
    done = bcshopper("delete-all", "--yes", "--confirm", "sandbox", sandbox=sandbox)
    assert (done.returncode, sandbox.store.profiles) == (0, {})
    assert "120 deleted" in done.stderr


def test_the_summary_is_the_same_for_people_and_programs(sandbox, tmp_path):
    """What became of the ids, and what it cost."""
    file = tmp_path / "summary.json"
    done = bcshopper("create", 1, 130, 9997, 9998, 9999, 10000, "--summary-json", file,
                     sandbox=sandbox)  # fmt: skip
    summary = json.loads(file.read_text())
    assert summary.items() >= {
        "verb": "create", "store_hash": "sandbox", "created": 1, "existing": 1, "deleted": 0,
        "rejected": 4, "unknown": 0, "not_sent": 0, "skipped": 0, "retries": 0,
        "requests": len(sandbox.record.requests),
    }.items()  # fmt: skip
    assert {"seconds", "quota_seconds"} <= summary.keys()
    assert len(summary["failures"]) == 3
    assert "create: 1 created, 1 existing, 4 rejected;" in done.stderr
    assert "4 of 6 ids failed; the first:" in done.stderr
    assert done.returncode == 1


def test_a_summary_that_cant_be_written_is_refused_first(sandbox, tmp_path):
    """It is written last: too late to learn of a wrong folder."""
    done = bcshopper("create", 130, "--summary-json", tmp_path / "no" / "s", sandbox=sandbox)
    assert done.returncode == 2
    assert f"there is no folder {tmp_path / 'no'}" in done.stderr
    assert not sandbox.record.requests


@pytest.mark.parametrize("options", [
    ("--output", "--summary-json"), ("--journal", "--summary-json"), ("--output", "--journal"),
    ("--from", "--output"), ("--from", "--journal"),
])  # fmt: skip
def test_one_file_is_for_one_purpose(sandbox, tmp_path, options):
    """Each would undo the other: refused before anything is read, sent or written."""
    file = tmp_path / "one"
    file.write_text("130\n")
    named = [part for option in options for part in (option, tmp_path / "." / "one")]
    ids = [] if "--from" in options else [130]
    done = bcshopper("create", *ids, *named, sandbox=sandbox)
    assert done.returncode == 2
    assert f"{options[0]} and {options[1]} are one file" in done.stderr
    assert not sandbox.record.requests
    assert file.read_text() == "130\n"


def test_lookup_does_not_write_over_its_input(sandbox, tmp_path):
    """As the commands that write to the store."""
    file = tmp_path / "ids.txt"
    file.write_text("130\n")
    done = bcshopper("lookup", "--from", file, "--output", file, sandbox=sandbox)
    assert (done.returncode, "--from and --output are one file" in done.stderr) == (2, True)
    assert file.read_text() == "130\n"


def test_a_name_that_is_too_long_for_a_file_is_refused(sandbox, tmp_path):
    """As usage, with the name."""
    file = tmp_path / ("x" * 300)
    done = bcshopper("create", 130, "--output", file, sandbox=sandbox)
    assert (done.returncode, f"cannot write {file}" in done.stderr) == (2, True)
    assert not sandbox.record.requests


def test_a_plan_writes_no_rejects(sandbox, tmp_path):
    """It counts the bad lines, and leaves nothing behind."""
    file = tmp_path / "ids.txt"
    file.write_text("130\nnone\n131\n")
    done = bcshopper("create", "--from", file, "--skip-bad", "--dry-run", sandbox=sandbox)
    assert done.returncode == 0
    assert "1 bad lines would be left out" in done.stderr
    assert list(tmp_path.iterdir()) == [file]


def test_quiet_says_nothing_unless_it_fails(sandbox):
    """For jobs whose mail is read."""
    for arguments in (["list"], ["create", 130], ["page"], ["quota"], ["lookup", 130]):
        done = bcshopper(*arguments, "--quiet", sandbox=sandbox)
        assert (done.returncode, done.stderr) == (0, "")
    done = bcshopper("--quiet", "list", sandbox=sandbox, BIGCOMMERCE_ACCESS_TOKEN="wrong")
    assert done.returncode == 3
    assert done.stderr.startswith("ERROR: ")


def test_json_logs_are_json_line_by_line(sandbox):
    """Answers, summaries, failures and wrong usage alike, and all of it on standard error."""
    for arguments, code in [
        (["create", 130, 9999, "-vv"], 1),
        (["page"], 0),
        (["create", "x"], 2),
        (["create", "--from", "/nowhere"], 2),
        (["delete-all", "--yes"], 2),
        (["--store", "x", "list"], 4),
    ]:
        done = bcshopper("--log-json", *arguments, sandbox=sandbox)
        assert done.returncode == code
        lines = rows(done.stderr)
        assert lines
        for line in lines:
            assert line.keys() >= {"time", "level", "logger", "message"}


def test_vv_logs_every_answer(sandbox):
    """Method, address, status, time and size."""
    done = bcshopper("list", "-vv", sandbox=sandbox)
    logged = [line for line in done.stderr.splitlines() if "GET http" in line]
    assert len(logged) == len(sandbox.record.requests)
    assert ": 200 in " in logged[0]


def test_no_colours_in_a_pipe(sandbox):
    """No escape codes for programs, whatever the terminal's kind."""
    for arguments in (["list", "--format", "table"], ["create", 9999], ["list", "--nonsense"]):
        done = bcshopper(*arguments, sandbox=sandbox, TERM="xterm-256color")
        assert "\x1b" not in done.stdout + done.stderr
