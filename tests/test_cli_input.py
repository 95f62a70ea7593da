"""Ids as the command line reads them: from where, in which format, and what a bad line costs."""

import csv
import gzip
import io
import json
import os
import sys
import threading
from pathlib import Path
from tempfile import TemporaryDirectory
from uuid import UUID, uuid4

import click
import ijson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bcshopper import Outcome, ShopperProfile, Status
from bcshopper._cli._input import Rejects, read_ids
from bcshopper._cli._output import (
    LOOKUPS,
    OUTCOMES,
    PROFILES,
    Output,
)
from bcshopper._cli._source import CUSTOMER_IDS, PROFILE_IDS, choose_source

pytestmark = pytest.mark.lowest

BOM = b"\xef\xbb\xbf"

customer_ids = st.lists(st.integers(1, 2**63 - 1), max_size=20)
profile_ids = st.lists(st.uuids(), max_size=20)
cells = st.text(st.characters(exclude_categories=["Cs"]), max_size=10)


def ids_of(path, kind=CUSTOMER_IDS, **options):
    return list(read_ids(choose_source((), str(path), **options), kind))


def refusal(path, kind=CUSTOMER_IDS, **options):
    with pytest.raises(click.UsageError) as caught:
        ids_of(path, kind, **options)
    return caught.value.message


def skipping(path, kind=CUSTOMER_IDS, **options):
    """The good ids, and the rejects."""
    source = choose_source((), str(path), **options)
    with Rejects(source) as rejects:
        return list(read_ids(source, kind, rejects.add)), rejects


@pytest.fixture
def write(tmp_path):
    def write(name, content):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


@pytest.fixture
def stdin(monkeypatch):
    """Sets what standard input holds."""

    def hold(content):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))

    return hold


# What an id is written as: the file's suffix, and text from the values and other columns' cells.


def as_lines(values, others):
    return ".txt", "".join(f"{value}\n" for value in values)


def as_csv(values, others):
    rows = [(other, value, other) for value, other in zip(values, others, strict=True)]
    return ".csv", "".join(map(csv_line, [("note", "id of it", "more, too"), *rows]))


def csv_line(row):
    out = io.StringIO()
    csv.writer(out).writerow(row)
    return out.getvalue().removesuffix("\r\n") + "\n"


def as_json_lines(values, others):
    rows = ({"note": [o], "id of it": v} for v, o in zip(values, others, strict=True))
    return ".jsonl", "".join(json.dumps(row) + "\n" for row in rows)


def as_bare_json_lines(values, others):
    return ".ndjson", "".join(json.dumps(value) + "\n\n" for value in values)


def as_json(values, others):
    rows = [{"note": {"id of it": o}, "id of it": v} for v, o in zip(values, others, strict=True)]
    return ".json", json.dumps(rows)


def as_indented_json(values, others):
    rows = [{"id of it": v, "note": [o]} for v, o in zip(values, others, strict=True)]
    return ".json", json.dumps(rows, indent=2)


def as_bare_json(values, others):
    return ".json", json.dumps(list(values), indent=1)


OPTIONS = {
    as_csv: {"column": "id of it"},
    as_json_lines: {"field": "id of it"},
    as_json: {"field": "id of it"},
    as_indented_json: {"field": "id of it"},
}
EVERY_WAY = [
    as_lines, as_csv, as_json_lines, as_bare_json_lines, as_json, as_indented_json, as_bare_json,
]  # fmt: skip


@given(data=st.data(), packed=st.booleans(), bom=st.booleans(), windows=st.booleans())
@pytest.mark.parametrize("way", EVERY_WAY)
def test_ids_are_read_back_as_they_were_written(way, data, packed, bom, windows):
    """In every format, packed or not, with Windows' line ends and byte order mark or without."""
    kind, ids = data.draw(
        st.one_of(
            st.tuples(st.just(CUSTOMER_IDS), customer_ids),
            st.tuples(st.just(PROFILE_IDS), profile_ids),
        )
    )
    values = [i if isinstance(i, int) and data.draw(st.booleans()) else str(i) for i in ids]
    suffix, text = way(values, data.draw(st.lists(cells, min_size=len(ids), max_size=len(ids))))
    content = BOM * bom + (text.replace("\n", "\r\n") if windows else text).encode()
    with TemporaryDirectory() as folder:
        path = Path(folder, f"ids{suffix}{'.gz' if packed else ''}")
        path.write_bytes(gzip.compress(content, mtime=0) if packed else content)
        assert ids_of(path, kind, **OPTIONS.get(way, {})) == ids


