"""Whose account a command uses: options, the config file, the environment; and no token shown."""

import os
import shlex
import signal
import sys
from pathlib import Path

import pytest

from bcshopper.sandbox import Fault, Sandbox
from tests.cli import bcshopper, rows, start, wait_until

pytestmark = pytest.mark.real_time


@pytest.fixture(scope="module")
def sandbox():
    with Sandbox(customers=10, profiles=3) as sandbox:
        yield sandbox


@pytest.fixture
def configured(sandbox, tmp_path):
    """Runs a command with a config file of this text."""

    def run(text, *arguments, sandbox=None, **changes):
        folder = tmp_path / "bcshopper"
        folder.mkdir(exist_ok=True)
        (folder / "config.toml").write_text(text)
        return bcshopper(
            *(arguments or ("--profile", "shop", "list")),
            sandbox=sandbox, XDG_CONFIG_HOME=str(tmp_path), **changes,
        )  # fmt: skip

    return run


def section(sandbox, *lines, name="shop"):
    return "\n".join(
        [f"[profiles.{name}]", 'store_hash = "sandbox"', f'base_url = "{sandbox.url}"', *lines]
    )


@pytest.mark.parametrize("way", ["default variable", "variable", "file", "command", "words"])
def test_the_token_comes_from_a_variable_a_file_or_a_command(configured, sandbox, tmp_path, way):
    """None of which shows in a list of processes."""
    (tmp_path / "token").write_text(f"{sandbox.access_token}\n")
    (tmp_path / "token").chmod(0o600)
    words = [sys.executable, "-c", f"print('{sandbox.access_token}')"]
    line, changes = {
        "default variable": ("", {"BIGCOMMERCE_ACCESS_TOKEN": sandbox.access_token}),
        "variable": ('token_env = "SHOP_TOKEN"', {"SHOP_TOKEN": sandbox.access_token}),
        "file": (f'token_file = "{tmp_path / "token"}"', {}),
        "command": (f"token_command = '''{shlex.join(words)}'''", {}),
        "words": (f"token_command = {words!r}", {}),
    }[way]
    done = configured(section(sandbox, line), **changes)
    assert (done.returncode, done.stderr) == (0, "")
    assert len(rows(done.stdout)) == 3


def test_a_named_profile_goes_before_the_environment_and_options_before_both(configured, sandbox):
    """Whoever names an account means it."""
    text = section(sandbox) + '\n[profiles.other]\nstore_hash = "elsewhere"\n'
    account = {"BIGCOMMERCE_STORE_HASH": "nowhere", "BIGCOMMERCE_BASE_URL": "http://127.0.0.1:1"}
    account["BIGCOMMERCE_ACCESS_TOKEN"] = sandbox.access_token
    named = configured(text, "--profile", "shop", "list", **account)
    assert named.returncode == 0, named.stderr
    by_variable = configured(text, "list", BCSHOPPER_PROFILE="shop", **account)
    assert by_variable.returncode == 0, by_variable.stderr
    plan = configured(text, "delete-all", "--dry-run", "--profile", "other",
                      "--store", "given", "--base-url", sandbox.url, **account)  # fmt: skip
    assert rows(plan.stdout)[0]["url"] == f"{sandbox.url}/stores/given/v3/shopper-profiles"


def test_the_default_profile_is_for_an_empty_environment(configured, sandbox):
    """A plain command has an account; the environment goes before it."""
    text = section(sandbox, 'token_env = "SHOP_TOKEN"', name="default")
    alone = configured(text, "list", SHOP_TOKEN=sandbox.access_token)
    assert alone.returncode == 0, alone.stderr
    text = '[profiles.default]\nstore_hash = "wrong"\ntoken_env = "NOT_THERE"\n'
    beside = configured(text, "list", sandbox=sandbox)
    assert beside.returncode == 0, beside.stderr


