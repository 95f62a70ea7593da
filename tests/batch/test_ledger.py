from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bcshopper import Outcome, ShopperProfile, Status
from bcshopper._batch.ledger import BadId, Ledger
from bcshopper._transport.problems import error_class
from bcshopper.errors import (
    InvalidInputError,
    RequestTimeoutError,
    ResponseFormatError,
    SessionClosedError,
    TransportError,
)

PROFILE = ShopperProfile(UUID(int=1), 1)


def api(status):
    """An error answer."""
    return error_class(status)(
        "no", status=status, title="no", type=None, errors={}, method="POST",
        url="https://h.example", request_id=None, retry_after=None, body="",
    )  # fmt: skip


def lost(*, sent, cls=TransportError):
    """An answer that never came."""
    return cls("lost", method="POST", url="https://h.example", sent=sent)


GARBLED = ResponseFormatError(
    "no", method="POST", url="https://h.example", status=201, field="$", excerpt=""
)
WHY, LATER = api(500), api(401)


def statuses(ledger, error=None):
    """What became of each id."""
    return [outcome.status for outcome in ledger.outcomes(error)]


def test_at_first_nothing_is_sent():
    """Ids that nobody touched are `NOT_SENT`, and all of them pending."""
    ledger = Ledger([3, 1, 2])
    assert ledger.pending == [3, 1, 2]
    assert ledger.outcomes() == [Outcome(i, Status.NOT_SENT) for i in (3, 1, 2)]


def test_what_stopped_the_batch_is_why_ids_were_not_sent():
    """The chunk's own failure comes before that of another chunk."""
    ledger = Ledger([1])
    assert ledger.outcomes(LATER) == [Outcome(1, Status.NOT_SENT, error=LATER)]
    ledger.error = WHY
    assert ledger.outcomes(LATER) == [Outcome(1, Status.NOT_SENT, error=WHY)]


def test_what_is_in_flight_is_unknown_until_its_answer_comes():
    """A cancellation can come now: the reason is then why the batch stopped."""
    ledger = Ledger([1, 2])
    ledger.sent([2])
    assert ledger.outcomes(LATER) == [
        Outcome(1, Status.NOT_SENT, error=LATER),
        Outcome(2, Status.UNKNOWN, error=LATER),
    ]
    ledger.without_effect([2])
    assert statuses(ledger) == [Status.NOT_SENT] * 2
    assert ledger.pending == [1, 2]


def test_doubt_has_a_reason_and_outlives_later_requests():
    """That a later request did nothing says nothing of an earlier one."""
    ledger = Ledger([1, 2])
    ledger.sent([1, 2])
    ledger.doubt([1, 2], GARBLED)
    ledger.sent([1, 2])
    ledger.without_effect([1, 2])
    assert ledger.outcomes(LATER) == [
        Outcome(1, Status.UNKNOWN, error=GARBLED),
        Outcome(2, Status.UNKNOWN, error=GARBLED),
    ]


def test_a_refusal_rejects_only_whom_no_earlier_request_left_in_doubt():
    """Who is in doubt may have a profile by the earlier request, and stays so, with its reason."""
    ledger = Ledger([1, 2, 3])
    ledger.doubt([2], GARBLED)
    ledger.sent([1, 2])
    ledger.refused([1, 2], WHY)
    assert ledger.outcomes() == [
        Outcome(1, Status.REJECTED, error=WHY),
        Outcome(2, Status.UNKNOWN, error=GARBLED),
        Outcome(3, Status.NOT_SENT),
    ]


def test_a_settled_id_has_its_outcome_with_all_that_is_known():
    """Status, profile and error are kept; settled ids are not pending."""
    ledger = Ledger([1, 2, 3])
    ledger.settle(2, Status.REJECTED, error=WHY)
    ledger.settle(1, Status.CREATED, profile_id=PROFILE.id, profile=PROFILE)
    assert ledger.outcomes() == [
        Outcome(1, Status.CREATED, PROFILE.id, PROFILE),
        Outcome(2, Status.REJECTED, error=WHY),
        Outcome(3, Status.NOT_SENT),
    ]
    assert ledger.pending == ledger.unsettled([1, 2, 3]) == [3]
    assert ledger.unsettled([2, 3, 1]) == [3]


