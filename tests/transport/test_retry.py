import random
from contextlib import nullcontext

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict

from bcshopper import RetryPolicy
from bcshopper._profiles import ProfileRequests
from bcshopper._quota.headers import read_retry_after
from bcshopper._transport import Effect, effect_of, post
from bcshopper._transport.problems import error_class
from bcshopper.errors import (
    InvalidInputError,
    RequestTimeoutError,
    ResponseFormatError,
    SessionClosedError,
    TransportError,
)
from bcshopper.sandbox import Fault, Sandbox

PASSING = {408, 423, 425, 429, 500, 502, 503, 504, 507}
NOON = 1_445_428_800.0  # Wed, 21 Oct 2015 12:00:00 GMT


def api(status, retry_after=None):
    """An error answer."""
    return error_class(status)(
        "no", status=status, title="no", type=None, errors={}, method="GET",
        url="https://h.example", request_id=None, retry_after=retry_after, body="",
    )  # fmt: skip


def lost(*, sent, cls=TransportError):
    """An answer that never came."""
    return cls("lost", method="GET", url="https://h.example", sent=sent)


GARBLED = ResponseFormatError(
    "no", method="GET", url="https://h.example", status=200, field="$", excerpt=""
)


def longest(error, *, method="GET", attempt=1, elapsed=0.0, held=0.0, **settings):
    """The longest delay that may be drawn."""
    drawn = []

    def uniform(low, high):
        drawn.append(low)
        return high

    delay = RetryPolicy(**settings).delay(
        error, method=method, attempt=attempt, elapsed=elapsed, held=held, uniform=uniform
    )
    assert set(drawn) <= {0.0}, "a delay is drawn from 0 on"
    return delay


@pytest.mark.parametrize(
    ("error", "given", "delay"),
    [
        (api(503), {}, 0.5),
        (api(503), {"attempt": 2}, 1.0),
        (api(503), {"attempt": 3}, 2.0),
        (api(503), {"attempt": 4}, 4.0),
        (api(503), {"attempt": 5}, None),
        (api(503), {"attempt": 6}, None),
        (api(503), {"attempts": 1}, None),
        (api(503), {"method": "POST"}, 1.0),
        (api(503), {"method": "DELETE"}, 1.0),
        (api(503), {"method": "DELETE", "attempt": 3}, 4.0),
        (api(503), {"base_delay": 3.0, "attempt": 2}, 6.0),
        (api(503), {"attempts": 99, "attempt": 6}, 16.0),
        (api(503), {"attempts": 99, "attempt": 7}, 30.0),
        (api(503), {"attempts": 99, "attempt": 7, "method": "POST"}, 30.0),
        (api(503), {"attempts": 10**9, "attempt": 10**6}, 30.0),
        (api(503), {"max_delay": 0.1}, 0.1),
        # where the API says how long, it is at least that, and never no wait at all
        (api(503, 7.0), {}, 7.0),
        (api(503, 7.0), {"method": "POST", "attempt": 4}, 8.0),
        (api(503, 0.0), {}, 0.5),
        (api(429, 45.0), {"max_delay": 1.0}, 45.0),
        (api(429, 1e9), {}, 120.0),
        (api(429, 9.0), {"max_retry_after": 5.0}, 5.0),
        (api(429, 9.0), {"max_retry_after": 0.5}, 0.5),
        (api(429, 9.0), {"attempt": 5}, None),
        (api(400, 9.0), {}, None),
        # no other try starts later than this
        (api(503), {"max_elapsed": 10.0, "elapsed": 9.5}, 0.5),
        (api(503), {"max_elapsed": 10.0, "elapsed": 9.6}, None),
        (api(429, 11.0), {"max_elapsed": 10.0}, None),
        (api(429, 30.0), {"max_elapsed": 10.0, "max_retry_after": 8.0}, 8.0),
        (api(503), {"elapsed": 1e9}, 0.5),
        # what the quota holds is waited for too, and counts
        (api(429, 9.0), {"held": 9.25}, 9.25),
        (api(429, 9.0), {"held": 3.0}, 9.0),
        (api(503), {"held": 7.0}, 7.0),
        (api(502), {"held": 7.0, "max_delay": 0.1}, 7.0),
        (lost(sent=False), {"held": 7.0}, 7.0),
        (api(429, 9.0), {"held": 9.25, "max_elapsed": 9.0}, None),
        (lost(sent=False), {"held": 9.25, "max_elapsed": 9.0}, None),
        (api(429, 9.0), {"held": 9.25, "max_retry_after": 5.0}, None),
        (api(503), {"held": 5.1, "max_retry_after": 5.0}, None),
        (api(503), {"held": 5.0, "max_retry_after": 5.0}, 5.0),
        # only after a 429 or 503 is that a wait that the API asks for
        (api(500), {"held": 9.0, "max_retry_after": 5.0}, 9.0),
        (lost(sent=False), {"held": 9.0, "max_retry_after": 5.0}, 9.0),
        # everything that is not an answer may pass
        (lost(sent=True), {}, 0.5),
        (lost(sent=False), {}, 0.5),
        (lost(sent=True, cls=RequestTimeoutError), {}, 0.5),
        (GARBLED, {}, 0.5),
        (SessionClosedError("closed"), {}, None),
        (InvalidInputError("bad"), {}, None),
        (api(404), {"statuses": {404}}, 0.5),
        (api(503), {"statuses": {404}}, None),
    ],
)
def test_the_delay_before_the_next_try(error, given, delay):
    """It doubles, is capped, is longer for writes, and yields to what the API asks for."""
    assert longest(error, **given) == delay


