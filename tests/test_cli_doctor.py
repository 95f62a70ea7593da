"""What is wrong with an account, and the config file that holds accounts."""

import json
import os
import tomllib
from uuid import uuid4

import pytest

from bcshopper.sandbox import Fault, Rules, Sandbox
from tests.cli import bcshopper, rows

pytestmark = pytest.mark.real_time

NO_SEGMENT = "segments/00000000-0000-0000-0000-000000000000/shopper-profiles"
REDIS = os.environ.get("REDIS_URL", "redis://127.0.0.1:6379/0")


def checks(done):
    """What each line says, by its check."""
    return {line[6:13].strip(): (line[:4].strip(), line[15:]) for line in done.stdout.splitlines()}


def marks(done):
    return {check: mark for check, (mark, _) in checks(done).items()}


@pytest.fixture
def sandbox():
    with Sandbox(customers=10, profiles=3, rules=Rules(quota=450)) as sandbox:
        yield sandbox


def test_a_well_store_has_a_line_for_each_check(sandbox):
    """And exit code 0, at the price of two requests that change nothing."""
    done = bcshopper("doctor", sandbox=sandbox)
    assert (done.returncode, done.stderr) == (0, "")
    assert list(marks(done).items()) == [
        ("store", "ok"), ("token", "ok"), ("scope", "ok"), ("plan", "ok"), ("quota", "ok"),
        ("clock", "ok"), ("latency", "ok"),
    ]  # fmt: skip
    assert checks(done)["scope"][1] == "reads and writes customers"
    assert checks(done)["quota"][1].startswith("450 requests per 30 s, ")
    assert [r.method for r in sandbox.record.requests] == ["GET", "GET"]


def test_programs_get_json_lines(sandbox):
    """The same, with what is well and what is not."""
    found = rows(bcshopper("doctor", "--json", sandbox=sandbox).stdout)
    assert [row["check"] for row in found][:3] == ["store", "token", "scope"]
    assert all(row["ok"] for row in found)
    refused = bcshopper("doctor", "--json", sandbox=sandbox, BIGCOMMERCE_ACCESS_TOKEN="wrong")
    assert {row["check"]: row["ok"] for row in rows(refused.stdout)} == {
        "store": True, "token": False
    }  # fmt: skip


def test_a_refused_token_is_found(sandbox):
    """Exit code 3, and what to do."""
    done = bcshopper("doctor", sandbox=sandbox, BIGCOMMERCE_ACCESS_TOKEN="wrong-token")
    assert done.returncode == 3
    assert marks(done) == {"store": "ok", "token": "FAIL"}
    assert "make a new one" in done.stdout
    assert "wrong-token" not in done.stdout + done.stderr


def test_a_token_that_only_reads_is_found(sandbox):
    """Before a night's work fails."""
    sandbox.faults.rule(Fault.error(403), path=NO_SEGMENT)
    done = bcshopper("doctor", sandbox=sandbox)
    assert done.returncode == 3
    assert checks(done)["scope"][0] == "FAIL"
    assert "Customers: modify" in checks(done)["scope"][1]
    assert marks(done)["plan"] == "ok"


def test_a_plan_without_the_feature_is_told_from_a_missing_scope():
    """Both are a 403; whether customers can be read tells them apart."""
    with Sandbox(customers=3, rules=Rules(feature=False)) as sandbox:
        done = bcshopper("doctor", sandbox=sandbox)
        assert done.returncode == 3
        assert (marks(done)["scope"], marks(done)["plan"]) == ("ok", "FAIL")
        assert "Enterprise" in done.stdout
        sandbox.faults.rule(Fault.error(403), path="customers")
        done = bcshopper("doctor", sandbox=sandbox)
        assert done.returncode == 3
        assert marks(done)["scope"] == "FAIL"
        assert "plan" not in marks(done)


def test_what_is_out_of_reach_is_found():
    """Exit code 4, at once: nothing is tried again."""
    with Sandbox() as sandbox:
        pass
    done = bcshopper("doctor", sandbox=sandbox)
    assert done.returncode == 4
    assert marks(done) == {"store": "ok", "API": "FAIL"}
    assert "could not connect" in done.stdout


def test_an_api_that_is_down_is_found(sandbox):
    """With its own words."""
    sandbox.faults.rule(Fault.error(503))
    done = bcshopper("doctor", sandbox=sandbox)
    assert done.returncode == 4
    assert "answered 503" in checks(done)["API"][1]


