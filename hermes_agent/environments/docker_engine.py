"""The Docker engine (or Podman's compatible one) through its SDK. Everything here blocks.

The only module that imports `docker`; `docker.py` loads it in a thread when it is needed.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import socket
import ssl
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import docker
from docker import errors
from docker.utils import parse_repository_tag

from hermes_agent.core.errors import ExecutionError

CAPABILITIES: Final = (
    *("CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "SETUID", "SETGID", "KILL", "NET_BIND_SERVICE"),
)
"""Given back after all were dropped: what package managers and build tools need as root."""

PIDS_LIMIT: Final = 256
LABEL: Final = "hermes-agent"
OWNER_LABEL: Final = "hermes-agent.owner"
_API_SECONDS: Final = 60
_NOTICED_SECONDS: Final = 2.0

# Waits for ever, reaps what is orphaned, and goes at once when it is told to.
_INIT: Final = ("sh", "-c", "trap 'exit 0' TERM INT; while :; do sleep 3600 & wait $!; done")

_SOCKETS: Final = (
    "/var/run/docker.sock",
    "{runtime}/docker.sock",
    "{runtime}/podman/podman.sock",
    "/run/podman/podman.sock",
    "{home}/.docker/run/docker.sock",
    "{home}/.docker/desktop/docker.sock",
    "{home}/.colima/default/docker.sock",
)


@dataclass(frozen=True, slots=True)
class ContainerPlan:
    """What a container should be like. Memory and disk in MiB; 0 is no limit."""

    image: str
    volumes: tuple[str, ...]
    network: str
    cpus: float
    memory: int
    disk: int

    @property
    def name(self) -> str:
        """The name of the persistent container of this user with these settings."""
        facts = json.dumps([os.getuid(), asdict(self)], sort_keys=True)
        return f"hermes-{hashlib.sha256(facts.encode()).hexdigest()[:12]}"


class Engine:
    """A connection to the engine.

    Args:
        environment: `DOCKER_HOST`, `DOCKER_TLS_VERIFY` and `DOCKER_CERT_PATH` are read from it; without
            `DOCKER_HOST` the usual sockets of Docker and Podman are tried.

    Raises:
        ExecutionError: No engine answers.
    """

    def __init__(self, environment: Mapping[str, str]) -> None:
        self.host = environment.get("DOCKER_HOST") or _find_socket(environment)
        _knock(self.host)
        with self._translated("cannot be reached"):
            client = docker.DockerClient.from_env(
                environment={**environment, "DOCKER_HOST": self.host}, timeout=_API_SECONDS
            )
            self._api: Any = client.api

    def ensure_image(
        self, image: str, on_progress: Callable[[str], None], is_stopped: Callable[[], bool]
    ) -> None:
        """Pull the image if it is not there.

        Raises:
            ExecutionError: It cannot be pulled.
        """
        with self._translated("failed while looking for an image"):
            try:
                self._api.inspect_image(image)
                return
            except errors.ImageNotFound:
                pass
            on_progress(f"Pulling the image {image} ...")
            try:
                self._pull(image, on_progress, is_stopped)
            except (errors.APIError, errors.DockerException) as error:
                raise _no_image(image, _reason(error)) from error

    def running(self, plan: ContainerPlan, *, session_id: str, is_persistent: bool) -> str:
        """Make sure that the container runs; returns its id.

        Raises:
            ExecutionError: It cannot be made or started.
        """
        with self._translated(f"cannot run the image {plan.image}"):
            if not is_persistent:
                self._sweep()
                name = f"hermes-{session_id}-{os.urandom(3).hex()}"
                return self._create(plan, name, {LABEL: "session", OWNER_LABEL: _owner()})
            try:
                found = self._api.inspect_container(plan.name)
            except errors.NotFound:
                return self._create(plan, plan.name, {LABEL: "persistent"})
            container: str = found["Id"]
            if found["State"].get("Paused"):
                self._api.unpause(container)
            elif not found["State"].get("Running"):
                self._api.start(container)
            return container

    def state(self, container: str) -> Mapping[str, Any] | None:
        """The `State` of a container; None if it is gone."""
        with self._translated("does not answer"):
            try:
                state: Mapping[str, Any] = self._api.inspect_container(container)["State"]
            except errors.NotFound:
                return None
            return state

    def state_after_loss(self, container: str) -> Mapping[str, Any] | None:
        """The `State` of a container that seems to be ending: the engine notes that a little later."""
        deadline = time.monotonic() + _NOTICED_SECONDS
        while (state := self.state(container)) and state.get("Running") and time.monotonic() < deadline:
            time.sleep(0.1)
        return state

    def start_program(self, container: str, arguments: Sequence[str], *, tty: bool) -> socket.socket:
        """Start a program in the container; returns the socket of its streams."""
        with self._translated("cannot start a command"):
            made = self._api.exec_create(
                container, list(arguments), stdin=True, stdout=True, stderr=True, tty=tty
            )
            stream = self._api.exec_start(made["Id"], tty=tty, socket=True)
            found: socket.socket = getattr(stream, "_sock", stream)
            if isinstance(found, ssl.SSLSocket):
                found.settimeout(None)
                return found
            # A socket of our own: the SDK's closes only when its whole response is forgotten.
            own = found.dup()
            stream.close()
            found.close()
            own.setblocking(False)
            return own

    def remove(self, container: str) -> None:
        """Remove a container, whatever it does."""
        with self._translated("cannot remove a container"), contextlib.suppress(errors.NotFound):
            self._api.remove_container(container, force=True, v=True)

    def close(self) -> None:
        """Close idle connections."""
        self._api.close()

    def _pull(self, image: str, on_progress: Callable[[str], None], is_stopped: Callable[[], bool]) -> None:
        repository, tag = parse_repository_tag(image)
        layers: dict[str, str] = {}
        told, failure = time.monotonic(), ""
        for event in self._api.pull(repository, tag=tag or "latest", stream=True, decode=True):
            if is_stopped():
                raise ExecutionError(f"Pulling {image} was stopped")
            if "error" in event:
                failure = str(event["error"])  # read on: it is the last event, and ends the response
            if "id" in event and "progressDetail" in event:
                layers[event["id"]] = event.get("status", "")
            if time.monotonic() - told >= 1:
                told = time.monotonic()
                done = sum(state in ("Pull complete", "Already exists") for state in layers.values())
                on_progress(f"Pulling the image {image}: {done} of {len(layers)} layers")
        if failure:
            raise _no_image(image, failure)

    def _create(self, plan: ContainerPlan, name: str, labels: dict[str, str]) -> str:
        options: dict[str, Any] = {
            "cap_drop": ["ALL"],
            "cap_add": list(CAPABILITIES),
            "security_opt": ["no-new-privileges"],
            "pids_limit": PIDS_LIMIT,
            "network_mode": plan.network,
            "binds": [_bind(volume) for volume in plan.volumes],
        }
        if plan.cpus:
            options["nano_cpus"] = int(plan.cpus * 1_000_000_000)
        if plan.memory:
            options["mem_limit"] = plan.memory << 20
        if plan.disk:
            options["storage_opt"] = {"size": f"{plan.disk}M"}
        try:
            return self._create_and_start(plan, name, labels, options)
        except errors.APIError as error:
            # Only some storage drivers can limit the disk; the setting says `where it can be`.
            if not plan.disk or not any(
                word in str(error).lower() for word in ("storage-opt", "storage opt", "quota")
            ):
                raise
        del options["storage_opt"]
        return self._create_and_start(plan, name, labels, options)

    def _create_and_start(
        self, plan: ContainerPlan, name: str, labels: dict[str, str], options: dict[str, Any]
    ) -> str:
        try:
            made = self._api.create_container(
                plan.image,
                entrypoint=list(_INIT),
                name=name,
                labels=labels,
                hostname="hermes" if plan.network != "host" else None,
                host_config=self._api.create_host_config(**options),
            )
        except errors.APIError as error:
            if error.status_code != 409:
                raise
            # Another session was quicker.
            container: str = self._api.inspect_container(name)["Id"]
            self._api.start(container)
            return container
        container = made["Id"]
        try:
            self._api.start(container)
        except BaseException:
            with contextlib.suppress(errors.APIError, OSError):
                self._api.remove_container(container, force=True, v=True)
            raise
        return container

    def _sweep(self) -> None:
        """Remove containers of sessions whose hermes was killed before it could."""
        for found in self._api.containers(all=True, filters={"label": f"{LABEL}=session"}):
            if _is_orphan(found.get("Labels", {}).get(OWNER_LABEL, "")):
                with contextlib.suppress(errors.APIError):
                    self._api.remove_container(found["Id"], force=True, v=True)

    @contextmanager
    def _translated(self, what: str) -> Iterator[None]:
        """The SDK's errors in our words."""
        try:
            yield
        except errors.APIError as error:
            raise ExecutionError(f"The container engine {what}", why=_reason(error)) from error
        except (errors.DockerException, OSError) as error:  # `requests` errors are OSErrors
            raise _unreachable(self.host, error) from error


