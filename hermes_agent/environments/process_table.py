"""Who belongs to a session, from `/proc` (Linux); elsewhere only process groups are known."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable
from typing import NamedTuple

# No `Path`: it keeps every part of every path in the interpreter's table of strings, which then grows with
# the ids of all processes that ever were.
_PROC = "/proc"


def session_processes(leader: int, *, leader_must_be_gone: bool = False) -> frozenset[int]:
    """Ids of the living processes of the session of `leader`, and of all its descendants.

    Shells with job control give every job its own group, and children may open their own sessions:
    signals to the leader's group alone would miss both. Empty where there is no `/proc`.

    Args:
        leader: Id of the process that started the session.
        leader_must_be_gone: The leader is known to be dead, so a living process with its id is a
            stranger, and so is its session: find nobody then.
    """
    children: defaultdict[int, list[int]] = defaultdict(list)
    found: set[int] = set()
    for entry in _processes():
        if entry.pid == leader and leader_must_be_gone:
            return frozenset()
        children[entry.parent].append(entry.pid)
        if entry.session == leader:
            found.add(entry.pid)
    waiting = [] if leader_must_be_gone else [leader]
    while waiting:
        for child in children.get(waiting.pop(), ()):
            found.add(child)
            waiting.append(child)
    return frozenset(found)


def has_table() -> bool:
    """This system has a `/proc` with all processes in it."""
    return os.path.exists(f"{_PROC}/self/stat")  # noqa: PTH110 - see `_PROC`


def any_alive(pids: Iterable[int]) -> bool:
    """One of these processes runs. Dead ones whom nobody has reaped yet do not count, if we can see it."""
    for pid in pids:
        try:
            os.kill(pid, 0)
        except PermissionError:
            return True
        except OSError:
            continue
        found = _read(pid)
        if found is None or found.state not in (b"Z", b"X"):
            return True
    return False


class _Entry(NamedTuple):
    pid: int
    state: bytes
    parent: int
    session: int


def _read(pid: int) -> _Entry | None:
    try:
        with open(f"{_PROC}/{pid}/stat", "rb") as file:  # noqa: PTH123 - see `_PROC`
            stat = file.read()
    except OSError:  # it has just ended, or there is no table
        return None
    # The program's name stands in parentheses and may hold anything, also parentheses.
    state, parent, _group, session, *_ = stat[stat.rfind(b")") + 2 :].split()
    return _Entry(pid, state, int(parent), int(session))


def _processes() -> list[_Entry]:
    try:
        pids = [int(name) for name in os.listdir(_PROC) if name.isdigit()]  # noqa: PTH208 - see `_PROC`
    except OSError:
        return []
    return [found for pid in pids if (found := _read(pid)) and found.state not in (b"Z", b"X")]
