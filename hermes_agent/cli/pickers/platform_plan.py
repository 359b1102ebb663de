"""What `hermes gateway setup` is going to write for one platform. Nothing touches the disk before `apply`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from hermes_agent.config.casting import cast
from hermes_agent.config.keys import parse_key
from hermes_agent.config.loader import LoadedConfig
from hermes_agent.config.secret_names import is_secret_name, is_secret_setting
from hermes_agent.config.sections.gateway import PlatformSettings
from hermes_agent.core.loading import load
from hermes_agent.gateway.home_channel import parse_chat
from hermes_agent.gateway.platforms.table import PlatformEntry, Question, Variable, is_enabled


@dataclass
class PlatformPlan:
    """Decisions so far.

    Attributes:
        variables: For `.env`.
        values: For `platforms.<name>.<key>` of config.yaml.
    """

    config: LoadedConfig
    entry: PlatformEntry
    variables: dict[str, str] = field(default_factory=dict)
    values: dict[str, Any] = field(default_factory=dict)

    @property
    def label(self) -> str:
        """The platform's name for people."""
        return self.entry.label or self.entry.name.capitalize()

    @property
    def questions(self) -> tuple[Question, ...]:
        """What the platform needs to know."""
        return self.entry.questions or tuple(Question(name, name) for name in self.entry.credentials)

    def present(self, question: Question) -> str:
        """The answer as it is set up now; empty if there is none."""
        if is_variable(question):
            return self.config.environ.get(question.name) or ""
        found: Any = self.config.settings.platforms.get(self.entry.name)
        found = found.model_dump(exclude_unset=True) if found is not None else {}
        for part in question.name.split("."):
            found = found.get(part) if isinstance(found, dict) else None
        return "" if found is None else str(found)

    def answer(self, question: Question, text: str) -> None:
        """Take an answer."""
        if is_variable(question):
            self.variables[question.name] = text
        else:
            self.values[question.name] = cast(text, parse_key(self._key(question.name)))

    def known(self, question: Question) -> str:
        """The answer as it will be."""
        planned = self.variables if is_variable(question) else self.values
        return str(planned.get(question.name, "")) or self.present(question)

    def missing(self) -> list[Question]:
        """Required questions without an answer."""
        return [each for each in self.questions if each.is_required and not self.known(each)]

    def adopt_environment(self) -> None:
        """Write down credentials that only this shell has: a service would not see them."""
        environ = self.config.environ
        for question in self.questions:
            if is_variable(question) and question.name not in self.variables:
                value = environ.get(question.name)
                if value and environ.origin(question.name) == "the environment":
                    self.variables[question.name] = value

    def allow(self, text: str) -> None:
        """Let people in by their ids, separated by commas."""
        ids = ",".join(part.strip() for part in text.replace(" ", ",").split(",") if part.strip())
        self.variables[f"{self.entry.name.upper()}_ALLOWED_USERS"] = ids

    def allow_all(self) -> None:
        """Let everybody in."""
        self.variables[f"{self.entry.name.upper()}_ALLOW_ALL_USERS"] = "true"

    def set_home_channel(self, text: str) -> None:
        """Where unasked messages go: `CHAT` or `CHAT:THREAD`."""
        variable = f"{self.entry.name.upper()}_HOME_CHANNEL"
        if self.config.environ.get(variable):
            self.variables[variable] = text  # it would win over config.yaml
            return
        address = parse_chat(self.entry.name, text)
        self.values["home_channel.chat_id"] = address.chat_id
        if address.thread_id:
            self.values["home_channel.thread_id"] = address.thread_id

    def preview(self) -> tuple[PlatformSettings, Variable]:
        """Settings and variables as they would be. Raises `ValidationError` of pydantic, as a load would."""
        present = self.config.settings.platforms.get(self.entry.name)
        data: dict[str, Any] = present.model_dump(exclude_unset=True) if present is not None else {}
        for key, value in self.values.items():
            place = data
            *above, last = key.split(".")
            for part in above:
                place = place.setdefault(part, {})
            place[last] = value

        def variable(name: str) -> str | None:
            return self.variables.get(name) or self.config.environ.get(name)

        return PlatformSettings.model_validate(data), variable

    def switch_on(self) -> None:
        """Make sure that the gateway connects to it."""
        settings, variable = self.preview()
        if not is_enabled(self.entry, settings, variable):
            self.values["enabled"] = True

    def summary(self) -> list[tuple[str, str]]:
        """What would be written, for people; no secret in it."""
        home = self.config.home
        rows = [
            (name, f"in {home.env_file}{' (not shown)' if is_secret_name(name) else f': {value}'}")
            for name, value in self.variables.items()
        ]
        for key, value in self.values.items():
            full = self._key(key)
            rows.append((full, "(not shown)" if is_secret_setting(full) else str(value)))
        return rows

    def apply(self) -> None:
        """Write everything.

        Raises:
            ManagedError: The installation is managed.
            ConfigError: A value is refused, or a file is broken.
            StoreUnwritableError: Files cannot be written.
        """
        home = self.config.home
        set_variable = load("hermes_agent.config.env_file:set_variable")
        set_value = load("hermes_agent.config.editor:set_value")
        for name, text in self.variables.items():
            set_variable(home, name, text)
        for key, value in self.values.items():
            set_value(home, self._key(key), value)

    def _key(self, key: str) -> str:
        return f"platforms.{self.entry.name}.{key}"


def is_variable(question: Question) -> bool:
    """Whether the answer goes into `.env`."""
    return question.name.isupper()


def is_secret(question: Question) -> bool:
    """Whether the answer is hidden while it is typed."""
    if is_variable(question):
        return is_secret_name(question.name)
    return is_secret_setting(question.name)