@given(data=st.data())
@pytest.mark.parametrize("way", EVERY_WAY)
def test_a_bad_line_is_named_with_its_number(way, data):
    """Whatever stands before it and after it: multi-line cells, blank lines, objects."""
    notes = st.lists(st.sampled_from(["", "one", "two\nlines", '"', "a,\n\n,b"]), min_size=9)
    others = data.draw(notes)
    bad = data.draw(st.integers(0, len(others) - 1))
    values = [*range(1, len(others) + 1)]
    values[bad] = marker = "it is this one"
    suffix, text = way(values, others)
    before = text[: text.index(marker)]
    number = before.count("\n") + 1
    if way is as_csv:  # the row's first line
        number -= others[bad].count("\n")
    if way is as_indented_json:  # the object's
        number -= 1
    with TemporaryDirectory() as folder:
        path = Path(folder, f"ids{suffix}")
        path.write_text(text)
        message = refusal(path, **OPTIONS.get(way, {}))
    item = f", item {bad + 1}" if suffix == ".json" else ""
    words = f"{path}, line {number}{item}: {marker!r} is not a customer id"
    assert message.startswith(words)


@given(data=st.data(), windows=st.booleans())
@pytest.mark.parametrize("way", EVERY_WAY)
def test_rejects_can_be_corrected_and_given_back(way, data, windows):
    """Good ids and corrected ones together are all of them, each once."""
    others = data.draw(st.lists(cells.filter(lambda c: "BAD" not in c), max_size=12))
    bad = data.draw(st.sets(st.integers(1, 12)))
    values = [f"BAD{i}" if i in bad else i for i in range(1, len(others) + 1)]
    suffix, text = way(values, others)
    options = OPTIONS.get(way, {})
    with TemporaryDirectory() as folder:
        path = Path(folder, f"ids{suffix}")
        path.write_bytes((text.replace("\n", "\r\n") if windows else text).encode())
        good, rejects = skipping(path, **options)
        assert good == [i for i in values if isinstance(i, int)]
        assert rejects.count == len(values) - len(good)
        if rejects.count:
            rejects.path.write_bytes(rejects.path.read_bytes().replace(b"BAD", b""))
            assert ids_of(rejects.path, **options) == [
                i for i in range(1, len(values) + 1) if i in bad
            ]
        assert len(list(Path(folder).iterdir())) == 1 + bool(rejects.count)


@pytest.mark.parametrize(
    ("name", "content", "rejects", "kept"),
    [
        ("ids.txt", "1\nx\n", "ids.rejects.txt", "x\n"),
        ("ids", "x", "ids.rejects", "x\n"),
        ("ids.gz", "x\n", "ids.rejects", "x\n"),
        ("Ids.CSV.GZ", "id\n1\nx\n", "Ids.rejects.CSV", "id\nx\n"),
        ("a.b.csv", "id\nx\n", "a.b.rejects.csv", "id\nx\n"),
        ("ids.ndjson.gz", '"x"\n', "ids.rejects.ndjson", '"x"\n'),
        ("ids.json", '[1, "x", {"item":\n0}]', "ids.rejects.jsonl", '"x"\n{"item": 0}\n'),
    ],
)
def test_rejects_are_beside_the_file_in_its_format(write, name, content, rejects, kept):
    """Unpacked, so that they can be corrected."""
    data = content.encode()
    path = write(name, gzip.compress(data, mtime=0) if name.lower().endswith(".gz") else data)
    _, written = skipping(path)
    assert written.path == path.with_name(rejects)
    assert written.path.read_text() == kept