_CAUSES: Final = ("Connection refused", "No such file or directory", "timed out", "Connection reset")


def _find_socket(environment: Mapping[str, str]) -> str:
    places = {
        "runtime": environment.get("XDG_RUNTIME_DIR") or f"/run/user/{os.getuid()}",
        "home": environment.get("HOME") or str(Path.home()),
    }
    for template in _SOCKETS:
        path = template.format(**places)
        with contextlib.suppress(OSError):
            if Path(path).is_socket():
                return f"unix://{path}"
    return f"unix://{_SOCKETS[0]}"


def _knock(host: str) -> None:
    """See that somebody listens at a local socket: the SDK would lose its own one in trying."""
    if not host.startswith("unix://"):
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(_API_SECONDS)
        try:
            probe.connect(host.removeprefix("unix://"))
        except OSError as error:
            raise _unreachable(host, error) from error


def _unreachable(host: str, error: Exception) -> ExecutionError:
    text = str(error)
    if "Permission denied" in text:
        return ExecutionError(
            f"No permission to use the container engine at {host}",
            why="Its socket belongs to another user or group.",
            remedy="Join the socket's group (docker), or set DOCKER_HOST to a rootless Docker or Podman.",
        )
    return ExecutionError(
        f"No container engine answers at {host}",
        why=next((known for known in _CAUSES if known in text), text[-300:]) or None,
        remedy="Start Docker (systemctl start docker), or set DOCKER_HOST to the socket of Docker or Podman.",
    )


