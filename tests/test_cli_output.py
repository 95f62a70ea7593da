"""Rows as the command line writes them: every format, whole files, and text that means harm."""

import csv
import gzip
import io
import json
import os
import stat
import sys
from contextlib import contextmanager, redirect_stdout
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from uuid import UUID, uuid4

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bcshopper import Outcome, ShopperProfile, Status
from bcshopper._cli._files import DELIMITERS, FORMATS
from bcshopper._cli._output import (
    LOOKUPS,
    OUTCOMES,
    PROFILES,
    Output,
    Rows,
)
from bcshopper.errors import BCShopperError

ONE = UUID("12345678-1234-5678-1234-567812345678")
NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)
PROFILE = ShopperProfile(ONE, 7, NOON, NOON.astimezone(timezone(timedelta(hours=1))))
PROFILE_TEXTS = {
    "id": str(ONE), "customer_id": 7,
    "created_at": "2026-01-02T12:00:00Z", "updated_at": "2026-01-02T13:00:00+01:00",
}  # fmt: skip

outcomes = st.builds(
    Outcome,
    item=st.integers(1, 2**63 - 1) | st.uuids(),
    status=st.sampled_from(Status),
    profile_id=st.none() | st.uuids(),
    error=st.none() | st.builds(BCShopperError, st.text()),
)


class GoneError(Exception):
    pass


def write(path, fmt, rows, columns=OUTCOMES):
    with Output.choose(fmt, str(path)).open(columns) as output:
        for row in rows:
            output.write(row)
    return path.read_bytes()


def plain(row):
    """A row as JSON has it."""
    return {k: v if v is None or isinstance(v, int) else text_of(v) for k, v in row.items()}


def text_of(value):
    """As UTF-8 can have it."""
    return str(value).encode(errors="backslashreplace").decode()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("output")


@contextmanager
def piped():
    """A pipe in standard output's place: its reading end, which never waits."""
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    with (
        os.fdopen(reading, "rb", buffering=0) as pipe,
        os.fdopen(writing, "w") as stdout,
        redirect_stdout(stdout),
    ):
        yield pipe


@given(given=st.lists(outcomes, max_size=5))
@pytest.mark.parametrize("suffix", ["", ".gz"])
@pytest.mark.parametrize("fmt", ["jsonl", "json", "csv", "tsv"])
def test_rows_are_read_back_as_they_were_written(folder, fmt, suffix, given):
    """Any text of a server's included: quotes, line ends, control characters, half surrogates."""
    data = write(folder / f"out{suffix}", fmt, given)
    rows = [dict(zip(OUTCOMES.names, OUTCOMES.cells(o), strict=True)) for o in given]
    text = (gzip.decompress(data) if suffix else data).decode()
    if fmt in DELIMITERS:
        header, *read = csv.reader(io.StringIO(text, newline=""), delimiter=DELIMITERS[fmt])
        assert header == list(OUTCOMES.names)
        assert read == [["" if v is None else text_of(v) for v in row.values()] for row in rows]
        return
    read = json.loads(text) if fmt == "json" else [json.loads(x) for x in text.split("\n")[:-1]]
    assert read == [plain(row) for row in rows]
    assert text.count("\n") == len(rows) + (2 if rows else 1) * (fmt == "json")


def test_a_table_is_as_wide_as_its_cells(folder):
    """And grows with them; no column has room that nobody needs."""
    rows = [Outcome(7, Status.CREATED, ONE) for _ in range(1000)]
    rows.append(Outcome(123456789, Status.REJECTED))
    header, first, *_, last = write(folder / "t", "table", rows).decode().splitlines()
    assert header == f"ITEM  STATUS   {'PROFILE_ID':<36}  ERROR"
    assert first == f"7     created  {ONE}  -"
    assert last == "123456789  rejected  -" + " " * 37 + "-"


@given(given=st.lists(outcomes, min_size=1, max_size=5))
def test_no_text_can_forge_a_line_of_a_table(folder, given):
    """Nor move the cursor, colour the screen or write from right to left."""
    table = write(folder / "out", "table", given).decode()
    lines = table.split("\n")
    assert len(lines) == len(given) + 2
    assert "".join(lines).isprintable()
    assert not any(line.endswith(" ") for line in lines)
    for outcome, line in zip(given, lines[1:], strict=False):
        assert line.split()[:2] == [str(outcome.item), outcome.status.value]


def test_controls_in_a_table_are_spelt_out(folder):
    """So that what the server said can still be read."""
    error = BCShopperError("é\n\x1b[2J\x9b\u202e\ud800")
    table = write(folder / "out", "table", [Outcome(7, Status.REJECTED, error=error)])
    assert (
        table.decode().splitlines()[1].endswith(r"rejected  -           é\n\x1b[2J\x9b\u202e\ud800")
    )


