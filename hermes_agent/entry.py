"""The fast door: answers what needs no imports, then hands over to `hermes_agent.cli.main`.

Standard library only, and as little of it as possible: `hermes --version` must cost almost nothing
above the interpreter itself. This is also the one place that makes the standard streams safe.
"""

from __future__ import annotations

import gc
import os
import sys

from hermes_agent import __version__

EXIT_INTERRUPTED = 130
GC_THRESHOLDS = (50_000, 20, 50)
"""New objects before a collection, and collections of one generation before one of the next."""
EXIT_BROKEN_PIPE = 141
_VERSION_FLAGS = (["--version"], ["-V"])
_VALUE_OPTION_NAMES = (
    "-q --query -z --final -m --model --provider -t --toolsets --max-turns -r --resume --image --source"
)
VALUE_OPTIONS = frozenset(_VALUE_OPTION_NAMES.split())
"""Options before the command whose next word is their value."""
_PROFILE_LETTERS = frozenset("abcdefghijklmnopqrstuvwxyz0123456789._-")


def main(argv: list[str] | None = None) -> int:
    """Run the `hermes` command and return its exit code.

    Args:
        argv: Arguments without the program name; default `sys.argv[1:]`.
    """
    args = sys.argv[1:] if argv is None else argv
    try:
        _secure_streams()
        marker = os.path.join(_home(), ".container-mode")  # noqa: PTH118
        if os.path.lexists(marker):
            routed = _route(marker, args)
            if routed is not None:
                return routed
        if args in _VERSION_FLAGS:
            print(f"hermes-agent {__version__}")
            sys.stdout.flush()
            return 0
        args, problem = _apply_profile(args)
        if problem:
            print(problem, file=sys.stderr)
            return 2
        # Imports make hundreds of thousands of objects and hardly any garbage; looking for it with the
        # interpreter's defaults takes a seventh of the time until the first answer.
        gc.set_threshold(*GC_THRESHOLDS)
        from importlib import import_module

        code: int = import_module("hermes_agent.cli.main").main(args, os.environ)
        return _flushed(code)
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        _abandon_streams()
        return EXIT_BROKEN_PIPE


def _home() -> str:
    """HERMES_HOME, or `~/.hermes`, before any profile."""
    named = os.environ.get("HERMES_HOME", "").strip() or os.path.join("~", ".hermes")  # noqa: PTH118
    return os.path.abspath(os.path.expanduser(named))  # noqa: PTH100, PTH111


def _route(marker: str, args: list[str]) -> int | None:
    """Hand the command over to the service's container; None if it is to run here."""
    from importlib import import_module

    code: int | None = import_module("hermes_agent.deploy.host_routing").route(marker, args, os.environ)
    return code


def acp() -> int:
    """The command `hermes-acp`, which editors start: says that this version does not speak their protocol."""
    print(
        "hermes-acp: this version does not speak the Agent Client Protocol yet.\n"
        "An editor that speaks MCP can use: hermes mcp serve",
        file=sys.stderr,
    )
    return 1


def _flushed(code: int) -> int:
    """Flush now, so that the interpreter has nothing left to complain about at exit."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        if code == 0:
            print(f"Error: The output cannot be written\n       {error.strerror}", file=sys.stderr)
        _abandon_streams()
        return code or 1
    return code


def _secure_streams() -> None:
    """Replace closed streams, and never fail on a character that a stream cannot encode."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: PTH123, SIM115
        elif hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")


def _abandon_streams() -> None:
    """The reader went away: keep the interpreter from complaining when it flushes at exit."""
    devnull = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):
        try:
            os.dup2(devnull, stream.fileno())
        except (OSError, ValueError):
            continue


def _apply_profile(args: list[str]) -> tuple[list[str], str]:
    """Take `-p NAME` out of the leading options and point HERMES_HOME at that profile.

    It is done here, before anything reads HERMES_HOME, so that every command obeys it alike.

    Returns:
        The other arguments, and a message if the profile cannot be used.
    """
    is_value = False
    for index, arg in enumerate(args):
        if is_value:
            is_value = False
            continue
        is_value = arg in VALUE_OPTIONS
        if arg in ("-p", "--profile"):
            if index + 1 >= len(args):
                return args, "hermes: -p needs the name of a profile"
            return args[:index] + args[index + 2 :], _select_profile(args[index + 1])
        if arg.startswith("--profile="):
            return args[:index] + args[index + 1 :], _select_profile(arg.partition("=")[2])
        if not arg.startswith("-"):
            break
    return args, ""


def _select_profile(name: str) -> str:
    """Set HERMES_HOME to the profile's directory, or return why that cannot be done."""
    if not name or set(name) - _PROFILE_LETTERS or name.startswith("."):
        return f"hermes: {name!r} is not a profile name\nLower-case letters, digits, '.', '_' and '-' are."
    if name == "default":
        return ""
    home = os.path.join(_home(), "profiles", name)  # noqa: PTH118
    if not os.path.isdir(home):  # noqa: PTH112
        return f"hermes: there is no profile {name!r}\nCreate it: mkdir -p {home}"
    os.environ["HERMES_HOME"] = home
    return ""


if __name__ == "__main__":
    sys.exit(main())
