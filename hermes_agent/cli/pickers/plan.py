"""What the set-up wizard is going to write. Nothing touches the disk before `apply`."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from hermes_agent.cli.pickers.model_choice import ModelChoice, with_choice, write_choice
from hermes_agent.cli.pickers.toolsets import enabled_tools, listed_names
from hermes_agent.config.environ import Environ
from hermes_agent.config.loader import LoadedConfig
from hermes_agent.config.settings import Settings
from hermes_agent.core.loading import load


@dataclass
class Plan:
    """Decisions so far.

    Attributes:
        config: What is set up now; with `is_reset` built-in settings in the place of config.yaml.
        is_reset: Put the present config.yaml aside first.
        model: A chosen model.
        values: Dotted key to value.
        tools: Tools of the terminal.
    """

    config: LoadedConfig
    is_reset: bool = False
    model: ModelChoice | None = None
    values: dict[str, object] = field(default_factory=dict)
    tools: tuple[str, ...] | None = None

    @property
    def is_empty(self) -> bool:
        """Whether nothing would change."""
        return not (self.is_reset or self.model or self.values or self.tools is not None)

    def keep_if_new(self, key: str, value: object) -> None:
        """Plan a value unless it is the present one."""
        section, name = key.split(".")
        if getattr(getattr(self.config.settings, section), name) != value:
            self.values[key] = value
        else:
            self.values.pop(key, None)

    def keep_tools_if_new(self, tools: tuple[str, ...] | None) -> None:
        """Plan the terminal's tools unless they are the present ones."""
        if tools is not None and set(tools) != set(enabled_tools(self.config.settings, "cli")):
            self.tools = tools

    def preview(self) -> tuple[Settings, Environ]:
        """Settings and environment as they would be."""
        settings, environ = self.config.settings, self.config.environ
        if self.model is not None:
            settings, environ = with_choice(self.config, self.model)
        return settings, environ

    def summary(self) -> list[tuple[str, str]]:
        """What would change, for people; no secret in it."""
        home = self.config.home
        rows = [("config.yaml", "put aside in backups/, begun anew")] if self.is_reset else []
        if self.model is not None:
            rows.append(("Model", self.model.label))
            if self.model.base_url:
                rows.append(("Address", self.model.base_url))
            if self.model.key_name:
                rows.append(("Key", f"{self.model.key_name} in {home.env_file} (not shown)"))
        rows += [(key, str(value)) for key, value in self.values.items()]
        if self.tools is not None:
            rows.append(("Tools", ", ".join(self.tools) or "none"))
        return rows

    def apply(self) -> None:
        """Write everything.

        Raises:
            ManagedError: The installation is managed.
            ConfigError: config.yaml cannot be edited.
            StoreUnwritableError: Files cannot be written.
        """
        home = self.config.home
        set_value = load("hermes_agent.config.editor:set_value")
        if self.is_reset and home.config_file.exists():
            load("hermes_agent.config.editor:backup")(home, "config.yaml.before-setup")
            home.config_file.unlink()
        if self.model is not None:
            write_choice(self.config, self.model)
        for key, value in self.values.items():
            set_value(home, key, value)
        if self.tools is not None:
            names = listed_names(self.config.settings, "cli", self.tools)
            set_value(home, "platform_toolsets.cli", names)


def without_file(config: LoadedConfig) -> LoadedConfig:
    """The configuration as if there were no config.yaml."""
    return replace(config, settings=Settings(), problems=(), data={})
