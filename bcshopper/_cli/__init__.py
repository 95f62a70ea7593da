"""The command `bcshopper`."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line, or say how to install what it needs."""
    try:
        from bcshopper._cli._commands import bcshopper  # noqa: PLC0415 - the extra may be missing
    except ModuleNotFoundError as error:
        if error.name not in {"click", "ijson", "rich"}:
            raise
        sys.exit("the command line needs an extra: pip install 'bcshopper[cli]'")
    bcshopper(prog_name="bcshopper")
