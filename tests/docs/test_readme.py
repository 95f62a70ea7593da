"""The README files: their code runs as it stands, and they are of use to any reader."""

import ast
import inspect
import json
import os
import re
import subprocess
import sys
import textwrap
import tomllib
import types
from pathlib import Path

import attrs
import pytest

from bcshopper.fleet._rows import can_use_sqlite
from bcshopper.sandbox import Fault, Faults, Rules, Sandbox
from tests.docs.blocks import (
    BLOCKS,
    EXAMPLES,
    EXCERPTS,
    PAGES,
    PROGRAMS,
    READERS_TESTS,
    ROOT,
    commands,
    environment,
)

README = (ROOT / "README.md").read_text()
each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


def each(blocks):
    return pytest.mark.parametrize("block", blocks, ids=lambda block: block.name)


def skip_what_needs_a_newer_sqlite(page):
    if page.parent.name == "fleet" and not can_use_sqlite():
        pytest.skip("the engine can't use the SQLite that this Python has")


@each(PROGRAMS)
async def test_python_blocks_run(block, monkeypatch, capsys, tmp_path):
    """Each runs as pasted, in a program that has a `session` on a store with profiles."""
    code = compile(
        block.text, block.name, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True
    )
    skip_what_needs_a_newer_sqlite(block.page)
    monkeypatch.chdir(tmp_path)
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
@each_page
def test_command_lines_run(page, tmp_path):
    """One after the other, in one folder, each exits with 0 and prints no traceback."""
    skip_what_needs_a_newer_sqlite(page)
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    with Sandbox(customers=1000, profiles=100) as sandbox:
        for command in commands(page):
            done = subprocess.run(
                command, shell=True, cwd=tmp_path, capture_output=True, text=True,
                env={**os.environ, **environment(sandbox), "PATH": path}, check=False, timeout=240,
            )  # fmt: skip
            assert done.returncode == 0, (command, done.stderr)
            assert "Traceback" not in done.stderr
        if page != ROOT / "bcshopper/_cli/README.md":
            return
        assert not sandbox.store.profiles
    assert (tmp_path / "orders.rejects.csv").read_text() == "Buyer;total\nunknown;2.50\n"
    assert len((tmp_path / "outcomes.csv").read_text().splitlines()) == 261
    assert json.loads((tmp_path / "summary.json").read_text())["created"] == 300


def stands_in(excerpt, text):
    """Whether its runs of whole lines, between lines of three dots, stand there in this order."""
    at = 0
    lines = text.splitlines(keepends=True)
    runs = re.split(r"^ *\.\.\.\n", excerpt, flags=re.MULTILINE)
    for run in (run.splitlines(keepends=True) for run in runs if run):
        places = range(at, len(lines) - len(run) + 1)
        at = next((i + len(run) for i in places if lines[i : i + len(run)] == run), None)
        if at is None:
            return False
    return any(runs)


@each(EXCERPTS)
def test_excerpts_stand_in_their_file(block):
    """Line by line, so that what a reader copies is what the tests ran; the page links to it."""
    assert stands_in(block.text, block.excerpt.read_text())
    assert f"]({os.path.relpath(block.excerpt, block.page.parent)})" in block.page.read_text()


@pytest.mark.parametrize(
    ("excerpt", "expected"),
    [
        ("a = 1\nb = 2\n", True),
        ("a = 1\n...\n    return\n", True),
        ("    ...\n    return\n", True),
        ("b = 2\na = 1\n", False),
        ("a = 1\n    return\n", False),
        ("a\n", False),
        ("return\n", False),
        ("b = 2\n...\na = 1\n", False),
        ("a = 1\n...\na = 1\n", False),
        ("...\n", False),
        ("", False),
    ],
)
def test_an_excerpt_is_whole_lines_in_their_order(excerpt, expected):
    """What was changed, cut or moved without dots is noticed."""
    assert stands_in(excerpt, "a = 1\nb = 2\ndef f():\n    return\n") is expected


def test_readme_shows_the_main_examples_in_few_lines():
    """Service, worker and job, so much of each that one sees how it goes."""
    shown = {b.excerpt.name: len(b.text.splitlines()) for b in EXCERPTS if b.page == PAGES[0]}
    assert shown.keys() == {"profile_routes.py", "worker.py", "batch_job.py"}
    assert all(10 <= lines <= 20 for lines in shown.values()), shown


