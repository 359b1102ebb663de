"""The NixOS module's option types follow the typed settings."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_committed_schema_of_the_module_is_that_of_the_settings():
    outcome = subprocess.run(
        [sys.executable, str(ROOT / "scripts/generate-nix-schema"), "--check"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert outcome.returncode == 0, outcome.stderr
