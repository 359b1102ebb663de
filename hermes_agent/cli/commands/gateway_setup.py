"""`hermes gateway setup`: connect messaging platforms, with questions or without."""

from __future__ import annotations

import getpass
import secrets
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import click

from hermes_agent.app.daemon.control import ask_gateway
from hermes_agent.app.daemon.identity import running_pid
from hermes_agent.app.daemon.manager import InstalledService
from hermes_agent.app.daemon.units import ServicePlan
from hermes_agent.cli.errors import print_lines
from hermes_agent.cli.options import Invocation
from hermes_agent.cli.output import short_path
from hermes_agent.cli.pickers.platform_plan import PlatformPlan, is_secret
from hermes_agent.cli.pickers.platforms import PlatformSteps, connected_line, shown_lines, trial
from hermes_agent.cli.pickers.prompter import Choice, Prompter, open_prompter
from hermes_agent.config import env_file
from hermes_agent.config.extras import missing_distributions, require_extra
from hermes_agent.config.loader import LoadedConfig, load
from hermes_agent.config.managed import require_unmanaged
from hermes_agent.config.paths import Home
from hermes_agent.core.errors import GatewayError, HermesError, MissingExtraError, UsageError
from hermes_agent.gateway.platforms.table import PLATFORMS, PlatformEntry, is_enabled

API_SERVER = "api_server"
_SETTLE_SECONDS = 20.0


@dataclass(frozen=True, slots=True)
class Given:
    """What the command line said.

    Attributes:
        values: `NAME=VALUE` texts.
        install: Whether to install the service; None asks.
    """

    platform: str | None = None
    values: Sequence[str] = ()
    allow: str = ""
    allow_all: bool = False
    home_channel: str = ""
    is_silent: bool = False
    is_untested: bool = False
    install: bool | None = None


def run(invocation: Invocation, given: Given) -> None:
    """Do it.

    Raises:
        ManagedError: The installation is managed.
        UsageError: Nobody can be asked, and something is missing.
        HermesError: The platform does not take the credential; nothing is written.
    """
    home = Home.from_environment()
    entry = _find(given.platform) if given.platform not in (None, API_SERVER) else None
    _refuse_managed(home, entry)
    config = load(home)
    if given.is_silent or not invocation.terminal.is_interactive:
        _without_questions(home, config, entry, given)
        return
    prompter = open_prompter(invocation.terminal, instead="hermes gateway setup PLATFORM --non-interactive")
    click.echo(f"Setting up messaging in {short_path(str(home.root))}. Ctrl+C leaves everything as it was.")
    name: str | None = given.platform
    is_changed = False
    while True:
        name = name or prompter.choose("Platform", _choices(load(home)))
        if name is None:
            break
        is_changed = _ask_for(prompter, name, given) or is_changed
        if given.platform is not None or not prompter.confirm("Set up another one?", False):
            break
        name = None
    if not is_changed:
        click.echo("Nothing was changed.")
        return
    _finish(home, given, prompter)


def show_platforms() -> None:
    """`--list`: what can be set up, and what is."""
    config = load(Home.from_environment())
    for choice in _choices(config):
        click.echo(f"{choice.value:<16} {choice.label:<20} {choice.note}".rstrip())


def _refuse_managed(home: Home, entry: PlatformEntry | None) -> None:
    lines = []
    if entry is not None and entry.credentials:
        wanted = " ".join(f"{name}=…" for name in entry.credentials)
        lines.append(f'services.hermes-agent.environmentFiles = [ "/run/secrets/hermes" ];  # {wanted}')
    else:
        lines.append('services.hermes-agent.environmentFiles = [ "/run/secrets/hermes" ];  # tokens')
    if entry is not None and entry.extra:
        lines.append(f'services.hermes-agent.extraDependencyGroups = [ "{entry.extra}" ];')
    require_unmanaged(
        home,
        "hermes gateway setup",
        "services.hermes-agent.environmentFiles",
        nix_line="\n    ".join(lines),
    )


def _find(name: str | None) -> PlatformEntry:
    for entry in PLATFORMS:
        if entry.name == (name or "").lower():
            return entry
    known = ", ".join([*(entry.name for entry in PLATFORMS if not entry.is_for_tests), API_SERVER])
    raise UsageError(f"There is no platform {name!r}", remedy=f"Known: {known}")


