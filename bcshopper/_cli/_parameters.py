"""Options that several commands have, each as a decorator."""

from __future__ import annotations

import functools
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import attrs
import click

from bcshopper._cli._output import FORMATS, Columns, Format, Rows, choose_format, open_output
from bcshopper._cli._source import Source, choose_source


@attrs.frozen
class Output:
    """Where rows go, and in which format."""

    fmt: Format
    path: str | None

    @classmethod
    def choose(cls, fmt: Format | None = None, path: str | None = None) -> Output:
        """There, in this format or else the one that suits the place."""
        return cls(choose_format(fmt, path), path)

    def open(self, columns: Columns) -> AbstractContextManager[Rows]:
        """Write there."""
        return open_output(self.fmt, self.path, columns)


def prints(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options of its output, as `output`."""

    @click.option(
        "--format", "fmt", type=click.Choice(FORMATS),
        help="How to print; a table on a terminal and JSON lines elsewhere if not given.",
    )  # fmt: skip
    @click.option(
        "--output", "output_path", metavar="FILE",
        help="Write there, whole or not at all; the suffix tells the format.",
    )  # fmt: skip
    @functools.wraps(command)
    def wrapped(*args: Any, fmt: Format | None, output_path: str | None, **kwargs: Any) -> None:
        command(*args, output=Output.choose(fmt, output_path), **kwargs)

    return wrapped


@attrs.frozen
class Ids:
    """The ids of a command: where they come from, and what becomes of bad lines."""

    source: Source
    skip_bad: bool


def takes_ids(name: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command the arguments and options of its ids, as `ids`."""

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        @click.argument("arguments", nargs=-1, metavar=f"[{name}]...")
        @click.option(
            "--from", "source_path", metavar="FILE",
            help="Read ids from a file, - for standard input: lines, or by its suffix CSV, JSON "
            "lines or JSON; packed if it ends in .gz.",
        )  # fmt: skip
        @click.option("--column", metavar="NAME", help="Read CSV, with the ids in this column.")
        @click.option("--field", metavar="NAME", help="Read JSON, with the ids in this field.")
        @click.option(
            "--skip-bad", is_flag=True,
            help="Write bad lines to a file of rejects, and go on without them.",
        )  # fmt: skip
        @functools.wraps(command)
        def wrapped(
            *args: Any,
            arguments: tuple[str, ...],
            source_path: str | None,
            column: str | None,
            field: str | None,
            skip_bad: bool,
            **kwargs: Any,
        ) -> None:
            source = choose_source(arguments, source_path, column=column, field=field)
            command(*args, ids=Ids(source, skip_bad), **kwargs)

        return wrapped

    return decorate


yes_option = click.option("--yes", is_flag=True, help="Do not ask.")
dry_run_option = click.option(
    "--dry-run", is_flag=True, help="Print the requests that would go, and send none."
)


def _in_a_folder(_: click.Context, __: click.Parameter, path: Path | None) -> Path | None:
    """It is written last: too late to learn that it can't be."""
    if path is not None and not path.parent.is_dir():
        raise click.BadParameter(f"there is no folder {path.parent}")
    return path


summary_option = click.option(
    "--summary-json", metavar="FILE", type=click.Path(dir_okay=False, path_type=Path),
    callback=_in_a_folder,
    help="Write the summary there as JSON, too.",
)  # fmt: skip
journal_option = click.option(
    "--journal", metavar="FILE", type=click.Path(dir_okay=False, path_type=Path),
    help="Keep every outcome there: the same command again goes on where it was stopped.",
)  # fmt: skip
