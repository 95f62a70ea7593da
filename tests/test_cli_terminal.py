"""What people see: the command line at a pseudo-terminal, with a keyboard."""

import json
import os
import re
import select
import shutil
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress

import pytest

from bcshopper.sandbox import Fault, Rules, Sandbox
from tests.cli import BCSHOPPER, bcshopper, environment, posts, rows, start, wait_until

pty = pytest.importorskip("pty", reason="there are no pseudo-terminals here")

pytestmark = pytest.mark.real_time

CTRL_C, CTRL_D = b"\x03", b"\x04"
ESCAPE = b"\x1b["
# Makes standard error's terminal the one that rules the process, so that Ctrl-C comes from it.
_TAKES_THE_TERMINAL = """
import fcntl, os, sys, termios
os.setsid()
fcntl.ioctl(2, termios.TIOCSCTTY, 0)
os.execv(sys.executable, sys.argv[1:])
"""


class AtTerminal:
    """A command whose standard error is a terminal, and whatever else is not given."""

    def __init__(self, *arguments, sandbox=None, stdin=None, stdout=None, **changes):
        self._keyboard, side = pty.openpty()
        self._shown = []
        self._times = []
        self.process = subprocess.Popen(
            [sys.executable, "-c", _TAKES_THE_TERMINAL, *BCSHOPPER, *map(str, arguments)],
            env=environment(sandbox, **{"TERM": "xterm", "COLUMNS": "120", **changes}),
            stdin=side if stdin is None else stdin, stdout=side if stdout is None else stdout,
            stderr=side,
        )  # fmt: skip
        os.close(side)
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self):
        with suppress(OSError):  # the other side is closed
            while block := os.read(self._keyboard, 4096):
                self._shown.append(block)
                self._times.append(time.monotonic())

    @property
    def looks(self):
        """What was shown, piece by piece, with the time of each."""
        return [(at, block.decode(errors="replace")) for at, block in zip(
            self._times, self._shown, strict=False
        )]  # fmt: skip

    @property
    def shown(self):
        return b"".join(self._shown)

    @property
    def text(self):
        """Without what moves the cursor and sets colours."""
        return re.sub(rb"\x1b\[[0-9;?]*[a-zA-Z]", b"", self.shown).decode()

    def expect(self, words):
        wait_until(lambda: words in self.text or self.process.poll() is not None)
        assert words in self.text

    def type(self, keys):
        os.write(self._keyboard, keys)

    def end(self):
        """Wait for it, and give its exit code."""
        code = self.process.wait(timeout=240)
        self._reader.join()
        return code

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        self._reader.join()
        os.close(self._keyboard)


@pytest.fixture
def sandbox():
    with Sandbox(customers=400, profiles=120) as sandbox:
        yield sandbox


@pytest.fixture
def ids(tmp_path):
    file = tmp_path / "ids.txt"
    file.write_text("".join(f"{i}\n" for i in range(121, 401)))
    return file


def test_a_list_at_a_terminal_is_a_table(sandbox):
    """For people; the bar is gone in the end."""
    with AtTerminal("list", sandbox=sandbox) as terminal:
        assert terminal.end() == 0
        lines = terminal.text.splitlines()
    assert [line.split() for line in lines if "CUSTOMER_ID" in line] == [
        ["ID", "CUSTOMER_ID", "CREATED_AT", "UPDATED_AT"]
    ]
    for profile in sandbox.store.profiles:
        assert any(str(profile) in line for line in lines)


@pytest.mark.parametrize("command", ["list", "create", "lookup", "page", "quota"])
def test_rows_fit_80_columns(command):
    """Where ids don't, their beginnings stand for them; errors are cut, and not said again."""
    with Sandbox(customers=400, profiles=120, rules=Rules(quota=450)) as sandbox:
        ids = [1, 130, 99999] if command in {"create", "lookup"} else []
        with AtTerminal(command, *ids, sandbox=sandbox, COLUMNS="80") as terminal:
            assert terminal.end() == (command == "create")
            lines = terminal.text.replace("\r", "\n").splitlines()
        table = [line for line in lines if "━" not in line and " requests, " not in line]
        assert max(map(len, table)) <= 80
        if command == "create":
            assert any("exists    e3e70682…   -" in line for line in lines)
            assert terminal.text.count("Customer `99999` does not exist") == 1


