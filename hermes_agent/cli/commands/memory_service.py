"""`hermes memory status`, `setup`, `off` and `ask`: the external memory service beside the files."""

from __future__ import annotations

import asyncio
import json
import shutil
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass

import click

from hermes_agent.app.container import App
from hermes_agent.cli.options import Invocation
from hermes_agent.cli.pickers.prompter import Choice, Prompter, open_prompter
from hermes_agent.config.editor_port import set_value
from hermes_agent.config.env_file import set_variable
from hermes_agent.config.managed import OPTION_PREFIX, require_unmanaged
from hermes_agent.config.paths import Home
from hermes_agent.core.errors import ConfigError, HermesError, UsageError
from hermes_agent.core.memory import OWNER, MemoryProvider
from hermes_agent.memory.exchanges import Exchanges
from hermes_agent.memory.external import profiles_folder
from hermes_agent.memory.provider_thread import ProviderThread
from hermes_agent.memory.providers import PROVIDERS, label_of, make_provider

TRIAL_SECONDS = 10.0
ASK_SECONDS = 60.0
_OPTION = f"{OPTION_PREFIX}memory.provider"


@dataclass(frozen=True, slots=True)
class _Status:
    """How the service is. `problem` is empty if it answers; `knows_chars` is the length of your profile."""

    provider: str
    label: str
    problem: str = ""
    answered_in_ms: int = 0
    knows_chars: int = 0
    waiting: int = 0


@click.command("status")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object.")
@click.pass_context
def status_command(ctx: click.Context, as_json: bool) -> None:
    """Say which memory service is used, whether it answers, and what waits to be sent to it."""
    app = App.load()
    status = asyncio.run(_status(app))
    if as_json:
        click.echo(json.dumps(asdict(status), ensure_ascii=False))
    elif not status.provider:
        click.echo("Memory is kept in files only; no external service is used.")
        click.echo(f"hermes memory setup connects one ({', '.join(PROVIDERS)}).")
    else:
        click.echo(f"External memory service: {status.label}")
        if status.problem:
            click.echo(f"  does not work: {status.problem}")
        else:
            click.echo(
                f"  answers, in {status.answered_in_ms} ms; knows {status.knows_chars:,} characters of you"
            )
        click.echo(f"  {_exchanges(status.waiting)} to be sent")
    if status.problem:
        ctx.exit(1)


@click.command("setup")
@click.argument("name", required=False)
@click.pass_context
def setup_command(ctx: click.Context, name: str | None) -> None:
    """Connect an external memory service, and try it.

    NAME is one of the services that come with hermes (honcho), or the name of a plug-in of yours.
    """
    invocation: Invocation = ctx.obj
    home = Home.from_environment()
    require_unmanaged(home, "hermes memory setup", _OPTION)
    app = App.load()
    prompter = open_prompter(
        invocation.terminal,
        instead="hermes config set HONCHO_API_KEY KEY, then: hermes config set memory.provider honcho",
    )
    chosen = name or _choose(prompter, app)
    if chosen is None:
        click.echo("Nothing was changed.")
        return
    answers = _questions(prompter, app, chosen)
    settings = app.settings.replace(memory=app.settings.memory.model_copy(update={"provider": chosen}))
    label = label_of(chosen)

    def provider() -> MemoryProvider:
        return make_provider(home, settings, lambda key: answers.get(key) or app.environ.get(key))

    try:
        asyncio.run(_profile(label, provider))
        click.echo(f"{label} answers.")
    except ConfigError:
        raise
    except HermesError as error:
        click.echo(f"{label} does not work yet: {'; '.join(error.lines)}", err=True)
        if not prompter.confirm("Save it all the same?", default=False):
            click.echo("Nothing was changed.")
            return
    click.echo(f"What you say and what the agent answers will be sent to {label}, without known secrets.")
    if not prompter.confirm("Use it from now on?"):
        click.echo("Nothing was changed.")
        return
    for key, value in answers.items():
        set_variable(home, key, value)
    set_value(home, "memory.provider", chosen)
    click.echo("New conversations use it. hermes memory off ends that.")


