"""The `hermes` command as a person runs it: a process with its own home, or one in a real terminal."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import pexpect

_KEPT = ("PATH", "LANG", "LC_ALL", "COVERAGE_PROCESS_START", "COVERAGE_PROCESS_CONFIG", "TMPDIR")


@dataclass
class CommandLine:
    """Runs `hermes` with a clean environment.

    Attributes:
        home: HERMES_HOME; HOME is its parent.
        extra: Further environment variables.
    """

    home: Path
    extra: dict[str, str] = field(default_factory=dict)

    def environment(self, **extra: str) -> dict[str, str]:
        """What the process sees: no key, no proxy, nothing of the machine's."""
        kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
        own = {
            "HERMES_HOME": str(self.home),
            "HOME": str(self.home.parent),
            "PYTHONDONTWRITEBYTECODE": "1",
            "TERM": "xterm",
        }
        return {**kept, **own, **self.extra, **extra}

    def run(self, *arguments: str, stdin: str = "", **extra: str) -> subprocess.CompletedProcess[str]:
        """Run to the end, without a terminal."""
        return subprocess.run(
            [sys.executable, "-m", "hermes_agent", *arguments],
            env=self.environment(**extra),
            cwd=self.home.parent,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def spawn(self, *arguments: str, **extra: str) -> pexpect.spawn:
        """Start in a terminal of 80 × 30."""
        return pexpect.spawn(
            sys.executable,
            ["-m", "hermes_agent", *arguments],
            env=self.environment(PROMPT_TOOLKIT_NO_CPR="1", **extra),  # nobody here reports the cursor
            cwd=str(self.home.parent),
            encoding="utf-8",
            timeout=60,
            dimensions=(30, 80),
        )

    def write(self, name: str, text: str, mode: int = 0o600) -> Path:
        """Put a file into the home."""
        path = self.home / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        path.chmod(mode)
        return path


def finish(child: pexpect.spawn) -> int:
    """Read to the end; returns the exit code (128 + n for signal n)."""
    child.expect(pexpect.EOF)
    child.close()
    return child.exitstatus if child.exitstatus is not None else 128 + child.signalstatus
