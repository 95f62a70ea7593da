"""What no caller and no server can make large, slow or wrong: settings, values, answers, events."""

import asyncio
import gc
import gzip
import json
import logging
import time
import tracemalloc
import weakref
from traceback import walk_tb

import pytest
from yarl import URL

from bcshopper import (
    BCShopperError,
    InvalidInputError,
    QuotaPolicy,
    ResponseFormatError,
    RetryPolicy,
    Session,
)
from bcshopper._inputs import shown
from bcshopper._listing import ListDocument
from bcshopper._models import ShopperProfile
from bcshopper._transport import MalformedDocumentError, Request, converter, read_problems
from bcshopper._transport.convert import MAX_PLAIN
from bcshopper._transport.http import MAX_BODY
from bcshopper.sandbox import Fault, Sandbox
from tests.transport.test_secrets import everything_about

ONCE = RetryPolicy(attempts=1)
MANY = 1_000_000


class Text(str):
    """A string of another class."""

    __slots__ = ()


class Rude:
    """A value that does not want to be shown."""

    def __repr__(self):
        raise RuntimeError


VALUES = {
    "text": "/" * MANY,
    "text of a class": Text("/" * MANY),
    "bytes": b"/" * MANY,
    "bytearray": bytearray(MANY),
    "memoryview": memoryview(bytes(MANY)),
    "number": -(10**5000),
    "list": [0] * MANY,
    "tuple": (None,) * MANY,
    "nested": [["x" * 1000] * 1000] * 1000,
    "dictionary": {"x" * MANY: "x" * MANY},
    "rude": Rude(),
}
TAKERS = {
    "customer id": lambda s, value: s.shopper_profiles.lookup([value]),
    "profile id": lambda s, value: s.shopper_profiles.delete([value]),
    "limit": lambda s, value: s.shopper_profiles.page(limit=value),
    "page": lambda s, value: s.shopper_profiles.page(value),
    "ids": lambda s, value: s.shopper_profiles.create(value),
    "store hash": lambda _, value: Session(value, "t"),
    "base_url": lambda _, value: Session("a", "t", base_url=value),
    "timeout": lambda _, value: Session("a", "t", timeout=value),
    "concurrency": lambda _, value: Session("a", "t", concurrency=value),
    "retry": lambda _, value: Session("a", "t", retry=value),
    "quota": lambda _, value: Session("a", "t", quota=value),
    "http": lambda _, value: Session("a", "t", http=value),
    "on_event": lambda _, value: Session("a", "t", on_event=value),
    "attempts": lambda _, value: RetryPolicy(attempts=value),
    "max_delay": lambda _, value: RetryPolicy(max_delay=value),
    "statuses": lambda _, value: RetryPolicy(statuses=value),
    "share": lambda _, value: QuotaPolicy(share=value),
    "pacing": lambda _, value: QuotaPolicy(pacing=value),
}


@pytest.mark.parametrize("value", VALUES)
@pytest.mark.parametrize("taker", TAKERS)
async def test_a_refused_value_of_any_size_makes_a_short_message(taker, value):
    """Whoever refuses it, whatever it is: nobody reads, or stores, a megabyte."""
    async with Sandbox() as sandbox, sandbox.session() as session:
        with pytest.raises(InvalidInputError) as caught:
            await TAKERS[taker](session, VALUES[value])
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize("value", VALUES)
def test_a_value_is_shown_without_making_text_of_all_of_it(value):
    """Its first few characters are enough, and cost as much as they are."""
    tracemalloc.start()
    try:
        text = shown(VALUES[value])
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(text) <= 200
    assert peak < 100_000


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"retry": 3}, "retry must be a RetryPolicy, not 3"),
        ({"retry": None}, "retry must be a RetryPolicy, not None"),
        ({"retry": RetryPolicy}, "retry must be a RetryPolicy, not <class"),
        ({"quota": 0.5}, "quota must be a QuotaPolicy, not 0.5"),
        ({"quota": RetryPolicy()}, "quota must be a QuotaPolicy, not RetryPolicy"),
        ({"on_event": 5}, "on_event must be callable, not 5"),
        ({"http": "https://example.com"}, "http must be a ClientSession, not 'https"),
        ({"http": Session}, "http must be a ClientSession, not <class"),
        ({"timeout": 10**4000}, "timeout must be a number above 0, not a number of more"),
        ({"concurrency": "10"}, "concurrency must be a whole number from 1, not '10'"),
    ],
)
def test_a_setting_of_a_wrong_type_is_refused_when_it_is_given(settings, words):
    """By its name and with its value; not with the first request."""
    with pytest.raises(InvalidInputError) as caught:
        Session("a", "t", **settings)
    assert str(caught.value).startswith(words)