def _choices(config: LoadedConfig) -> list[Choice]:
    found = []
    for entry in PLATFORMS:
        settings = config.settings.platforms.get(entry.name)
        is_on = is_enabled(entry, settings, config.environ.get)
        if entry.is_for_tests and not is_on:
            continue
        note = "set up" if is_on else ""
        if entry.extra and missing_distributions(entry.extra):
            note = f"{f'{note}, ' if note else ''}needs the extra {entry.extra}"
        found.append(Choice(entry.name, entry.label or entry.name.capitalize(), note))
    api = config.settings.api_server
    note = "set up" if api.key and api.enabled is not False else "for programs that can talk to OpenAI"
    found.append(Choice(API_SERVER, "API server", note))
    return found


def _ask_for(prompter: Prompter, name: str, given: Given) -> bool:
    """Set one platform up; False if nothing was written."""
    home = Home.from_environment()
    config = load(home)
    if name == API_SERVER:
        return _set_up_api(config)
    entry = _find(name)
    plan = PlatformPlan(config, entry)
    try:
        require_extra(home, entry.extra, plan.label)
    except MissingExtraError as error:
        if given.platform is not None:
            raise
        print_lines(error.lines, color=False, label="Note")
        return False
    _take_values(plan, given.values)
    steps = PlatformSteps(prompter, plan)
    if not steps.connect(is_untested=given.is_untested):
        return False
    if entry.has_chats:
        if not _take_people(plan, given):
            steps.people()
        if not given.home_channel:
            steps.home_channel()
    plan.switch_on()
    rows = plan.summary()
    if not rows:
        click.echo("It is set up so already.")
        return True
    click.echo("\nThis will be written:")
    for label, text in rows:
        click.echo(f"  {label}: {text}" if not text.startswith("in ") else f"  {label} {text}")
    if not prompter.confirm("Save it?"):
        return False
    plan.apply()
    _tell_next(plan)
    return True


def _without_questions(home: Home, config: LoadedConfig, entry: PlatformEntry | None, given: Given) -> None:
    if given.platform == API_SERVER:
        _set_up_api(config)
    elif entry is None:
        raise UsageError(
            "This asks questions, and there is nobody at a terminal to answer",
            remedy="Name the platform: hermes gateway setup PLATFORM (hermes gateway setup --list shows all)",
        )
    else:
        _set_up(config, entry, given)
    _finish(home, given, None)


def _set_up(config: LoadedConfig, entry: PlatformEntry, given: Given) -> None:
    plan = PlatformPlan(config, entry)
    require_extra(config.home, entry.extra, plan.label)
    plan.adopt_environment()
    _take_values(plan, given.values)
    if plan.missing() and not sys.stdin.isatty():
        _take_lines(plan, sys.stdin.read())
    for question in plan.missing():
        if question.default:
            plan.answer(question, question.default)
    if missing := plan.missing():
        raise UsageError(
            f"{plan.label} cannot be set up without {', '.join(each.name for each in missing)}",
            why=entry.help or missing[0].help or None,
            remedy=f"Send it on standard input, as a line {missing[0].name}=VALUE, or set the variable.",
        )
    if entry.has_chats:
        _take_people(plan, given)
    if not given.is_untested:
        try:
            click.echo(connected_line(plan, trial(plan)))
        except HermesError as error:
            message, *rest = shown_lines(plan, error)
            error.message = f"{message}; nothing was changed"  # of its own class, whatever that takes
            error.why = rest[0] if rest else None
            error.remedy = rest[1] if len(rest) > 1 else "--no-test saves it without trying."
            raise
    plan.switch_on()
    plan.apply()
    for label, text in plan.summary():
        click.echo(f"{label} {text}")
    _tell_next(plan)


def _take_values(plan: PlatformPlan, values: Sequence[str]) -> None:
    """`--set NAME=VALUE`. Raises `UsageError`."""
    questions = {question.name: question for question in plan.questions}
    for text in values:
        name, equals, value = text.partition("=")
        if not equals or name not in questions:
            raise UsageError(
                f"--set {name}: {plan.label} has no such value" if equals else "--set takes NAME=VALUE",
                remedy=f"It has: {', '.join(questions) or 'none'}",
            )
        plan.answer(questions[name], value)


