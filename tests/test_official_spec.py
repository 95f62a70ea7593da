"""The client against a mock server that Prism makes of BigCommerce's own OpenAPI file.

Prism is no code of ours: it checks every request against the file, and makes its answers of it.
"""

import asyncio
import os
import queue
import re
import shutil
import signal
import subprocess
import threading
import time
from contextlib import suppress
from pathlib import Path
from uuid import UUID

import aiohttp
import pytest

from bcshopper import (
    BadRequestError,
    BCShopperError,
    NotFoundError,
    ResponseFormatError,
    RetryPolicy,
    Session,
    Status,
)

pytestmark = pytest.mark.real_time

STORE = "abc123"
TOKEN = "made-up"
# The customer of whom every answer of the mock speaks: the file's own example.
CUSTOMER = 1
VALID = {"Accept": "application/json", "X-Auth-Token": TOKEN}

_PREFIX = f"/stores/{STORE}/v3"
_DOWNLOAD_AND_START = 180.0
_ANSWER = 30.0
_STOP = 10.0
_PASSED = "The request passed the validation rules"
# The pipe closes however the tests end, even killed, and then all that was started ends: npx, the
# shell that it starts, and Prism itself, which would outlive both.
_LEASH = '"$@" & exec >&- 2>&-; read -r _; kill 0'
_VERDICT = re.compile(rf"{_PASSED}|Request did not pass the validation rules|NO_\w+_MATCHED_ERROR")


class Prism:
    """A running mock server, and what it says of each request."""

    def __init__(self, command, cwd):
        self._process = subprocess.Popen(
            ["sh", "-c", _LEASH, "sh", *command],
            cwd=cwd,
            env=os.environ | {"FORCE_COLOR": "0"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            start_new_session=True,
        )
        self._output = []
        self._lines = queue.SimpleQueue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self):
        with self._process.stdout as output:
            for line in output:
                self._output.append(line)
                self._lines.put(line)
        self._lines.put(None)

    def _find(self, pattern, count, seconds):
        deadline = time.monotonic() + seconds
        found = []
        while len(found) < count:
            try:
                line = self._lines.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                line = None
            if line is None:
                pytest.fail(f"Prism did not say {pattern.pattern!r}:\n{''.join(self._output)}")
            if match := pattern.search(line):
                found.append(match)
        return found

    def wait_until_ready(self):
        """Wait for the address that it has chosen, and return it."""
        listening = re.compile(r"Prism is listening on (http://127\.0\.0\.1:\d+)")
        return self._find(listening, 1, _DOWNLOAD_AND_START)[0][1]

    def forget(self):
        """Leave what it has said so far to whoever asked for it."""
        with suppress(queue.Empty):
            while True:
                self._lines.get_nowait()

    async def verdicts(self, count):
        """Whether each of the next requests was valid."""
        found = await asyncio.to_thread(self._find, _VERDICT, count, _ANSWER)
        return [match[0] == _PASSED for match in found]

    def stop(self):
        """End it, with every process that it has started."""
        self._process.stdin.close()
        # The output ends with the last process that could write to it.
        self._reader.join(_STOP)
        if self._reader.is_alive():
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait(_STOP)


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    """Prism and its address, for all tests here."""
    given = os.environ.get("BCSHOPPER_OPENAPI_FILE")
    if not given:
        pytest.skip("BCSHOPPER_OPENAPI_FILE does not name BigCommerce's OpenAPI file")
    if not Path(given).is_file():
        pytest.skip(f"BCSHOPPER_OPENAPI_FILE names {given}, which is no file")
    npx = shutil.which("npx")
    if npx is None:
        pytest.skip("npx, which comes with Node.js and runs Prism, is not on the PATH")
    # Prism ignores the path of `servers`, so the paths themselves must have it.
    document, paths = re.subn(
        r"""^  (['"]?)(/[^\s'"]*)\1:""",
        rf"  \1{_PREFIX}\2\1:",
        Path(given).read_text(encoding="utf-8"),
        flags=re.MULTILINE,
    )
    assert paths, f"no paths were found in {given}"
    folder = tmp_path_factory.mktemp("prism")
    (folder / "openapi.yml").write_text(document, encoding="utf-8")
    # Port 0: Prism takes a free one and tells which.
    options = "--yes --prefer-offline @stoplight/prism-cli@5 mock --errors --port 0 openapi.yml"
    prism = Prism([npx, *options.split()], folder)
    try:
        yield prism, prism.wait_until_ready()
    finally:
        prism.stop()