@pytest.mark.parametrize("statuses", [5, None, "500", b"500", ["500"], [500, None], [True], [99]])
def test_statuses_of_a_wrong_type_are_refused_when_they_are_given(statuses):
    """A policy is whole or not made."""
    with pytest.raises(InvalidInputError, match="statuses must be") as caught:
        RetryPolicy(statuses=statuses)
    assert everything_about(caught.value)


@pytest.mark.parametrize("customer_id", [0, -1, 2**63, 2**64, 10**4000])
async def test_a_customer_id_out_of_range_is_told_the_range(customer_id):
    """From both ends."""
    async with Sandbox() as sandbox, sandbox.session() as session:
        with pytest.raises(InvalidInputError, match=f"from 1 to {2**63 - 1}$"):
            await session.shopper_profiles.create([customer_id])


PROFILES = ListDocument[ShopperProfile]
GOOD = b'{"id":"f47ac10b-58cc-4372-a567-0e02b2c3d479","customer_id":7.0}'
META = b'"meta":{"pagination":{"total":1,"count":1,"per_page":50,"current_page":1,"total_pages":1}}'
UNITS = [b"1", b"{}", b"[]", b'""', b"null", b'{"id":"1"}', GOOD.replace(b"7.0", b'"7"')]


def rows(unit, size):
    """A list of this one row, over and over, of about so many bytes."""
    return b'{"data":[%b],%b}' % (b",".join([unit] * (size // (len(unit) + 1))), META)


@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize("size", [150_000, MAX_PLAIN - 1000, MAX_BODY - 1000])
def test_bad_rows_cost_as_much_as_the_first(unit, size):
    """Neither time nor memory grows with an error for each."""
    body = rows(unit, size)
    tracemalloc.start()
    began = time.process_time()
    try:
        with pytest.raises(MalformedDocumentError) as caught:
            converter.loads(body, PROFILES)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert caught.value.field.startswith("$.data[0]")
    assert peak < 50_000_000
    assert time.process_time() - began < 2.0  # and of 150 KB it was 4, of 1 MiB 30


@pytest.mark.parametrize("place", [0, 1, 77])
def test_of_all_bad_rows_the_first_is_named(place):
    """After as many that are good."""
    body = b'{"data":[%b],%b}' % (b",".join([GOOD] * place + [b'{"id":5}'] * 50), META)
    with pytest.raises(MalformedDocumentError) as caught:
        converter.loads(body, PROFILES)
    assert caught.value.field.startswith(f"$.data[{place}].")


def test_a_document_that_is_exact_may_be_of_any_size():
    """Only what the strict decoder refuses is given up for its size."""
    exact = GOOD.replace(b"7.0", b"7")
    count = MAX_PLAIN // len(exact) + 1
    assert len(converter.loads(rows(exact, count * (len(exact) + 1)), PROFILES).data) == count
    with pytest.raises(MalformedDocumentError, match="bytes, Expected `int`") as caught:
        converter.loads(rows(GOOD, 2 * MAX_PLAIN), PROFILES)
    assert caught.value.field == "$.data[0].customer_id"
    assert len(converter.loads(rows(GOOD, MAX_PLAIN // 2), PROFILES).data) > 1000


def test_problems_without_end_are_read_to_an_end():
    """A refusal of 50 items has no more than that to say of each."""
    one = {"status": 422, "errors": {str(n): "no" for n in range(3000)}}
    (problem,) = read_problems(json.dumps({"errors": [one]}).encode())
    assert len(problem.errors) == 1000
    assert len(read_problems(json.dumps({"errors": [{"title": "no"}] * 3000}).encode())) == 1000
    assert read_problems(b'{"errors":[%b]}' % b",".join([b"{}"] * MAX_PLAIN)) == []


async def test_a_malformed_answer_is_read_once():
    """A second reading would say the same, and cost the same."""
    read = []

    def refuse(reply):
        read.append(reply)
        raise MalformedDocumentError("no")

    async with Sandbox(profiles=1) as sandbox, sandbox.session(retry=ONCE) as session:
        url = URL(f"{sandbox.url}/stores/sandbox/v3/shopper-profiles")
        with pytest.raises(ResponseFormatError):
            await session._transport.send(Request("GET", url), refuse)
    assert len(read) == 1


@pytest.mark.parametrize("unit", UNITS)
async def test_a_small_packed_answer_of_bad_rows_is_refused_at_its_first(unit):
    """By whoever reads it: a list, a look-up, a creation."""
    packed = gzip.compress(rows(unit, 150_000))
    assert len(packed) < 2000
    async with Sandbox(customers=3) as sandbox, sandbox.session(retry=ONCE) as session:
        for status, call in (
            (200, session.shopper_profiles.page),
            (200, lambda: session.shopper_profiles.list().all()),
            (200, lambda: session.shopper_profiles.lookup([1])),
        ):
            sandbox.faults.rule(Fault.answer(status, packed, headers={"Content-Encoding": "gzip"}))
            with pytest.raises(ResponseFormatError) as caught:
                await call()
            assert len(str(caught.value)) < 1000


class Odd(BaseException):
    """No `Exception`."""


@pytest.mark.parametrize("error", [asyncio.CancelledError, GeneratorExit, Odd, StopIteration])
async def test_whatever_a_callback_raises_is_logged_and_harms_nothing(error, caplog):
    """A cancellation of its own is not one of the caller's."""

    def raising(event):
        raise error

    async with Sandbox(customers=60) as sandbox, sandbox.session(on_event=raising) as session:
        assert (await session.shopper_profiles.create(range(1, 61))).ok
        assert len(await session.shopper_profiles.list(limit=10).all()) == 60
        outcomes = [o async for o in session.shopper_profiles.create_stream(range(1, 61))]
        assert len(outcomes) == 60
    records = [r for r in caplog.records if r.message.startswith("on_event raised")]
    assert len(records) > 10
    assert {r.levelno for r in records} == {logging.ERROR}
    assert {r.exc_info[0] for r in records} == {error}


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
async def test_a_callback_may_end_the_program(error):
    """What is meant for the whole process is not swallowed."""

    def raising(event):
        raise error

    async with Sandbox() as sandbox, sandbox.session(on_event=raising) as session:
        with pytest.raises(error):
            await session.shopper_profiles.page()


BAD_IDS = ["x", "", "f47ac10b", "f47ac10b-58cc-4372-a567-0e02b2c3d47g", 5, None, b"x" * 16, 1.5]


@pytest.mark.parametrize("value", BAD_IDS)
async def test_every_error_over_an_id_can_be_shown_with_locals(value):
    """A UUID that is only half made, which can't show itself, is in none of its frames."""
    async with Sandbox(profiles=1) as sandbox, sandbox.session(retry=ONCE) as session:
        profiles = session.shopper_profiles
        answer = {"data": [{"id": str(value), "customer_id": 1.0}], **json.loads(b"{%b}" % META)}
        sandbox.faults.rule(Fault.answer(200, json.dumps(answer).encode()))
        for call in (
            lambda: profiles.delete([value]),
            profiles.page,
            lambda: profiles.list().all(),
            lambda: profiles.list(consistent=True).all(),
        ):
            try:
                raise KeyError  # of somebody else
            except KeyError:
                with pytest.raises(BCShopperError) as caught:
                    await call()
            assert everything_about(caught.value)
            held = list(chain(caught.value))
            assert type(held[-1]) is KeyError
            files = {f.f_code.co_filename for e in held for f, _ in walk_tb(e.__traceback__)}
            assert not [name for name in files if name.endswith("uuid.py")]


def chain(error):
    """An error, and all that it came from."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


@pytest.mark.parametrize(
    "fault", [Fault.error(500), Fault.garbage(), Fault.answer(202, b"{}"), Fault.cut(applied=False)]
)
async def test_who_lets_go_of_an_error_lets_go_of_the_answer(fault):
    """At once: an answer can be large, and the collector of cycles comes late."""
    async with Sandbox() as sandbox, sandbox.session(retry=ONCE) as session:
        sandbox.faults.rule(fault)
        gc.collect()
        gc.disable()
        try:
            try:
                await session.shopper_profiles.page()
            except BCShopperError as error:
                seen = weakref.ref(error)
            await asyncio.sleep(0)
            assert seen() is None
        finally:
            gc.enable()
