"""Persistence in one SQLite file, `state.db`. The only package that imports `sqlite3`.

Standard library only, because every start of the program imports it.
"""

from __future__ import annotations

from hermes_agent.store.store import SqliteStore, open_store

__all__ = ["SqliteStore", "open_store"]
