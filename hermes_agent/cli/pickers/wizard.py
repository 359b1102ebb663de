"""The steps of `hermes setup`. Each one asks, may be skipped, and only adds to the plan."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import click

from hermes_agent.cli.checks.trial import Trial, try_model
from hermes_agent.cli.commands.tools import pick_tools
from hermes_agent.cli.pickers.model_choice import ModelChoice
from hermes_agent.cli.pickers.models import ModelPicker, find_servers, has_pool, key_variable
from hermes_agent.cli.pickers.plan import Plan
from hermes_agent.cli.pickers.prompter import Choice, Prompter
from hermes_agent.config.loader import LoadedConfig
from hermes_agent.core.errors import HermesError, ModelError
from hermes_agent.core.loading import load
from hermes_agent.core.redaction import Redactor
from hermes_agent.models.catalogue import PROVIDERS
from hermes_agent.models.discovery import LocalServer

BACKENDS = (
    Choice("local", "This machine", "quickest; risky commands are asked about"),
    Choice("docker", "Docker containers", "commands cannot harm this machine; needs Docker"),
    Choice("ssh", "Another host", "over ssh"),
)
APPROVALS = (
    Choice("manual", "Ask me", "before every risky command"),
    Choice("smart", "Ask a model first", "and me only if it is unsure"),
    Choice("off", "Never ask", "only commands that could wreck the machine are refused"),
)


class Wizard:
    """Leads through the sections.

    Args:
        prompter: How to ask.
        plan: Collects the answers.
    """

    def __init__(self, prompter: Prompter, plan: Plan) -> None:
        self._prompter = prompter
        self._plan = plan
        self._servers: Sequence[LocalServer] | None = None

    @property
    def servers(self) -> Sequence[LocalServer]:
        """Model servers on this machine, looked for once."""
        if self._servers is None:
            self._servers = find_servers()
        return self._servers

    def model(self) -> None:
        """Provider, key and model."""
        for line in findings(self._plan.config, self.servers):
            self._prompter.say(line)
        self._plan.model = ModelPicker(self._prompter, self._plan.config, self.servers).pick()

    def quick_model(self) -> None:
        """The first thing that works without a question; else as `model`."""
        self._plan.model = detect(self._plan.config, self.servers)
        if self._plan.model is None:
            self.model()
        else:
            self._prompter.say(f"Found: {self._plan.model.label}")

    def terminal(self) -> None:
        """Where commands run."""
        terminal = self._plan.config.settings.terminal
        backend = self._prompter.choose("Where commands run", BACKENDS, current=terminal.backend)
        if backend is None:
            return
        self._plan.keep_if_new("terminal.backend", backend)
        if backend == "docker":
            image = self._prompter.ask("Image", terminal.docker_image)
            self._plan.keep_if_new("terminal.docker_image", image or terminal.docker_image)
        elif backend == "ssh":
            self._ssh()

    def _ssh(self) -> None:
        terminal = self._plan.config.settings.terminal
        for key, question in (("ssh_host", "Host"), ("ssh_user", "User"), ("ssh_key", "Private key file")):
            answer = self._prompter.ask(question, getattr(terminal, key))
            if key == "ssh_key" and answer and not Path(answer).expanduser().is_file():
                self._prompter.say(f"There is no file {answer}; it is kept all the same.")
            if answer is not None:
                self._plan.keep_if_new(f"terminal.{key}", answer)

    def tools(self) -> None:
        """What the agent may use."""
        self._plan.keep_tools_if_new(pick_tools(self._prompter, self._plan.config, "cli"))

    def approvals(self) -> None:
        """When a person is asked."""
        current = self._plan.config.settings.approvals.mode
        mode = self._prompter.choose("Risky commands", APPROVALS, current=current)
        if mode is not None:
            self._plan.keep_if_new("approvals.mode", mode)

    def sections(self) -> Mapping[str, Callable[[], None]]:
        """Step by name, in order."""
        return {
            "model": self.model,
            "terminal": self.terminal,
            "tools": self.tools,
            "approvals": self.approvals,
        }

    def test(self) -> bool:
        """Ask the model something; on failure let the person choose again. False: do not go on."""
        while True:
            if self._is_model_missing() or not self._prompter.confirm("Test it with a real request?"):
                return True
            try:
                show_trial(test_request(self._plan))
            except HermesError as error:
                self._prompter.say("\n".join(f"  {line}" for line in redacted_lines(self._plan, error)))
            else:
                return True
            answer = self._prompter.choose(
                "It did not answer",
                (
                    Choice("again", "Try again"),
                    Choice("other", "Choose another model or key"),
                    Choice("keep", "Keep it all the same"),
                ),
            )
            if answer == "other":
                self.model()
            elif answer != "again":
                return True

    def _is_model_missing(self) -> bool:
        settings, environ = self._plan.preview()
        try:
            load("hermes_agent.models.resolve:resolve_target")(settings, environ, home=self._plan.config.home)
        except HermesError as error:
            self._prompter.say("\n".join(error.lines[:2]))
            return True
        return False


def findings(config: LoadedConfig, servers: Sequence[LocalServer]) -> list[str]:
    """What was found that can be used, for people."""
    lines = []
    for provider in PROVIDERS:
        variable = key_variable(provider, config)
        if provider.auth == "api_key" and variable:
            lines.append(f"Found {variable} ({config.environ.origin(variable)}): {provider.label}")
    for server in servers:
        count = len(server.models)
        models = f"{count} {'model' if count == 1 else 'models'}"
        lines.append(f"Found {server.name} at {server.base_url} with {models}")
    return lines


def detect(config: LoadedConfig, servers: Sequence[LocalServer]) -> ModelChoice | None:
    """What can be used without asking anything: what is set up, a key, a server with a model."""
    section = config.settings.model
    try:
        info = load("hermes_agent.models.resolve:describe")(config.settings, config.environ, home=config.home)
    except ModelError:
        pass
    else:
        if section.provider == "auto" and not section.default and not section.base_url:
            return ModelChoice(info.provider, info.model)
        return ModelChoice(info.provider, info.model, section.base_url if info.provider == "custom" else "")
    for provider in PROVIDERS:
        has_key = key_variable(provider, config) or has_pool(provider.id, config)
        if provider.is_automatic and provider.auth == "api_key" and provider.default_model and has_key:
            return ModelChoice(provider.id, provider.default_model)
    for server in servers:
        if server.models:
            model = server.models[0]
            address = server.base_url if server.provider == "custom" else ""
            return ModelChoice(
                server.provider, model, address, context_length=server.context_windows.get(model)
            )
    return None


def test_request(plan: Plan) -> Trial:
    """One real request with the planned settings. Raises `HermesError`."""
    settings, environ = plan.preview()
    quick = settings.replace(agent=settings.agent.model_copy(update={"api_max_retries": 1}))
    model = load("hermes_agent.models.resolve:resolve_model")(quick, environ, home=plan.config.home)
    click.echo(f"Asking {model.info.label} …")
    return asyncio.run(try_model(model))


def show_trial(trial: Trial) -> None:
    """Show the answer and how long it took."""
    click.echo(f"  {trial.text or '(an empty answer)'}")
    speed = f"first words after {trial.first_seconds:.1f} s, all after {trial.total_seconds:.1f} s"
    tokens = f", {trial.usage.output_tokens} tokens" if trial.usage.output_tokens else ""
    click.echo(f"  {speed}{tokens}")


def redacted_lines(plan: Plan, error: HermesError) -> list[str]:
    """Why it failed, without the key."""
    redactor = Redactor([*plan.config.secret_values(), plan.model.key if plan.model else ""])
    return [redactor.redact(line) for line in error.lines]
