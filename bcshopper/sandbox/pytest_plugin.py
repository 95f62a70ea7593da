"""The pytest fixture `bcshopper_sandbox`, there wherever bcshopper is installed."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from bcshopper.sandbox import Sandbox


@pytest.fixture
def bcshopper_sandbox() -> Iterator[Sandbox]:
    """A sandbox store with 100 customers and no profiles, in a thread of its own.

    It works with synchronous tests and with every plugin for asynchronous ones.
    """
    with Sandbox(customers=100) as sandbox:
        yield sandbox