@pytest.mark.parametrize(
    ("options", "name", "content"),
    [
        ({}, "bcshopper.rejects.txt", b"x\n"),
        ({"column": "a"}, "bcshopper.rejects.csv", b"a\nx\n"),
        ({"field": "a"}, "bcshopper.rejects.jsonl", b'{"a": "x"}\n'),
    ],
)
def test_rejects_of_standard_input_are_in_the_working_folder(
    stdin, tmp_path, monkeypatch, options, name, content
):
    """Under a name that says their format."""
    monkeypatch.chdir(tmp_path)
    Path("-").touch()  # is not what `-` means
    stdin(content)
    _, rejects = skipping("-", **options)
    assert rejects.path == Path(name)
    assert rejects.path.read_bytes() == content


def test_bad_arguments_are_rejects_too(tmp_path, monkeypatch):
    """One a line."""
    monkeypatch.chdir(tmp_path)
    source = choose_source(("1", "x", "2", "y"), None)
    with Rejects(source) as rejects:
        assert list(read_ids(source, CUSTOMER_IDS, rejects.add)) == [1, 2]
    assert rejects.path.read_text() == "x\ny\n"


def test_rejects_hold_lines_byte_for_byte(write):
    """Other encodings and unclosed quotes included."""
    lines = [
        b"id,name\r\n",
        b'x,"two\r\nlines"\r\n',
        b"1,fine\r\n",
        b"2,\xe9t\xe9\r\n",
        b'3,"open\n4,n\n',
    ]
    good, rejects = skipping(write("ids.csv", b"".join(lines)), column="id")
    assert good == [1]
    assert rejects.path.read_bytes() == b"".join([lines[0], lines[1], *lines[3:]])
    assert rejects.count == 3


def test_there_are_no_rejects_without_a_bad_line(write, tmp_path):
    """No empty file lies about."""
    path = write("ids.txt", "1\n2\n")
    good, rejects = skipping(path)
    assert (good, rejects.count) == ([1, 2], 0)
    assert list(tmp_path.iterdir()) == [path]


def test_the_same_rejects_again_are_no_obstacle(write):
    """The same command can be run again."""
    path = write("ids.txt", "1\nx\n")
    skipping(path)
    good, rejects = skipping(path)
    assert (good, rejects.count, rejects.path.read_text()) == ([1], 1, "x\n")


def test_rejects_that_were_corrected_are_not_overwritten(write, tmp_path):
    """It is said, before anything is sent."""
    path = write("ids.txt", "1\nx\n")
    corrected = write("ids.rejects.txt", "7\n")
    with pytest.raises(click.UsageError, match="is there already"):
        skipping(path)
    assert corrected.read_text() == "7\n"
    assert len(list(tmp_path.iterdir())) == 2


def test_rejects_of_what_failed_half_way_are_not_kept(write, tmp_path):
    """A file that can't be read to its end has no complete rejects."""
    path = write("ids.txt.gz", gzip.compress(b"x\n" * 1000, mtime=0)[:-9])
    with pytest.raises(click.UsageError):
        skipping(path)
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("packed", ["", ".gz"])
@pytest.mark.parametrize("suffix", [".jsonl", ".csv", ".tsv", ".json"])
def test_output_is_input(tmp_path, suffix, packed):
    """Profiles, outcomes and lookups can be deleted, and their customers created, as they are."""
    profiles = [ShopperProfile(uuid4(), customer_id) for customer_id in range(1, 4)]
    ids, customers = [p.id for p in profiles], [p.customer_id for p in profiles]
    fmt = suffix.removeprefix(".")

    def written(columns, rows):
        path = tmp_path / f"{columns.names}{suffix}{packed}"
        with Output(fmt, str(path)).open(columns) as output:
            for row in rows:
                output.write(row)
        return path

    listed = written(PROFILES, profiles)
    looked_up = written(LOOKUPS, [(p.customer_id, p.id) for p in profiles])
    created = written(
        OUTCOMES,
        [Outcome(p.customer_id, Status.CREATED, p.id, p) for p in profiles],
    )
    for path in (listed, looked_up, created):
        assert ids_of(path, PROFILE_IDS) == ids
        assert ids_of(path, CUSTOMER_IDS) == customers


