"""Paths below `/v3/`, patterns of them, and those of the admin API."""

from __future__ import annotations

ADMIN = "/_sandbox/"


def fits(pattern: str, path: str) -> bool:
    """Whether a path is one of those that a pattern is for: `*` is any one part."""
    parts, wanted = path.split("/"), pattern.split("/")
    return len(parts) == len(wanted) and all(
        w in {"*", p} for w, p in zip(wanted, parts, strict=True)
    )


def is_admin(path: str) -> bool:
    """Whether a whole path is not the store's but the sandbox's own."""
    return path.startswith(ADMIN) or path == ADMIN.rstrip("/")