def test_a_bar_fits_80_columns(ids):
    """With all that it has to say."""
    with Sandbox(customers=400, rules=Rules(quota=3, window=2.0)) as sandbox:
        command = ["create", "--from", ids]
        with AtTerminal(*command, sandbox=sandbox, stdout=subprocess.DEVNULL,
                        COLUMNS="80") as terminal:  # fmt: skip
            assert terminal.end() == 0
            bars = [line for line in re.split(r"[\r\n]", terminal.text) if "━" in line]
        assert any("0/3, waits" in bar for bar in bars)
        assert max(map(len, bars)) <= 80


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash")
def test_tab_completes_files_and_profiles(tmp_path):
    """At a prompt of bash, with the script that the command prints."""
    (tmp_path / "customers-of-may.csv").write_text("customer_id\n")
    (tmp_path / "bcshopper").mkdir()
    (tmp_path / "bcshopper" / "config.toml").write_text("[profiles.staging]\n[profiles.shop]\n")
    command = tmp_path / "bin" / "bcshopper"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -m bcshopper "$@"\n')
    command.chmod(0o755)
    keyboard, side = pty.openpty()
    shell = subprocess.Popen(
        ["bash", "--norc", "-i"], stdin=side, stdout=side, stderr=side, cwd=tmp_path,
        env=environment(PATH=f"{command.parent}:{os.environ['PATH']}", PS1="> ",
                        XDG_CONFIG_HOME=str(tmp_path), TERM="dumb"),
    )  # fmt: skip
    os.close(side)
    shown = b""

    def expect(words):
        nonlocal shown
        end = time.monotonic() + 240
        while words not in shown:
            assert time.monotonic() < end, shown
            if select.select([keyboard], [], [], 0.1)[0]:
                shown += os.read(keyboard, 4096)
        shown = shown.partition(words)[2]

    try:
        os.write(keyboard, b'eval "$(bcshopper completion bash)"; echo rea""dy\n')
        expect(b"\nready")
        for typed, completed in [
            (b"bcshopper create --from cust\t", b"customers-of-may.csv"),
            (b"bcshopper list --output cust\t", b"customers-of-may.csv"),
            (b"bcshopper list --profile sta\t", b"staging"),
            (b"bcshopper create --jour\t", b"--journal"),
        ]:
            os.write(keyboard, typed)
            expect(completed)
            os.write(keyboard, b"\x15")  # clears the line
    finally:
        shell.kill()
        shell.wait()
        os.close(keyboard)


def test_bars_tell_count_rate_time_left_and_quota(ids, tmp_path):
    """On a terminal, with the data elsewhere."""
    with Sandbox(customers=400, rules=Rules(quota=450)) as sandbox:
        sandbox.faults.rule(Fault.slow(0.3))
        command = ["create", "--from", ids, "--concurrency", "1", "--output", tmp_path / "out"]
        with AtTerminal(*command, sandbox=sandbox) as terminal:
            assert terminal.end() == 0
            text = terminal.text
    assert re.search(
        r"create ━*\S*\s*━* *(50|100|150|200|250)/280 [\d,]+/s \d:\d\d:\d\d quota 4\d\d/450", text
    ), text
    assert "280 created" in text
    assert len(rows((tmp_path / "out").read_text())) == 280


def test_bars_say_when_they_wait_for_quota(ids):
    """A long silence has its reason beside it."""
    with Sandbox(customers=400, rules=Rules(quota=2, window=2.0)) as sandbox:
        command = ["create", "--from", ids]
        with AtTerminal(*command, sandbox=sandbox, stdout=subprocess.DEVNULL) as terminal:
            assert terminal.end() == 0
            assert re.search(r"quota 0/2, waits \d s for it", terminal.text)


@pytest.mark.long  # on a quiet machine; on virtual time this is tested always
@pytest.mark.parametrize(("count", "quota"), [(20_000, 100), (300_000, 300)])
def test_the_time_left_is_right_from_the_second_window_on(tmp_path, count, quota):
    """With a scaled quota, in true time: within a fifth of the truth, or 1.5 s, at every look."""
    window = 2.0
    file = tmp_path / "ids.txt"
    file.write_text("".join(f"{i}\n" for i in range(1, count + 1)))
    with Sandbox(customers=count, rules=Rules(quota=quota, window=window)) as sandbox:
        command = ["create", "--from", file, "--output", tmp_path / "out"]
        with AtTerminal(*command, sandbox=sandbox) as terminal:
            assert terminal.end() == 0
            looks = [
                (at, re.findall(r"(\d+)/s .*?(\d+):(\d\d):(\d\d)", text.replace(",", "")))
                for at, text in terminal.looks
            ]
    looks = [
        (at, int(hours) * 3600 + int(minutes) * 60 + int(seconds))
        for at, found in looks
        for _, hours, minutes, seconds in found[-1:]
    ]
    began, ended = looks[0][0], looks[-1][0]
    seen = [(left, ended - at) for at, left in looks if at > began + window]
    assert len(seen) > 20
    for left, true in seen:
        assert abs(left - true) <= max(0.2 * true, 1.5), seen


