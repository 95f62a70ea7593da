"""What callers give: taken, or refused before anything is sent, in words that fit a line."""

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bcshopper import InvalidInputError
from bcshopper._inputs import check_number, customer_id, customer_ids, shown
from bcshopper._secret import Hidden
from bcshopper.sandbox import Sandbox


@pytest.mark.parametrize("bad", [[0], [1, 0, 2], [-1], [2**63], [True], [1.0], ["0"]])
@pytest.mark.parametrize("verb", ["create", "lookup", "sync", "plan"])
async def test_what_is_no_customer_id_is_refused_among_any_others(bad, verb):
    """Whole numbers from 1 on; in a list of good ones, too."""
    async with Sandbox(customers=5) as sandbox, sandbox.session() as session:
        segment = sandbox.store.create_segment("VIP")
        members = session.segments.members(segment.id)
        of = members if verb in {"sync", "plan"} else session.shopper_profiles
        with pytest.raises(InvalidInputError):
            await getattr(of, verb)(bad)
        assert not sandbox.record.requests


@attrs.frozen
class Number:
    """An integer of another library."""

    value: int

    def __index__(self):
        return self.value


@given(st.lists(st.integers(-1, 2) | st.integers(2**63 - 2, 2**63 + 1), min_size=1))
def test_any_number_of_64_bits_from_1_on_is_a_customer_id(numbers):
    """The first and the last included, alone and among others, in any integer type."""
    good = [n for n in numbers if 1 <= n <= 2**63 - 1]
    assert customer_ids(good) == customer_ids([Number(n) for n in good]) == good
    assert [customer_id(n) for n in good] == good
    if good == numbers:
        return
    for bad in (numbers, [Number(n) for n in numbers]):
        with pytest.raises(InvalidInputError):
            customer_ids(bad)


@pytest.mark.parametrize(
    ("bounds", "value", "says"),
    [
        ({"above": 0}, 0, "above 0"),
        ({"above": 0}, -1, "above 0"),
        ({"least": 0}, -1, "at least 0"),
        ({"most": 5}, 6, "at most 5"),
        ({"least": 2, "most": 5}, 6, "2"),
    ],
)
def test_a_number_out_of_range_is_told_the_range(bounds, value, says):
    """By its name, and with what it was."""
    with pytest.raises(InvalidInputError, match=says) as caught:
        check_number("the_name", value, **bounds)
    assert "the_name" in str(caught.value)
    assert str(value) in str(caught.value)
    assert ("above" in str(caught.value)) == ("above" in bounds)


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_bytes_are_shown_and_many_of_them_cut(kind):
    """As they are if they are few; a line at most otherwise."""
    few, many = kind(b"ab"), kind(b"x" * 10_000)
    assert "..." not in shown(few)
    if kind is not memoryview:
        assert "ab" in shown(few)
    assert len(shown(many)) < 200


class Talkative(str):
    """A text that shows itself at length."""

    __slots__ = ()

    def __repr__(self):
        raise AssertionError("all of it would be made text")


@pytest.mark.parametrize("kind", [str, Talkative])
def test_of_a_text_the_beginning_is_shown_and_never_all_of_a_long_one(kind):
    """Whatever kind of text it is."""
    assert shown(kind("x" * 9)) == repr("x" * 9)
    assert "..." in shown(kind("x" * 10_000))
    assert len(shown(kind("x" * 10_000))) < 200


def test_a_token_that_is_given_for_an_id_does_not_show():
    """It is easily mixed up, and an error message goes to logs."""
    for value in (Hidden("top-secret"), [Hidden("top-secret")], {1: Hidden("top-secret")}):
        assert "[secure]" in shown(value)
        assert "top-secret" not in shown(value)
    with pytest.raises(InvalidInputError) as caught:
        customer_ids([Hidden("top-secret")])
    assert "top-secret" not in str(caught.value)