@pytest.mark.parametrize("status", range(300, 600))
def test_only_statuses_that_may_pass_are_tried_again(status):
    """A refusal is final; an overload, a lock and a failure are not."""
    assert (longest(api(status)) is not None) == (status in PASSING)


@given(
    st.integers(1, 10**6),
    st.sampled_from(["GET", "POST", "DELETE"]),
    st.sampled_from(sorted(PASSING)),
    st.none() | st.floats(0, 1e12),
)
def test_a_delay_is_never_negative_nor_above_its_caps(attempt, method, status, asked):
    """Whatever the API asks, whatever is drawn."""
    policy = RetryPolicy(attempts=10**7, base_delay=2.0, max_delay=7.0, max_retry_after=11.0)
    delay = policy.delay(api(status, asked), method=method, attempt=attempt, elapsed=0.0)
    assert 0 <= delay <= (7.0 if asked is None else 11.0)


def test_delays_are_drawn_at_random():
    """Clients that failed together do not come back together."""
    draw = random.Random(1).uniform
    policy = RetryPolicy()
    delays = {
        policy.delay(api(503), method="GET", attempt=4, elapsed=0.0, uniform=draw)
        for _ in range(100)
    }
    assert len(delays) == 100
    assert min(delays) < 0.5
    assert max(delays) > 3.5


@pytest.mark.parametrize("name", ["attempts", "max_delay", "max_retry_after"])
@pytest.mark.parametrize("value", [0, -1, float("nan")])
def test_a_policy_that_makes_no_sense_is_refused(name, value):
    """By name, when it is made."""
    with pytest.raises(ValueError, match=name):
        RetryPolicy(**{name: value})


@pytest.mark.parametrize(
    ("error", "effect"),
    [
        (lost(sent=False), Effect.NONE),
        (lost(sent=True), Effect.UNKNOWN),
        (lost(sent=True, cls=RequestTimeoutError), Effect.UNKNOWN),
        (GARBLED, Effect.UNKNOWN),
        (api(429), Effect.NONE),
        (api(408), Effect.UNKNOWN),
        (api(409), Effect.REFUSED),
        (api(422), Effect.REFUSED),
        (api(500), Effect.UNKNOWN),
        (api(503, 1.0), Effect.UNKNOWN),
        (SessionClosedError("closed"), Effect.UNKNOWN),
    ],
)
def test_whether_a_request_that_failed_took_effect(error, effect):
    """One rule says so, for retries, batches and single calls alike."""
    assert effect_of(error) is effect


@pytest.mark.parametrize("status", range(400, 600))
def test_a_refusal_is_an_answer_after_which_surely_nothing_was_done(status):
    """Any 4xx, but for those that a gateway gives while the server may still be at work."""
    is_refusal = status < 500 and status not in {408, 423, 425}
    assert (effect_of(api(status)) is not Effect.UNKNOWN) is is_refusal


@pytest.mark.parametrize(("repeatable", "posts"), [(True, 2), (False, 1)])
async def test_only_what_may_be_repeated_is_sent_again_after_a_lost_answer(repeatable, posts):
    """A request that does no more the second time goes again; one that creates does not."""
    async with Sandbox(customers=3) as sandbox, sandbox.session() as session:
        sandbox.faults.queue(Fault.cut(applied=True))
        request = post(
            ProfileRequests(session._root).url, [{"customer_id": 1}], repeatable=repeatable
        )
        with pytest.raises(TransportError) if not repeatable else nullcontext():
            reply = await session._transport.send(request, lambda reply: reply)
            assert reply.status == 409
        assert sandbox.record.counts["POST", "shopper-profiles"] == posts


DATE = "Wed, 21 Oct 2015 12:00:20 GMT"