@pytest.mark.parametrize(
    ("name", "first", "options"),
    [
        ("ids", b"1\n", {}),
        ("ids.csv", b"customer_id,name\n1,x\n", {}),
        ("ids.jsonl", b'{"customer_id": 1}\n', {}),
        ("ids.json", b"[1,\n", {}),
        ("objects.json", b'[\n{"customer_id": 1},\n', {}),
        ("ids", b"a,b\n0,1\n", {"column": "b"}),
        ("ids", b'{"a": 1}\n', {"field": "a"}),
    ],
)
def test_the_first_id_comes_before_the_source_has_ended(tmp_path, name, first, options):
    """A source of any length is a stream, never a whole in memory."""
    path = tmp_path / name
    os.mkfifo(path)
    seen = threading.Event()

    def produce():
        with path.open("wb", buffering=0) as pipe:
            pipe.write(first)
            assert seen.wait(30)

    producer = threading.Thread(target=produce)
    producer.start()
    ids = read_ids(choose_source((), str(path), **options), CUSTOMER_IDS)
    try:
        assert next(ids) == 1
    finally:
        seen.set()
        producer.join()
        ids.close()


@pytest.mark.skipif(not Path("/dev/zero").exists(), reason="there is no /dev/zero")
@pytest.mark.parametrize("options", [{}, {"column": "a"}, {"field": "a"}])
def test_an_endless_line_is_given_up(options):
    """Before it fills the memory."""
    assert "/dev/zero, line 1: longer than 1,048,576 bytes" in refusal("/dev/zero", **options)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.txt", "1\n1.0\n", "line 2: '1.0' is not a customer id"),
        ("a.txt", "1\n\n \n-1\n", "line 4: '-1' is not"),
        ("a.txt", "٣\n", "line 1: '٣' is not"),  # int() would read it
        ("a.txt", "9" * 5000, "line 1: '9999"),
        ("a.txt", b"1\n\xff\n", "line 2: this is no text file, or not in UTF-8"),
        ("a.txt", "1\n".encode("utf-16"), "line 1: this is no text file"),
        ("a.txt", '1\n{"customer_id": 2}\n', "line 2: this is JSON, not an id: name the id's"),
        ("a.txt", "[1, 2]\n", "line 1: this is JSON, not an id: put it in a file named *.json"),
        ("a.csv", "a,b\n1,2\n", "has the columns 'a', 'b': name the ids' with --column"),
        ("a.csv", "1\n2\n", "begins with the id 1, where CSV has its columns' names"),
        ("a.csv", 'customer_id,b\n1,"2\n\n', "line 2: no valid CSV: unexpected end of data"),
        ("a.csv", 'customer_id,b\n\n1,"\n"2,\n', "line 3: no valid CSV: ',' expected after"),
        ("a.csv", 'a,"b\n', "line 1: no valid CSV"),
        ("a.csv", b"\xff\xfea\n1\n", "line 1: this is no text file"),
        ("a.csv", b'a\n"\n\xff"\n2\n', "line 2: this is no text file"),
        ("a.csv", "customer_id,b\n1,2\n3\n", "line 3: 1 cells for 2 columns"),
        ("a.csv", "customer_id,b\n1,2,3\n", "line 2: 3 cells for 2 columns"),
        ("a.csv", "customer_id,b\n,2\n", "line 2: column 'customer_id' is empty"),
        ("a.csv", "customer_id,customer_id\n1,2\n", "has 2 columns 'customer_id'"),
        ("a.csv", 'customer_id\n1\n"' + "x" * 200_000, "line 3: no valid CSV: field larger than"),
        ("a.jsonl", "1\n\n2 3\n", "line 3: no valid JSON"),
        ("a.jsonl", '{"id": 1}\n', "line 1: the object has no field 'customer_id' or 'item': name"),
        ("a.jsonl", '{"customer_id": null}\n', "line 1: field 'customer_id' is null, not an id"),
        ("a.jsonl", '{"customer_id": true}\n', "field 'customer_id' is true, not an id"),
        ("a.jsonl", '{"customer_id": 1.0}\n', "field 'customer_id' is 1.0, not an id"),
        ("a.jsonl", '{"customer_id": {}}\n', "field 'customer_id' is an object, not an id"),
        ("a.jsonl", "[1]\n", "line 1: the item is an array, not an id"),
        ("a.jsonl", "null\n", "line 1: the item is null, not an id"),
        ("a.jsonl", "NaN\n", "line 1: no valid JSON"),
        ("a.jsonl", "9" * 5000, "line 1: no valid JSON"),
        ("a.jsonl", "[" * 100_000, "line 1: no valid JSON"),
        ("a.jsonl", b'"\xff"\n', "line 1: this is no text file"),
        ("a.json", "[1,\n0]", "line 2, item 2: 0 is not a customer id"),
        ("a.json", "[1,\n[2]]", "line 2, item 2: the item is an array, not an id"),
        ("a.json", '[{}, {"customer_id": 1}]', "line 1, item 1: the object has no field"),
        ("a.json", '[[{"customer_id": 1}]]', "line 1, item 1: the item is an array"),
        ("a.json", "[\n1.5]", "line 2, item 1: the item is 1.5"),
        ("a.json", '{"customer_id": 1}', "is no JSON array of ids or of objects"),
        ("a.json", "5", "is no JSON array of ids or of objects"),
        ("a.json", "", "line 1: no valid JSON: parse error: premature EOF"),
        ("a.json", "[1,\n2", "line 2: no valid JSON: parse error: premature EOF"),
        ("a.json", "[1,\n2]\n3", "line 3: no valid JSON: parse error: trailing garbage"),
        ("a.json", "[1,\nx]", "line 2: no valid JSON: lexical error: invalid char in json text."),
        ("a.json", b'["\xff"]', "line 1: no valid JSON: lexical error: invalid bytes in UTF8"),
        ("a.json", "[" + "9" * 5000 + "]", "line 1: no valid JSON: parse error: integer overflow"),
        ("a.json", "[1,\n" + "[" * 10_000, "line 2, item 2: nested more than 100 deep"),
        ("a.txt.gz", "1\n", "cannot read"),
        ("a.txt.gz", gzip.compress(b"1\n" * 1000, mtime=0)[:-9], "cannot read"),
        ("a.csv.gz", b"\x1f\x8b\x08\x00" + b"x" * 100, "cannot read"),
        ("a.json.gz", gzip.compress(b"[1,2]", mtime=0)[:-3], "cannot read"),
    ],
)  # fmt: skip
def test_what_can_not_be_understood_is_named(write, name, content, words):
    """With file, line and reason, short enough to read."""
    path = write(name, content)
    message = refusal(path)
    assert str(path) in message
    assert words in message
    assert len(message) < 600