def test_a_profile_sets_limits_and_options_override_them(configured, sandbox):
    """The sandbox sees how many requests come at once."""
    sandbox.faults.rule(Fault.slow(0.05))
    text = section(sandbox, "concurrency = 1", 'pacing = "smooth"', "share = 0.5")
    token = {"BIGCOMMERCE_ACCESS_TOKEN": sandbox.access_token}
    ids = map(str, range(1000, 1300))
    sandbox.record.peak = 0
    configured(text, "--profile", "shop", "create", *ids, **token)
    assert sandbox.record.peak == 1
    ids = map(str, range(1000, 1300))
    configured(text, "--profile", "shop", "create", "--concurrency", "4", *ids, **token)
    assert sandbox.record.peak == 4
    sandbox.faults.clear()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[profiles.other]\nstore_hash = 'x'", "has no section [profiles.shop]; there is: other"),
        ("[profiles", "can't be read"),
        ("[profiles.shop]\nstore_hash = 'x'\ntoken = 'hush-hush'", "does not belong in this file"),
        ("[profiles.shop]\nstore_hash = 'x'\nstoer = 'x'", "'stoer' is not known"),
        ("[profiles.shop]\ntoken_env = 'A'\ntoken_file = 'B'", "give only one of"),
        ("[profiles.shop]\nstore_hash = 'x'\ntoken_command = 7", "token_command is no command"),
        ("[profiles.shop]\nstore_hash = 'x'\ntoken_command = ''", "token_command is no command"),
        ("[profiles.shop]\nstore_hash = 'x'\ntoken_command = '\"'", "token_command is no command"),
        ("[profiles.shop]\nstore_hash = 'x'\ntoken_env = 'PATH'\nshare = 2", "share"),
        ("[profiles.shop]\nstore_hash = 'x'\ntoken_env = 'PATH'\npacing = 'slow'", "pacing"),
        ("[profiles.shop]\nstore_hash = 'x'\ntoken_env = 'PATH'\nconcurrency = 0", "concurrency"),
        ("[profiles.shop]\nstore_hash = 'x'\ntoken_env = 'PATH'\nconcurrency = 'x'", "concurrency"),
        (
            "[profiles.shop]\nstore_hash = 'x'\ntoken_env = 'PATH'\nshare = 'x'",
            "share must be a num",
        ),
        (
            "[profiles.shop]\nstore_hash = 'x'\ntoken_env = 'PATH'\nshare = nan",
            "share must be a num",
        ),
        ("profiles = 3", "has no section [profiles.shop]; there is: none"),
    ],
)
def test_a_wrong_config_file_is_named_and_exits_with_2(configured, text, words):
    """With the place of the fault, and never the token."""
    done = configured(text)
    assert words in done.stderr
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert "hush-hush" not in done.stderr


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("token_env = 'NOT_THERE'", "NOT_THERE"),
        ("token_file = '/nowhere/token'", "token_file can't be read"),
        (f"token_file = '{sys.executable}'", "token_file can't be read"),
        (f"token_file = '{os.devnull}'", "token"),
        ("token_command = '/nowhere/op read'", "'/nowhere/op' can't be run"),
        ("token_command = 'false'", "token_command 'false' failed with code 1"),
        ("token_command = 'true'", "token"),
    ],
)
def test_a_token_that_cant_be_had_exits_with_3(configured, sandbox, line, words):
    """The message says which way failed."""
    done = configured(section(sandbox, line))
    assert words in done.stderr
    assert done.returncode == 3
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(("mode", "warnings"), [(0o600, 0), (0o640, 1), (0o604, 1), (0o644, 1)])
def test_a_token_file_that_others_can_read_gets_one_warning(
    configured, sandbox, tmp_path, mode, warnings
):
    """But no refusal: secrets that are mounted often are so."""
    token = tmp_path / "token"
    token.write_text(sandbox.access_token)
    token.chmod(mode)
    done = configured(section(sandbox, f'token_file = "{token}"'))
    assert (done.returncode, len(rows(done.stdout))) == (0, 3)
    assert done.stderr.count("WARNING") == len(done.stderr.splitlines()) == warnings
    assert (f"{token} can be read by others" in done.stderr) == bool(warnings)


def test_a_profile_may_set_every_limit(configured, sandbox):
    """As options may."""
    lines = ["concurrency = 2", "timeout = 5", "retries = 0", "max_wait = 60.5", "share = 0.5"]
    token = {"BIGCOMMERCE_ACCESS_TOKEN": sandbox.access_token}
    sandbox.faults.rule(Fault.error(503), method="GET", times=1)
    refused = configured(section(sandbox, *lines), **token)
    assert refused.returncode == 4
    sandbox.faults.rule(Fault.error(503), method="GET", times=1)
    text = section(sandbox, *lines)
    done = configured(text, "--profile", "shop", "list", "--retries", "1", **token)
    sandbox.faults.clear()
    assert done.returncode == 0, done.stderr
    wrong = configured(section(sandbox, "retries = 1.5"), **token)
    assert (wrong.returncode, "config.toml: retries must be a whole" in wrong.stderr) == (2, True)


