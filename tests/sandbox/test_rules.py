import asyncio

import attrs
import pytest

from bcshopper.errors import InvalidInputError
from bcshopper.sandbox import Rules
from tests.sandbox.store import store

NUMBERS = [f.name for f in attrs.fields(Rules) if f.type in {"int", "int | None", "float"}]
OTHERS = [f.name for f in attrs.fields(Rules) if f.name not in NUMBERS]


@pytest.mark.parametrize("name", [*NUMBERS, *OTHERS])
@pytest.mark.parametrize("value", [-1, "many", 1.5, float("nan"), float("inf"), [], 2**70])
def test_no_rule_takes_a_value_that_cannot_be(name, value):
    """The sentence names the field and the value; a test with such a rule would test nothing."""
    if value == (1.5 if isinstance(getattr(Rules(), name), float) else 2**70) and name in NUMBERS:
        return  # this is one that can be
    with pytest.raises(InvalidInputError, match=f"{name} must be .*not "):
        Rules(**{name: value})


@pytest.mark.parametrize("name", ["max_limit", "window", "quota", "max_segments", "max_concurrent"])
def test_there_is_no_store_with_none_of_what_it_needs(name):
    """A page of nothing, a window of no time: 0 is refused."""
    with pytest.raises(InvalidInputError, match=f"{name} must be .*not 0"):
        Rules(**{name: 0})


@pytest.mark.parametrize("name", [n for n in OTHERS if isinstance(getattr(Rules(), n), str)])
def test_a_refused_word_is_told_the_words_that_there_are(name):
    """Which the field's default is one of."""
    with pytest.raises(InvalidInputError, match=getattr(Rules(), name)):
        Rules(**{name: "no such thing"})


async def test_every_answer_takes_as_long_as_the_latency():
    """On top of what a fault adds."""
    async with store(latency=2.0) as (_, call):
        now = asyncio.get_running_loop().time
        began = now()
        await call("GET")
        assert 2.0 <= now() - began < 2.5
