"""The command `bcshopper`."""

from __future__ import annotations

import sys

from bcshopper._cli._signals import INTERRUPTED, signals

_MISSING_EXTRA = 2


def main() -> None:
    """Run the command line, or say how to install what it needs."""
    signals.own()
    try:
        # the extra may be missing
        from bcshopper._cli import _fleet, _segment_commands  # noqa: PLC0415 - add their commands
        from bcshopper._cli._commands import run_command  # noqa: PLC0415

        code = run_command(sys.argv[1:])
    except ModuleNotFoundError as error:
        if error.name not in {"click", "ijson", "rich"}:
            raise
        sys.stderr.write("the command line needs an extra: pip install 'bcshopper[cli]'\n")
        code = _MISSING_EXTRA
    except KeyboardInterrupt:
        code = INTERRUPTED
    signals.disown()
    sys.exit(code)
