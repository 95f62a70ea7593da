"""How a job shows itself where nobody watches: on virtual time, since it takes long."""

import re

from bcshopper._cli import _work
from bcshopper._cli._job import Writing, write_ids
from bcshopper._cli._journal import Job, Journal
from bcshopper._cli._output import OUTCOME_COLUMNS, PROFILE_COLUMNS, Output
from bcshopper._cli._settings import Settings
from bcshopper._cli._summary import Summary
from bcshopper._cli._terminal import Terminal
from bcshopper._transport import Secret
from bcshopper.sandbox import Fault, Rules, Sandbox


def settings(sandbox):
    return Settings(
        sandbox.store_hash, Secret(sandbox.access_token), sandbox.url, {"concurrency": 1}
    )  # fmt: skip


async def create(sandbox, count, tmp_path, **options):
    """As the command does it, but on this loop."""
    journal = Journal(None)
    journal.begin(Job(sandbox.url, "sandbox", "create"), range(1, count + 1))
    summary = Summary("create", "sandbox", count)
    output = Output("jsonl", str(tmp_path / "out"))
    job = Writing("create", settings(sandbox), journal, output, summary, Terminal(options))
    with output.open(OUTCOME_COLUMNS) as rows:
        await write_ids(job, rows)
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
        with Output("jsonl", str(tmp_path / "out")).open(PROFILE_COLUMNS) as rows:
            await _work.list_all(
                settings(sandbox), consistent=False, rows=rows, terminal=Terminal({})
            )
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "list: 0, 0 a second"
    assert re.match(r"list: 250 of 1,000, \d+ a second, \d:\d\d:\d\d left", lines[1])


async def test_quiet_has_no_lines(tmp_path, capsys):
    """However long it takes."""
    async with Sandbox(customers=500, rules=Rules(quota=5, window=30.0)) as sandbox:
        await create(sandbox, 500, tmp_path, quiet=True)
    assert capsys.readouterr().err == ""
