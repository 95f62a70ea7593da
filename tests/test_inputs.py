"""What callers give: taken, or refused before anything is sent, in words that fit a line."""

import pytest

from bcshopper import InvalidInputError
from bcshopper._inputs import check_number, shown
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
