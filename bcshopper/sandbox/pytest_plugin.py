"""The pytest fixture `bcshopper_sandbox`, there wherever bcshopper is installed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from bcshopper.sandbox import Sandbox


@pytest.fixture
def bcshopper_sandbox() -> Iterator[Sandbox]:
    """A sandbox store with 100 customers and no profiles, in a thread of its own.

    It works with synchronous tests and with every plugin for asynchronous ones.
    """
    # Every run of pytest loads this file: the import is for those that use it.
    from bcshopper.sandbox import Sandbox  # noqa: PLC0415

    with Sandbox(customers=100) as sandbox:
        yield sandbox
