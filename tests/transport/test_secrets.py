"""The access token shows nowhere: errors, logs, events, reprs, tracebacks with locals, pickles."""

import asyncio
import html
import json
import logging
import pickle
import traceback
import urllib.parse

import aiohttp
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bcshopper import APIError, BCShopperError, InvalidInputError, RetryPolicy, Session, Status
from bcshopper._secret import Mask
from bcshopper.sandbox import Fault, Sandbox

TOKEN = "t0ken-4711-of-nobody"
PARTS = [TOKEN[:12], TOKEN[-12:]]  # what an excerpt or a quotation may cut off

TROUBLE = {
    "none": None,
    "400": Fault.error(400),
    "401": Fault.error(401),
    "403": Fault.error(403, body="html"),
    "404": Fault.error(404),
    "409": Fault.error(409),
    "413": Fault.error(413),
    "422": Fault.error(422, body="problem"),
    "429": Fault.error(429),
    "500": Fault.error(500),
    "cut": Fault.cut(applied=True),
    "half": Fault.half(),
    "stall": Fault.stall(),
    "garbage": Fault.garbage(),
    "no list": Fault.answer(200, b"[]"),
    "bad header": Fault.answer(200, b"{}", headers={"Content-Encoding": "gzip"}),
    "redirect": Fault.answer(302, b"", headers={"Location": "https://example.com"}),
}


def everything_about(error):
    """All that a handler could print of an exception and of all that it came from."""
    seen, ahead = [], [error]
    while ahead:
        error = ahead.pop()
        if error is None:
            continue
        report = traceback.TracebackException.from_exception(error, capture_locals=True)
        ours = [f for f in report.stack if "tests" not in f.filename]
        seen += [str(error), repr(error), *(str(frame.locals) for frame in ours)]
        if isinstance(error, BCShopperError):
            seen += [repr(pickle.dumps(error)), repr(vars(error))]
        ahead += [error.__cause__, error.__context__]
    return "\n".join(seen)


@pytest.mark.parametrize("trouble", TROUBLE)
@pytest.mark.parametrize("lent", [False, True])
async def test_the_token_shows_nowhere(trouble, lent, caplog):
    """Each call, in each kind of trouble, with all logging at its most talkative."""
    caplog.set_level(logging.DEBUG)
    events, told = [], []
    async with Sandbox(customers=10, profiles=5) as sandbox, aiohttp.ClientSession() as http:
        sandbox.access_token = TOKEN
        sandbox._server._tokens = {TOKEN: True}
        if TROUBLE[trouble] is not None:
            sandbox.faults.rule(TROUBLE[trouble])
        session = sandbox.session(
            http=http if lent else None, on_event=events.append, retry=RetryPolicy(attempts=2)
        )
        profiles = session.shopper_profiles
        for call in (
            profiles.page,
            profiles.list().all,
            lambda: profiles.create([1, 2, 9]),
            lambda: profiles.delete(list(sandbox.store.profiles)),
            lambda: profiles.lookup([1]),
            lambda: profiles.delete_all(confirm="sandbox"),
            lambda: profiles.create(["x"]),
        ):
            try:
                told.append(repr(await call()))
            except BCShopperError as error:
                told.append(everything_about(error))
        told += [repr(session), repr(session.stats), repr(session.quota), repr(profiles)]
        told += [repr(vars(session)), repr(vars(session._transport))]
        await session.aclose()
        told += [repr(sandbox.record.requests)]
    told += [repr(event) for event in events]
    told += [record.getMessage() + repr(vars(record)) for record in caplog.records]
    assert len(told) > 20
    assert not [text for text in told if TOKEN in text]


def test_the_token_is_in_no_traceback_of_a_bad_environment(monkeypatch):
    """A refused setting shows the setting, not its neighbours."""
    monkeypatch.setenv("BIGCOMMERCE_STORE_HASH", "a/b")
    monkeypatch.setenv("BIGCOMMERCE_ACCESS_TOKEN", TOKEN)
    with pytest.raises(InvalidInputError) as caught:
        Session.from_env()
    assert TOKEN not in everything_about(caught.value)


def test_the_check_can_fail():
    """A token in a local variable of a library's frame is found by what the tests above use."""
    names: dict = {}
    source = f"def leak():\n    token = {TOKEN!r}\n    raise KeyError\n"
    exec(compile(source, "library.py", "exec"), names)
    with pytest.raises(KeyError) as caught:
        names["leak"]()
    assert TOKEN in everything_about(caught.value)


