"""Jobs for many stores on many machines, that survive the death of any of them (extra `fleet`).

A job is a verb, a store and its ids. `submit` writes it into a database, workers do it in chunks,
`status` and `outcomes` tell what became of it. Chunks run at least once on DBOS, a durable engine
in that database; everything that they do is safe to repeat.
"""

from __future__ import annotations

try:
    import dbos as _dbos  # noqa: F401
    import platformdirs as _platformdirs  # noqa: F401
except ModuleNotFoundError as _error:
    raise ModuleNotFoundError(
        "bcshopper.fleet needs an extra: pip install 'bcshopper[fleet]'", name=_error.name
    ) from None

from bcshopper.fleet._jobs import (
    JobStatus,
    cancel,
    default_database,
    outcomes,
    retry,
    status,
    statuses,
    submit,
    worker,
)

__all__ = [
    "JobStatus",
    "cancel",
    "default_database",
    "outcomes",
    "retry",
    "status",
    "statuses",
    "submit",
    "worker",
]
