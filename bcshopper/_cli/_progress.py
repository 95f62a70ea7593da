"""Progress on standard error, for people who watch."""

from __future__ import annotations

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)


def stderr() -> Console:
    """The console of all that is not data."""
    return Console(stderr=True)


def progress_bar(console: Console) -> Progress:
    """Bars with count, share and time; nothing is printed where nobody watches."""
    return Progress(
        TextColumn("{task.description:<8}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=console,
        disable=not console.is_terminal,
    )
