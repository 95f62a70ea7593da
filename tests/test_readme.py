"""README's code blocks, as they stand."""

import ast
import inspect
import json
import os
import subprocess
import sys
import textwrap
import types
from pathlib import Path

import pytest

from bcshopper.sandbox import Sandbox
from tests.readme import EXAMPLES, FENCES, PYTHON, README, environment

ROOT = Path(__file__).parent.parent
COMMANDS = [
    line.removeprefix("$ ")
    for t in FENCES
    if t.info == "console"
    for line in t.content.splitlines()
    if line.startswith("$ ")
]


@pytest.mark.parametrize("block", PYTHON, ids=lambda t: f"line{t.map[0] + 1}")
async def test_python_blocks_run(block, monkeypatch, capsys):
    """Each runs as pasted, in a program that has a `session` on a store with profiles.

    Not the files of the worked examples, which need a broker or a database: `test_example_*.py`
    run those.
    """
    code = compile(
        block.content, "README.md", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True
    )
    async with Sandbox(customers=1000, profiles=600) as sandbox, sandbox.session() as session:
        for name, value in environment(sandbox).items():
            monkeypatch.setenv(name, value)
        # what the blocks before this one have imported
        names: dict = {"__name__": "readme", "session": session}
        exec("from bcshopper import *; from bcshopper import Status", names)
        result = types.FunctionType(code, names)()
        if inspect.iscoroutine(result):
            await result


@pytest.mark.real_time
def test_command_lines_run(tmp_path):
    """One after the other, in one folder, each exits with 0 and prints no traceback."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    with Sandbox(customers=1000, profiles=100) as sandbox:
        for command in COMMANDS:
            done = subprocess.run(
                command, shell=True, cwd=tmp_path, capture_output=True, text=True,
                env={**os.environ, **environment(sandbox), "PATH": path}, check=False, timeout=60,
            )  # fmt: skip
            assert done.returncode == 0, (command, done.stderr)
            assert "Traceback" not in done.stderr
        assert not sandbox.store.profiles
    assert (tmp_path / "orders.rejects.csv").read_text() == "buyer,total\nunknown,2.50\n"
    assert len((tmp_path / "outcomes.csv").read_text().splitlines()) == 261
    assert json.loads((tmp_path / "summary.json").read_text())["created"] == 300


def test_every_worked_example_has_a_test():
    """No file of README is left out because it is marked as an example."""
    tests = "".join(path.read_text() for path in Path(__file__).parent.glob("test_example_*.py"))
    assert EXAMPLES
    assert [name for name in EXAMPLES if f'"{name}"' not in tests] == []


def test_the_two_commands_are_there():
    """The demo and the test command are marked, one line each."""
    for name in ("demo", "test"):
        _, _, rest = README.partition(f"<!-- command: {name} -->\n```sh\n")
        assert rest.splitlines()[0].startswith("python3 -m venv")
        assert rest.splitlines()[1] == "```"


def test_readme_names_no_path_of_a_machine():
    """It is for any reader."""
    assert str(ROOT) not in README
    assert "/root" not in README


@pytest.mark.real_time
def test_the_examples_leave_no_warning_at_exit(tmp_path):
    """The first example, as a program, prints nothing under the strictest settings."""
    # a busy machine is no warning
    quiet = "asyncio.get_running_loop().slow_callback_duration = 60"
    body = textwrap.indent(f"{quiet}\n{PYTHON[0].content}", "    ")
    program = tmp_path / "program.py"
    program.write_text(
        "import asyncio\n"
        "print = lambda *_: None\n"
        f"async def main():\n{body}\n"
        "asyncio.run(main())\n"
    )  # fmt: skip
    with Sandbox(customers=1000, profiles=600) as sandbox:
        done = subprocess.run(
            [sys.executable, "-X", "dev", "-W", "error", program],
            env={**os.environ, **environment(sandbox)}, capture_output=True, text=True,
            check=False, timeout=60,
        )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.real_time
def test_the_example_for_users_own_tests_passes(tmp_path):
    """The fixture is there in a project that only has bcshopper installed."""
    block = next(t for t in PYTHON if "def test_" in t.content)
    (tmp_path / "test_mine.py").write_text(block.content)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-W", "error", "-p", "no:asyncio", tmp_path],
        cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert "1 passed" in done.stdout, done.stdout