def test_profiles_and_lookups_have_their_columns(folder):
    """Times are RFC 3339, and the same in every format."""
    missing = (8, None)
    for fmt in ("json", "csv"):
        profiles = write(folder / "p", fmt, [PROFILE], PROFILES).decode()
        lookups = write(folder / "l", fmt, [(7, ONE), missing], LOOKUPS).decode()
        if fmt == "json":
            assert json.loads(profiles) == [PROFILE_TEXTS]
            assert json.loads(lookups)[1] == {"customer_id": 8, "profile_id": None}
        else:
            assert profiles.splitlines()[1] == ",".join(map(str, PROFILE_TEXTS.values()))
            assert lookups.splitlines() == ["customer_id,profile_id", f"7,{ONE}", "8,"]
    table = write(folder / "t", "table", [PROFILE], PROFILES).decode()
    header, row = table.splitlines()
    assert header.split() == ["ID", "CUSTOMER_ID", "CREATED_AT", "UPDATED_AT"]
    assert row.split() == [str(cell) for cell in PROFILE_TEXTS.values()]
    assert row.index("7 ") < row.index("2026") == header.index("CREATED_AT")


@pytest.mark.parametrize(
    ("fmt", "empty"),
    [("json", "[]\n"), ("jsonl", ""), ("csv", "customer_id,profile_id\n"),
     ("table", "CUSTOMER_ID  PROFILE_ID\n")],
)  # fmt: skip
def test_no_rows_are_a_valid_document_too(folder, fmt, empty):
    """The same header or brackets."""
    assert write(folder / "out", fmt, [], LOOKUPS).decode() == empty


@pytest.mark.parametrize(
    ("fmt", "path", "chosen"),
    [
        (None, None, "jsonl"),
        (None, "-", "jsonl"),
        (None, "a.csv", "csv"),
        (None, "a.CSV.gz", "csv"),
        (None, "a.json", "json"),
        (None, "a.json.GZ", "json"),
        (None, "a.tsv", "tsv"),
        (None, "a.tsv.gz", "tsv"),
        (None, "a.jsonl", "jsonl"),
        (None, "a.txt", "jsonl"),
        ("table", "a.csv", "table"),
        ("csv", None, "csv"),
    ],
)
def test_the_format_suits_where_the_rows_go(fmt, path, chosen):
    """Unless it is asked for: by a file's suffix, and JSON lines in a pipe."""
    with piped():
        assert Output.choose(fmt, path).format == chosen


def test_a_terminal_is_shown_a_table():
    """People read it."""
    terminal, end = os.openpty()
    with os.fdopen(end, "w") as stdout, redirect_stdout(stdout):
        assert Output.choose(None, None).format == Output.choose(None, "-").format == "table"
        assert Output.choose(None, "a").format == Output.choose("jsonl", None).format == "jsonl"
        with Output.choose("table", None).open(LOOKUPS) as rows:
            rows.write((7, ONE))
    assert os.read(terminal, 1000).decode().splitlines()[1] == f"7            {ONE}"
    os.close(terminal)


@pytest.mark.parametrize("fmt", FORMATS)
def test_a_flush_shows_every_row_so_far(fmt):
    """Whoever follows the output need not wait for its end."""
    with piped() as pipe, Output.choose(fmt, None).open(LOOKUPS) as rows:
        for number in range(3):
            rows.write((number, ONE))
            rows.flush()
            assert str(number) in pipe.read().decode()


def test_rows_go_out_in_blocks():
    """Not each with a system call of its own, nor all of them at the end."""
    with piped() as pipe, Output.choose("jsonl", "-").open(LOOKUPS) as rows:
        rows.write((1, ONE))
        assert pipe.read() is None
        read = 0
        for _ in range(100):
            for _ in range(100):
                rows.write((1, ONE))
            read += len(pipe.read() or b"")
        assert read


def test_what_was_printed_before_comes_first():
    """Text and rows share standard output in order."""
    with piped() as pipe:
        click.echo("before")
        with Output.choose("jsonl", None).open(LOOKUPS) as rows:
            rows.write((1, None))
        click.echo("after")
        assert pipe.read() == b'before\n{"customer_id":1,"profile_id":null}\nafter\n'


def test_an_unbuffered_output_may_take_a_little_at_a_time():
    """As standard output does with PYTHONUNBUFFERED."""

    class Slow(io.RawIOBase):
        taken = b""

        def write(self, data):
            self.taken += bytes(data[:3])
            return len(data[:3])

    stream = Slow()
    rows = Rows(stream, "slow", LOOKUPS)
    rows.write((1234567890, None))
    rows.flush()
    assert stream.taken == b'{"customer_id":1234567890,"profile_id":null}\n'


def test_rows_known_before_a_failure_are_on_standard_output():
    """And a JSON array shows that it was cut short."""
    with piped() as pipe:
        with pytest.raises(GoneError), Output.choose("json", None).open(LOOKUPS) as rows:
            rows.write((1, None))
            raise GoneError
        assert pipe.read() == b'[\n{"customer_id":1,"profile_id":null}'


