"""`hermes-agent-activate`: what the NixOS and Home Manager modules run."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from hermes_agent.core.errors import HermesError
from hermes_agent.core.loading import load

_ACTIVATE = "hermes_agent.deploy.running:activate"
_LOAD_SPEC = "hermes_agent.deploy.spec:load_spec"
_PRINT_PROBLEM = "hermes_agent.deploy.running:print_problem"


def main(argv: Sequence[str] | None = None) -> int:
    """Apply an activation spec; returns the exit code.

    0: done (or nothing to do); 1: something could not be put in place; 2: wrong usage; 3: the spec or a
    file it names cannot be used, and nothing was changed.
    """
    parser = argparse.ArgumentParser(
        prog="hermes-agent-activate",
        description="Put a declared configuration in place: config.yaml, .env, documents, plug-ins.",
    )
    parser.add_argument("--spec", type=Path, required=True, help="the activation spec, a JSON file")
    parser.add_argument("--dry-run", action="store_true", help="change nothing; print what would change")
    parser.add_argument(
        "--only-secrets", action="store_true", help="only compile .env again (before each start)"
    )
    options = parser.parse_args(argv)
    try:
        spec = load(_LOAD_SPEC)(options.spec)
        code: int = load(_ACTIVATE)(spec, dry_run=options.dry_run, only_secrets=options.only_secrets)
    except HermesError as error:
        load(_PRINT_PROBLEM)(error)
        return error.exit_code
    return code


if __name__ == "__main__":
    sys.exit(main())