def test_the_token_cannot_be_pickled_with_a_session():
    """A session does not leave its process."""
    with pytest.raises(TypeError):
        pickle.dumps(Session("a", TOKEN))


async def say(raw_server, said, caplog):
    """All that is shown of calls to a server that answers with these bytes."""
    caplog.set_level(logging.DEBUG)
    events, told = [], []
    url = await raw_server(said)
    retry = RetryPolicy(attempts=2)
    async with Session("a", TOKEN, base_url=url, retry=retry, on_event=events.append) as session:
        profiles = session.shopper_profiles
        for call in (
            profiles.page,
            lambda: profiles.create([1, 2]),
            lambda: profiles.delete(["f47ac10b-58cc-4372-a567-0e02b2c3d479"]),
            lambda: profiles.lookup([1]),
        ):
            with pytest.raises(BCShopperError) as caught:
                await call()
            told.append(everything_about(caught.value))
    told += [repr(event) for event in events]
    return told + [record.getMessage() for record in caplog.records]


T = TOKEN.encode()
MALFORMED = {
    "status line": b"%b\r\n\r\n" % T,
    "status": b"HTTP/1.1 %b\r\n\r\n" % T,
    "header name": b"HTTP/1.1 200 OK\r\nX %b: 1\r\n\r\n" % T,
    "header value": b"HTTP/1.1 200 OK\r\nX: %b\0\r\n\r\n" % T,
    "header too long": b"HTTP/1.1 200 OK\r\nX: %b%b\r\n\r\n" % (T, b"x" * 9000),
    "header too long, cut": b"HTTP/1.1 200 OK\r\nX: %b%b\r\n\r\n" % (b"x" * 86, T * 900),
    "length": b"HTTP/1.1 200 OK\r\nContent-Length: %b\r\n\r\n" % T,
    "chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%b\r\n" % T,
    "head that ends": b"HTTP/1.1 200 OK\r\nX: %b\r\n" % T,
    "body that ends": b"HTTP/1.1 200 OK\r\nX: %b\r\nContent-Length: 99\r\n\r\n%b" % (T, T),
    "gzip": b"HTTP/1.1 200 OK\r\nX: %b\r\nContent-Encoding: gzip\r\nContent-Length: 20\r\n\r\n%b"
    % (T, T),
    "after the end": b"HTTP/1.1 500 No\r\nConnection: close\r\nContent-Length: 0\r\n\r\n%b" % T,
}


@pytest.mark.parametrize("what", MALFORMED)
async def test_a_malformed_answer_that_holds_the_token_is_quoted_without_it(
    what, raw_server, caplog
):
    """Aiohttp's parser quotes the line that it can't read, whole or in part."""
    told = await say(raw_server, lambda _: MALFORMED[what], caplog)
    assert len(told) > 10
    assert not [text for text in told if any(part in text for part in [TOKEN, *PARTS])]


def escaped(template):
    """Each of its characters in this form."""
    return lambda text: "".join(template.format(ord(c), c) for c in text)


FORMS = {
    "as it is": str,
    "in capitals": str.upper,
    "in JSON": lambda text: json.dumps(text)[1:-1],
    "in JSON in JSON": lambda text: json.dumps(json.dumps(text))[3:-3],
    "in JSON by number": escaped("\\u{:04x}"),
    "in JSON by number in capitals": escaped("\\u{:04X}"),
    "in JSON with slashes": lambda text: json.dumps(text)[1:-1].replace("/", "\\/"),
    "in a URL": lambda text: urllib.parse.quote(text, safe=""),
    "in a URL in a URL": lambda text: urllib.parse.quote(
        urllib.parse.quote(text, safe=""), safe=""
    ),
    "in a URL by number": escaped("%{:02X}"),
    "in HTML": html.escape,
    "in HTML by number": escaped("&#{:d};"),
    "in HTML by number in capitals": escaped("&#x{:X};"),
    "in Python": lambda text: repr(text)[1:-1],
    "in Python's bytes": lambda text: repr(text.encode())[2:-1],
    "in Python by number": escaped("\\x{:02x}"),
    "half and half": lambda text: text[:7] + escaped("\\u{:04x}")(text[7:]),
}
tokens = st.builds(
    "{}7{}".format,
    st.text("abcdefghijklmnopqrstuvwxyz", min_size=1),
    st.text("abcdefghijklmnopqrstuvwxyz0123456789!\"'&/<>=+-_.", min_size=15, max_size=40),
)


