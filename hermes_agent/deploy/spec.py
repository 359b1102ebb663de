"""The activation spec: everything a module wants on the machine, as one JSON document."""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from hermes_agent.deploy.spec_reading import check_spec, read_spec

_NAME = "an activation spec"


def _absolute(path: Path) -> Path:
    if not path.is_absolute() or ".." in path.parts:
        raise ValueError("must be an absolute path without '..'")
    return path


def _inside(name: str) -> str:
    parts = PurePosixPath(name).parts
    if not name or name.startswith("/") or ".." in parts or not parts or "\0" in name:
        raise ValueError("must be a relative path without '..'")
    return name


def _plain_name(name: str) -> str:
    if not name or "/" in name or "\0" in name or name in {".", ".."}:
        raise ValueError("must be a plain file name")
    return name


AbsolutePath = Annotated[Path, AfterValidator(_absolute)]
RelativeName = Annotated[str, AfterValidator(_inside)]
PlainName = Annotated[str, AfterValidator(_plain_name)]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class DocumentSpec(_Part):
    """A file for the working directory: its text, or the file that holds it."""

    text: str | None = None
    path: AbsolutePath | None = None

    @model_validator(mode="after")
    def _one_source(self) -> DocumentSpec:
        if (self.text is None) == (self.path is None):
            raise ValueError("needs either text or path")
        return self


class PluginSpec(_Part):
    """A plug-in folder, linked as `plugins/nix-managed-<name>`."""

    name: PlainName
    path: AbsolutePath


class ManagedSpec(_Part):
    """What the marker `.managed` says: who manages, and which settings people may still change."""

    manager: str = "NixOS"
    allow: tuple[str, ...] = ()


class ContainerModeSpec(_Part):
    """What the host's `hermes` needs to find the container."""

    backend: Literal["docker", "podman"] = "docker"
    container_name: str = Field(default="hermes-agent", pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")
    exec_user: str = Field(default="hermes", pattern=r"^[A-Za-z_][A-Za-z0-9_.-]*$")
    hermes_bin: AbsolutePath = Path("/data/current-package/bin/hermes")


class ActivationSpec(_Part):
    """Everything to put in place for one instance.

    Attributes:
        instance: Name of the instance; empty for the only one.
        user: Whose files these are; null means whoever runs the activation.
        group: Group of the files; null means the user's own.
        state_directory: Holds the home and the working directory.
        home: HERMES_HOME.
        settings: Merged into config.yaml; null leaves the file alone.
        config_file: Copied to config.yaml instead of merging.
        config_mode: Permission bits of config.yaml, octal.
        environment: Plain variables of `.env`.
        environment_files: Files with further lines for `.env`; later ones win.
        auth_file: Copied to auth.json if that is missing.
        directory_mode: Permission bits of directories that are made, octal.
    """

    version: Literal[1]
    instance: str = ""
    user: str | None = None
    group: str | None = None
    state_directory: AbsolutePath
    home: AbsolutePath
    working_directory: AbsolutePath
    user_home: AbsolutePath | None = None
    settings: dict[str, Any] | None = None
    config_file: AbsolutePath | None = None
    config_mode: str = Field(default="0640", pattern=r"^0?[0-7]{3}$")
    directory_mode: str = Field(default="2770", pattern=r"^[0-7]{3,4}$")
    environment: dict[str, str] = Field(default_factory=dict)
    environment_files: tuple[AbsolutePath, ...] = ()
    auth_file: AbsolutePath | None = None
    auth_file_force_overwrite: bool = False
    documents: dict[RelativeName, DocumentSpec] = Field(default_factory=dict)
    plugins: tuple[PluginSpec, ...] = ()
    managed: ManagedSpec | None = None
    container_mode: ContainerModeSpec | None = None
    host_users: tuple[PlainName, ...] = ()

    @model_validator(mode="after")
    def _plugin_names_differ(self) -> ActivationSpec:
        seen: set[str] = set()
        for plugin in self.plugins:
            if plugin.name in seen:
                raise ValueError(f"two plug-ins are called {plugin.name!r}")
            seen.add(plugin.name)
        return self


def load_spec(path: Path) -> ActivationSpec:
    """Read a spec.

    Raises:
        ConfigFileError: The file cannot be read or is not JSON.
        ConfigError: It is not an activation spec of this version.
    """
    return read_spec(path, ActivationSpec, _NAME)


def parse_spec(data: object, where: str = "the activation spec") -> ActivationSpec:
    """Check a spec.

    Raises:
        ConfigError: A part is missing, unknown or wrong; all of them are named, no value is.
    """
    return check_spec(data, ActivationSpec, _NAME, where)
