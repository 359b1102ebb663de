"""The container engine through the Docker SDK: Docker, or Podman by its compatible socket. It blocks."""

from __future__ import annotations

import contextlib
import json
import socket
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import docker
from docker import errors
from docker.utils import parse_repository_tag

from hermes_agent.core.errors import ExecutionError

_API_SECONDS = 60
_POLL_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class Found:
    """A container as the engine describes it."""

    id: str
    name: str
    is_running: bool
    is_paused: bool
    started_at: str
    finished_at: str
    is_out_of_memory: bool
    image: str
    labels: Mapping[str, str]
    volumes: Mapping[str, str]
    """Target to name, of volumes that have no name of their own."""


@dataclass(frozen=True, slots=True)
class NewContainer:
    """What a container is made with."""

    name: str
    image: str
    command: tuple[str, ...]
    environment: Mapping[str, str | None]
    labels: Mapping[str, str]
    binds: tuple[str, ...]
    network: str
    working_directory: str
    hostname: str | None = None
    ports: Mapping[str, tuple[str, int]] = field(default_factory=dict)
    host: Mapping[str, Any] = field(default_factory=dict)


class Engine:
    """A connection to an engine.

    Args:
        backend: `docker` or `podman`, for messages.
        sockets: Where it may listen.

    Raises:
        ExecutionError: None answers.
    """

    def __init__(self, backend: str, sockets: Sequence[Path]) -> None:
        self.backend = backend
        self.socket = next((path for path in sockets if path.exists()), sockets[0])
        self._knock()
        with self._translated("cannot be reached"):
            self._api: Any = docker.APIClient(
                base_url=f"unix://{self.socket}", version="auto", timeout=_API_SECONDS
            )

    def another(self) -> Engine:
        """A connection of its own, for a thread that waits in it."""
        return Engine(self.backend, [self.socket])

    def close(self) -> None:
        """Close idle connections."""
        self._api.close()

    def security(self) -> frozenset[str]:
        """Names of what the engine does for safety: `rootless`, `userns`, `seccomp` …"""
        with self._translated("does not describe itself"):
            said = self._api.info().get("SecurityOptions") or ()
        words = [part.partition("=")[2] for entry in said for part in str(entry).split(",")]
        return frozenset(words) | {str(entry) for entry in said}

    def find(self, name: str) -> Found | None:
        """A container by name or id; None if there is none."""
        with self._translated(f"cannot describe the container {name}"):
            try:
                data = self._api.inspect_container(name)
            except errors.NotFound:
                return None
            if name not in {data["Name"].lstrip("/"), data["Id"]}:
                return None  # the beginning of somebody else's id
        return _found(data)

    def containers(self, label: str) -> list[str]:
        """Ids of containers with a label (`name=value`)."""
        with self._translated("cannot list containers"):
            found = self._api.containers(all=True, filters={"label": label})
            return [str(each["Id"]) for each in found]

    def image_path(self, image: str) -> str | None:
        """PATH in an image ('' if it says none); None if the image is not there."""
        with self._translated(f"cannot describe the image {image}"):
            try:
                config = self._api.inspect_image(image).get("Config") or {}
            except errors.ImageNotFound:
                return None
        variables = [entry.partition("=") for entry in config.get("Env") or ()]
        return next((value for name, _, value in variables if name == "PATH"), "")

    def pull(self, image: str, tell: Callable[[str], None], is_stopped: Callable[[], bool]) -> None:
        """Fetch an image.

        Raises:
            ExecutionError: It cannot be had, or this was stopped.
        """
        repository, tag = parse_repository_tag(image)
        layers: dict[str, str] = {}
        failure, told = "", 0.0
        try:
            for event in self._api.pull(repository, tag=tag or "latest", stream=True, decode=True):
                if is_stopped():
                    raise ExecutionError(f"Pulling {image} was stopped")
                failure = str(event.get("error") or failure)
                if "id" in event and "progressDetail" in event:
                    layers[event["id"]] = event.get("status", "")
                if time.monotonic() - told < 1:
                    continue
                told = time.monotonic()
                done = sum(state in {"Pull complete", "Already exists"} for state in layers.values())
                tell(f"pulling {image}: {done} of {len(layers)} layers")
        except (errors.DockerException, OSError) as error:
            failure = _reason(error)
        if failure:
            raise no_image(self.backend, image, failure)

    def create(self, new: NewContainer) -> str:
        """Make a container; returns its id."""
        with self._translated(f"cannot make the container {new.name}"):
            host = self._api.create_host_config(
                binds=list(new.binds),
                network_mode=new.network,
                port_bindings={
                    port: ((at, number) if at else number) for port, (at, number) in new.ports.items()
                },
                log_config={
                    "Type": "k8s-file" if self.backend == "podman" else "json-file",
                    "Config": {"max-size": "10m"},
                },
                **new.host,
            )
            made = self._api.create_container(
                new.image,
                entrypoint=list(new.command),
                name=new.name,
                environment=dict(new.environment),
                labels=dict(new.labels),
                hostname=new.hostname,
                user="0:0",
                working_dir=new.working_directory,
                ports=[tuple(port.split("/")) for port in new.ports] or None,
                host_config=host,
            )
            return str(made["Id"])

    def start(self, container: str) -> None:
        """Start a container."""
        with self._translated("cannot start the container"):
            self._api.start(container)

    def unpause(self, container: str) -> None:
        """Let a paused container go on."""
        with self._translated("cannot continue the container"):
            self._api.unpause(container)

    def signal(self, container: str, name: str) -> bool:
        """Send a signal to the container's first process; False if it does not run."""
        with self._translated(f"cannot send {name} to the container"):
            try:
                self._api.kill(container, name)
            except errors.NotFound:
                return False
            except errors.APIError as error:
                found = self.find(container)
                if found is not None and found.is_running:
                    raise
                del error
                return False
        return True

    def wait(self, container: str) -> int:
        """Wait until a container has ended; returns its exit code."""
        with self._translated("lost the container"):
            return int(self._api.wait(container, timeout=None)["StatusCode"])

    def ends_within(self, container: str, seconds: float) -> bool:
        """Wait until a container has ended; False if it has not in that time."""
        deadline = time.monotonic() + seconds
        while (found := self.find(container)) is not None and found.is_running:
            if time.monotonic() >= deadline:
                return False
            time.sleep(_POLL_SECONDS)
        return True

    def output(self, container: str) -> Iterator[tuple[bytes | None, bytes | None]]:
        """What a container writes from now on: pieces of (standard output, standard error)."""
        with self._translated("cannot follow the container's output"):
            pieces = self._api.attach(container, stdout=True, stderr=True, stream=True, demux=True)
        return _until_it_breaks(pieces)

    def rename(self, container: str, name: str) -> None:
        """Give a container another name."""
        with self._translated(f"cannot rename a container to {name}"):
            self._api.rename(container, name)

    def remove(self, container: str, *, volumes: bool = False) -> None:
        """Remove a container, whatever it does."""
        with self._translated("cannot remove a container"), contextlib.suppress(errors.NotFound):
            self._api.remove_container(container, force=True, v=volumes)

    def commit(self, container: str, repository: str, tag: str, labels: Mapping[str, str]) -> str:
        """Keep the files of a container as an image; returns its name."""
        with self._translated("cannot keep the container's files as an image"):
            changes = [f'LABEL "{name}"="{value}"' for name, value in labels.items()]
            self._api.timeout = 3600
            try:
                self._api.commit(container, repository=repository, tag=tag, pause=False, changes=changes)
            finally:
                self._api.timeout = _API_SECONDS
            return f"{repository}:{tag}"

    def flatten(self, container: str, repository: str, tag: str, labels: Mapping[str, str]) -> str:
        """The same as `commit`, in one layer: an image can only have so many. Returns the image's id."""
        with self._translated("cannot copy the container's files into an image"):
            changes = [f'LABEL "{name}"="{value}"' for name, value in labels.items()]
            said = self._api.import_image_from_stream(
                self._api.export(container), repository=repository, tag=tag, changes=changes
            )
            image = str(json.loads(said.strip().splitlines()[-1])["status"])
            self._api.tag(image, repository, tag)  # Podman calls it `latest`
            return image

    def layers(self, image: str) -> int:
        """How many layers an image has; 0 if it is not there."""
        with self._translated(f"cannot describe the image {image}"):
            try:
                found = self._api.inspect_image(image)
            except errors.ImageNotFound:
                return 0
        return len((found.get("RootFS") or {}).get("Layers") or ())

    def images(self, label: str) -> dict[str, tuple[str, ...]]:
        """Images with a label: id to names."""
        with self._translated("cannot list images"):
            return {
                str(image["Id"]): tuple(
                    name for name in image.get("RepoTags") or () if name != "<none>:<none>"
                )
                for image in self._api.images(filters={"label": label})
            }

    def remove_image(self, image: str) -> bool:
        """Remove an image; False if something still uses it."""
        try:
            self._api.remove_image(image)
        except (errors.APIError, OSError):
            return False
        return True

    def _knock(self) -> None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            probe.settimeout(_API_SECONDS)
            try:
                probe.connect(str(self.socket))
            except OSError as error:
                raise unreachable(self.backend, self.socket, error) from error

    @contextmanager
    def _translated(self, what: str) -> Iterator[None]:
        """The SDK's errors in our words."""
        try:
            yield
        except errors.APIError as error:
            raise ExecutionError(f"{self.backend.capitalize()} {what}", why=_reason(error)) from error
        except errors.DockerException as error:
            raise unreachable(self.backend, self.socket, error) from error
        except OSError as error:  # `requests` errors are OSErrors
            raise unreachable(self.backend, self.socket, error) from error


