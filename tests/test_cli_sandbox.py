"""`bcshopper sandbox`: how the served store is set, filled and kept."""

import json
import signal
import urllib.error
import urllib.request
from contextlib import contextmanager

import pytest

from tests.cli import bcshopper, rows, start, wait_until

pytestmark = pytest.mark.real_time


@contextmanager
def served(*options, ends_by=signal.SIGTERM):
    """A store that the command serves; yields the exported variables, and ends it."""
    process = start("sandbox", "--port", "0", *options)
    try:
        lines = [process.stdout.readline() for _ in range(4 if "--webhooks" in options else 3)]
        yield dict(line.removeprefix("export ").strip().split("=", 1) for line in lines)
    finally:
        process.send_signal(ends_by)
        _, errors = process.communicate(timeout=240)
    assert process.returncode == 130
    assert "Traceback" not in errors


def admin(exported, path, method="GET", document=None):
    """Ask the admin API."""
    request = urllib.request.Request(
        f"{exported['BIGCOMMERCE_BASE_URL']}/_sandbox/{path}", method=method,
        data=None if document is None else json.dumps(document).encode(),
    )  # fmt: skip
    with urllib.request.urlopen(request) as answer:
        return json.loads(answer.read() or "null")


def test_rules_and_faults_are_set_from_the_start():
    """Quota, window and latency have options of their own; the rest is the admin API's."""
    options = ["--quota", "7", "--window", "60", "--latency", "0.01"]
    options += ["--rules", '{"max_limit": 3, "bad_items": "207"}']
    options += ["--fault", '{"fault": {"kind": "error", "status": 418}, "when": {"method": "GET"}}']
    options += ["--fault", '{"fault": {"kind": "half"}}', "--fault", '{"fault": {"kind": "half"}}']
    with served(*options) as exported:
        state = admin(exported, "state")
        rules = state["rules"]
        assert (rules["quota"], rules["window"], rules["latency"]) == (7, 60.0, 0.01)
        assert (rules["max_limit"], rules["bad_items"], rules["links"]) == (3, "207", True)
        assert state["queued_faults"] == 2


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--quota", "0"], "quota must be"),
        (["--window", "0"], "window must be"),
        (["--latency", "-1"], "latency must be"),
        (["--rules", '{"lags": 1}'], "no rule lags"),
        (["--rules", "[]"], "--rules"),
        (["--rules", "lag=1"], "--rules: JSON is malformed"),
        (["--fault", '{"fault": {"kind": "error"}}'], "--fault: Object missing required field"),
        (["--fault", '{"fault": {"kind": "half"}, "when": {"nth": 0}}'], "--fault: nth must be"),
        (["--webhooks", "localhost"], "webhooks must be"),
        (["--webhooks", "http://127.0.0.1/", "--secret", "!"], "base64"),
        (["--seed-file", "missing.json"], "missing.json: No such file"),
        (["--seed-file", "bad.json"], "bad.json: JSON is malformed"),
        (["--seed-file", "wrong.json"], "wrong.json: Expected `object`"),
        (["--state", "bad.json"], "bad.json: JSON is malformed"),
        (["--state", "missing/state.json"], "missing/state.json"),
    ],
)
def test_what_cannot_be_is_named_and_exits_with_2(options, words, tmp_path, monkeypatch):
    """Before anything is served; no file is touched."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bad.json").write_text("{]")
    (tmp_path / "wrong.json").write_text("[]")
    done = bcshopper("sandbox", "--port", "0", *options)
    assert (done.returncode, done.stdout) == (2, "")
    assert words in done.stderr
    assert "Traceback" not in done.stderr
    assert (tmp_path / "bad.json").read_text() == "{]"


def test_a_seed_file_is_in_the_store_and_comes_back_with_reset(tmp_path):
    """Beside the customers that the options say."""
    seed = {"customers": [5000], "segments": [{"name": "VIP", "customers": [5000, 1]}]}
    (tmp_path / "seed.json").write_text(json.dumps(seed))
    options = ["--customers", "3", "--profiles", "0", "--seed-file", tmp_path / "seed.json"]
    with served(*options) as exported:
        before = admin(exported, "state")
        assert (before["customers"], before["profiles"], before["segments"]) == (4, 2, 1)
        admin(exported, "seed", "POST", {"gone": [5000]})
        admin(exported, "reset", "POST")
        after = admin(exported, "state")
        assert (after["customers"], after["profiles"], after["segments"]) == (4, 2, 1)


@pytest.mark.parametrize("ends_by", [signal.SIGINT, signal.SIGTERM])
def test_a_store_is_kept_over_restarts(tmp_path, ends_by):
    """Customers, profiles and segments, with their ids and times, also those that went."""
    options = ["--customers", "20", "--profiles", "4", "--state", tmp_path / "store.json"]
    with served(*options, ends_by=ends_by) as exported:
        assert bcshopper("create", "11", "12", **exported).returncode == 0
        seed = {"gone": [1, 2], "segments": [{"name": "VIP", "customers": [12, 3]}]}
        admin(exported, "seed", "POST", seed)
        listed = rows(bcshopper("list", **exported).stdout)
        state = admin(exported, "state")
    with served(*options) as exported:
        assert rows(bcshopper("list", **exported).stdout) == listed
        again = admin(exported, "state")
        assert [row["customer_id"] for row in listed] == [3, 4, 11, 12]
        same = ("customers", "profiles", "segments")
        assert [again[name] for name in same] == [state[name] for name in same]
        assert again["customers"] == 18


def test_without_admin_only_the_store_is_served():
    """The page and its API are not there."""
    with served("--no-admin") as exported:
        with pytest.raises(urllib.error.HTTPError) as caught:
            admin(exported, "state")
        caught.value.close()
        assert caught.value.code == 404
        assert bcshopper("page", **exported).returncode == 0


def test_webhooks_go_to_the_url_signed_with_the_secret(tmp_path):
    """Which is exported, so that the receiver has the same."""
    with served("--webhooks", "http://127.0.0.1:9/", "--secret", "a2V5") as exported:
        assert exported["WEBHOOK_SECRET"] == "a2V5"
        admin(exported, "seed", "POST", {"customers": 2})
        wait_until(lambda: admin(exported, "state")["webhooks"]["failed"] >= 2)
        assert admin(exported, "state")["webhooks"]["waiting"] == 2