@pytest.fixture
def prism(running):
    """The mock server, which has nothing to say yet."""
    running[0].forget()
    return running[0]


@pytest.fixture
def address(running):
    """Where the mock server is."""
    return running[1]


@pytest.fixture
async def session(address):
    """A session with the mock server, which repeats nothing."""
    async with Session(STORE, TOKEN, base_url=address, retry=RetryPolicy(attempts=1)) as session:
        yield session


def check_example(profile):
    """It is the profile that the file describes."""
    assert isinstance(profile.id, UUID)
    assert profile.customer_id == CUSTOMER
    assert profile.created_at.utcoffset() is not None
    assert profile.updated_at.utcoffset() is not None


async def test_walking_the_list_follows_the_official_file(prism, session):
    """The one page of the example is asked for properly, and read whole."""
    pages = [page async for page in session.shopper_profiles.list().pages()]
    assert await prism.verdicts(session.stats.requests) == [True]
    (page,) = pages
    (profile,) = page
    check_example(profile)
    assert page.pagination.total_pages == 1


@pytest.mark.parametrize("limit", [1, 250])
async def test_one_page_follows_the_official_file(prism, session, limit):
    """Limits of any size are valid; the server's pagination is read."""
    page = await session.shopper_profiles.page(limit=limit)
    assert await prism.verdicts(session.stats.requests) == [True]
    check_example(*page)
    assert page.pagination.total == page.pagination.count == 1
    assert page.pagination.per_page == 50
    assert page.pagination.current_page == 1


async def test_a_page_past_the_end_follows_the_official_file(prism, session):
    """Page numbers of any size are valid; that the mock gives its one page is noticed."""
    with pytest.raises(ResponseFormatError, match="1 items came for page 40000 of 1"):
        await session.shopper_profiles.page(40_000)
    assert await prism.verdicts(session.stats.requests) == [True]


async def test_create_follows_the_official_file(prism, session):
    """A created profile is asked for properly, and comes back whole."""
    report = await session.shopper_profiles.create([CUSTOMER])
    assert await prism.verdicts(session.stats.requests) == [True]
    (outcome,) = report
    assert outcome.status is Status.CREATED
    check_example(outcome.profile)
    assert outcome.profile_id == outcome.profile.id


async def test_create_sends_a_valid_full_chunk_and_claims_only_what_the_answer_shows(
    prism, session
):
    """Fifty customers are a valid body; those whom the mock's answer leaves out stay in doubt."""
    report = await session.shopper_profiles.create(range(CUSTOMER, CUSTOMER + 50), check=False)
    # The look-up that follows is of another API, which the file does not have.
    assert await prism.verdicts(session.stats.requests) == [True, False]
    assert report[0].status is Status.CREATED
    assert {outcome.status for outcome in report[1:]} == {Status.UNKNOWN}


SEGMENT = UUID("dfada416-eba1-49cf-ad21-0f48b48d50ad")
SOME_PROFILES = [UUID(int=n) for n in range(1, 50)]
FAMILY = {
    "list segments": lambda s: s.segments.page(3, limit=250),
    "get a segment": lambda s: s.segments.get(SEGMENT),
    "find a segment": lambda s: s.segments.find("My Segment"),
    "create a segment": lambda s: s.segments.create("My Segment", description="Description"),
    "update a segment": lambda s: s.segments.update(SEGMENT, name="My Segment"),
    "delete segments": lambda s: s.segments.delete([SEGMENT, *SOME_PROFILES[:9]], check=False),
    "delete all segments": lambda s: s.segments.delete_all(confirm=STORE),
    "list members": lambda s: s.segments.members(SEGMENT).page(2, limit=250),
    "add members": lambda s: s.segments.members(SEGMENT).add(SOME_PROFILES, check=False),
    "remove members": lambda s: s.segments.members(SEGMENT).remove(SOME_PROFILES, check=False),
    "clear a segment": lambda s: s.segments.members(SEGMENT).clear(confirm=SEGMENT),
    "segments of a profile": lambda s: s.shopper_profiles.segments(SOME_PROFILES[0]).all(),
}


