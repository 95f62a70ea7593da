"""The pytest fixture `bcshopper_sandbox`, there wherever bcshopper is installed.

Every run of pytest in such an environment loads this file, under a name of its own outside of the
package: so it costs nothing where nobody asks for the fixture.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from bcshopper.sandbox import Sandbox


@pytest.fixture
def bcshopper_sandbox() -> Iterator[Sandbox]:
    """A sandbox store with 100 customers and no profiles, in a thread of its own.

    It works with synchronous tests and with every plugin for asynchronous ones. Faults that were
    queued and met no request are warned of in the end.
    """
    from bcshopper.sandbox import Sandbox  # noqa: PLC0415 - only for those that use it

    with Sandbox(customers=100) as sandbox:
        yield sandbox
    if sandbox.faults.unused:
        unused = ", ".join(map(str, sandbox.faults.unused))
        warnings.warn(f"faults that were queued and met no request: {unused:.300}", stacklevel=1)
