"""The plan: who is missing, who has to go, and how many requests that takes."""

from uuid import UUID

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bcshopper import SyncPlan
from bcshopper._segments.people import People, Roll, is_too_many, plan_of


@attrs.frozen
class Row:
    id: UUID
    customer_id: int


def profile(number):
    return UUID(int=number)


def rows(*customers):
    """Members: the profile of customer 7 is number 700."""
    return [Row(profile(100 * customer), customer) for customer in customers]


def roll(wanted, members):
    result = Roll()
    result.want(wanted)
    result.call(rows(*members))
    return result


@pytest.mark.parametrize(
    ("wanted", "members", "missing", "surplus", "staying"),
    [
        ([], [], [], [], []),
        ([1, 2], [], [1, 2], [], []),
        ([], [1, 2], [], [1, 2], []),
        ([1, 2], [1, 2], [], [], [1, 2]),
        ([3, 1, 2], [2, 9, 3], [1], [9], [3, 2]),
        ([5, 5, 4, 5], [6], [5, 4], [6], []),
        ([2**63 - 1], [1], [2**63 - 1], [1], []),
    ],
)
def test_who_is_missing_and_who_has_to_go(wanted, members, missing, surplus, staying):
    """Repeats count once; everyone in their order."""
    there = roll(wanted, members)
    assert list(there.missing()) == missing
    assert list(there.staying()) == staying
    assert there.count() == len(staying)
    assert list(there.surplus.customers) == surplus
    assert [i for _, i in there.surplus.with_profile()] == [profile(100 * c) for c in surplus]


@given(wanted=st.lists(st.integers(1, 30)), members=st.sets(st.integers(1, 30)))
def test_everybody_is_in_one_group(wanted, members):
    """Whoever is wanted or in: missing, staying or surplus."""
    there = roll(wanted, members)
    missing, staying = set(there.missing()), set(there.staying())
    surplus = set(there.surplus.customers)
    assert missing == set(wanted) - members
    assert staying == set(wanted) & members
    assert surplus == members - set(wanted)


def test_of_a_customer_with_two_profiles_the_newest_is_there():
    """It was deleted and made anew while the members were read; a wanted one is never surplus."""
    there = roll([1], [1, 2, 3])
    there.call([Row(profile(7), 1), Row(profile(8), 2)])
    there.drop_repeats()
    assert dict(zip(there.surplus.customers, there.surplus.with_profile(), strict=True)) == {
        2: (0, profile(8)),
        3: (1, profile(300)),
    }
    assert list(there.missing()) == []


@pytest.mark.parametrize(
    ("removals", "unchanged", "max_removed", "too_many"),
    [
        (0, 0, 0, False),
        (0, 9, 0, False),
        (1, 999, 0, True),
        (1, 1, 0.5, False),
        (2, 1, 0.5, True),
        (29, 71, 0.29, False),
        (30, 70, 0.29, True),
        (1, 9, 0.1, False),
        (3, 0, 0.99, True),
        (3, 0, 1, False),
    ],
)
def test_how_many_removals_are_too_many(removals, unchanged, max_removed, too_many):
    """A larger fraction of the members than that; none are never too many."""
    assert is_too_many(removals, unchanged, max_removed) is too_many


@pytest.mark.parametrize(
    ("missing", "with_profile", "surplus", "requests"),
    [
        ([], 0, [], 0),
        ([1], 1, [], 1),
        ([1], 0, [], 2),
        (range(1, 101), 100, [], 2),
        (range(1, 102), 50, range(200, 300), 2 + 3 + 3),
        ([], 0, range(49), 1),
        ([], 0, range(50), 2),
    ],
)
def test_the_plan_counts_the_writes(missing, with_profile, surplus, requests):
    """Chunks of creations, of additions and of removals; look-ups and pages are no writes."""
    coming, going = People(missing), People()
    for position in range(with_profile):
        coming.note_profile(position, profile(position + 1))
    for customer in surplus:
        going.add(customer, profile(customer + 1))
    plan = plan_of(coming, going, 12, per_write=50, per_removal=49)
    assert plan == SyncPlan(
        to_create=tuple(missing)[with_profile:],
        to_add=tuple(missing),
        to_remove=tuple(surplus),
        unchanged=12,
        requests=requests,
    )


def test_a_plan_fits_on_a_line():
    """However many it is about."""
    plan = SyncPlan(tuple(range(5)), tuple(range(1000)), (), 7, 21)
    assert repr(plan) == (
        "<SyncPlan: 5 to create, 1000 to add, 0 to remove, 7 unchanged; 21 requests>"
    )


def test_people_are_settled_one_by_one():
    """Whom the store may not know comes last, so that the others share no request with them."""
    people = People([11, 12, 13, 14, 15])
    people.note_unknown(0)
    people.note_profile(1, profile(12))
    people.settle(3)
    assert list(people.open()) == [0, 1, 2, 4]
    assert list(people.without_profile()) == [(2, 13), (4, 15), (0, 11)]
    assert list(people.with_profile()) == [(1, profile(12))]
    people.note_profile(1, None)
    assert [customer for _, customer in people.without_profile()] == [12, 13, 15, 11]
    assert len(people) == 5