def test_every_block_is_checked():
    """No block of a page is of a kind that no test looks at."""
    for block in BLOCKS:
        match block.language:
            case "toml":
                assert tomllib.loads(block.text)
            case "sh":
                assert block.comment in {"command: demo", "command: test"}, block.name
            case "console":
                assert block.text.startswith("$ "), block.name
            case language:
                # a drawing has no language
                assert language in {"python", ""}, block.name


def test_every_example_is_listed_and_tested():
    """The examples' page has a line for each, and some test uses each."""
    page = (EXAMPLES / "README.md").read_text()
    tests = "".join(path.read_text() for path in Path(__file__).parent.glob("test_*.py"))
    names = {path.name for path in EXAMPLES.iterdir() if path.suffix in {".py", ".mjs"}}
    assert names
    assert {name for name in names if f"]({name})" not in page or f'"{name}"' not in tests} == set()


def test_the_sandboxs_page_tells_all_that_can_be_set():
    """Every field of `Rules` with its default, every `Fault`, every parameter of `rule`."""
    page = (ROOT / "bcshopper/sandbox/README.md").read_text()
    rules = [f"| `{field.name}` | `{field.default!r}` |" for field in attrs.fields(Rules)]
    faults = [
        f"`{name}({', '.join(_parameters(method))})`"
        for name, method in inspect.getmembers(Fault, inspect.ismethod)
    ]
    conditions = [f"| `{name}` |" for name in inspect.signature(Faults.rule).parameters]
    told = rules + faults + conditions[2:]  # without `self` and the fault
    assert [text for text in told if text not in page] == []


def _parameters(function):
    """As that page writes them: those that may be left out with a `=`."""
    for name, parameter in inspect.signature(function).parameters.items():
        yield f"{name}=" if parameter.kind is parameter.KEYWORD_ONLY else name


def test_the_two_commands_are_there():
    """The demo and the test command are marked, one line each."""
    for name in ("demo", "test"):
        _, _, rest = README.partition(f"<!-- command: {name} -->\n```sh\n")
        assert rest.splitlines()[0].startswith("python3 -m venv")
        assert rest.splitlines()[1] == "```"


def test_readme_is_short_enough_to_be_read():
    """What only some need stands beside its code."""
    assert len(README.splitlines()) < 400


def test_readme_links_to_every_other_page():
    """Whoever needs it finds it."""
    assert [page for page in PAGES[1:] if f"({page.relative_to(ROOT)})" not in README] == []


def heading_anchors(text):
    """The anchors that a forge gives the headings of a page."""
    headings = re.findall(
        r"^#+ (.+)$", re.sub(r"```.*?```", "", text, flags=re.DOTALL), re.MULTILINE
    )
    return {re.sub(r"[^\w\- ]", "", h.lower()).replace(" ", "-") for h in headings}


@each_page
def test_links_within_the_project_lead_somewhere(page):
    """To a file that is there, and a heading that it has."""
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if "://" not in target:
            file, _, anchor = target.partition("#")
            found = page.parent / file if file else page
            assert found.exists(), target
            assert not anchor or anchor in heading_anchors(found.read_text()), target


@each_page
def test_readme_names_no_path_of_a_machine(page):
    """It is for any reader."""
    text = page.read_text()
    assert str(ROOT) not in text
    assert not re.search(r"/(root|home|tmp|work|Users)/", text)


@pytest.mark.real_time
def test_the_first_example_leaves_no_warning_at_exit(tmp_path):
    """As a program, it prints nothing under the strictest settings."""
    # a busy machine is no warning
    quiet = "asyncio.get_running_loop().slow_callback_duration = 60"
    body = textwrap.indent(f"{quiet}\n{PROGRAMS[0].text}", "    ")
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
            check=False, timeout=240,
        )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.real_time
def test_the_tests_for_readers_own_code_pass(tmp_path):
    """The fixture is there in a project that only has bcshopper installed."""
    for number, block in enumerate(READERS_TESTS):
        (tmp_path / f"test_{number}.py").write_text(block.text)
    expected = sum(block.text.count("def test_") for block in READERS_TESTS)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-W", "error", "-p", "no:asyncio", tmp_path],
        cwd=tmp_path, capture_output=True, text=True, check=False, timeout=240,
    )  # fmt: skip
    assert READERS_TESTS
    assert f"{expected} passed" in done.stdout, done.stdout
