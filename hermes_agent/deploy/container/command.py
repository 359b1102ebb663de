"""`hermes-agent-container`: the container of a service, from outside and from inside."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hermes_agent.core.errors import HermesError
from hermes_agent.core.loading import load

_PACKAGE = "hermes_agent.deploy.container"
_PLAN_CODES = "0 nothing, 10 restart, 11 make it, 12 make it again and keep what is installed, 13 and lose it"


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit code.

    `run` ends with the container's own code; 1: something could not be put in place, or another one runs;
    2: wrong usage; 3: the spec or something it names cannot be used; 6: the engine, or the image.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    if words[:1] == ["init"] and len(words) == 2:
        return int(load(f"{_PACKAGE}.init:main")(Path(words[1])))
    if words[:1] == ["sudo"]:
        return int(load(f"{_PACKAGE}.sudo:main")(words[1:]))
    options = _parser().parse_args(words)
    try:
        spec = load(f"{_PACKAGE}.spec:load_container_spec")(options.spec)
        return _run(options, spec)
    except HermesError as error:
        load("hermes_agent.deploy.running:print_problem")(error)
        return error.exit_code
    except KeyboardInterrupt:
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="hermes-agent-container",
        description="Keep the container that a service lives in as its spec says.",
    )
    parser.add_argument("--spec", type=Path, required=True, help="the container spec, a JSON file")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    commands.add_parser("run", help="bring it up and stay with it (what systemd runs)")
    plan = commands.add_parser(
        "plan", help="what `run` would do now, and why; changes nothing", epilog=f"Exit codes: {_PLAN_CODES}"
    )
    plan.add_argument("--json", action="store_true", help="for programs")
    commands.add_parser("stop", help="end it in good order")
    commands.add_parser("remove", help="remove the container and its kept images; the state stays")
    return parser


def _run(options: argparse.Namespace, spec: Any) -> int:
    if options.command == "run":
        variables = dict(os.environ)  # noqa: TID251 - this is the entry of the program
        return int(load("asyncio:run")(load(f"{_PACKAGE}.supervisor:supervise")(spec, variables)))
    if options.command == "plan":
        return int(load(f"{_PACKAGE}.verbs:show_plan")(spec, as_json=options.json))
    return int(load(f"{_PACKAGE}.verbs:{options.command}")(spec))


if __name__ == "__main__":
    sys.exit(main())
