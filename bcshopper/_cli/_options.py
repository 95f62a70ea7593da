"""Options that every command takes, before or after its name."""

from __future__ import annotations

import sys
from typing import Any

import click
from click.core import ParameterSource

from bcshopper._cli._runner import Exit, exit_codes
from bcshopper._cli._settings import SANDBOX_CUSTOMERS, SANDBOX_PROFILES
from bcshopper._cli._terminal import Terminal, fail


class Context:
    """What the global options say.

    Attributes:
        options: those that were given.
        terminal: how to speak.
    """

    def __init__(self) -> None:
        self.options: dict[str, Any] = {}
        self.terminal: Terminal


def _remember(context: click.Context, parameter: click.Parameter, value: Any) -> None:
    assert parameter.name is not None  # noqa: S101 - options have names
    if context.get_parameter_source(parameter.name) is ParameterSource.COMMANDLINE:
        context.ensure_object(Context).options[parameter.name] = value


def _option(*names: str, **settings: Any) -> click.Option:
    return click.Option(names, expose_value=False, callback=_remember, **settings)


def _global_options() -> list[click.Parameter]:
    return [
        _option("--store", metavar="HASH", help="The store, instead of BIGCOMMERCE_STORE_HASH."),
        _option("--base-url", metavar="URL", help="Where the API is."),
        _option("--profile", metavar="NAME", help="The account of that name in the config file."),
        _option(
            "--sandbox", is_flag=True,
            help=f"A throw-away store with customers 1 to {SANDBOX_CUSTOMERS}, "
            f"of whom {SANDBOX_PROFILES} have a profile.",
        ),
        _option(
            "--concurrency", type=click.IntRange(min=1), help="Requests in flight.  [default: 10]"
        ),
        _option(
            "--share", type=click.FloatRange(min=0, max=1, min_open=True),
            help="The part of the store's quota to use.  [default: 1]",
        ),
        _option(
            "--pacing", type=click.Choice(["burst", "smooth"]),
            help="As fast as the quota lasts, or spread over its window.  [default: burst]",
        ),
        _option("-v", "--verbose", count=True, help="Say more; -vv logs every answer."),
        _option("--log-json", is_flag=True, help="Standard error as JSON lines."),
        _option("--no-color", is_flag=True, help="No colours; NO_COLOR does the same."),
        _option("--quiet", is_flag=True, help="Nothing on standard error but errors."),
    ]  # fmt: skip


class Command(click.Command):
    """A command that takes the global options, too, and shows them apart."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._global = _global_options()
        self._own = self.params
        self.params = [*self._own, *self._global]

    def invoke(self, ctx: click.Context) -> Any:
        """Run it, to the right exit code."""
        context = ctx.ensure_object(Context)
        context.terminal = Terminal(context.options)
        with exit_codes():
            try:
                return super().invoke(ctx)
            except click.UsageError as error:
                if "log_json" not in context.options:
                    raise  # click shows a hint beside it
                fail(error.format_message())
                sys.exit(Exit.USAGE)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Two lists of options."""
        own = [
            p for p in self.get_params(ctx) if isinstance(p, click.Option) and p not in self._global
        ]
        for title, parameters in (("Options", own), ("Global options", self._global)):
            records = [record for p in parameters if (record := p.get_help_record(ctx))]
            with formatter.section(title):
                formatter.write_dl(records)


class Group(click.Group):
    """A group whose commands take the global options, as it does itself."""

    command_class = Command
    group_class = type

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.params += _global_options()


def examples(*lines: str) -> dict[str, str]:
    """The end of a command's help."""
    return {"epilog": "\b\nExamples:\n" + "\n".join(f"  $ {line}" for line in lines)}