def _take_lines(plan: PlatformPlan, text: str) -> None:
    """Lines `NAME=VALUE` of standard input; one bare line is the only secret that is missing."""
    questions = {question.name: question for question in plan.questions}
    missing = [each for each in plan.missing() if is_secret(each)] or plan.missing()
    lines = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    if len(lines) == 1 and len(missing) == 1 and lines[0].split("=")[0].strip() not in questions:
        plan.answer(missing[0], lines[0].strip())
        return
    for name, value in env_file.parse(text).values.items():
        if name in questions:
            plan.answer(questions[name], value)
        else:
            raise UsageError(
                f"Standard input has {name!r}, which {plan.label} does not know",
                remedy=f"It has: {', '.join(questions)}",
            )


def _take_people(plan: PlatformPlan, given: Given) -> bool:
    """What the command line says about people and the home channel; whether it says who may talk."""
    if given.home_channel:
        plan.set_home_channel(given.home_channel)
    if given.allow:
        plan.allow(given.allow)
    if given.allow_all:
        plan.allow_all()
    return bool(given.allow or given.allow_all)


def _set_up_api(config: LoadedConfig) -> bool:
    settings = config.settings.api_server
    if settings.enabled is False:
        raise UsageError(
            "The API server is switched off", remedy="hermes config unset api_server.enabled, then try again."
        )
    if settings.key:
        click.echo("The API server has a key already (API_SERVER_KEY).")
        return True
    env_file.set_variable(config.home, "API_SERVER_KEY", secrets.token_hex(32))
    click.echo(
        f"Made a key: API_SERVER_KEY in {short_path(str(config.home.env_file))} (not shown).\n"
        f"Clients use http://{settings.host}:{settings.port}/v1 with it."
    )
    return True


def _tell_next(plan: PlatformPlan) -> None:
    if not plan.entry.has_chats:
        return
    name = plan.entry.name
    if not any(key.startswith(f"{name.upper()}_ALLOW") for key in plan.variables):
        click.echo(
            f"Who writes to it gets a code, unless a list has them; you let them in with: "
            f"hermes pairing approve {name} CODE"
        )


def _finish(home: Home, given: Given, prompter: Prompter | None) -> None:
    """Let the gateway know, or offer to start it."""
    config = load(home)
    if not config.settings.model.default and not config.environ.get("HERMES_MODEL"):
        click.echo("No model is chosen yet: hermes setup")
    if running_pid(home) is not None:
        _reload(home)
        return
    service = InstalledService(home, False, Path.home())
    if service.is_installed:
        click.echo("The gateway is not running. Start it: hermes gateway start")
        return
    wanted = given.install
    if wanted is None and prompter is not None:
        wanted = prompter.confirm("Install the gateway as a service, so that it always runs?")
    if not wanted:
        click.echo("Start it: hermes gateway run (or, as a service: hermes gateway install)")
        return
    plan = ServicePlan(home, Path.home(), "", config.settings.agent.restart_drain_timeout)
    try:
        advice = service.install(plan)
    except GatewayError as error:
        if given.install:
            raise
        print_lines(error.lines, color=False, label="Note")
        click.echo("Start it here: hermes gateway run")
        return
    click.echo(f"Installed and started {service.name} for {getpass.getuser()}.")
    for line in advice:
        click.echo(line)
    _show_state(home)


def _reload(home: Home) -> None:
    try:
        ask_gateway(home, "reload", timeout_seconds=60)
    except GatewayError as error:
        print_lines((*error.lines, "hermes gateway restart makes it take the change."), color=False)
        return
    _show_state(home)


def _show_state(home: Home) -> None:
    """How the platforms are, once none is connecting any more."""
    deadline = time.monotonic() + _SETTLE_SECONDS
    platforms: dict[str, dict[str, object]] = {}
    while time.monotonic() < deadline:
        try:
            answer = ask_gateway(home, "status")
            platforms = answer["services"].get("messaging", {}).get("platforms", {})
            is_settled = answer["gateway_state"] == "running" and not any(
                each["state"] == "connecting" for each in platforms.values()
            )
        except GatewayError:
            is_settled = False  # it is starting
        if is_settled:
            break
        time.sleep(0.2)
    for name, state in platforms.items():
        problem = f": {state['error_message']}" if state.get("error_message") else ""
        click.echo(f"{name}: {state['state']}{problem}")
    click.echo("hermes gateway status shows how it is.")
