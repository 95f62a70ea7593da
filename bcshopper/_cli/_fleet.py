"""The commands of the fleet: an extra of its own, and a room above this one, loaded when asked."""

from __future__ import annotations

from contextlib import suppress
from importlib import import_module
from typing import cast

import click

from bcshopper._cli._options import Group, examples
from bcshopper._cli._reading import bcshopper


class _Lazy(Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        with suppress(click.UsageError):  # who asks for a command is told
            return self._commands().list_commands(ctx)
        return []

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        return self._commands().get_command(ctx, cmd_name)

    def _commands(self) -> click.Group:
        try:
            return cast("click.Group", import_module("bcshopper.fleet._commands").fleet)
        except ModuleNotFoundError as error:
            if "bcshopper[fleet]" not in str(error):
                raise
            raise click.UsageError(str(error)) from None


@bcshopper.group(cls=_Lazy, **examples("bcshopper fleet worker", "bcshopper fleet status --watch"))
def fleet() -> None:
    """Run jobs for many stores, on many machines."""
