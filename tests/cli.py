"""The command line as a process, for its tests."""

import json
import os
import subprocess
import sys
import time

# Not -X dev: asyncio would complain of every callback that a busy machine holds up.
BCSHOPPER = [sys.executable, "-W", "error", "-m", "bcshopper._cli"]

_OURS = ("BIGCOMMERCE_", "BCSHOPPER_", "XDG_", "NO_COLOR", "FORCE_COLOR", "PYTHON")
_PATIENCE = 240.0  # seconds; a guard against hanging, as all such are, for the busiest machine


def environment(sandbox=None, **changes):
    """Nothing of the developer's own settings, and a sandbox's account."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith(_OURS)}
    if sandbox is not None:
        clean |= {
            "BIGCOMMERCE_BASE_URL": sandbox.url,
            "BIGCOMMERCE_STORE_HASH": sandbox.store_hash,
            "BIGCOMMERCE_ACCESS_TOKEN": sandbox.access_token,
        }
    return {**clean, "XDG_CONFIG_HOME": "/nowhere", **changes}


def bcshopper(*arguments, sandbox=None, stdin="", **changes):
    """Run a command to its end."""
    return subprocess.run(
        [*BCSHOPPER, *map(str, arguments)], env=environment(sandbox, **changes), input=stdin,
        capture_output=True, text=True, check=False, timeout=240,
    )  # fmt: skip


def start(*arguments, sandbox=None, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, **changes):
    """Start a command, to be interrupted."""
    return subprocess.Popen(
        [*BCSHOPPER, *map(str, arguments)], env=environment(sandbox, **changes), stdin=stdin,
        stdout=stdout, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def rows(text):
    """JSON lines, read."""
    return [json.loads(line) for line in text.splitlines()]


def wait_until(holds):
    """Look again and again, since no event tells of another process."""
    patience = time.monotonic() + _PATIENCE
    while not holds():
        assert time.monotonic() < patience, "it did not happen"
        time.sleep(0.002)


def posts(sandbox, since=0):
    """The customers of each POST that the sandbox has on record, from the request numbered so."""
    return [
        [item["customer_id"] for item in json.loads(request.body)]
        for request in list(sandbox.record.requests)[since:]
        if request.method == "POST"
    ]