@pytest.mark.parametrize("option", ["--quiet", "--log-json"])
def test_there_are_no_bars_if_nobody_wants_them(sandbox, ids, option):
    """Quiet is quiet; JSON lines are for programs."""
    sandbox.faults.rule(Fault.slow(0.2))
    command = ["create", "--from", ids, option]
    with AtTerminal(*command, sandbox=sandbox, stdout=subprocess.DEVNULL) as terminal:
        assert terminal.end() == 0
        assert "━" not in terminal.text
        assert (terminal.text == "") == (option == "--quiet")
        if option == "--log-json":
            assert rows(terminal.text)


@pytest.mark.parametrize(("option", "changes"), [("--no-color", {}), ("-v", {"NO_COLOR": "1"})])
def test_without_colours_there_are_none(sandbox, ids, option, changes):
    """Neither in bars nor in messages; the cursor may move all the same."""
    sandbox.faults.rule(Fault.slow(0.2))
    command = ["create", "--from", ids, option]
    with AtTerminal(*command, sandbox=sandbox, stdout=subprocess.DEVNULL, **changes) as terminal:
        assert terminal.end() == 0
        colours = re.findall(rb"\x1b\[([0-9;]*)m", terminal.shown)
    codes = {code for found in colours for code in found.split(b";")}
    assert not {c for c in codes if c.startswith((b"3", b"4", b"9")) and len(c) > 1}, codes


def test_a_dumb_terminal_gets_no_escapes(sandbox, ids):
    """As the shell of an editor is."""
    command = ["create", "--from", ids]
    with AtTerminal(*command, sandbox=sandbox, stdout=subprocess.DEVNULL, TERM="dumb") as terminal:
        assert terminal.end() == 0
        assert ESCAPE not in terminal.shown
        assert "280 created" in terminal.text


@pytest.mark.parametrize(
    ("keys", "code", "left", "says"),
    [
        (b"y\n", 0, 119, "1 deleted"),
        (b"n\n", 1, 120, "nothing was changed"),
        (b"\n", 1, 120, "nothing was changed"),
        (b"what\ny\n", 0, 119, "1 deleted"),
        (CTRL_C, 130, 120, ""),
        (CTRL_D, 130, 120, ""),
    ],
)
def test_delete_asks(sandbox, keys, code, left, says):
    """The question names number and store; nothing but a yes deletes anything."""
    target = next(iter(sandbox.store.profiles))
    with AtTerminal("delete", target, sandbox=sandbox) as terminal:
        terminal.expect("[y/N]: ")
        assert "Delete 1 shopper profiles in 1 requests, of store sandbox" in terminal.text
        assert not sandbox.record.requests
        terminal.type(keys)
        if keys == CTRL_C:  # Python misses one that comes between prompt and reading
            with suppress(subprocess.TimeoutExpired):
                terminal.process.wait(timeout=5)
            if terminal.process.poll() is None:
                terminal.type(keys)
        assert terminal.end() == code
        assert "Traceback" not in terminal.text
        assert says in terminal.text
    assert len(sandbox.store.profiles) == left


@pytest.mark.parametrize(("keys", "code", "left"), [(b"y\n", 0, 0), (b"n\n", 1, 120)])
def test_delete_all_asks_with_the_number_in_the_store(sandbox, keys, code, left):
    """Even if the store's hash was given."""
    with AtTerminal("delete-all", "--confirm", "sandbox", sandbox=sandbox) as terminal:
        terminal.expect("[y/N]: ")
        assert "Delete all 120 shopper profiles, of store sandbox" in terminal.text
        terminal.type(keys)
        assert terminal.end() == code
    assert len(sandbox.store.profiles) == left


def test_ids_are_not_read_from_a_keyboard(sandbox):
    """A command that was given nothing does not wait for ever."""
    with AtTerminal("create", sandbox=sandbox) as terminal:
        assert terminal.end() == 2
        assert "give ids as arguments" in terminal.text


def test_ctrl_c_ends_with_the_account_so_far(sandbox, ids, tmp_path):
    """Promptly, although an answer is slow to come; the cursor is back, and no bar is left."""
    sandbox.faults.rule(Fault.slow(60), method="POST", nth=3)
    out, summary = tmp_path / "out.jsonl", tmp_path / "summary.json"
    command = ["create", "--from", ids, "--concurrency", "1", "--summary-json", summary]
    with out.open("wb") as file, AtTerminal(*command, sandbox=sandbox, stdout=file) as terminal:
        terminal.expect("100/280")
        wait_until(lambda: len(posts(sandbox)) == 3)
        terminal.type(CTRL_C)
        assert terminal.process.wait(timeout=25) == 130
        terminal.end()
        assert "interrupted: 100 of 280 ids are done; the same command again is safe" in (
            terminal.text
        )
        assert "create: 100 created, 0 existing, 50 unknown" in terminal.text
        assert "Traceback" not in terminal.text
        assert terminal.shown.rfind(b"\x1b[?25h") > terminal.shown.rfind(b"\x1b[?25l")
    assert len([row for row in rows(out.read_text()) if row["status"] == "created"]) == 100
    assert '"created": 100' in summary.read_text()


