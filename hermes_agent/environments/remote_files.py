"""Files at the other end of a connection, through small POSIX scripts; content travels as it is."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeAlias

from hermes_agent.core.environment import FileInfo
from hermes_agent.core.errors import ToolError
from hermes_agent.environments.remote_scripts import place

_MISSING, _DIRECTORY, _IRREGULAR, _DENIED, _FAILED, _SHORT = 41, 42, 43, 44, 45, 46


@dataclass(frozen=True, slots=True)
class ScriptResult:
    """How a script ended and what it printed."""

    exit_code: int
    output: bytes
    errors: str


RunScript: TypeAlias = Callable[[str, bytes], Awaitable[ScriptResult]]
"""Runs a script with the given standard input. Raises `ExecutionError` if the place is gone."""

_STAT = """\
p={path}
[ -e "$p" ] || exit {missing}
stat -L -c '%f %s %.9Y' -- "$p" 2>/dev/null && exit 0
stat -L -f '%Xp %z %Fm' -- "$p" 2>/dev/null || exit {failed}
"""

_READ = """\
p={path}
[ -e "$p" ] || exit {missing}
[ -d "$p" ] && exit {directory}
[ -f "$p" ] || exit {irregular}
[ -r "$p" ] || exit {denied}
{command} || exit {failed}
"""

_WRITE = """\
p={path}; n=0
while [ -L "$p" ] && [ $n -lt 40 ]; do
  l=$(readlink "$p"); case $l in /*) p=$l;; *) p=${{p%/*}}/$l;; esac; n=$((n+1))
done
[ -d "$p" ] && exit {directory}
if [ -e "$p" ] && [ ! -f "$p" ]; then exit {irregular}; fi
d=${{p%/*}}; [ -n "$d" ] || d=/
mkdir -p "$d" || exit {denied}
if t=$(mktemp "$d/.hermes-XXXXXXXX" 2>/dev/null); then
  trap 'rm -f "$t"' EXIT
  head -c {size} >"$t" || exit {failed}
  [ "$(wc -c <"$t")" -eq {size} ] || exit {short}
  if [ -e "$p" ]; then
    chmod "$(stat -c %a "$p" 2>/dev/null || stat -f %Lp "$p")" "$t"
    o=$(stat -c %u:%g "$p" 2>/dev/null || stat -f %u:%g "$p")
    m=$(stat -c %u:%g "$t" 2>/dev/null || stat -f %u:%g "$t")
    if [ "$o" != "$m" ] && ! chown "$o" "$t" 2>/dev/null; then cat "$t" >"$p" || exit {failed}; exit 0; fi
  else
    chmod =rw "$t"
  fi
  mv -f "$t" "$p" || exit {failed}
elif [ -f "$p" ] && [ -w "$p" ]; then
  head -c {size} >"$p" || exit {failed}
else
  exit {denied}
fi
"""

_REMOVE = """\
p={path}
[ -e "$p" ] || [ -L "$p" ] || exit {missing}
[ -d "$p" ] && [ ! -L "$p" ] && exit {directory}
rm -f -- "$p" || exit {denied}
"""


class RemoteFiles:
    """The file half of a remote environment.

    Args:
        run: Runs scripts there.
    """

    def __init__(self, run: RunScript) -> None:
        self._run = run

    async def stat(self, path: str) -> FileInfo | None:
        """Describe a path, following links; None if nothing is there."""
        result = await self._run(_filled(_STAT, path), b"")
        if result.exit_code == _MISSING:
            return None
        _check(result, "read", path)
        mode_text, size, mtime = result.output.split()[:3]
        mode = int(mode_text, 16)
        seconds, _, fraction = mtime.decode().partition(".")
        kind = mode & 0o170000
        return FileInfo(
            path=path,
            kind="file" if kind == 0o100000 else "directory" if kind == 0o040000 else "other",
            size=int(size),
            mtime_ns=int(seconds) * 1_000_000_000 + int(fraction.ljust(9, "0")[:9] or 0),
            mode=mode & 0o7777,
        )

    async def read(self, path: str, offset: int = 0, max_bytes: int | None = None) -> bytes:
        """Read a regular file or a slice of it."""
        command = f'tail -c +{offset + 1} -- "$p"' if offset else 'cat -- "$p"'
        if max_bytes is not None:
            command = f"{command} | head -c {max_bytes}" if offset else f'head -c {max_bytes} -- "$p"'
        result = await self._run(_filled(_READ, path, command=command), b"")
        _check(result, "read", path)
        return result.output

    async def write(self, path: str, data: bytes) -> None:
        """Replace a file atomically, keeping its mode and following links; parents are created."""
        _check(await self._run(_filled(_WRITE, path, size=len(data)), data), "write", path)

    async def remove(self, path: str) -> None:
        """Remove one file."""
        _check(await self._run(_filled(_REMOVE, path), b""), "remove", path)


def _filled(script: str, path: str, **values: object) -> str:
    if "\0" in path:
        raise ToolError(f"Not a path: {path!r}", why="It contains a zero byte.")
    return script.format(
        path=place(path),
        missing=_MISSING,
        directory=_DIRECTORY,
        irregular=_IRREGULAR,
        denied=_DENIED,
        failed=_FAILED,
        short=_SHORT,
        **values,
    )


def _check(result: ScriptResult, action: str, path: str) -> None:
    why = result.errors.strip().rpartition("\n")[2] or None
    match result.exit_code:
        case 0:
            return
        case code if code == _MISSING:
            raise ToolError(f"File not found: {path}")
        case code if code == _DIRECTORY:
            raise ToolError(f"{path} is a directory, not a file")
        case code if code == _IRREGULAR:
            raise ToolError(
                f"Cannot {action} {path}", why="It is a device, pipe or socket, not a regular file."
            )
        case code if code == _DENIED:
            raise ToolError(f"Permission denied: {path}", why=why or f"Not allowed to {action} it.")
        case code if code == _SHORT:
            raise ToolError(
                f"Cannot {action} {path}", why="The connection broke off, or no space is left there."
            )
        case code:
            raise ToolError(f"Cannot {action} {path}", why=why or f"The script ended with exit code {code}.")