around = st.text("ÄÖ€😀 \n{}[]:,")


@given(tokens, st.sampled_from(sorted(FORMS)), around, around)
def test_a_token_is_masked_in_every_form(token, form, before, after):
    """However a server escapes it, nothing of the token is left, and the rest is as it was."""
    shown = Mask(token)(f"{before}{FORMS[form](token)}{after}")
    assert shown == f"{before}[secure]{after}"


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("status", ["200 OK", "207 Some", "500 No"])
async def test_a_token_that_is_echoed_in_any_form_is_not_shown(form, status, raw_server, caplog):
    """In the excerpt of a body, and in the text that JSON decodes it to."""
    echo = FORMS[form](TOKEN).replace('"', "")
    body = (
        f'{{"title": "you said {echo}", "type": "{echo}", "status": "{echo}", "data": "{echo}",'
        f' "errors": {{"0.{echo}": "{echo}"}}, "meta": {{"{echo}": 1}}}}'
    ).encode()
    answer = f"HTTP/1.1 {status}\r\nX-Request-ID: {echo}\r\nContent-Length: {len(body)}\r\n\r\n"
    told = await say(raw_server, lambda _: answer.encode() + body, caplog)
    assert not [text for text in told if any(p in text for p in [TOKEN, TOKEN.upper(), echo])]


WORDS = ["t", "a", "0", "1", "no", "data", "title", "errors", "customer_id", "profile", "shopper"]


@pytest.mark.parametrize("token", [*WORDS, "created", "12345678", "shopper-profiles"])
async def test_a_token_that_is_a_word_changes_nothing_of_an_answer(token):
    """Answers are decoded as they came, and messages can be read."""
    async with Sandbox(customers=60, profiles=3) as sandbox:
        sandbox._server._tokens = {token: True}
        title = "Unable to create shopper profiles, no customer_id 12345678: data 0 1"
        async with Session("sandbox", token, base_url=sandbox.url) as session:
            profiles = session.shopper_profiles
            assert len(await profiles.list().all()) == 3
            report = await profiles.create([*range(1, 60), 99, 12345678], check=False)
            assert [o.status for o in report].count(Status.REJECTED) == 2
            assert "Customer `12345678` does" in str(report[-1].error)
            sandbox.faults.rule(
                Fault.answer(400, json.dumps({"title": title, "errors": {"0.a": "no"}}).encode())
            )
            with pytest.raises(APIError) as caught:
                await profiles.page()
        assert caught.value.title == title
        assert caught.value.errors == {"0.a": "no"}
        assert "[secure]" not in everything_about(caught.value)


@pytest.mark.parametrize(
    "dump",
    [
        "X-Auth-Token: {}\r\nHost: x",
        '{{"X-Auth-Token": "{}"}}',
        '{{"x-auth-token":"\\u0074"}}',
        '"{{\\"X-Auth-Token\\": \\"{}\\"}}"',
        "b'X-Auth-Token: {}\\r\\n'",
        "('X-Auth-Token', '{}')",
        "<br>X-AUTH-TOKEN: {}<br>",
        "X-Auth-Token={}",
    ],
)
def test_a_short_token_is_masked_behind_its_headers_name(dump):
    """Elsewhere nobody can tell it from an ordinary letter."""
    text = dump.format("t")
    shown = Mask("t")(f"the text {text} tells it")
    assert "[secure]" in shown
    assert shown.replace("[secure]", "t") == f"the text {text} tells it".replace("\\u0074", "t")


async def test_a_lost_post_holds_nothing_of_aiohttp():
    """Its cause keeps type and words: no frames, whose locals hold the headers, no attributes."""

    async def handle(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.transport.abort()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with Session("a", TOKEN, base_url=url, retry=RetryPolicy(attempts=1)) as session:
        report = await session.shopper_profiles.create([1], check=False)
    server.close()
    error = report[0].error
    shown = everything_about(error)
    assert "headers_buf" not in shown
    assert "aiohttp/" not in "".join(traceback.format_exception(error))
    while error is not None:
        cause = error.__cause__
        assert error.__context__ is None
        if cause is not None and not isinstance(cause, BCShopperError):
            assert isinstance(cause, aiohttp.ClientError)
            assert str(cause)
            assert type(cause).__name__ in repr(cause)
            assert cause.__traceback__ is None
            assert vars(cause) == {}
        error = cause
