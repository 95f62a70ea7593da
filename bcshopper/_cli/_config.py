"""The accounts in the config file, and a new one."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import click

from bcshopper._cli._files import whole_file
from bcshopper._cli._settings import ACCOUNT, CONFIG_FILE, TOKEN_KEYS, read_profiles
from bcshopper._session import DEFAULT_BASE_URL

_WAYS = {"variable": "token_env", "file": "token_file", "command": "token_command"}


def list_accounts() -> None:
    """Print the accounts in the config file."""
    for name, profile in read_profiles().items():
        told = {key: profile[key] for key in (*ACCOUNT, *TOKEN_KEYS) if key in profile}
        click.echo("  ".join([name, *(f"{key}={value}" for key, value in told.items())]))


def add_profile(given: Mapping[str, Any]) -> str:
    """Ask for an account, write it to the file, and give its name."""

    def ask(text: str, default: str | None = None) -> str:
        answer: str = click.prompt(text, default=default, err=True)
        return answer.strip()

    name = given.get("profile") or ask("Name of the account", "default")
    if name in read_profiles():
        raise click.UsageError(f"{CONFIG_FILE} has a profile {name!r} already: edit it there")
    store = given.get("store_hash") or ask("Store hash, as in the store's API path")
    profile = {"store_hash": store}
    base_url = given.get("base_url") or ask("Address of the API", DEFAULT_BASE_URL)
    if base_url != DEFAULT_BASE_URL:
        profile["base_url"] = base_url
    way = click.prompt("The token is in a", type=click.Choice(list(_WAYS)), err=True)
    default = "BIGCOMMERCE_ACCESS_TOKEN" if way == "variable" else None
    profile[_WAYS[way]] = ask(f"Which {way}", default)
    before = CONFIG_FILE.read_bytes() if CONFIG_FILE.exists() else b""
    # What JSON writes as a string, TOML reads as one.
    lines = [
        f"[profiles.{json.dumps(name)}]",
        *(f"{k} = {json.dumps(v)}" for k, v in profile.items()),
    ]
    section = "\n".join(lines) + "\n"
    CONFIG_FILE.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(CONFIG_FILE) as file:
        file.write(before + b"\n" * bool(before) + section.encode())
    return name
