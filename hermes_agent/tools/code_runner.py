"""Starts a script and keeps the beginning of its standard error, however much there is and whoever holds it.

A program of its own, here and elsewhere (its text is copied beside the script): standard library only.
Arguments: the file for standard error, the most bytes of it, the command.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading


def main(path: str, limit: int, command: list[str]) -> int:
    """Run the command; gives its exit code as a shell would."""
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE)
    assert child.stderr is not None
    reader = threading.Thread(target=_keep, args=(child.stderr.fileno(), path, limit), daemon=True)
    reader.start()
    code = child.wait()
    reader.join(0.3)
    return code if code >= 0 else 128 - code


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
