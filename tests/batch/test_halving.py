import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bcshopper._batch.halving import Halving, Refusal
from bcshopper.errors import UnprocessableError
from tests.conftest import run


class Server:
    """Refuses each group that holds a culprit, without naming it; counts what it costs."""

    def __init__(self, culprits, settles_alone=frozenset()):
        self.culprits = culprits
        self.settles_alone = settles_alone
        self.groups = []
        self.settled = []
        self.rejected = []

    async def attempt(self, items):
        self.groups.append(list(items))
        assert items, "an empty request"
        guilty = any(item in self.culprits for item in items)
        # some ids are settled even where the rest is refused, as a look-up does
        rest = [i for i in items if i not in self.settles_alone] if guilty else []
        self.settled.extend(i for i in items if i not in rest)
        return Refusal(rest, refusal()) if rest else None

    def reject(self, item, error):
        assert isinstance(error, UnprocessableError)
        self.rejected.append(item)


def refusal():
    """A refusal that names nobody."""
    return UnprocessableError(
        "no", status=422, title="no", type=None, errors={}, method="POST", url="https://h.example",
        request_id=None, retry_after=None, body="",
    )  # fmt: skip


def bisect(count, culprits, settles_alone=frozenset()):
    """Settle so many ids with a server that has these culprits."""
    server = Server(set(culprits), set(settles_alone) - set(culprits))
    run(Halving(server.attempt, server.reject).run(range(count)))
    return server


groups = st.integers(1, 60).flatmap(
    lambda n: st.tuples(st.just(n), st.sets(st.integers(0, n - 1)), st.sets(st.integers(0, n - 1)))
)


@given(groups)
def test_every_id_is_settled_exactly_once_and_only_culprits_are_rejected(group):
    """Whoever is to blame, nobody else pays and nobody is forgotten."""
    count, culprits, settles_alone = group
    server = bisect(count, culprits, settles_alone)
    assert sorted(server.settled + server.rejected) == list(range(count))
    assert set(server.rejected) == culprits


@given(groups)
def test_any_number_of_culprits_costs_at_most_two_requests_per_id_and_ten(group):
    """The search never degenerates."""
    count, culprits, settles_alone = group
    assert len(bisect(count, culprits, settles_alone).groups) <= 2 * count + 10


def test_an_id_is_rejected_only_after_it_was_refused_alone():
    """No id is guilty by elimination."""
    server = bisect(50, {7, 31})
    assert [7] in server.groups
    assert [31] in server.groups


def test_without_a_culprit_one_request_is_enough():
    """The common case costs nothing."""
    assert bisect(50, ()).groups == [list(range(50))]


@pytest.mark.parametrize("position", range(50))
def test_one_culprit_among_fifty_costs_few_requests(position):
    """Wherever it stands: as many halvings as 50 has, and two more; far fewer than 11."""
    server = bisect(50, {position})
    assert server.rejected == [position]
    assert len(server.groups) - 1 <= math.ceil(math.log2(50)) + 2 <= 11


@pytest.mark.parametrize("count", [1, 2, 3, 25, 50])
def test_nothing_but_culprits_costs_at_most_two_requests_each(count):
    """A chunk of nothing but bad ids ends, too, within 2n + 10."""
    server = bisect(count, range(count))
    assert sorted(server.rejected) == list(range(count))
    assert len(server.groups) <= 2 * count + 10


def test_what_the_server_raises_ends_the_search():
    """A failure that is no refusal is the caller's."""

    async def attempt(items):
        raise OSError("gone")

    with pytest.raises(OSError, match="gone"):
        run(Halving(attempt, lambda item, error: None).run([1, 2]))


def test_nothing_to_settle_sends_nothing():
    """No ids, no request."""
    assert bisect(0, ()).groups == []