@pytest.mark.parametrize(
    ("arguments", "options", "words"),
    [
        (("1", "x"), {}, "argument 2: 'x' is not a customer id"),
        (("7",), {"column": "a"}, "--column and --field are for files and standard input"),
    ],
)
def test_bad_arguments_are_named(arguments, options, words):
    """By their place."""
    with pytest.raises(click.UsageError, match=words):
        list(read_ids(choose_source(arguments, None, **options), CUSTOMER_IDS))


def test_options_for_columns_and_fields_are_exact(write):
    """One that is not there is an error, not another column."""
    path = write("a.csv", "customer_id,b\n1,2\n")
    assert ids_of(path, column="b") == [2]
    assert "has no column 'c'; its columns are 'customer_id', 'b'" in refusal(path, column="c")
    path = write("a.jsonl", '{"customer_id": 1, "b": 2}\n7\n')
    assert "line 1: the object has no field 'c'" in refusal(path, field="c")
    assert "line 2: the item is 7, not an object with a field 'b'" in refusal(path, field="b")


def test_a_csv_of_one_column_needs_no_name(write):
    """Whatever the column is called, unless it looks like an id."""
    assert ids_of(write("a.csv", "Customer\n1\n2\n")) == [1, 2]
    assert ids_of(write("a.csv", "5\n1\n"), column="5") == [1]


@pytest.mark.parametrize("name", ["a.txt", "a.csv", "a.jsonl"])
@pytest.mark.parametrize("content", [b"", b"\n \r\n", BOM, BOM + b"\n"])
def test_an_empty_file_has_no_ids(write, name, content):
    """Which is no error here: the caller knows what to make of none."""
    assert ids_of(write(name, content)) == []


