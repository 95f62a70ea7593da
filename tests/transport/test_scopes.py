"""Cancel scopes: what ends a part of a call early, with one timer for all. All time is virtual."""

import asyncio
import gc
import math
import weakref

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bcshopper import SessionClosedError
from bcshopper._transport.scopes import CancelScope, Scopes
from tests.conftest import run

TENTHS = st.one_of(st.none(), st.integers(0, 8))
# When each begins, may take, does take, and is cancelled by somebody else: tenths of a second.
PARTS = st.lists(st.tuples(st.integers(0, 5), TENTHS, st.integers(1, 8), TENTHS), max_size=8)


class Own:
    """A cancel scope, entered as `asyncio.timeout` is."""

    def __init__(self, scope):
        self.scope = scope

    async def __aenter__(self):
        self.scope.__enter__()

    async def __aexit__(self, *error):
        return self.scope.__exit__(*error)


async def end_of(make, begins, may_take, takes):
    """How a part ends, when, and how many cancellations are left to its task."""
    await asyncio.sleep(begins / 10)
    try:
        async with make(None if may_take is None else may_take / 10):
            await asyncio.sleep(takes / 10 + 0.05)
    except TimeoutError:
        how = "timed out"
    except asyncio.CancelledError:
        how = "cancelled"
    else:
        how = "done"
    return how, round(asyncio.get_running_loop().time(), 3), asyncio.current_task().cancelling()


async def play(make, parts):
    """Run all parts together; their ends in order."""
    tasks = []
    for *part, cancelled in parts:
        tasks.append(asyncio.create_task(end_of(make, *part)))
        if cancelled is not None:
            asyncio.get_running_loop().call_later(cancelled / 10 + 0.02, tasks[-1].cancel)
    return [str(end) for end in await asyncio.gather(*tasks, return_exceptions=True)]


@given(PARTS)
def test_each_ends_as_it_would_under_asyncio_timeout(parts):
    """Whatever else is under way, each part ends like one under `asyncio.timeout`, and then."""

    async def play_own():
        scopes = Scopes()
        ends = await play(
            lambda seconds: Own(CancelScope(scopes, math.inf if seconds is None else seconds)),
            parts,
        )
        await scopes.aclose()
        return ends

    assert run(play_own()) == run(play(asyncio.timeout, parts))


async def test_closing_ends_all_and_waits_until_they_are_left():
    """Each ends with SessionClosedError, also one in another, or one whose time is up just now."""
    scopes, left = Scopes(), []

    async def work(*seconds):
        try:
            with CancelScope(scopes):
                for one in seconds:
                    with CancelScope(scopes, one):
                        await asyncio.sleep(100)
        finally:
            await asyncio.sleep(0.1)
            left.append(seconds)

    tasks = [asyncio.create_task(work(*seconds)) for seconds in ((50.0,), (1.0,), (2.0,))]
    await asyncio.sleep(1.0)
    await scopes.aclose()
    ends = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(end) for end in ends] == [SessionClosedError] * 3
    assert not any(task.cancelling() for task in tasks)
    assert len(left) == 3


async def test_a_deadline_can_be_lifted_and_set():
    """What is lifted no longer ends it; what is set does, then."""
    scopes = Scopes()
    with CancelScope(scopes, 1.0) as scope:
        scope.lift()
        await asyncio.sleep(2.0)
    assert not scope.expired
    began = asyncio.get_running_loop().time()
    with pytest.raises(TimeoutError), CancelScope(scopes) as scope:
        scope.end_at(began + 3.0)
        await asyncio.sleep(10.0)
    assert scope.expired
    assert asyncio.get_running_loop().time() == pytest.approx(began + 3.0, abs=0.01)


async def test_an_inner_deadline_is_not_the_outer_ones():
    """The inner scope's time is up: the outer one goes on."""
    scopes = Scopes()
    with CancelScope(scopes, 10.0) as outer:
        with pytest.raises(TimeoutError), CancelScope(scopes, 1.0):
            await asyncio.sleep(5.0)
        await asyncio.sleep(5.0)
    assert not outer.expired


class CountedScope(CancelScope):
    """Counts how often its deadline is looked at."""

    __slots__ = ("_at", "looks")

    def __init__(self, scopes):
        self.looks = 0
        super().__init__(scopes)

    @property
    def deadline(self):
        self.looks += 1
        return self._at

    @deadline.setter
    def deadline(self, at):
        self._at = at


def test_who_has_no_deadline_is_not_looked_at_when_others_are_late():
    """Thousands of calls may wait while a few are in flight, and all of those time out."""

    async def main():
        scopes = Scopes()
        waiting = CountedScope(scopes)
        with waiting:
            before = waiting.looks
            for _ in range(10):
                with pytest.raises(TimeoutError), CancelScope(scopes, 0.1):
                    await asyncio.sleep(1)
            assert waiting.looks == before

    run(main())


@pytest.mark.parametrize("how", ["closed", "late"])
def test_a_task_whose_scope_ended_is_free_at_once(how):
    """No cycle through what is raised holds it, so that no garbage waits for the collector."""

    async def wait(scopes):
        with CancelScope(scopes, math.inf if how == "closed" else 0.1):
            await asyncio.sleep(1)

    async def main():
        scopes = Scopes()
        gc.collect()
        gc.disable()
        try:
            task = asyncio.create_task(wait(scopes))
            kept = weakref.ref(task)
            await asyncio.sleep(0)
            if how == "closed":
                await scopes.aclose()
            await asyncio.wait([task])
            assert isinstance(task.exception(), (SessionClosedError, TimeoutError))
            del task
            await asyncio.sleep(0)
            assert kept() is None
        finally:
            gc.enable()

    run(main())