@click.command("off")
@click.option("-y", "--yes", is_flag=True, help="Also drop what waits to be sent, without asking.")
def off_command(yes: bool) -> None:
    """Use no external memory service any longer. What it knows stays there; the files stay here."""
    app = App.load()
    name = app.settings.memory.provider
    if not name:
        click.echo("No external memory service is used.")
        return
    require_unmanaged(app.home, "hermes memory off", _OPTION)
    waiting = Exchanges(app.home, name)
    count = len(waiting.waiting())
    set_value(app.home, "memory.provider", "")
    shutil.rmtree(profiles_folder(app.home, name), ignore_errors=True)
    click.echo(f"{label_of(name)} is not used any longer.")
    if count and (yes or click.confirm(f"{_exchanges(count)} to be sent: drop them?", default=True)):
        waiting.forget()


@click.command("ask")
@click.argument("question", nargs=-1, required=True)
@click.option("--who", default=OWNER, metavar="ACCOUNT", help="About somebody else, such as telegram:12345.")
def ask_command(question: tuple[str, ...], who: str) -> None:
    """Ask the external memory service about you."""
    app = App.load()
    if not app.settings.memory.provider:
        raise UsageError("No external memory service is used", remedy="hermes memory setup")
    click.echo(asyncio.run(_ask(app, " ".join(question), who)) or "It knows nothing about that.")


def _choose(prompter: Prompter, app: App) -> str | None:
    own = [name for name in app.settings.plugins.enabled if (app.home.plugins / name).is_dir()]
    choices = [Choice(entry.name, entry.label) for entry in PROVIDERS.values()]
    choices += [Choice(name, name, note="plug-in") for name in own]
    return prompter.choose("Which service?", choices, current=app.settings.memory.provider)


def _questions(prompter: Prompter, app: App, name: str) -> dict[str, str]:
    """Answers by variable; what is skipped stays as it is."""
    answers: dict[str, str] = {}
    for variable, question, is_secret in PROVIDERS[name].variables if name in PROVIDERS else ():
        known = app.environ.get(variable)
        title = f"{question} [{'keep the one set' if is_secret else known}]" if known else question
        answer = prompter.ask_secret(title) if is_secret else prompter.ask(title, known or "")
        if answer and answer != known:
            answers[variable] = answer.strip()
    return answers


async def _status(app: App) -> _Status:
    name = app.settings.memory.provider
    if not name:
        return _Status("", "")
    label = label_of(name)
    waiting = len(await asyncio.to_thread(Exchanges(app.home, name).waiting))
    started = time.monotonic()
    try:
        known = await _profile(label, lambda: make_provider(app.home, app.settings, app.environ.get))
    except HermesError as error:
        return _Status(name, label, problem="; ".join(error.lines), waiting=waiting)
    return _Status(name, label, "", int(1000 * (time.monotonic() - started)), len(known), waiting)


async def _profile(label: str, make: Callable[[], MemoryProvider]) -> str:
    thread = ProviderThread(label, make)
    try:
        return await thread.call(lambda provider: provider.profile(OWNER), timeout_seconds=TRIAL_SECONDS)
    finally:
        await thread.aclose()


async def _ask(app: App, question: str, who: str) -> str:
    label = label_of(app.settings.memory.provider)
    thread = ProviderThread(label, lambda: make_provider(app.home, app.settings, app.environ.get))
    asked = app.redactor.redact(question)
    try:
        return await thread.call(
            lambda provider: provider.recall(asked, principal=who), timeout_seconds=ASK_SECONDS
        )
    finally:
        await thread.aclose()


def _exchanges(count: int) -> str:
    return "1 exchange waits" if count == 1 else f"{count or 'no'} exchanges wait"