@pytest.mark.parametrize("verb", FAMILY)
async def test_every_verb_of_the_family_follows_the_official_file(prism, session, verb):
    """Each request is valid; the mock's one answer to all may contradict itself, and is ours."""
    with suppress(BCShopperError):
        await FAMILY[verb](session)
    sent = session.stats.requests
    assert sent > 0
    assert set(await prism.verdicts(sent)) == {True}


async def test_a_refusal_as_in_the_official_file_is_read_word_by_word(prism, address):
    """The documented body of a 400 becomes the outcome's error.

    Whether the customer has a profile can't be looked up there, so that it is not called rejected.
    """
    async with (
        aiohttp.ClientSession(headers={"Prefer": "code=400"}) as http,
        Session(STORE, TOKEN, base_url=address, http=http) as session,
    ):
        report = await session.shopper_profiles.create([CUSTOMER], check=False)
        assert await prism.verdicts(session.stats.requests) == [True, False]
    (outcome,) = report
    assert outcome.status is Status.UNKNOWN
    assert isinstance(outcome.error, BadRequestError)
    assert outcome.error.status == 400  # whatever the status that the body claims
    assert outcome.error.title == outcome.error.type == "string"
    assert set(outcome.error.errors.values()) == {"string"}


async def test_delete_follows_the_official_file(prism, session):
    """Two chunks of ids are valid queries, and the empty answer is a success."""
    ids = [UUID(int=number) for number in range(1, 61)]
    report = await session.shopper_profiles.delete(ids)
    assert session.stats.requests == 2
    assert await prism.verdicts(session.stats.requests) == [True, True]
    assert [outcome.item for outcome in report.deleted] == ids


async def test_another_store_is_not_served(prism, address):
    """The store's prefix is part of what the mock checks."""
    async with Session("other", TOKEN, base_url=address) as session:
        with pytest.raises(NotFoundError):
            await session.shopper_profiles.page()
        assert await prism.verdicts(session.stats.requests) == [False]


@pytest.mark.parametrize(
    ("method", "path", "request_parts", "status"),
    [
        ("POST", f"{_PREFIX}/shopper-profiles", {"json": {"customer_id": 1}}, 400),
        ("POST", f"{_PREFIX}/shopper-profiles", {"json": [{"customer_id": "1"}]}, 400),
        ("POST", f"{_PREFIX}/shopper-profiles", {}, 400),
        ("POST", f"{_PREFIX}/shopper-profiles", {"data": "customer_id=1"}, 400),
        ("GET", f"{_PREFIX}/shopper-profiles?page=first", {}, 422),
        ("GET", f"{_PREFIX}/shopper-profiles", {"headers": {"X-Auth-Token": TOKEN}}, 422),
        ("GET", f"{_PREFIX}/shopper-profiles", {"headers": {"Accept": "*/*"}}, 401),
        ("PUT", f"{_PREFIX}/shopper-profiles", {"json": []}, 405),
        ("GET", f"{_PREFIX}/profiles", {}, 404),
        ("GET", "/shopper-profiles", {}, 404),
    ],
    ids=[
        "body_no_array",
        "id_no_number",
        "no_body",
        "body_no_json",
        "page_no_number",
        "no_accept",
        "no_token",
        "unknown_method",
        "unknown_path",
        "no_store",
    ],
)
async def test_the_mock_refuses_an_invalid_request(
    prism, address, method, path, request_parts, status
):
    """What passes above has passed a check that can fail."""
    request = {"headers": VALID, "skip_auto_headers": ["Accept"]} | request_parts
    async with (
        aiohttp.ClientSession() as http,
        http.request(method, address + path, **request) as response,
    ):
        assert response.status == status
    assert await prism.verdicts(1) == [False]
