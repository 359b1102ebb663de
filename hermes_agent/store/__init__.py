"""Persistence in one SQLite file, `state.db`. The only package that imports `sqlite3`.

`open_store` is loaded when it is first asked for, so that its neighbours (locks) cost nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hermes_agent.core.loading import load

if TYPE_CHECKING:
    from hermes_agent.store.store import SqliteStore, open_store

__all__ = ["SqliteStore", "open_store"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(name)
    return load(f"hermes_agent.store.store:{name}")
