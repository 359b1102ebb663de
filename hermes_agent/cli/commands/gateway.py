"""`hermes gateway`: run the service, and look after it."""

from __future__ import annotations

import asyncio
import getpass
import json
import logging
import sys
import time
from pathlib import Path
from typing import Any

import click

from hermes_agent.app.container import App
from hermes_agent.app.daemon.control import ask_gateway
from hermes_agent.app.daemon.identity import running_pid
from hermes_agent.app.daemon.manager import InstalledService, home_of
from hermes_agent.app.daemon.units import ServicePlan
from hermes_agent.app.logging import RecordFormatter, start_logging
from hermes_agent.cli.errors import print_lines
from hermes_agent.config.loader import load as load_config
from hermes_agent.config.managed import detect, require_unmanaged
from hermes_agent.config.paths import Home
from hermes_agent.core.errors import GatewayError
from hermes_agent.core.loading import load

_OPTION = "services.hermes-agent.enable"


def _system_option(function: Any) -> Any:
    text = "The service of the whole machine, not the user's."
    return click.option("--system", "is_system", is_flag=True, help=text)(function)


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


@command.command("setup")
@click.argument("platform", required=False)
@click.option("--list", "is_list", is_flag=True, help="Only show what can be set up.")
@click.option(
    "--set", "values", metavar="NAME=VALUE", multiple=True, help="An answer to one of its questions."
)
@click.option("--allow", metavar="IDS", default="", help="People who may talk, by id, separated by commas.")
@click.option("--allow-all", is_flag=True, help="Let everybody talk. They can then use this machine.")
@click.option("--home-channel", metavar="CHAT", default="", help="Chat for messages nobody asked for.")
@click.option("--no-test", "is_untested", is_flag=True, help="Do not try to connect.")
@click.option("--install/--no-install", default=None, help="Install the service afterwards; default: ask.")
@click.option("--non-interactive", "is_silent", is_flag=True, help="Ask nothing.")
@click.pass_obj
def setup(invocation: Any, /, platform: str | None, is_list: bool, **options: Any) -> None:
    """Connect a messaging platform, step by step, and try it.

    In scripts, name the platform and send its credentials on standard input, as lines NAME=VALUE (a single
    one may stand alone), or in the environment. Nothing is written unless it connects.
    """
    if is_list:
        load("hermes_agent.cli.commands.gateway_setup:show_platforms")()
        return
    module: Any = load("hermes_agent.cli.commands.gateway_setup:")
    module.run(invocation, module.Given(platform=platform.lower() if platform else None, **options))


@command.command("install")
@click.option("--system", "is_system", is_flag=True, help="For the whole machine (needs root).")
@click.option("--run-as-user", metavar="NAME", help="Account of a system service; default: who used sudo.")
@click.option("--force", is_flag=True, help="Replace a unit that is there already.")
def install(is_system: bool, run_as_user: str | None, force: bool) -> None:
    """Install and start it as a service: systemd, or launchd on macOS."""
    home = Home.from_environment()
    require_unmanaged(home, "hermes gateway install", _OPTION, nix_line=f"{_OPTION} = true;")
    config = load_config(home)
    user = ""
    user_home = Path.home()
    if is_system:
        user = run_as_user or config.environ.get("SUDO_USER") or getpass.getuser()
        user_home = home_of(user)
        if not config.environ.get("HERMES_HOME"):
            home = Home(user_home / ".hermes")
    service = InstalledService(home, is_system, user_home)
    if service.is_installed and not force:
        raise GatewayError(
            f"{service.name} is installed already", why=str(service.path), remedy="--force replaces it."
        )
    plan = ServicePlan(home, user_home, user, config.settings.agent.restart_drain_timeout)
    advice = service.install(plan)
    click.echo(f"Installed and started {service.name} ({service.path})")
    for line in advice:
        click.echo(line)


@command.command("uninstall")
@_system_option
def uninstall(is_system: bool) -> None:
    """Stop the service and remove it."""
    home = Home.from_environment()
    require_unmanaged(home, "hermes gateway uninstall", _OPTION, nix_line=f"{_OPTION} = false;")
    service = _service(is_system)
    service.uninstall()
    click.echo(f"Removed {service.name}; the state directory {service.home.root} stays.")