def test_a_wrong_clock_is_found(sandbox):
    """Resumed jobs rely on it."""
    old = {"Date": "Wed, 01 May 2024 00:00:00 GMT"}
    body = b'{"data": [], "meta": {"pagination": {"total": 0}}}'
    sandbox.faults.rule(Fault.answer(200, body, headers=old), path="shopper-profiles")
    done = bcshopper("doctor", sandbox=sandbox)
    assert done.returncode == 4
    assert checks(done)["clock"][0] == "FAIL"
    assert "ahead of the API's" in checks(done)["clock"][1]


def test_a_quota_that_others_use_is_pointed_out(sandbox):
    """It is no failure."""
    bcshopper("page", sandbox=sandbox)
    sandbox.spend(440)
    done = bcshopper("doctor", "--share", "0.5", sandbox=sandbox)
    assert done.returncode == 0
    assert checks(done)["quota"][0] == "-"
    assert "of which 225 are used" in checks(done)["quota"][1]


def test_a_redis_that_does_not_answer_is_found(sandbox):
    """With its place, and without its password."""
    done = bcshopper("doctor", "--shared", "redis://:hush-hush@127.0.0.1:1/0", sandbox=sandbox)
    assert done.returncode == 4
    assert checks(done)["redis"][0] == "FAIL"
    assert "127.0.0.1:1" in checks(done)["redis"][1]
    assert "hush-hush" not in done.stdout + done.stderr


@pytest.fixture
def redis():
    """A server that answers, or none of the test."""
    module = pytest.importorskip("redis")
    try:
        module.Redis.from_url(REDIS, socket_connect_timeout=1).ping()
    except module.RedisError:
        pytest.skip(f"there is no Redis at {REDIS}")
    return REDIS


def test_the_quota_is_shared_through_redis(sandbox, redis):
    """`--shared` for any command; the doctor asks the server, too."""
    sandbox.store_hash  # noqa: B018 - a store of its own has a count of its own
    done = bcshopper("doctor", "--shared", redis, sandbox=sandbox)
    assert done.returncode == 0, done.stdout
    assert marks(done)["redis"] == "ok"
    made = bcshopper("create", 5, 6, "--shared", redis, sandbox=sandbox)
    assert (made.returncode, "2 created" in made.stderr) == (0, True)


@pytest.fixture
def home(tmp_path):
    return {"XDG_CONFIG_HOME": str(tmp_path)}


def test_config_tells_where_it_is_and_what_it_holds(tmp_path, home):
    """Nothing, to begin with; a token is nowhere."""
    file = tmp_path / "bcshopper" / "config.toml"
    assert bcshopper("config", "path", **home).stdout == f"{file}\n"
    assert bcshopper("config", "list", **home).stdout == ""
    file.parent.mkdir()
    file.write_text('[profiles.a]\nstore_hash = "x"\ntoken_env = "T"\nshare = 0.5\n[profiles.b]\n')
    assert bcshopper("config", "list", **home).stdout == "a  store_hash=x  token_env=T\nb\n"
    file.write_text("nonsense")
    assert bcshopper("config", "list", **home).returncode == 2


def test_config_init_asks_writes_and_checks(sandbox, tmp_path, home):
    """The file is the owner's alone, and keeps what was there; the account works at once."""
    file = tmp_path / "bcshopper" / "config.toml"
    for name in ("default", 'a "quoted" name'):
        answers = f"{name}\n{sandbox.store_hash}\n{sandbox.url}\nvariable\nSHOP_TOKEN\n"
        done = bcshopper("config", "init", stdin=answers, SHOP_TOKEN=sandbox.access_token, **home)
        assert done.returncode == 0, done.stderr
        assert marks(done)["token"] == "ok"
        assert str(file) in done.stderr
    assert tomllib.loads(file.read_text())["profiles"] == {
        name: {
            "store_hash": sandbox.store_hash, "base_url": sandbox.url, "token_env": "SHOP_TOKEN",
        }
        for name in ("default", 'a "quoted" name')
    }  # fmt: skip
    assert file.stat().st_mode & 0o777 == 0o600
    listed = bcshopper("list", SHOP_TOKEN=sandbox.access_token, **home)
    assert len(rows(listed.stdout)) == 3


