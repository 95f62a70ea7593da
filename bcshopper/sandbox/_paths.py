"""Paths below `/v3/`, and patterns of them."""

from __future__ import annotations


def fits(pattern: str, path: str) -> bool:
    """Whether a path is one of those that a pattern is for: `*` is any one part."""
    parts, wanted = path.split("/"), pattern.split("/")
    return len(parts) == len(wanted) and all(
        w in {"*", p} for w, p in zip(wanted, parts, strict=True)
    )