@pytest.mark.parametrize(
    ("status", "headers", "seconds"),
    [
        (503, {}, None),
        (503, {"Retry-After": "5"}, 5.0),
        (503, {"retry-after": " 5 "}, 5.0),
        (503, {"Retry-After": "1.5"}, 1.5),
        (503, {"Retry-After": "0"}, 0.0),
        (503, {"X-Retry-After": "15"}, 15.0),
        (429, {"x-retry-after": "15"}, 15.0),
        (503, {"X-Retry-After": "15", "Retry-After": "5"}, 15.0),
        (503, {"X-Retry-After": "soon", "Retry-After": "5"}, 5.0),
        (429, {"X-Rate-Limit-Time-Reset-Ms": "15000"}, 15.0),
        (429, {"x-rate-limit-time-reset-ms": "1"}, 0.001),
        (429, {"X-Rate-Limit-Time-Reset-Ms": "15000", "X-Retry-After": "3"}, 15.0),
        (429, {"X-Rate-Limit-Time-Reset-Ms": "3000", "X-Retry-After": "15"}, 15.0),
        (429, {"X-Rate-Limit-Time-Reset-Ms": "3000", "Retry-After": "15"}, 15.0),
        (429, {"X-Rate-Limit-Time-Reset-Ms": "0", "X-Retry-After": "1"}, 1.0),
        (429, {"X-Rate-Limit-Time-Reset-Ms": "0"}, 0.0),
        (429, {"X-Rate-Limit-Time-Reset-Ms": "soon", "X-Retry-After": "3"}, 3.0),
        (429, {"X-Rate-Limit-Time-Reset-Ms": "-1", "Retry-After": "3"}, 3.0),
        # every answer tells when the window ends; only after a 429 is that a reason to wait
        (503, {"X-Rate-Limit-Time-Reset-Ms": "15000"}, None),
        (503, {"X-Rate-Limit-Time-Reset-Ms": "15000", "Retry-After": "2"}, 2.0),
        # dates, by the server's clock if it tells, by ours if not
        (503, {"Retry-After": DATE, "Date": "Wed, 21 Oct 2015 12:00:10 GMT"}, 10.0),
        (503, {"Retry-After": DATE, "Date": "Tue, 20 Oct 2015 12:00:20 GMT"}, 86400.0),
        (503, {"Retry-After": DATE}, 20.0),
        (503, {"Retry-After": DATE, "Date": "today"}, 20.0),
        (503, {"Retry-After": "Wednesday, 21-Oct-15 12:00:20 GMT"}, 20.0),
        (503, {"Retry-After": "Wed, 21 Oct 2015 12:00:20"}, 20.0),
        (503, {"Retry-After": "Wed, 21 Oct 2015 14:00:20 +0200"}, 20.0),
        (503, {"Retry-After": "Wed, 21 Oct 2015 11:00:00 GMT"}, 0.0),
        (503, {"Retry-After": "", "Date": DATE}, None),
        (503, {"Retry-After": "soon"}, None),
        (503, {"Retry-After": "-5"}, None),
        (503, {"Retry-After": "inf"}, None),
        (503, {"Retry-After": "nan"}, None),
        (503, {"Retry-After": "1e999"}, None),
        (503, {"Retry-After": "Wed, 32 Oct 2015 12:00:20 GMT"}, None),
        (503, {"Retry-After": "Wed, 21 Oct 2015 12:00:20 +99999999"}, None),
        (503, {"Retry-After": "Wed, 21 Oct 99999999999 12:00:20 GMT"}, None),
        (503, {"Retry-After": DATE, "Date": "Wed, 21 Oct 99999999999 12:00:20 GMT"}, 20.0),
    ],
)
def test_how_long_the_api_asks_to_wait_is_read_in_every_form(status, headers, seconds):
    """Seconds, milliseconds or a date; garbage is as if it were not there."""
    assert read_retry_after(CIMultiDict(headers), status=status, now=NOON) == seconds


words = st.sampled_from(
    ["Wed,", "21", "Oct", "2015", "12:00:00", "GMT", "+0200", "-9999", "1e9", "99999999999", ":"]
)


@given(st.text() | st.lists(words, max_size=7).map(" ".join), st.sampled_from([429, 503]))
def test_no_header_raises_or_asks_for_a_senseless_wait(text, status):
    """Headers come from anywhere; the result is a number of seconds, or none."""
    for name in ("X-Rate-Limit-Time-Reset-Ms", "X-Retry-After", "Retry-After", "Date"):
        headers = CIMultiDict({"Retry-After": DATE, name: text})
        seconds = read_retry_after(headers, status=status, now=NOON)
        assert seconds is None or 0 <= seconds < float("inf")


@pytest.mark.parametrize(
    ("status", "is_one"), [(99, False), (100, True), (599, True), (600, False)]
)
def test_what_is_no_http_status_is_refused_as_one_to_repeat(status, is_one):
    """From 100 to 599; a mistake is told when the policy is made."""
    if is_one:
        assert status in RetryPolicy(statuses={status}).statuses
    else:
        with pytest.raises(InvalidInputError):
            RetryPolicy(statuses={status})
