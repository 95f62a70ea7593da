"""Whatever bytes a server sends, or a file holds: each reader has one way to say no, and says it.

Documents that a server or a person would write are bent: pieces cut, doubled, swapped with others,
and put in from a list of what such readers trip over.
"""

import contextlib
import gzip
import json
import math
import random
import time
from uuid import UUID

import click
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from multidict import CIMultiDict
from yarl import URL

from bcshopper import QuotaSnapshot, Segment, ShopperProfile
from bcshopper._batch.creation import Created
from bcshopper._cli._input import read_ids
from bcshopper._cli._source import CUSTOMER_IDS, PROFILE_IDS, choose_source
from bcshopper._customers.cursor import CursorDocument
from bcshopper._listing import ListDocument
from bcshopper._quota.headers import read_retry_after
from bcshopper._secret import Mask, Secret
from bcshopper._transport import MalformedDocumentError
from bcshopper._transport.convert import converter
from bcshopper._transport.messages import Reply, Request
from bcshopper._transport.problems import api_error, read_problems

SOME_ID = "2f8b1a4e-4f0c-4a8e-9d3b-0c1d2e3f4a5b"
PAGINATION = {"total": 1, "count": 1, "per_page": 50, "current_page": 1, "total_pages": 1}
ROW = {"id": SOME_ID, "customer_id": 7, "created_at": "2026-01-01T00:00:00Z", "updated_at": None}
DOCUMENTS = [
    {"data": [ROW, ROW | {"customer_id": 8}], "meta": {"pagination": PAGINATION}},
    {"data": [ROW], "meta": {}},
    {"data": [{"id": SOME_ID, "name": "VIP", "description": "", **ROW}], "meta": {}},
    {"data": [{"id": 7, "shopper_profile_id": SOME_ID, "segment_ids": [SOME_ID]}],
     "meta": {"cursor_pagination": {"links": {"next": "?after=abc", "current": "?before=x"}}}},
    {"data": [], "errors": [{"status": 409, "title": "no", "errors": {"0.customer_id": "no"}}]},
    {"status": 422, "title": "no", "type": "about:blank", "errors": {"12": "no", "0.id": "no"}},
    {"message": "no", "detail": "none", "errors": {"0": {"a": ["b"]}}},
]  # fmt: skip
FILES = [
    "1\n2\n\n3\n", "customer_id\n1\n2\n", 'name;customer_id\r\na;1\r\n"b\nc";2\r\n',
    f"id\tprofile_id\n1\t{SOME_ID}\n", '[1, 2, {"customer_id": 3}]', '{"customer_id": 1}\n"2"\n3\n',
    f'{{"meta": {{"a": [1]}}, "data": [{{"id": "{SOME_ID}", "customer_id": 5}}]}}',
]  # fmt: skip
SUFFIXES = ["", ".txt", ".csv", ".tsv", ".json", ".jsonl", ".csv.gz", ".json.gz", ".gz"]
HEADERS = {
    "X-Rate-Limit-Requests-Quota": "150", "X-Rate-Limit-Requests-Left": "35",
    "X-Rate-Limit-Time-Window-Ms": "30000", "X-Rate-Limit-Time-Reset-Ms": "15000",
    "X-Retry-After": "7", "Retry-After": "Wed, 21 Oct 2026 07:28:00 GMT",
    "Date": "Wed, 21 Oct 2026 07:27:00 GMT", "X-Request-ID": "a1b2",
}  # fmt: skip
TRIPS = [
    b"null", b"true", b"-1", b"1e999", b"-0", b"0.5", b"9" * 400, b"9" * 5000, b"1" + b"0" * 30,
    b"NaN", b"Infinity", b'"', b"\\", b"\\ud800", b"\\u0000", b"\x00", b"\xff", b"\xef\xbb\xbf",
    b"\x1f\x8b", b"[" * 50, b"[" * 5000, b'{"a":' * 2000, b"{}", b"[]", b'""', b"\n", b"\r",
    b"\r\n", b",", b";", b"\t", b"0001-01-01T00:00:00+23:59", b"9999-12-31T23:59:59-23:59",
    b"2026-02-30", b"-9-9-9", b"\xd9\xa3", b"\xc2\xb2", b"\xef\xbc\x91", b"0" * 101 + b"1", b" ",
    b"\xc2\xa0", b"data", b'"data":', b"#",
]  # fmt: skip

ordinary = settings(max_examples=150, suppress_health_check=list(HealthCheck))
at_length = settings(max_examples=40_000, suppress_health_check=list(HealthCheck))


@st.composite
def bent(draw, seeds):
    """One of these texts after a few strokes; the strokes are drawn at once, from one number."""
    text = draw(st.sampled_from(seeds))
    rng = random.Random(draw(st.integers(0, 2**64)))
    for _ in range(draw(st.integers(0, 6))):
        at, to = sorted((rng.randint(0, len(text)), rng.randint(0, len(text))))
        to = min(to, at + rng.choice([0, 1, 5, 40]))
        put = rng.choice([b"", text[at:to] * 2, rng.choice(TRIPS), rng.randbytes(2),
                          rng.choice(seeds)[at:to]])  # fmt: skip
        text = text[:at] + put + text[to:]
    return text


