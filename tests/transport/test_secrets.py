"""The access token shows nowhere: errors, logs, events, reprs, tracebacks with locals, pickles."""

import logging
import pickle
import traceback

import aiohttp
import pytest

from bcshopper import BCShopperError, InvalidInputError, RetryPolicy, Session
from bcshopper.sandbox import Fault, Sandbox

TOKEN = "t0ken-4711-of-nobody"

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
    seen = []
    while error is not None:
        report = traceback.TracebackException.from_exception(error, capture_locals=True)
        ours = [f for f in report.stack if "tests" not in f.filename]
        seen += [str(error), repr(error), *(str(frame.locals) for frame in ours)]
        if isinstance(error, BCShopperError):
            seen += [repr(pickle.dumps(error)), repr(vars(error))]
        error = error.__cause__ or error.__context__
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