def test_a_second_ctrl_c_ends_at_once(sandbox, ids):
    """Whatever the first one is still at."""
    sandbox.faults.rule(Fault.slow(60))
    command = ["create", "--from", ids]
    with AtTerminal(*command, sandbox=sandbox) as terminal:
        wait_until(lambda: sandbox.record.in_flight)
        terminal.type(CTRL_C)
        terminal.type(CTRL_C)
        assert terminal.process.wait(timeout=25) == 130
        terminal.end()
        assert "KeyboardInterrupt" not in terminal.text


def has_more(pipe):
    return bool(select.select([pipe], [], [], 0)[0])


def test_ctrl_c_while_ids_are_read_sends_nothing(sandbox, tmp_path):
    """The pipe may never end."""
    journal = tmp_path / "journal"
    reading, writing = os.pipe()
    with AtTerminal("create", "--journal", journal, sandbox=sandbox, stdin=reading) as terminal:
        os.write(writing, b"1\n2\n")
        wait_until(lambda: not has_more(reading))
        terminal.type(CTRL_C)
        assert terminal.process.wait(timeout=25) == 130
        terminal.end()
        assert "Traceback" not in terminal.text
    os.close(reading)
    os.close(writing)
    assert not sandbox.record.requests
    assert not journal.exists()


def test_a_hangup_of_the_reader_is_quiet(sandbox):
    """`| head` has seen enough."""
    sandbox.seed(profiles=5000)
    script = f"{' '.join(BCSHOPPER)} list | head -n 1"
    done = subprocess.run(
        ["sh", "-c", script], env=environment(sandbox), capture_output=True, text=True, check=False,
        timeout=60,
    )  # fmt: skip
    assert len(done.stdout.splitlines()) == 1
    assert done.stderr == ""


def test_a_job_whose_reader_hangs_up_stops_with_a_true_account(sandbox, ids, tmp_path):
    """It says how far it came and how to go on, and exits as a program does that SIGPIPE ends."""
    sandbox.faults.rule(Fault.slow(0.2))
    before = len(sandbox.store.profiles)
    summary = tmp_path / "summary.json"
    running = start(
        "create", "--from", ids, "--concurrency", 1, "--summary-json", summary, sandbox=sandbox
    )
    running.stdout.close()
    assert running.wait(timeout=240) == 141
    said = running.stderr.read()
    running.stderr.close()
    told = json.loads(summary.read_text())
    created = told["created"]
    assert 0 < created <= len(sandbox.store.profiles) - before <= created + told["unknown"]
    assert "Traceback" not in said
    assert f"nobody reads on: {created} of 280 ids are done; the same command again" in said


def test_sigterm_is_as_an_interrupt(sandbox, ids):
    """For services and containers that are stopped."""
    sandbox.faults.rule(Fault.slow(60))
    command = ["create", "--from", ids]
    with AtTerminal(*command, sandbox=sandbox, stdout=subprocess.DEVNULL) as terminal:
        wait_until(lambda: sandbox.record.in_flight)
        terminal.process.send_signal(signal.SIGTERM)
        assert terminal.end() == 130
        assert "interrupted: 0 of 280 ids are done" in terminal.text


def test_where_nobody_can_be_asked_a_yes_is_asked_for(sandbox):
    """Standard input is closed, as in some schedulers: nothing is deleted."""
    script = f"{' '.join(BCSHOPPER)} delete {next(iter(sandbox.store.profiles))} <&-"
    done = subprocess.run(
        ["sh", "-c", script], env=environment(sandbox), capture_output=True, text=True, check=False,
        timeout=60,
    )  # fmt: skip
    assert (done.returncode, "give --yes" in done.stderr) == (2, True)
    assert "Traceback" not in done.stderr
    assert not sandbox.record.requests


def test_piped_input_needs_a_yes(sandbox):
    """At a terminal, too: the answer could only come from the pipe."""
    target = str(next(iter(sandbox.store.profiles)))
    done = bcshopper("delete", sandbox=sandbox, stdin=f"{target}\n")
    assert done.returncode == 2
    assert bcshopper("delete", "--yes", sandbox=sandbox, stdin=f"{target}\n").returncode == 0