@command.command("start")
@_system_option
def start(is_system: bool) -> None:
    """Start the installed service."""
    service = _service(is_system)
    _require_own_service(service, "start")
    if not service.is_installed:
        raise GatewayError(
            "The gateway is not installed as a service",
            remedy="Install it: hermes gateway install. Or run it here: hermes gateway run",
        )
    service.control("start")
    click.echo(f"Started {service.name}")


@command.command("stop")
@_system_option
def stop(is_system: bool) -> None:
    """Stop it; what is going on gets agent.restart_drain_timeout seconds."""
    service = _service(is_system)
    _require_own_service(service, "stop")
    if service.is_installed and service.state() in ("active", "activating", "reloading"):
        service.control("stop")
    else:
        ask_gateway(service.home, "stop")
        _wait_for_end(service.home, App.load().settings.agent.restart_drain_timeout + 15)
    click.echo("Stopped.")


@command.command("restart")
@_system_option
def restart(is_system: bool) -> None:
    """Stop and start it; messages that are being answered are gone on with."""
    service = _service(is_system)
    if service.is_installed:
        service.control("restart")
        click.echo(f"Restarted {service.name}")
        return
    ask_gateway(service.home, "restart")
    click.echo("Stopping with exit code 75: whoever started it starts it again.")


@command.command("reload")
def reload() -> None:
    """Let it read config.yaml and .env again."""
    answer = ask_gateway(Home.from_environment(), "reload", timeout_seconds=60)
    for line in (*answer["warnings"], *answer["problems"]):
        click.echo(line)
    click.echo("Reloaded.")


@command.command("status")
@_system_option
@click.option("--json", "as_json", is_flag=True, help="Everything, as one JSON object.")
@click.pass_context
def status(ctx: click.Context, is_system: bool, as_json: bool) -> None:
    """Show whether it runs and how it is; exit code 1 if it does not run."""
    service = _service(is_system)
    found = load("hermes_agent.cli.gateway_view:collect")(service)
    if as_json:
        click.echo(json.dumps(found, ensure_ascii=False, indent=2))
    else:
        for line in load("hermes_agent.cli.gateway_view:lines")(found):
            click.echo(line)
    ctx.exit(0 if found["running"] else 1)


@command.command("list")
@click.option("--json", "as_json", is_flag=True, help="One JSON object for each.")
def list_(as_json: bool) -> None:
    """List the gateways of this home and its profiles."""
    for found in load("hermes_agent.cli.gateway_view:gateways")(Home.from_environment()):
        if as_json:
            click.echo(json.dumps(found, ensure_ascii=False))
        else:
            running = f"process {found['pid']}" if found["pid"] else "not running"
            click.echo(f"{found['name']:<20} {running:<16} {found['service']:<12} {found['home']}")


@command.command("pause")
@click.argument("platform")
def pause(platform: str) -> None:
    """Disconnect a messaging platform until it is resumed."""
    answer = ask_gateway(Home.from_environment(), "platform", action="pause", name=platform)
    click.echo("\n".join(answer["platforms"]))


@command.command("resume")
@click.argument("platform")
def resume(platform: str) -> None:
    """Connect a paused platform again."""
    answer = ask_gateway(Home.from_environment(), "platform", action="resume", name=platform)
    click.echo("\n".join(answer["platforms"]))


def _require_own_service(service: InstalledService, verb: str) -> None:
    """A manager's unit would start again what is stopped here, and is not ours to start."""
    manager = detect(service.home)
    if manager is not None and not service.is_installed:
        raise GatewayError(
            f"The gateway is a service that is managed by {manager.name}",
            remedy=f"On the machine itself: sudo systemctl {verb} hermes-agent",
        )


def _service(is_system: bool) -> InstalledService:
    return InstalledService.find(Home.from_environment(), is_system=is_system)


def _wait_for_end(home: Home, timeout_seconds: float) -> None:
    deadline = time.monotonic() + timeout_seconds
    while time.monotonic() < deadline:
        if running_pid(home) is None:
            return
        time.sleep(0.1)
    raise GatewayError("It is still stopping", remedy="hermes gateway status shows it.")


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

    def tell(summary: str) -> None:
        if not quiet and sys.stderr.isatty():
            click.echo(f"Ready: {summary}. Ctrl+C ends it.", err=True)

    code: int = asyncio.run(runner(app, replace=replace, on_ready=tell))
    return code
