"""How a job shows itself where nobody watches: on virtual time, since it takes long."""

import asyncio
import re

import pytest

from bcshopper import QuotaPolicy
from bcshopper._cli._job import Writing
from bcshopper._cli._journal import Job, Journal
from bcshopper._cli._output import OUTCOMES, PROFILES, Output
from bcshopper._cli._profiles import Create
from bcshopper._cli._reading import print_pages
from bcshopper._cli._settings import Settings
from bcshopper._cli._summary import Summary
from bcshopper._cli._terminal import Terminal
from bcshopper._secret import Secret
from bcshopper.sandbox import Fault, Rules, Sandbox

EVERY = 10
"""Virtual seconds between two lines."""


def settings(sandbox, **limits):
    token = Secret(sandbox.access_token)
    return Settings(sandbox.store_hash, token, sandbox.url, {"concurrency": 1, **limits})


async def create(sandbox, count, tmp_path, limits=None, **options):
    """As the command does it, but on this loop."""
    journal = Journal(None)
    journal.begin(Job(sandbox.url, "sandbox", "create"), range(1, count + 1))
    summary = Summary("create", "sandbox", count)
    output = Output("jsonl", str(tmp_path / "out"))
    account = settings(sandbox, **(limits or {}))
    job = Writing(Create(), account, journal, output, summary, Terminal(options))
    with output.open(OUTCOMES) as rows:
        await job.write(rows)
    journal.close()
    return summary


async def test_a_line_every_ten_seconds_tells_how_far_the_job_is(tmp_path, capsys):
    """Count, rate, time left, quota left and the wait for it."""
    async with Sandbox(customers=500, rules=Rules(quota=5, window=30.0)) as sandbox:
        summary = await create(sandbox, 500, tmp_path)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "create: 250 of 500, 25 a second, 0:00:20 left, quota 0/5, waits 20 s for it"
    assert re.match(r"create: 250 of 500, .* quota 0/5, waits 10 s for it", lines[1])
    assert len(lines) in {2, 3}
    assert "500 created" in summary.lines()[0]
    assert summary.as_dict()["quota_seconds"] > 29


async def test_a_list_has_such_lines_too(tmp_path, capsys):
    """Although its length is known only by and by."""
    async with Sandbox(profiles=1000) as sandbox:
        sandbox.faults.rule(Fault.slow(12))
        with Output("jsonl", str(tmp_path / "out")).open(PROFILES) as rows:
            await print_pages(
                settings(sandbox), rows, Terminal({}), lambda s: s.shopper_profiles.list()
            )
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "list: 0, 0 a second"
    assert re.match(r"list: 250 of 1,000, \d+ a second, \d:\d\d:\d\d left", lines[1])


async def test_quiet_has_no_lines(tmp_path, capsys):
    """However long it takes."""
    async with Sandbox(customers=500, rules=Rules(quota=5, window=30.0)) as sandbox:
        await create(sandbox, 500, tmp_path, quiet=True)
    assert capsys.readouterr().err == ""


def seconds(left):
    hours, minutes, rest = map(int, left.split(":"))
    return hours * 3600 + minutes * 60 + rest


def looks(text, took):
    """What each line says is left, and what was left then."""
    said = [re.search(r"(\d+:\d\d:\d\d) left", line) for line in text.splitlines()]
    return [
        (seconds(found[1]) if found else None, took - EVERY * number)
        for number, found in enumerate(said, 1)
    ]


QUOTA = Rules(quota=150, window=30.0)


@pytest.mark.thousands
@pytest.mark.parametrize(
    ("count", "latency", "limits", "rules"),
    [
        (40_000, 0.2, {}, QUOTA),
        pytest.param(30_000, 0.2, {"quota": QuotaPolicy(share=0.5)}, QUOTA, marks=pytest.mark.long),
        (40_000, 0.2, {"quota": QuotaPolicy(pacing="smooth")}, QUOTA),
        (45_000, 1.0, {"concurrency": 4}, QUOTA),  # the window's end comes before that of its quota
        (30_000, 1.5, {"concurrency": 1}, Rules()),
        pytest.param(300_000, 0.2, {}, QUOTA, marks=pytest.mark.long),
    ],
)
async def test_the_time_left_is_right_from_the_second_window_on(
    tmp_path, capsys, count, latency, limits, rules
):
    """Within a fifth of the truth, or two seconds, at every look."""
    async with Sandbox(customers=count, rules=rules) as sandbox:
        sandbox.faults.rule(Fault.slow(latency))
        began = asyncio.get_running_loop().time()
        await create(sandbox, count, tmp_path, {"concurrency": 10, **limits})
        took = asyncio.get_running_loop().time() - began
    seen = looks(capsys.readouterr().err, took)[int(QUOTA.window / EVERY) :]
    assert len(seen) > 10
    for said, true in seen:
        assert abs(said - true) <= max(0.2 * true, 2), seen


@pytest.mark.thousands
async def test_what_other_apps_take_is_in_the_time_left(tmp_path, capsys):
    """As soon as a whole window has shown it."""
    async with Sandbox(customers=60_000, rules=QUOTA) as sandbox:
        sandbox.faults.rule(Fault.slow(0.2))

        async def other_app():
            while True:
                sandbox.spend(75)
                await asyncio.sleep(QUOTA.window)

        began = asyncio.get_running_loop().time()
        other = asyncio.create_task(other_app())
        await create(sandbox, 60_000, tmp_path, {"concurrency": 10})
        took = asyncio.get_running_loop().time() - began
        other.cancel()
    seen = looks(capsys.readouterr().err, took)[int(2 * QUOTA.window / EVERY) :]
    assert len(seen) > 30
    for said, true in seen:
        assert abs(said - true) <= max(0.2 * true, 2), seen
