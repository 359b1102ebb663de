"""The `hermes` command: a table of commands that are imported when they are used."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import click

from hermes_agent import __version__
from hermes_agent.cli.errors import (
    EXIT_CODES,
    EXIT_INTERRUPTED,
    report,
    report_unexpected,
    report_usage,
)
from hermes_agent.cli.options import ChatOptions, Invocation, chat_options
from hermes_agent.cli.output import Terminal
from hermes_agent.cli.table import COMMANDS
from hermes_agent.core.errors import HermesError
from hermes_agent.core.loading import load

_ENTRIES = {entry.name: entry for entry in COMMANDS}
_OPTIONAL_VALUE = ("-c", "--continue")


class _PipeClosed(Exception):  # noqa: N818 - a signal, not a failure
    """Nobody reads standard output any more."""


class LazyGroup(click.Group):
    """A group whose commands come from the table."""

    def list_commands(self, _ctx: click.Context) -> list[str]:
        """All names, in table order."""
        return list(_ENTRIES)

    def get_command(self, _ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import one command; None if the table does not have it."""
        entry = _ENTRIES.get(cmd_name)
        if entry is None:
            return None
        command: click.Command = load(entry.path)
        return command

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Allow `hermes help X`, and keep `-c` from swallowing the name of a command."""
        if args and args[0] == "help":
            args = [*args[1:2], "--help"]
        for index, arg in enumerate(args[:-1]):
            if arg in _OPTIONAL_VALUE and args[index + 1] in _ENTRIES:
                args = [*args[:index], "--continue=", *args[index + 1 :]]
                break
        return super().parse_args(ctx, args)

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        """Parse, and print help if asked. A closed pipe is carried past click (it would exit with 1)."""
        try:
            return super().make_context(info_name, args, parent, **extra)
        except BrokenPipeError as error:
            raise _PipeClosed from error

    def invoke(self, ctx: click.Context) -> Any:
        """Run it. A closed pipe is carried past click."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError as error:
            raise _PipeClosed from error

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command, or name the nearest ones."""
        name = args[0]
        command = self.get_command(ctx, name)
        if command is not None:
            return name, command, args[1:]
        near = load("difflib:get_close_matches")(name, list(_ENTRIES), n=3, cutoff=0.5)
        hint = f". Did you mean {' or '.join(near)}?" if near else ""
        if not near and " " in name.strip():
            hint = '. To ask something, write hermes -q "…"'
        raise click.UsageError(f"There is no command {name!r}{hint}", ctx)

    def format_commands(self, _ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List every command without importing one."""
        with formatter.section("Commands"):
            formatter.write_dl([(entry.name, entry.short_help) for entry in COMMANDS])

    def format_epilog(self, _ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the exit codes."""
        with formatter.section("Exit codes"):
            formatter.write_dl([(str(code), meaning) for code, meaning in EXIT_CODES])


def _print_version(ctx: click.Context, _parameter: click.Parameter, value: bool) -> None:
    if value and not ctx.resilient_parsing:
        click.echo(f"hermes-agent {__version__}")
        ctx.exit()


def _refuse_late_profile(ctx: click.Context, _parameter: click.Parameter, value: str | None) -> None:
    """The entry point takes `-p` out before anything else; here it stands where that did not look."""
    if value is not None:
        raise click.UsageError("-p must come first", ctx)


@click.group(
    cls=LazyGroup,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.option(
    "-V",
    "--version",
    is_flag=True,
    expose_value=False,
    is_eager=True,
    callback=_print_version,
    help="Show the version.",
)
@click.option(
    "-p",
    "--profile",
    expose_value=False,
    metavar="NAME",
    callback=_refuse_late_profile,
    help="Use the home profiles/NAME.",
)
@chat_options
@click.pass_context
def root(ctx: click.Context, /, **values: Any) -> None:
    """An agent that works with your files and commands, in the terminal.

    Without a command it starts a chat.
    """
    invocation = ctx.obj if isinstance(ctx.obj, Invocation) else Invocation(Terminal.detect({}), {})
    ctx.obj = replace(invocation, options=ChatOptions(**values))
    if ctx.invoked_subcommand is None:
        ctx.exit(load("hermes_agent.cli.chat.start:start")(ctx.obj))


def main(args: Sequence[str], environ: Mapping[str, str]) -> int:
    """Run one command and return its exit code.

    Args:
        args: Arguments without the program name.
        environ: The process environment (the entry point hands it in).

    Raises:
        BrokenPipeError: The reader of standard output went away.
    """
    terminal = Terminal.detect(environ)
    debug = "--debug" in args
    color = terminal.color_stderr
    try:
        code = root.main(
            list(args),
            prog_name="hermes",
            standalone_mode=False,
            obj=Invocation(terminal, environ),
            color=terminal.color_stdout,
        )
    except _PipeClosed:
        raise BrokenPipeError from None
    except HermesError as error:
        return report(error, color=color, debug=debug)
    except click.Abort:
        click.echo(err=True)
        return EXIT_INTERRUPTED
    except click.ClickException as error:
        return report_usage(error, color=color)
    except (KeyboardInterrupt, BrokenPipeError):
        raise
    except Exception as error:  # noqa: BLE001 - the top handler: people get a line, the log the traceback
        return report_unexpected(error, color=color, debug=debug)
    sys.stdout.flush()
    return code if isinstance(code, int) and not isinstance(code, bool) else 0