def test_a_store_that_cant_be_one_exits_with_3(configured, sandbox):
    """Whatever characters the file smuggles in."""
    done = configured(
        '[profiles.shop]\nstore_hash = "a\\u0000b"\ntoken_env = "SHOP_TOKEN"',
        SHOP_TOKEN=sandbox.access_token,
    )
    assert "is not a store hash" in done.stderr
    assert done.returncode == 3


def test_a_missing_config_file_is_named(sandbox, tmp_path):
    """Where it would have to be."""
    done = bcshopper("--profile", "shop", "list", XDG_CONFIG_HOME=str(tmp_path))
    assert done.returncode == 2
    assert str(tmp_path / "bcshopper" / "config.toml") in done.stderr.replace("\n", "")


@pytest.mark.parametrize("option", ["--store=x", "--base-url=http://127.0.0.1:1", "--profile=x"])
def test_the_throw_away_store_goes_with_no_account(option):
    """Nobody thinks that the real store was changed, or was not."""
    done = bcshopper("--sandbox", option, "list")
    assert done.returncode == 2
    assert "--sandbox is a store of its own" in done.stderr


def test_the_throw_away_store_needs_no_account():
    """Every command can be tried, on a store that nobody minds."""
    done = bcshopper("list", "--sandbox")
    assert (done.returncode, len(rows(done.stdout))) == (0, 100)
    done = bcshopper("--sandbox", "delete-all", "--yes", "--confirm", "sandbox")
    assert "100 deleted" in done.stderr


def test_there_is_no_option_for_a_token(sandbox):
    """Arguments show in a list of processes."""
    for name in ("--token", "--access-token"):
        done = bcshopper("list", name, "hush-hush", sandbox=sandbox)
        assert done.returncode == 2
        assert "No such option" in done.stderr
    process = start("list", "--log-json", "-vv", sandbox=sandbox)
    sandbox.faults.queue(Fault.slow(30))
    wait_until(lambda: sandbox.record.in_flight)
    proc = Path(f"/proc/{process.pid}/cmdline")
    if proc.exists():
        assert sandbox.access_token.encode() not in proc.read_bytes()
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=240)
    assert process.returncode == 130
    assert sandbox.access_token not in out + err


def test_the_token_is_in_no_output(configured, sandbox):
    """Not in a debugging log, a plan, an error or a summary."""
    text = section(sandbox, 'token_env = "SHOP_TOKEN"')
    for arguments in (
        ["list", "-vv"], ["list", "-vv", "--log-json"], ["create", "11", "-vv"],
        ["delete-all", "--dry-run"], ["quota"],
    ):  # fmt: skip
        done = configured(text, "--profile", "shop", *arguments, SHOP_TOKEN=sandbox.access_token)
        assert sandbox.access_token not in done.stdout + done.stderr
        done = configured(text, "--profile", "shop", *arguments, SHOP_TOKEN="hush-hush")
        assert "hush-hush" not in done.stdout + done.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--share", "nan"], "--share must be a number above 0 and at most 1, not nan"),
        (["--store", "no hash"], "'no hash' is not a store hash"),
        (["--base-url", "http://example.com"], "use https"),
    ],
)
def test_a_wrong_option_is_refused_before_the_ids_are_read(sandbox, arguments, words):
    """Without a word of the config file, which has nothing to do with it."""
    done = bcshopper(*arguments, "create", stdin="not an id\n", sandbox=sandbox)
    assert words in done.stderr
    assert "line 1" not in done.stderr
    assert "config.toml" not in done.stderr
    assert done.returncode in {2, 3}


@pytest.mark.parametrize("name", ["store", "base-url", "profile"])
def test_an_empty_option_is_no_other_account(name):
    """It is what an unset variable of a shell leaves."""
    with Sandbox(profiles=1) as sandbox:
        done = bcshopper(f"--{name}", "", "page", sandbox=sandbox)
        assert done.returncode == 2
        assert not sandbox.record.requests
    assert f"--{name} is empty" in done.stderr


def test_a_token_command_does_not_read_the_ids(tmp_path):
    """Standard input is for them alone."""
    with Sandbox(customers=10) as sandbox:
        folder = tmp_path / "bcshopper"
        folder.mkdir()
        command = ["sh", "-c", f"cat >/dev/null; echo {sandbox.access_token}"]
        (folder / "config.toml").write_text(
            f'[profiles.x]\nstore_hash = "{sandbox.store_hash}"\nbase_url = "{sandbox.url}"\n'
            f"token_command = {command}\n"
        )
        done = bcshopper("--profile", "x", "create", stdin="1\n2\n", XDG_CONFIG_HOME=tmp_path)
        assert done.returncode == 0, done.stderr
        assert len(sandbox.store.profiles) == 2