def unreachable(backend: str, path: Path, error: Exception) -> ExecutionError:
    """The error for an engine that does not answer."""
    known = backend.capitalize()
    text = str(error)
    unit = "docker.service" if backend == "docker" else "podman.socket"
    option = f"virtualisation.{backend}.enable = true"
    if isinstance(error, PermissionError) or "Permission denied" in text:
        return ExecutionError(
            f"No permission to use {known} at {path}",
            why="Whoever may use it can do everything on this machine, so few may.",
            remedy="Run it as root (the systemd unit does): sudo hermes-agent-container …",
        )
    if isinstance(error, FileNotFoundError) or "No such file" in text:
        return ExecutionError(
            f"{known} is not there: no socket at {path}",
            why="It is not installed, or has not been started.",
            remedy=f"NixOS: {option}. Elsewhere: install it, then systemctl start {unit}",
        )
    return ExecutionError(
        f"{known} does not answer at {path}",
        why=(getattr(error, "strerror", None) or text)[-300:] or None,
        remedy=f"See how it is: systemctl status {unit}",
    )


def no_image(backend: str, image: str, why: str) -> ExecutionError:
    """The error for an image that cannot be had."""
    return ExecutionError(
        f"The image {image} is not on this machine and cannot be pulled",
        why=why[:500],
        remedy=f"With a network: {backend} pull {image}. Without: bring it ({backend} save, {backend} load), "
        "or set services.hermes-agent.container.image to one that is here.",
    )


def _until_it_breaks(
    pieces: Iterator[tuple[bytes | None, bytes | None]],
) -> Iterator[tuple[bytes | None, bytes | None]]:
    with contextlib.suppress(errors.DockerException, OSError, ValueError):
        yield from pieces


def _found(data: Mapping[str, Any]) -> Found:
    state = data.get("State") or {}
    return Found(
        id=str(data["Id"]),
        name=str(data["Name"]).lstrip("/"),
        is_running=bool(state.get("Running")),
        is_paused=bool(state.get("Paused")),
        started_at=str(state.get("StartedAt", "")),
        finished_at=str(state.get("FinishedAt", "")),
        is_out_of_memory=bool(state.get("OOMKilled")),
        image=str(data.get("Image", "")),
        labels=dict((data.get("Config") or {}).get("Labels") or {}),
        volumes={
            str(mount["Destination"]): str(mount["Name"])
            for mount in data.get("Mounts") or ()
            if mount.get("Type") == "volume" and _is_nameless(str(mount.get("Name", "")))
        },
    )


def _is_nameless(name: str) -> bool:
    return len(name) == 64 and not set(name) - set("0123456789abcdef")


def _reason(error: Exception) -> str:
    return str(getattr(error, "explanation", None) or error)[:500]