def test_a_closed_pipe_is_the_callers_business():
    """It knows how to end without a word."""
    with pytest.raises(BrokenPipeError), piped() as pipe:
        pipe.close()
        with (
            pytest.raises(BrokenPipeError),
            Output.choose("csv", None).open(LOOKUPS) as rows,
        ):
            rows.flush()


def test_no_standard_output_is_said(monkeypatch):
    """A process may be started without one."""
    monkeypatch.setattr(sys, "stdout", None)
    with pytest.raises(click.UsageError, match="give --output FILE"):
        Output.choose(None, None)


@pytest.mark.parametrize("before", [None, "before"])
@pytest.mark.parametrize("name", ["out.jsonl", "out.jsonl.gz"])
def test_a_file_is_moved_into_place_when_all_is_well(tmp_path, name, before):
    """Until then it is as it was."""
    path = tmp_path / name
    if before is not None:
        path.write_text(before)
    with Output.choose("jsonl", str(path)).open(LOOKUPS) as rows:
        rows.write((1, None))
        rows.flush()
        assert (path.read_text() if path.exists() else None) == before
    data = path.read_bytes()
    assert b"customer_id" in (gzip.decompress(data) if name.endswith(".gz") else data)
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("before", [None, "before"])
@pytest.mark.parametrize("name", ["out.json", "out.json.gz"])
@pytest.mark.parametrize("error", [GoneError, KeyboardInterrupt, SystemExit])
def test_a_failure_leaves_no_file_and_no_half(tmp_path, name, before, error):
    """Nor the file beside it; what was there before is there."""
    path = tmp_path / name
    if before is not None:
        path.write_text(before)
    with pytest.raises(error), Output.choose("json", str(path)).open(LOOKUPS) as rows:
        rows.write((1, None))
        rows.flush()
        raise error
    assert [p.read_text() for p in tmp_path.iterdir()] == [before] * (before is not None)


def test_a_new_file_is_its_owners_alone_and_an_old_one_keeps_its_mode(tmp_path):
    """Whatever the umask: ids are customers' data."""
    path = tmp_path / "out"
    before = os.umask(0)
    try:
        write(path, "jsonl", [])
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        path.chmod(0o604)
        write(path, "jsonl", [])
        assert stat.S_IMODE(path.stat().st_mode) == 0o604
    finally:
        os.umask(before)


def test_a_name_may_be_as_long_as_any(tmp_path):
    """What is written beside it has a name of its own."""
    path = tmp_path / ("x" * 255)
    write(path, "jsonl", [])
    assert list(tmp_path.iterdir()) == [path]


def test_a_link_stays_a_link(tmp_path):
    """Its target gets the rows."""
    (tmp_path / "there").mkdir()
    target, link = tmp_path / "there" / "out", tmp_path / "out"
    link.symlink_to(target)
    for customer_id in (1, 2):
        write(link, "csv", [(customer_id, None)], LOOKUPS)
        assert link.is_symlink()
        assert target.read_text().splitlines()[1] == f"{customer_id},"
    assert len(list(target.parent.iterdir())) == 1


@pytest.mark.parametrize(
    ("name", "reason"),
    [("nowhere/out", "No such file or directory"), ("", "Is a directory"),
     ("file/out", "Not a directory"), ("x" * 300, "File name too long")],
)  # fmt: skip
def test_what_can_not_be_written_is_said_at_once(tmp_path, name, reason):
    """Before there is a row."""
    (tmp_path / "file").touch()
    path = tmp_path / name
    with (
        pytest.raises(click.UsageError, match=f"cannot write {path}: {reason}"),
        Output.choose("csv", str(path)).open(LOOKUPS),
    ):
        pytest.fail("there should be no row")


def test_a_pipe_is_written_to_and_not_replaced(tmp_path):
    """As is any device."""
    path = tmp_path / "pipe"
    os.mkfifo(path)
    reading = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    with Output.choose("jsonl", str(path)).open(LOOKUPS) as rows:
        rows.write((1, None))
        rows.flush()
        assert os.read(reading, 100) == b'{"customer_id":1,"profile_id":null}\n'
    os.close(reading)
    assert path.is_fifo()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
@pytest.mark.parametrize("link", ["out", "out.gz"])
def test_a_full_disk_is_named(tmp_path, link):
    """With the file's name."""
    path = tmp_path / link
    path.symlink_to("/dev/full")
    with (
        pytest.raises(OSError, match=f"No space left on device: '{path}'"),
        Output.choose("jsonl", str(path)).open(LOOKUPS) as rows,
    ):
        for _ in range(10_000):
            rows.write((1, uuid4()))
        rows.flush()
    assert path.is_symlink()
