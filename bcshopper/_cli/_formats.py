"""The formats of ids and rows, and the suffixes that tell them: known here alone."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, TypeAlias

Format: TypeAlias = Literal["table", "jsonl", "csv", "tsv", "json"]
"""What rows are printed in; all but a table can be read, too."""
FORMATS: tuple[Format, ...] = ("table", "jsonl", "csv", "tsv", "json")
DELIMITERS = {"csv": ",", "tsv": "\t"}

_BY_SUFFIX: dict[str, Format] = {
    ".csv": "csv", ".tsv": "tsv", ".tab": "tsv",
    ".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "json",
}  # fmt: skip


def format_of(path: str) -> Format | None:
    """The format that a file's name tells, packed or not; None if it tells none."""
    return _BY_SUFFIX.get(split(path)[1].lower())


def split(path: str) -> tuple[str, str]:
    """A file's name and suffix, without the suffix of gzip."""
    name = Path(path).with_suffix("") if is_packed(path) else Path(path)
    return name.stem, name.suffix


def is_packed(path: str) -> bool:
    """Whether the name says that it is packed with gzip."""
    return path.lower().endswith(".gz")
