"""`terminal`, `tool_output`: where commands run and how much of their output is read."""

from typing import Literal

from pydantic import Field

from hermes_agent.config.sections.base import Section


class TerminalSettings(Section):
    """`terminal`."""

    backend: Literal["local", "docker", "ssh", "singularity", "modal", "daytona"] = "local"
    """Where commands run."""
    cwd: str = "."
    """Where a session starts; `.` is the directory hermes was started in."""
    timeout: float = Field(default=180, gt=0)
    """Seconds a foreground command gets when the call names no time-out."""
    max_foreground_timeout: float = Field(default=600, gt=0)
    """Most seconds a call may ask for."""
    persistent_shell: bool = True
    """Keep directory and exported variables from one command to the next."""
    env_passthrough: list[str] = Field(default_factory=list)
    """Names of variables with secret-like names that commands may see all the same."""
    docker_image: str = "nikolaik/python-nodejs:python3.11-nodejs20"
    """Image of the docker backend."""
    docker_volumes: list[str] = Field(default_factory=list)
    """`host:container[:ro]` mounts of the docker backend."""
    docker_network: str = "bridge"
    """Network of the docker backend; `none` cuts it off."""
    container_cpu: float = 1
    """CPUs of a container; 0 is no limit."""
    container_memory: int = 5120
    """MiB of memory of a container; 0 is no limit."""
    container_disk: int = 51200
    """MiB of disk of a container, where the storage driver can limit it."""
    container_persistent: bool = True
    """Keep the container between sessions."""
    ssh_host: str = ""
    """Host of the ssh backend."""
    ssh_user: str = ""
    """User of the ssh backend; empty leaves it to ssh."""
    ssh_port: int = 22
    """Port of the ssh backend."""
    ssh_key: str = ""
    """Private key file of the ssh backend; empty leaves it to ssh."""


class ToolOutputSettings(Section):
    """`tool_output`: what of a result the model reads; the rest goes to a file."""

    max_bytes: int = Field(default=50_000, ge=1_000)
    """Bytes of one result."""
    max_lines: int = Field(default=2_000, ge=10)
    """Lines of one page of a file."""
    max_line_length: int = Field(default=2_000, ge=80)
    """Characters of one line."""