def test_ids_come_from_standard_input(stdin):
    """With or without `--from -`."""
    for path in (None, "-"):
        stdin(b"1\r\n2")
        source = choose_source((), path)
        assert source.is_stdin
        assert list(read_ids(source, CUSTOMER_IDS)) == [1, 2]
    stdin(b"1\nx\n")
    assert refusal("-").startswith("<stdin>, line 2: 'x' is not a customer id")


def test_the_source_has_to_be_clear(monkeypatch):
    """Two are one too many, and a terminal is asked only if it is named."""
    with pytest.raises(click.UsageError, match="not both"):
        choose_source(("1",), "-")
    with pytest.raises(click.UsageError, match="give one of them"):
        choose_source((), "-", column="a", field="b")
    terminal, end = os.openpty()
    with os.fdopen(end) as stdin:
        monkeypatch.setattr(sys, "stdin", stdin)
        assert choose_source((), "-").is_stdin
        with pytest.raises(click.UsageError, match="give ids as arguments, with --from FILE, or"):
            choose_source((), None)
    os.close(terminal)
    monkeypatch.setattr(sys, "stdin", None)
    with pytest.raises(click.UsageError, match="standard input is closed"):
        choose_source((), None)


@pytest.mark.parametrize("name", ["nowhere.txt", "nowhere.csv.gz"])
def test_a_missing_file_is_named(tmp_path, name):
    """As a folder is."""
    assert refusal(tmp_path / name) == f"cannot read {tmp_path / name}: No such file or directory"
    assert refusal(tmp_path) == f"cannot read {tmp_path}: Is a directory"
    assert "File name too long" in refusal("x" * 300 + name)
    assert choose_source((), "x" * 300).rejects_path(".txt") == Path("bcshopper.rejects.txt")


def test_json_is_read_without_the_compiled_parser_too(write, monkeypatch):
    """Where the C library of ijson is not, a slower one is used."""
    monkeypatch.setattr(ijson, "basic_parse", ijson.get_backend("python").basic_parse)
    assert ids_of(write("a.json", json.dumps([1, {"item": "2"}], indent=1))) == [1, 2]
    assert "line 2, item 2: '\\ud800' is" in refusal(write("a.json", '[1,\n"\\ud800"]'))
    assert "line 2: no valid JSON" in refusal(write("a.json", "[1,\nx]"))
    good, rejects = skipping(write("b.json", '["\\ud800", 1]'))
    assert (good, rejects.path.read_text()) == ([1], '"\\ud800"\n')


def test_profile_ids_are_uuids(write):
    """In any of their usual spellings."""
    one = UUID("{12345678-1234-5678-1234-567812345678}")
    path = write("a.txt", f"{one}\n{one.hex}\n{{{one}}}\n{one.urn}\n{str(one).upper()}\n")
    assert ids_of(path, PROFILE_IDS) == [one] * 5
    assert "'7' is not a profile id" in refusal(write("b.txt", "7"), PROFILE_IDS)
    assert "7 is not a profile id" in refusal(write("b.jsonl", "7"), PROFILE_IDS)


@pytest.mark.parametrize(
    ("header", "found"),
    [
        ("Customer ID", True), ("CUSTOMER_ID", True), ("customerId", True), ("customer-id", True),
        (" Customer Id ", True), ('"Customer ID"', True), ("Customer", False), ("id", False),
        ("customer", False),
    ],
)  # fmt: skip
def test_a_column_is_known_however_it_is_spelt(write, header, found):
    """As people and their spreadsheets write it; but another column is no id."""
    path = write("a.csv", f"name,{header},b\nAda,7,x\n")
    if found:
        assert ids_of(path) == [7]
        lines = write("a.jsonl", json.dumps({"name": "Ada", header.strip(' "'): 7}))
        assert ids_of(lines) == [7]
    else:
        assert "name the ids' with --column" in refusal(path)


def test_a_spelling_that_fits_twice_is_no_guess(write):
    """The exact one goes first."""
    assert ids_of(write("a.csv", "Customer ID,customer_id\n1,2\n")) == [2]
    assert "name the ids'" in refusal(write("a.csv", "Customer ID,CUSTOMER_ID\n1,2\n"))


