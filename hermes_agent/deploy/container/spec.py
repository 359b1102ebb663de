"""The container spec: one JSON document that says which container a service lives in."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from hermes_agent.deploy.spec import AbsolutePath
from hermes_agent.deploy.spec_reading import check_spec, read_spec

_KIND = "a container spec"
STATE_TARGET = Path("/data")
"""The state directory, as the container sees it."""
CONTROL_TARGET = Path("/opt/hermes-agent")
"""The control directory (read-only), as the container sees it."""

_SOCKETS = {
    "docker": ("/run/docker.sock", "/var/run/docker.sock"),
    "podman": ("/run/podman/podman.sock",),
}
_NAME = r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,100}$"
_USER = r"^[a-z_][a-z0-9_-]{0,31}$"


class StoreSpec(BaseModel):
    """Where the package store is on this machine, and where the container sees it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    source: AbsolutePath = Path("/nix/store")
    target: AbsolutePath = Path("/nix/store")

    def on_host(self, path: Path) -> Path:
        """Where something of the store is on this machine."""
        return self.source / path.relative_to(self.target)


class ContainerSpec(BaseModel):
    """Everything about the container of one instance. Field by field: docs/container.md.

    Attributes:
        name: Of the container.
        user: Account on this machine that owns the state; the user inside gets its numbers.
        exec_user: Name of the user inside.
        home: HERMES_HOME, inside the state directory.
        package: What runs; a path of the store. Not part of the structure.
        tools: A directory of the store whose `bin` is at the end of PATH; not part of the structure.
        extra_roots: Further store paths to keep from garbage collection.
        arguments: For `hermes gateway run`.
        environment: Plain variables of the container; secrets are in the home's `.env`.
        drain_seconds: What running work gets to end in.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: Literal[1]
    instance: str = ""
    backend: Literal["docker", "podman"] = "docker"
    socket: AbsolutePath | None = None
    name: str = Field(default="hermes-agent", pattern=_NAME)
    image: str = Field(default="ubuntu:24.04", pattern=r"^[a-z0-9][A-Za-z0-9_.:/@-]*$")
    pull: Literal["missing", "never"] = "missing"
    extra_volumes: tuple[str, ...] = ()
    extra_options: tuple[str, ...] = ()
    network: str = Field(default="host", pattern=r"^[A-Za-z0-9][A-Za-z0-9_.:-]*$")
    sudo: bool = True
    preserve_layer: bool = True
    user: str | None = None
    group: str | None = None
    uid: int | None = Field(default=None, ge=1, lt=2**32 - 1)
    gid: int | None = Field(default=None, ge=1, lt=2**32 - 1)
    exec_user: str = Field(default="hermes", pattern=_USER)
    state_directory: AbsolutePath
    home: AbsolutePath
    working_directory: AbsolutePath
    package: AbsolutePath
    tools: AbsolutePath | None = None
    extra_roots: tuple[AbsolutePath, ...] = ()
    store: StoreSpec = StoreSpec()
    control_directory: AbsolutePath | None = None
    gc_roots_directory: AbsolutePath | None = Path("/nix/var/nix/gcroots/hermes-agent")
    arguments: tuple[str, ...] = ()
    environment: dict[str, str] = Field(default_factory=dict)
    drain_seconds: float = Field(default=180, ge=0, le=86_400)

    @model_validator(mode="after")
    def _fits(self) -> ContainerSpec:
        if not self.home.is_relative_to(self.state_directory) or self.home == self.state_directory:
            raise ValueError("home must be inside state_directory")
        for name in ("package", "tools"):
            path = getattr(self, name)
            if path is not None and not path.is_relative_to(self.store.target):
                raise ValueError(f"{name} must be inside the store ({self.store.target})")
        if (self.uid is None) != (self.gid is None):
            raise ValueError("uid and gid belong together")
        if self.uid is None and self.user is None:
            raise ValueError("needs user, or uid and gid")
        if self.exec_user == "root":
            raise ValueError("exec_user must not be root")
        for name, value in self.environment.items():
            if not name or "=" in name or "\0" in name + value or "\n" in name:
                raise ValueError(f"environment: {name!r} is not a variable")
        if any("\0" in text for text in (*self.arguments, *self.extra_volumes, *self.extra_options)):
            raise ValueError("a text holds a zero byte")
        return self

    @property
    def control(self) -> Path:
        """Where the supervisor keeps what the container may read and not write."""
        return self.control_directory or Path("/var/lib/hermes-agent-container") / self.name

    @property
    def user_home(self) -> Path:
        """Home of the user inside; a link to `home` in the state directory."""
        return Path("/home") / self.exec_user

    @property
    def sockets(self) -> tuple[Path, ...]:
        """Where the engine may listen, the likeliest first."""
        return (self.socket,) if self.socket else tuple(map(Path, _SOCKETS[self.backend]))

    def inside(self, path: Path) -> Path:
        """What the container calls a path of the state directory; others keep their name."""
        if path.is_relative_to(self.state_directory):
            return STATE_TARGET / path.relative_to(self.state_directory)
        return path


def load_container_spec(path: Path) -> ContainerSpec:
    """Read a spec.

    Raises:
        ConfigFileError: The file cannot be read or is not JSON.
        ConfigError: It is not a container spec of this version.
    """
    return read_spec(path, ContainerSpec, _KIND)


def parse_container_spec(data: object, where: str = "the container spec") -> ContainerSpec:
    """Check a spec.

    Raises:
        ConfigError: A part is missing, unknown or wrong; all of them are named, no value is.
    """
    return check_spec(data, ContainerSpec, _KIND, where)
