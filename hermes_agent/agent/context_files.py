"""Project rules that the agent reads: `.hermes.md`, `AGENTS.md` and their relatives.

The first name that exists is taken, searched from the working directory up to the project's root (the
directory that holds `.git`). Text from a repository is untrusted: a file that tries to give the
agent orders against its user is left out and the user is told.

Names, limits and the 70/20 split follow the older agent, so that existing projects behave the same.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath

from hermes_agent.core.environment import Environment
from hermes_agent.core.errors import HermesError
from hermes_agent.core.injection import find_orders as find_orders  # noqa: PLC0414 - re-exported

CONTEXT_FILE_NAMES = (".hermes.md", "HERMES.md", "AGENTS.md", "CLAUDE.md", ".cursorrules")
MAX_CHARS = 20_000
HINT_MAX_CHARS = 8_000
MAX_LEVELS = 5
HEAD_SHARE, TAIL_SHARE = 0.7, 0.2


def shorten(text: str, max_chars: int) -> str:
    """Keep the first 70 % and last 20 % of a text that is too long, and say so between."""
    if len(text) <= max_chars:
        return text
    head, tail = int(max_chars * HEAD_SHARE), int(max_chars * TAIL_SHARE)
    left_out = len(text) - head - tail
    return f"{text[:head]}\n[… {left_out} characters left out; read the file for the rest …]\n{text[-tail:]}"


@dataclass(frozen=True, slots=True)
class ContextFile:
    """Project rules, ready for the prompt. `warning` is for the user; then `text` is empty."""

    path: str
    text: str
    warning: str | None = None


class ContextFiles:
    """Finds and reads project rules through the environment in which the agent works.

    Args:
        environment: Where the agent works.
        max_chars: Of the project's rules; 0 reads none.
        hint_max_chars: Of the rules of a sub-directory; 0 reads none.
    """

    def __init__(
        self, environment: Environment, *, max_chars: int = MAX_CHARS, hint_max_chars: int = HINT_MAX_CHARS
    ) -> None:
        self._environment = environment
        self._max_chars = max_chars
        self._hint_max_chars = hint_max_chars
        self._seen: set[str] = set()

    async def load(self, directory: str) -> ContextFile | None:
        """The rules of the project that `directory` belongs to."""
        for candidate in await self._project_directories(directory):
            found = await self._read_first(candidate, self._max_chars)
            if found is not None:
                return found
        return None

    async def hint_for(self, path: str, root: str) -> ContextFile | None:
        """Rules of a sub-directory of `root` that `path` lies in; each is given only once."""
        for directory in _between(path, root):
            if directory in self._seen:
                continue
            self._seen.add(directory)
            found = await self._read_first(directory, self._hint_max_chars)
            if found is not None:
                return found
        return None

    async def _project_directories(self, directory: str) -> list[str]:
        """`directory` and its parents up to the repository's root; only itself outside of one."""
        chain: list[str] = []
        for path in (PurePosixPath(directory), *PurePosixPath(directory).parents):
            chain.append(str(path))
            if await self._environment.stat(str(path / ".git")) is not None:
                return chain
        return chain[:1]

    async def _read_first(self, directory: str, max_chars: int) -> ContextFile | None:
        self._seen.add(directory)
        if not max_chars:
            return None
        for name in CONTEXT_FILE_NAMES:
            path = str(PurePosixPath(directory) / name)
            try:
                info = await self._environment.stat(path)
                if info is None or info.kind != "file":
                    continue
                raw = await self._environment.read_bytes(path, max_bytes=4 * max_chars * 4)
            except HermesError as error:
                return ContextFile(path, "", f"{path} could not be read: {error.message}")
            text = raw.decode("utf-8", errors="replace").strip()
            if not text:
                continue
            if (reason := find_orders(text)) is not None:
                return ContextFile(path, "", f"{path} was left out of the prompt: it contains {reason}.")
            return ContextFile(path, shorten(text, max_chars))
        return None


def _between(path: str, root: str) -> Iterator[str]:
    """Directories from the one holding `path` up to, but without, `root`; at most five levels."""
    target, top = PurePosixPath(path), PurePosixPath(root)
    if not target.is_relative_to(top):
        return
    for level, directory in enumerate(target.parents):
        if directory == top or level >= MAX_LEVELS:
            return
        yield str(directory)