def test_config_init_says_what_is_wrong_with_the_account(sandbox, tmp_path, home):
    """It is written all the same: what is wrong may be elsewhere."""
    answers = f"{sandbox.url}\nfile\n{tmp_path / 'no-token'}\n"
    done = bcshopper(
        "config", "init", "--profile", "shop", "--store", "sandbox", stdin=answers, **home
    )
    assert done.returncode == 3
    assert "token_file can't be read" in done.stderr
    assert "shop" in bcshopper("config", "list", **home).stdout


def test_config_init_changes_no_account(tmp_path, home):
    """Nor is a file that can't be read written over."""
    file = tmp_path / "bcshopper" / "config.toml"
    file.parent.mkdir()
    for text in ('[profiles.shop]\nstore_hash = "x"\n', "nonsense"):
        file.write_text(text)
        done = bcshopper("config", "init", "--profile", "shop", stdin="x\n" * 9, **home)
        assert done.returncode == 2
        assert file.read_text() == text


@pytest.mark.parametrize("answers", ["", "default\n", "default\nx\n"])
def test_config_init_without_answers_writes_nothing(tmp_path, home, answers):
    """Where nobody can be asked."""
    done = bcshopper("config", "init", stdin=answers, **home)
    assert done.returncode == 130
    assert "Traceback" not in done.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("fmt", ["jsonl", "csv", "tsv", "json", "table"])
def test_fields_are_those_asked_for(sandbox, fmt):
    """In that order, in every format, of every command."""
    done = bcshopper("list", "--fields", "customer_id,id", "--format", fmt, sandbox=sandbox)
    first = next(iter(sandbox.store.profiles))
    expected = {
        "jsonl": f'{{"customer_id":1,"id":"{first}"}}\n',
        "csv": f"customer_id,id\n1,{first}\n",
        "tsv": f"customer_id\tid\n1\t{first}\n",
        "json": f'[\n{{"customer_id":1,"id":"{first}"}},\n',
        "table": f"CUSTOMER_ID  ID\n1            {first}\n",
    }[fmt]
    assert done.stdout.startswith(expected)


@pytest.mark.parametrize(
    ("command", "fields"),
    [
        (["create", "1", "9"], "status,item"), (["lookup", "1"], "profile_id"),
        (["page"], "customer_id"), (["quota"], "remaining,limit"),
        (["create", "9", "--dry-run"], "method"),
    ],
)  # fmt: skip
def test_every_output_has_fields(sandbox, command, fields):
    """Which are named where one is wrong, before anything is sent."""
    done = bcshopper(*command, "--fields", fields, sandbox=sandbox)
    assert done.returncode == 0
    assert list(json.loads(done.stdout.splitlines()[0])) == fields.split(",")
    came = len(sandbox.record.requests)
    wrong = bcshopper(*command, "--fields", f"{fields},nonsense", sandbox=sandbox)
    assert wrong.returncode == 2
    assert f"no field 'nonsense'; there are {fields.split(',')[-1]}" in wrong.stderr or (
        "no field 'nonsense'; there are " in wrong.stderr
    )
    assert len(sandbox.record.requests) == came


def test_a_limit_on_waits_is_kept(tmp_path):
    """`--max-wait`: what would wait longer for quota is given up."""
    with Sandbox(customers=200, rules=Rules(quota=2, window=30.0)) as sandbox:
        done = bcshopper("create", *range(1, 201), "--max-wait", 1, "--concurrency", 1,
                         "--output", tmp_path / "out", sandbox=sandbox)  # fmt: skip
    assert done.returncode == 4
    assert "max_wait is 1 s" in done.stderr
    assert len(rows((tmp_path / "out").read_text())) == 200


def test_a_timeout_and_retries_are_as_asked(sandbox):
    """One try of a fifth of a second, and no other."""
    sandbox.faults.rule(Fault.slow(60))
    done = bcshopper("list", "--timeout", 0.2, "--retries", 0, sandbox=sandbox)
    assert done.returncode == 4
    assert "within 0.2 s" in done.stderr
    assert len(sandbox.record.requests) == 1


def test_an_unknown_profile_is_no_store(home):
    """The doctor says so, as every command does."""
    assert bcshopper("--profile", str(uuid4()), "doctor", **home).returncode == 2
