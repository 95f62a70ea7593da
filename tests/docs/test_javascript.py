"""The example in JavaScript, run by node against a sandbox that the command line serves."""

import re
import shutil
import subprocess

import pytest

from tests.cli import environment, start
from tests.docs.blocks import EXAMPLES

pytestmark = pytest.mark.real_time


@pytest.fixture
def node():
    found = shutil.which("node")
    if found is None:
        pytest.skip("node, which runs the example, is not on the PATH")
    version = subprocess.run([found, "--version"], capture_output=True, text=True, check=True)
    if int(re.match(r"v(\d+)", version.stdout)[1]) < 20:
        pytest.skip(f"node {version.stdout.strip()} is older than 20, which has a test runner")
    return found


def test_a_test_suite_in_javascript_drives_the_served_sandbox(node):
    """It seeds, queues a lost answer and sees its requests, in fewer than 60 lines."""
    example = EXAMPLES / "sandbox.test.mjs"
    assert len(example.read_text().splitlines()) < 60
    with start("sandbox", "--port", "0") as process:
        url = process.stdout.readline().strip().partition("=")[2]
        done = subprocess.run(
            [node, "--test", "--test-reporter=tap", example], capture_output=True, text=True,
            env=environment(BIGCOMMERCE_BASE_URL=url), check=False, timeout=240,
        )  # fmt: skip
        process.terminate()
        process.communicate(timeout=240)
    assert done.returncode == 0, done.stdout
    assert re.search(r"# pass (2|3)\b", done.stdout), done.stdout
    assert "# fail 0" in done.stdout
