"""A real network that misbehaves: the kernel's own losses, resets, silence and slowness."""

import json
import os
import shutil
import subprocess
import sys
from functools import cache

import pytest

from tests.transport.bad_link import BOUND, RULES

pytestmark = pytest.mark.real_time


@cache
def why_not():
    """Why there can be no network of the test's own; None if there can."""
    for program in ("unshare", "ip", "nft", "tc"):
        if shutil.which(program) is None:
            return f"there is no program {program} to make a network with"
    script = "ip link set lo up && nft add table inet link && tc qdisc add dev lo root tbf rate "
    script += "64kbit burst 3000 latency 1s"
    done = subprocess.run(
        ["unshare", "--net", "sh", "-c", script], capture_output=True, text=True, check=False
    )
    return f"no network of one's own is allowed here: {done.stderr}" if done.returncode else None


@pytest.mark.parametrize("kind", RULES)
def test_all_that_is_said_over_a_bad_link_is_so_and_nothing_hangs(kind):
    """10 % of the packets lost; resets; a link that falls silent for 12 s; 64 kbit/s."""
    if reason := why_not():
        pytest.skip(reason)
    done = subprocess.run(
        ["unshare", "--net", sys.executable, "-W", "error", "-m", "tests.transport.bad_link", kind],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        capture_output=True, text=True, check=False, timeout=5 * BOUND,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["complaints"] == []
    assert max(told["took"].values()) < BOUND
