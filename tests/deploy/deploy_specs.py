"""Specs for the tests."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any


def spec(root: Path, **parts: Any) -> dict[str, Any]:
    """A spec for a state directory below `root`."""
    state = root / "state"
    return {
        "version": 1,
        "state_directory": str(state),
        "home": str(state / ".hermes"),
        "working_directory": str(state / "workspace"),
        "managed": {"manager": "NixOS"},
        **parts,
    }


def activate(root: Path, *options: str, **parts: Any) -> subprocess.CompletedProcess[str]:
    """Run `hermes-agent-activate` with a spec."""
    file = root / "spec.json"
    file.write_text(json.dumps(spec(root, **parts)))
    file.chmod(0o644)
    return subprocess.run(
        [sys.executable, "-m", "hermes_agent.deploy.command", "--spec", str(file), *options],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