def _no_image(image: str, why: str) -> ExecutionError:
    return ExecutionError(
        f"The image {image} is not on this machine and cannot be pulled",
        why=why,
        remedy=f"Check terminal.docker_image, or try by hand: docker pull {image}",
    )


def _reason(error: Exception) -> str:
    return str(getattr(error, "explanation", None) or error)[:500]


def _bind(volume: str) -> str:
    host, separator, rest = volume.partition(":")
    if not separator or not rest.startswith("/"):
        raise ExecutionError(
            f"terminal.docker_volumes has {volume!r}", remedy="Write host_path:container_path, or add :ro."
        )
    return f"{Path(host).expanduser()}:{rest}" if host.startswith("~") else volume


def _owner() -> str:
    return f"{socket.gethostname()}/{os.getpid()}/{_birth(os.getpid())}"


def _is_orphan(owner: str) -> bool:
    host, _, process = owner.partition("/")
    pid, _, birth = process.partition("/")
    if host != socket.gethostname() or not pid.isdigit():
        return False  # somebody else's: nothing is known of it
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return _birth(int(pid)) != birth


def _birth(pid: int) -> str:
    """When a process began, in the kernel's own ticks; tells it from a later one with the same id."""
    with contextlib.suppress(OSError):
        stat = Path(f"/proc/{pid}/stat").read_bytes()
        return stat[stat.rfind(b")") + 2 :].split()[19].decode()
    return ""
