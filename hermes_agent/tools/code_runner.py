"""Starts a script; bounds its processes, and keeps the beginning of its standard error, whoever holds it.

A program of its own, here and elsewhere (its text is copied beside the script): standard library only.
Arguments: the file for standard error, the most bytes of it, the command.
"""

from __future__ import annotations

import contextlib
import os
import resource
import subprocess
import sys
import threading

MORE_PROCESSES = 500
"""Processes and threads that a script may add to those its user has; root has no such limit."""


def main(path: str, limit: int, command: list[str]) -> int:
    """Run the command; gives its exit code as a shell would."""
    with contextlib.suppress(OSError, ValueError):
        bound_processes()
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE)
    assert child.stderr is not None
    reader = threading.Thread(target=_keep, args=(child.stderr.fileno(), path, limit), daemon=True)
    reader.start()
    code = child.wait()
    reader.join(0.3)
    return code if code >= 0 else 128 - code


def bound_processes() -> None:
    """Let a script that forks without end run into a limit before the machine does."""
    own = str(os.getuid())
    count = 0
    for name in os.listdir("/proc"):  # noqa: PTH208 - as old a Python as there is
        if name.isdigit():
            with contextlib.suppress(OSError, KeyError), open(f"/proc/{name}/status") as file:  # noqa: PTH123
                lines = dict(line.split(":", 1) for line in file if line.startswith(("Uid:", "Threads:")))
                if lines["Uid"].split()[0] == own:
                    count += int(lines["Threads"])
    soft, hard = resource.getrlimit(resource.RLIMIT_NPROC)
    wanted = count + MORE_PROCESSES
    if soft == resource.RLIM_INFINITY or soft > wanted:
        resource.setrlimit(resource.RLIMIT_NPROC, (wanted, hard))


def _keep(source: int, path: str, limit: int) -> None:
    with open(path, "wb", buffering=0) as file:  # noqa: PTH123 - as old a Python as there is
        while True:
            data = os.read(source, 65536)
            if not data:
                return
            file.write(data[:limit])
            limit -= min(limit, len(data))


if __name__ == "__main__":
    os._exit(main(sys.argv[1], int(sys.argv[2]), sys.argv[3:]))