@pytest.mark.parametrize(
    ("delimiter", "name"), [(";", "semicolons"), ("\t", "tabs"), ("|", "bars"), (",", None)]
)
def test_a_delimiter_is_guessed_and_said(write, caplog, delimiter, name):
    """From the columns' names, outside of quotes; commas need no word."""
    rows = [["Name", "Customer ID", '"a,b;c|d\te"'], ["Ada", "7", "x"], ['"A;,|\t"', "8", ""]]
    text = "".join(delimiter.join(row) + "\r\n" for row in rows)
    with caplog.at_level("INFO", "bcshopper.cli"):
        path = write("a.csv", text)
        assert ids_of(path) == [7, 8]
    said = [record.message for record in caplog.records]
    if name is None:
        assert said == []
    else:
        assert said == [f"{path} seems to have {name} between its columns, and is read so"]


def test_tsv_has_tabs_and_they_are_no_guess(write, caplog):
    """Whatever else is in its columns' names."""
    with caplog.at_level("INFO", "bcshopper.cli"):
        path = write("a.tsv", "a,b,c\tCustomer ID\n1,2,3\t7\nx\tx\n")
        good, rejects = skipping(path)
        assert good == [7]
    assert rejects.path == path.with_name("a.rejects.tsv")
    assert rejects.path.read_text() == "a,b,c\tCustomer ID\nx\tx\n"
    assert caplog.records == []


@given(values=customer_ids, others=st.data())
@pytest.mark.parametrize("way", EVERY_WAY)
def test_packed_ids_come_through_standard_input_too(way, values, others):
    """`cat ids.gz | bcshopper create`, whatever is in it."""
    notes = others.draw(st.lists(cells, min_size=len(values), max_size=len(values)))
    _, text = way(values, notes)
    options = OPTIONS.get(way, {})
    for content in (text.encode(), gzip.compress(text.encode(), mtime=0)):
        stdin = io.TextIOWrapper(io.BytesIO(content))
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, "stdin", stdin)
            assert list(read_ids(choose_source((), None, **options), CUSTOMER_IDS)) == values


@pytest.mark.parametrize("indent", [None, 1])
@pytest.mark.parametrize("where", ["file", "field", "stdin"])
@pytest.mark.parametrize("meta_first", [True, False])
def test_an_answer_of_the_api_is_input(write, stdin, indent, where, meta_first):
    """`{"data": [...]}`, as it came."""
    parts = [
        ("data", [{"customer_id": i, "note": {"data": [0]}} for i in (1, 2)]),
        ("meta", {"pagination": {"data": [9], "total": 2}}),
    ]
    text = json.dumps(dict(parts[::-1] if meta_first else parts), indent=indent)
    if where == "stdin":
        stdin(text.encode())
        assert list(read_ids(choose_source((), None), CUSTOMER_IDS)) == [1, 2]
    elif where == "field":
        assert ids_of(write("answer", text), field="customer_id") == [1, 2]
    else:
        assert ids_of(write("answer.json", text)) == [1, 2]


@pytest.mark.parametrize(
    "text", ['{"meta": {}}', '{"data": {}}', '{"data": 1}', '{"a": {"data": [1]}}', "{}"]
)
def test_an_object_without_an_array_is_no_list(write, text):
    """Nor is an array somewhere inside of it."""
    assert "is no JSON array" in refusal(write("a.json", text))


def test_an_answer_that_is_cut_is_malformed(write):
    """Half a list is no list."""
    assert "no valid JSON" in refusal(write("a.json", '{"data": [1, 2], "meta": {'))
    assert "no valid JSON" in refusal(write("a.json", '{"data": [1, 2'))


def test_json_lines_come_through_standard_input(stdin):
    """As `bcshopper list` prints them in a pipe."""
    stdin(b'{"id": "x", "customer_id": 1}\n{"id": "y", "customer_id": 2}\n')
    assert list(read_ids(choose_source((), None), CUSTOMER_IDS)) == [1, 2]


@pytest.mark.parametrize("name", ["customers.csv", "ids.txt", "ids.jsonl.gz"])
def test_a_file_among_the_arguments_is_pointed_out(write, name):
    """It was meant for `--from`."""
    path = str(write(name, "1\n"))
    with pytest.raises(click.UsageError, match=f"argument 1: .* is a file, .*: give --from {path}"):
        list(read_ids(choose_source((path,), None), CUSTOMER_IDS))
