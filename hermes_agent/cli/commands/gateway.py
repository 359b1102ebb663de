"""`hermes gateway`: run the service, and look after it."""

from __future__ import annotations

import asyncio
import logging
import sys
from typing import Any

import click

from hermes_agent.app.container import App
from hermes_agent.app.logging import RecordFormatter, start_logging
from hermes_agent.cli.errors import print_lines
from hermes_agent.core.loading import load


@click.group("gateway", invoke_without_command=True)
@click.pass_context
def command(ctx: click.Context) -> None:
    """The service that talks to people: messaging platforms, the API, scheduled jobs.

    Without a command it runs in the foreground.
    """
    if ctx.invoked_subcommand is None:
        ctx.exit(_run())


@command.command("run")
@click.option("-v", "--verbose", count=True, help="Say more on standard error; twice: everything.")
@click.option("-q", "--quiet", is_flag=True, help="Say nothing on standard error but errors.")
@click.option("--replace", is_flag=True, help="Take the place of a gateway that is running.")
@click.option("--force", is_flag=True, hidden=True, help="The same as --replace.")
@click.pass_context
def run(ctx: click.Context, verbose: int, quiet: bool, replace: bool, force: bool) -> None:
    """Run in the foreground until SIGTERM or Ctrl+C.

    SIGHUP reads config.yaml and .env again. Exit codes: 0 stopped, 75 to be started again.
    """
    ctx.exit(_run(verbose=verbose, quiet=quiet, replace=replace or force))


def _run(*, verbose: int = 0, quiet: bool = False, replace: bool = False) -> int:
    level = "DEBUG" if verbose > 1 else None
    app = App.load({"logging.level": level} if level else {})
    start_logging(app.home, app.settings.logging, app.redactor, name="gateway")
    shown = logging.ERROR if quiet else (logging.WARNING, logging.INFO, logging.DEBUG)[min(verbose, 2)]
    handler = logging.StreamHandler(sys.stderr)
    handler.setLevel(shown)
    handler.setFormatter(RecordFormatter(app.redactor))
    logging.root.addHandler(handler)
    for warning in app.config.warnings:
        print_lines((warning,), color=False, label="Warning")
    runner: Any = load("hermes_agent.app.gateway:run_gateway")
    code: int = asyncio.run(runner(app, replace=replace))
    return code