bodies = bent([json.dumps(document).encode() for document in DOCUMENTS] + [b"<html>no</html>", b""])
files = bent([file.encode() for file in FILES])
values = bent([value.encode() for value in HEADERS.values()]).map(lambda b: b.decode("latin-1"))


def check_documents(body):
    """What is taken is whole; what is not is said with a place and a reason."""
    for row in (ShopperProfile, Segment):
        for cls in (ListDocument[row], Created[row], CursorDocument):
            try:
                document = converter.loads(body, cls)
            except MalformedDocumentError as error:
                assert error.field.startswith("$")  # noqa: PT017 - it may be a document, too
            else:
                rows = document.data
                assert cls is CursorDocument or all(isinstance(one.id, UUID) for one in rows)


def check_problems(body, status):
    """They never fail, and an error can be printed, whatever it quotes."""
    for problem in read_problems(body):
        assert all(0 <= n < 50 for n in problem.words_by_position(50))
        assert problem.title is None or isinstance(problem.title, str)
    reply = Reply(status, "No", CIMultiDict(), body, Mask(Secret("t0ken-of-nobody")))
    request = Request("POST", URL("https://api.example/stores/a/v3/shopper-profiles"))
    error = api_error(request, reply)
    assert str(error).encode(errors="strict") is not None
    assert len(str(error)) < 5000


def check_headers(headers):
    """A quota that makes sense or none; seconds that can be slept, or none."""
    snapshot = QuotaSnapshot.from_headers(headers)
    if snapshot is not None:
        assert 0 <= snapshot.remaining <= snapshot.limit
        assert 0 <= snapshot.reset_in <= snapshot.window < math.inf
    for status in (200, 429, 503):
        asked = read_retry_after(headers, status=status, now=time.time())
        assert asked is None or 0 <= asked < math.inf


def check_file(folder, content, suffix, named, kind):
    """Ids that can be sent, complaints of lines, or a refusal of the file as bad usage."""
    path = folder / f"ids{suffix}"
    path.write_bytes(gzip.compress(content, 1) if suffix.endswith(".gz") else content)
    said = []
    with contextlib.suppress(click.UsageError):
        source = choose_source((), str(path), **named)
        for found in read_ids(source, kind, lambda record, reason: said.append((record, reason))):
            assert isinstance(found, UUID) or 0 < found < 2**63
    for record, reason in said:
        assert reason.startswith(str(path))
        assert reason.encode(errors="strict")
        assert isinstance(record.raw(), bytes)


FOUND = [
    # text that is not UTF-8, in a field that is text
    b'{"data": [{"id": "%s", "name": "caf\xe9"}], "meta": {}}' % SOME_ID.encode(),
    b'{"data": [{"id\xeay": "", "name": "\x8ab7-4f\xbf:e-9d3b", "name": "\x8ab7}], "meta": {}}',
]
"""Bodies that did something else once; each is tried always."""


@pytest.mark.parametrize("body", FOUND)
def test_a_body_that_was_trouble_once_is_none_any_more(body):
    """Whichever reader it was that tripped."""
    check_documents(body)
    check_problems(body, 422)


NAMED = [{}, {}, {"column": "customer_id"}, {"field": "customer_id"}]
NAMES = st.dictionaries(st.sampled_from(sorted(HEADERS)), values, max_size=8)


@ordinary
@given(bodies)
def test_a_document_is_taken_or_refused(body):
    """Never anything else."""
    check_documents(body)


@pytest.mark.long
@at_length
@given(bodies)
def test_a_document_is_taken_or_refused_at_length(body):
    """Never anything else."""
    check_documents(body)


@ordinary
@given(bodies, st.integers(200, 599))
def test_problems_are_read_from_anything(body, status):
    """And can be printed."""
    check_problems(body, status)


@pytest.mark.long
@at_length
@given(bodies, st.integers(200, 599))
def test_problems_are_read_from_anything_at_length(body, status):
    """And can be printed."""
    check_problems(body, status)


@ordinary
@given(NAMES)
def test_headers_make_sense_or_count_for_nothing(bad):
    """Each beside good ones."""
    check_headers(CIMultiDict(HEADERS | bad))
    check_headers(CIMultiDict(bad))


@pytest.mark.long
@at_length
@given(NAMES)
def test_headers_make_sense_or_count_for_nothing_at_length(bad):
    """Each beside good ones."""
    check_headers(CIMultiDict(HEADERS | bad))
    check_headers(CIMultiDict(bad))


@ordinary
@given(files, st.sampled_from(SUFFIXES), st.sampled_from(NAMED), st.booleans())
def test_a_file_of_ids_is_read_or_refused(tmp_path_factory, content, suffix, named, profiles):
    """In every format."""
    folder = tmp_path_factory.getbasetemp()
    check_file(folder, content, suffix, named, PROFILE_IDS if profiles else CUSTOMER_IDS)


@pytest.mark.long
@at_length
@given(files, st.sampled_from(SUFFIXES), st.sampled_from(NAMED), st.booleans())
def test_a_file_of_ids_is_read_or_refused_at_length(
    tmp_path_factory, content, suffix, named, profiles
):
    """In every format."""
    folder = tmp_path_factory.getbasetemp()
    check_file(folder, content, suffix, named, PROFILE_IDS if profiles else CUSTOMER_IDS)
