"""The command line, as processes against a store in another thread."""

import asyncio
import contextlib
import csv
import io
import json
import os
import re
import signal
import subprocess
import sys
from uuid import uuid4

import pytest

from bcshopper import __version__
from bcshopper._cli._commands import bcshopper as command
from bcshopper.sandbox import Fault, Rules, Sandbox
from tests.conftest import run

pytestmark = pytest.mark.real_time

BCSHOPPER = [sys.executable, "-X", "dev", "-W", "error", "-m", "bcshopper._cli"]


@pytest.fixture
def sandbox():
    with Sandbox(customers=200, profiles=120) as sandbox:
        yield sandbox


def environment(sandbox=None, **changes):
    clean = {k: v for k, v in os.environ.items() if not k.startswith("BIGCOMMERCE_")}
    if sandbox is not None:
        clean |= {
            "BIGCOMMERCE_BASE_URL": sandbox.url,
            "BIGCOMMERCE_STORE_HASH": sandbox.store_hash,
            "BIGCOMMERCE_ACCESS_TOKEN": sandbox.access_token,
        }
    return {**clean, "PYTHONASYNCIODEBUG": "0", **changes}


def bcshopper(*arguments, sandbox=None, stdin="", **changes):
    return subprocess.run(
        [*BCSHOPPER, *arguments], env=environment(sandbox, **changes), input=stdin,
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip


def test_list_prints_every_profile_as_json_lines_in_a_pipe(sandbox):
    """Data for programs, and nothing else on standard output."""
    done = bcshopper("list", sandbox=sandbox)
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert [row["id"] for row in rows] == [str(i) for i in sandbox.store.profiles]
    assert rows[0].keys() == {"id", "customer_id", "created_at", "updated_at"}
    assert (done.returncode, done.stderr) == (0, "")


def test_list_prints_csv_and_tables(sandbox):
    """The format is the caller's choice."""
    rows = list(
        csv.DictReader(io.StringIO(bcshopper("list", "--format", "csv", sandbox=sandbox).stdout))
    )
    assert [row["customer_id"] for row in rows] == [str(i) for i in range(1, 121)]
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
    rows = {row["item"]: row for row in map(json.loads, done.stdout.splitlines())}
    assert {k: row["status"] for k, row in rows.items()} == {
        1: "exists", 130: "created", 9999: "rejected"
    }  # fmt: skip
    assert "does not exist" in rows[9999]["error"]
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
        (["delete"], str(uuid4()), "ids from standard input need --yes"),
        (["delete", "--from", "-"], str(uuid4()), "ids from standard input need --yes"),
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
    with pytest.raises(SystemExit) as caught:
        command([verb, *ids])
    assert caught.value.code == 4
    out, err = capsys.readouterr()
    assert len(out.splitlines()) == 2
    assert "2 of 2 ids failed" in err


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
        _, errors = process.communicate(timeout=30)
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
    assert done.returncode == 1


def test_the_progress_bar_says_when_it_waits_for_quota():
    """On a terminal, a long silence has its reason beside it."""
    import pty
    import threading

    terminal, process_side = pty.openpty()
    shown = []

    def read():
        with contextlib.suppress(OSError):
            while block := os.read(terminal, 1000):
                shown.append(block)

    reader = threading.Thread(target=read)
    reader.start()
    with Sandbox(customers=200, rules=Rules(quota=2, window=2.0)) as sandbox:
        ids = "\n".join(map(str, range(1, 151)))
        subprocess.run(
            [*BCSHOPPER, "create", "--from", "-"], env=environment(sandbox, TERM="xterm"),
            input=ids, stdout=subprocess.DEVNULL, stderr=process_side, text=True, check=True,
            timeout=60,
        )  # fmt: skip
        assert len(sandbox.store.profiles) == 150
    os.close(process_side)
    reader.join()
    os.close(terminal)
    assert re.search(rb"quota 0/2, waits \d s for it", b"".join(shown))