FAILURES = [
    *((api(code), Status.NOT_SENT) for code in (400, 401, 403, 404, 405, 409, 413, 415, 422)),
    *((api(code), Status.UNKNOWN) for code in (408, 423, 425, 500, 502, 503, 504, 507)),
    (api(429), Status.NOT_SENT),
    (lost(sent=False), Status.NOT_SENT),
    (lost(sent=True), Status.UNKNOWN),
    (lost(sent=True, cls=RequestTimeoutError), Status.UNKNOWN),
    (GARBLED, Status.UNKNOWN),
]


@pytest.mark.parametrize(("error", "status"), FAILURES)
def test_a_request_that_failed_leaves_its_ids_as_they_were_or_in_doubt(error, status):
    """That the server refuses a request says nothing of an id in it: only `refused` rejects."""
    ledger = Ledger([1, 2, 3])
    ledger.sent([1, 2])
    ledger.failed([1, 2], error)
    assert statuses(ledger) == [status, status, Status.NOT_SENT]
    if status is not Status.NOT_SENT:
        assert ledger.outcomes()[0].error is error


@pytest.mark.parametrize(("error", "status"), FAILURES)
def test_a_request_that_failed_for_good_ends_no_doubt_over_an_earlier_one(error, status):
    """Whatever came of the second request, the first may have taken effect."""
    ledger = Ledger([1])
    ledger.doubt([1], LATER)
    ledger.sent([1])
    ledger.failed([1], error)
    assert statuses(ledger) == [Status.UNKNOWN]
    assert ledger.outcomes()[0].error is LATER


def test_what_was_in_flight_when_the_session_was_closed_stays_unknown():
    """What never went out is `NOT_SENT`; only what did is `UNKNOWN`."""
    error = SessionClosedError("closed")
    ledger = Ledger([1, 2])
    ledger.sent([1])
    ledger.error = error
    assert ledger.outcomes() == [
        Outcome(1, Status.UNKNOWN, error=error),
        Outcome(2, Status.NOT_SENT, error=error),
    ]


@pytest.mark.parametrize("error", [api(401), api(422), api(429), api(500), lost(sent=True)])
def test_what_is_settled_stays_so(error):
    """A later failure takes nothing back that is known already."""
    ledger = Ledger([1, 2])
    ledger.settle(1, Status.EXISTS, profile_id=PROFILE.id)
    ledger.sent([1, 2])
    ledger.failed([1, 2], error)
    assert ledger.outcomes()[0] == Outcome(1, Status.EXISTS, PROFILE.id)


IDS = [4, 2, 6, 1, 5, 3]
items = st.sampled_from(IDS)
groups = st.lists(items, max_size=6)
failures = st.sampled_from([api(401), api(422), api(429), api(503), lost(sent=True), GARBLED])
steps = st.one_of(
    st.tuples(st.sampled_from(["sent", "without_effect"]), groups),
    st.tuples(st.sampled_from(["doubt", "explain", "refused", "failed"]), groups, failures),
    st.tuples(st.just("settle"), items, st.sampled_from(Status)),
)


@given(st.lists(steps, max_size=12))
def test_there_is_one_outcome_per_id_in_order_whatever_happens(happened):
    """Wherever a batch is interrupted, no id is missing, doubled or moved."""
    ledger = Ledger(IDS)
    for step, *arguments in happened:
        getattr(ledger, step)(*arguments)
        now, later = ledger.outcomes(), ledger.outcomes(LATER)
        assert [outcome.item for outcome in now] == IDS
        unlike = {a.item for a, b in zip(now, later, strict=True) if a != b}
        assert unlike <= set(ledger.pending), "why the batch stopped is not why these failed"


def test_a_value_that_is_no_id_is_rejected_with_its_reason():
    """It has an outcome of its own, and nothing to send."""
    why = InvalidInputError("'x' is no id")
    ledger = BadId("x", why)
    assert ledger.pending == []
    assert ledger.outcomes(LATER) == [Outcome("x", Status.REJECTED, error=why)]


def test_an_answer_is_under_way_while_ids_are_in_flight_or_looked_up():
    """Either alone; whoever stops the work waits for that, and for nothing else."""
    ledger = Ledger([1, 2])
    assert not ledger.is_busy
    ledger.sent([1])
    assert ledger.is_busy
    ledger.is_looked_up = True
    assert ledger.is_busy
    ledger.without_effect([1])
    assert ledger.is_busy
    ledger.is_looked_up = False
    assert not ledger.is_busy
