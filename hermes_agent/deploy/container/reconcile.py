"""From a container as it is to the container of the spec.

A container is replaced only when its structure differs. The old one is kept, under another name, until the
gateway in the new one is ready: whatever fails before leads back to it.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import Any

from hermes_agent.core.errors import ExecutionError, HermesError
from hermes_agent.deploy.container.engine import Engine, Found, NewContainer, no_image
from hermes_agent.deploy.container.host import START_NAME, StartFacts, read_record
from hermes_agent.deploy.container.spec import ContainerSpec
from hermes_agent.deploy.container.structure import (
    ENTRYPOINT,
    LABEL_NAME,
    Structure,
    describe_changes,
    image_changed,
    search_path,
    stale_variables,
)

_LAYERS_AT_MOST = 100
"""Engines allow about 125 in an image."""
_GRACE_SECONDS = 20
"""Beyond the drain: closing connections and the database."""


_SHORT_GRACE_SECONDS = 5
_REPEAT_SECONDS = 2
_YOUNG_SECONDS = 15


class Action(Enum):
    """What is to be done, and the exit code by which `plan` says so."""

    ADOPT = 0
    START = 1
    RESTART = 10
    CREATE = 11
    RECREATE = 12
    REPLACE = 13

    @property
    def exit_code(self) -> int:
        """0: nothing changes (it runs, or is only started)."""
        return 0 if self is Action.START else self.value


_SENTENCES = {
    Action.ADOPT: "runs as it should; it is adopted as it is",
    Action.START: "will be started",
    Action.RESTART: "will be stopped in good order and started with what is new",
    Action.CREATE: "will be made",
    Action.RECREATE: "will be made again with the files of the old one: what was installed in it stays",
    Action.REPLACE: "will be made again from its image: what was installed, outside /data, will be LOST",
}


@dataclass(frozen=True)
class Observed:
    """The containers of a spec.

    Attributes:
        current: The one with the name.
        previous: The one it replaces, while the new one has not been ready yet.
    """

    current: Found | None
    previous: Found | None


@dataclass(frozen=True)
class Plan:
    """What to do.

    Attributes:
        action: The step.
        reasons: Which inputs changed, one line each.
        base: The container it starts from.
        discards: One that never became ready and is removed.
    """

    action: Action
    reasons: tuple[str, ...] = ()
    base: Found | None = None
    discards: Found | None = None

    def lines(self, name: str) -> list[str]:
        """For people."""
        text = [f"The container {name} {_SENTENCES[self.action]}."]
        return text + [f"  changed: {reason}" for reason in self.reasons]


def previous_name(spec: ContainerSpec) -> str:
    """What the old container is called while a new one is tried."""
    return f"{spec.name}-previous"


def observe(spec: ContainerSpec, engine: Engine) -> Observed:
    """Look at the containers.

    Raises:
        ExecutionError: A container with such a name is somebody else's.
    """
    found = []
    for name in (spec.name, previous_name(spec)):
        container = engine.find(name)
        if container is not None and container.labels.get(LABEL_NAME) != spec.name:
            raise ExecutionError(
                f"There is a container {name!r} that hermes-agent-container did not make",
                why="It is left alone.",
                remedy=f"Give it another name: {spec.backend} rename {name} {name}-old "
                "(what it keeps in /data stays usable; its other files are in it).",
            )
        found.append(container)
    return Observed(*found)


def decide(spec: ContainerSpec, structure: Structure, start: StartFacts, seen: Observed) -> Plan:
    """What to do about what was seen. Changes nothing."""
    base, discards = seen.current, None
    if seen.previous is not None and (base is None or describe_changes(base.labels, structure)):
        base, discards = seen.previous, base
    if base is None:
        return Plan(Action.CREATE)
    changes = describe_changes(base.labels, structure)
    if changes:
        keeps = spec.preserve_layer and not image_changed(base.labels, structure)
        action = Action.RECREATE if keeps else Action.REPLACE
        return Plan(action, tuple(changes), base, discards)
    reasons = tuple(_start_changes(spec, start))
    if not base.is_running or base.is_paused:
        return Plan(Action.START, reasons, base, discards)
    record = read_record(spec)
    is_known = (record.get("container"), record.get("started_at"), record.get("start")) == (
        base.id,
        base.started_at,
        start.digest,
    )
    if is_known:
        return Plan(Action.ADOPT, (), base, discards)
    return Plan(Action.RESTART, reasons or ("it was not started by this program",), base, discards)


def _start_changes(spec: ContainerSpec, start: StartFacts) -> list[str]:
    try:
        before: Mapping[str, Any] = json.loads((spec.control / START_NAME).read_bytes())
        return [
            f"{name}: {before.get(name)} -> {value}"
            for name, value in start.facts.items()
            if name not in {"variables", "version"} and before.get(name) != value
        ]
    except (OSError, ValueError, AttributeError):
        return []


def _age(started_at: str) -> float:
    """Seconds since a moment as engines write it; very many if it cannot be read."""
    try:
        return time.time() - datetime.fromisoformat(started_at).timestamp()
    except ValueError:
        return 1e9


class Reconciler:
    """Carries a plan out. All of it blocks.

    Args:
        spec: The spec.
        structure: What the container is to be made of.
        engine: The engine.
        tell: Gets a line about what takes long, and how many seconds it may.
        is_stopped: Whether to give up.
    """

    def __init__(
        self,
        spec: ContainerSpec,
        structure: Structure,
        engine: Engine,
        *,
        tell: Callable[[str, float], None],
        is_stopped: Callable[[], bool] = lambda: False,
    ) -> None:
        self._spec = spec
        self._structure = structure
        self._engine = engine
        self._tell = tell
        self._is_stopped = is_stopped

    def make_ready(self, plan: Plan) -> str:
        """Have the right container, stopped unless it is adopted; returns its id.

        Raises:
            HermesError: It could not be made. The old one is there as before, and nothing is lost.
        """
        if plan.action in {Action.CREATE, Action.REPLACE}:
            self._have_image()
        if plan.discards is not None:
            self._engine.remove(plan.discards.id)
        base = plan.base
        if base is None:
            return self._create(self._spec.image, None)
        if base.name == previous_name(self._spec):
            self._engine.rename(base.id, self._spec.name)
        if plan.action is Action.ADOPT:
            return base.id
        self.stop(base.id)
        if plan.action in {Action.START, Action.RESTART}:
            return base.id
        if self._is_stopped():
            raise ExecutionError("Stopped before the container was made again")
        image = self._spec.image if plan.action is Action.REPLACE else self._keep_layer(base.id)
        return self._exchange(base, image)

    def stop(self, container: str, *, hurry: bool = False) -> None:
        """End a container in good order; kill it if that takes longer than it may.

        Args:
            container: Its id.
            hurry: What runs in it does not answer: it is not waited for long.
        """
        found = self._engine.find(container)
        if found is None or not found.is_running:
            return
        if found.is_paused:
            self._engine.unpause(container)
        patience = _SHORT_GRACE_SECONDS if hurry else self._spec.drain_seconds + _GRACE_SECONDS
        self._tell("stopping what runs in the container", patience + 30)
        deadline = time.monotonic() + patience
        while (left := deadline - time.monotonic()) > 0:
            self._engine.signal(container, "SIGTERM")
            # What only just began may not have heard it.
            step = _REPEAT_SECONDS if _age(found.started_at) < _YOUNG_SECONDS else left
            if self._engine.ends_within(container, min(step, left)):
                return
        self._engine.signal(container, "SIGKILL")
        self._engine.ends_within(container, 30)

    def confirm(self) -> list[str]:
        """The new container is ready: let go of the old one and of images nobody uses; says what went."""
        gone = []
        previous = self._engine.find(previous_name(self._spec))
        if previous is not None and previous.labels.get(LABEL_NAME) == self._spec.name:
            # Its nameless volumes go with it, unless the new one has taken them over.
            self._engine.remove(previous.id, volumes=True)
            gone.append(f"the container {previous.name}")
        return gone + self._prune()

    def roll_back(self) -> bool:
        """The new container does not work: put the old one in its place. False if there is none."""
        seen = observe(self._spec, self._engine)
        if seen.previous is None:
            return False
        if seen.current is not None:
            self._engine.remove(seen.current.id)
        self._engine.rename(seen.previous.id, self._spec.name)
        return True

    def remove_everything(self) -> list[str]:
        """Remove the container and its images; returns what went."""
        gone = []
        seen = observe(self._spec, self._engine)
        for container in (seen.current, seen.previous):
            if container is not None:
                self.stop(container.id)
                self._engine.remove(container.id, volumes=True)
                gone.append(f"the container {container.name}")
        return gone + self._prune()

    def _have_image(self) -> None:
        image = self._spec.image
        if self._engine.image_path(image) is not None:
            return
        if self._spec.pull == "never":
            raise no_image(self._spec.backend, image, "The spec says that nothing is pulled.")
        self._tell(f"pulling {image}", 600)
        self._engine.pull(image, lambda line: self._tell(line, 600), self._is_stopped)

    def _keep_layer(self, container: str) -> str:
        base = self._engine.find(container)
        if base is None:
            raise ExecutionError("The container vanished while it was being made again")
        repository = f"hermes-agent-layer/{hashlib.sha256(self._spec.name.encode()).hexdigest()[:12]}"
        tag = hashlib.sha256(f"{base.id}@{base.finished_at}".encode()).hexdigest()[:16]
        image = f"{repository}:{tag}"
        if self._engine.image_path(image) is not None:
            return image  # from an attempt that failed later
        self._tell("keeping what was installed in the container", 3600)
        labels = {LABEL_NAME: self._spec.name}
        if self._engine.layers(base.image) >= _LAYERS_AT_MOST:
            return self._engine.flatten(base.id, repository, tag, labels)
        return self._engine.commit(base.id, repository, tag, labels)

    def _exchange(self, base: Found, image: str) -> str:
        self._engine.rename(base.id, previous_name(self._spec))
        try:
            return self._create(image, base)
        except HermesError:
            with contextlib.suppress(HermesError):
                self._engine.rename(base.id, self._spec.name)
            raise

    def _create(self, image: str, base: Found | None) -> str:
        spec, structure = self._spec, self._structure
        self._check_numbers()
        image_path = self._engine.image_path(spec.image) or self._engine.image_path(image) or ""
        environment: dict[str, str | None] = {**structure.environment, "PATH": search_path(spec, image_path)}
        carried: list[str] = []
        if base is not None and image != spec.image:
            # What the old container was told is in the image of its files. Podman can only empty it.
            nothing = "" if spec.backend == "podman" else None
            environment |= dict.fromkeys(stale_variables(base.labels, structure), nothing)
            targets = {bind.split(":")[1] for bind in structure.binds}
            carried = [f"{name}:{target}" for target, name in base.volumes.items() if target not in targets]
        self._tell("making the container", 120)
        return self._engine.create(
            NewContainer(
                name=spec.name,
                image=image,
                command=ENTRYPOINT,
                environment=environment,
                labels=structure.labels,
                binds=(*structure.binds, *carried),
                network=structure.options.network or spec.network,
                working_directory=str(spec.inside(spec.working_directory)),
                hostname=structure.options.hostname,
                ports=structure.options.ports,
                host=structure.host_options(sudo=spec.sudo),
            )
        )

    def _check_numbers(self) -> None:
        """See that numbers of users mean the same inside and outside."""
        security = self._engine.security()
        if "rootless" in security:
            raise ExecutionError(
                f"This {self._spec.backend} runs without root, and users inside would have other numbers",
                remedy=f"Use the system's: {' or '.join(map(str, self._spec.sockets))}",
            )
        if "userns" in security and self._structure.options.host.get("userns_mode") != "host":
            raise ExecutionError(
                "This engine gives users inside other numbers than outside (userns-remap)",
                remedy='Add: services.hermes-agent.container.extraOptions = [ "--userns=host" ];',
            )

    def _prune(self) -> list[str]:
        gone = []
        current = self._engine.find(self._spec.name)
        used = current.image if current is not None else ""
        for image, names in self._engine.images(f"{LABEL_NAME}={self._spec.name}").items():
            if image == used:
                continue
            layers = [name for name in names if "hermes-agent-layer/" in name]
            gone += [f"the image {name}" for name in layers if self._engine.remove_image(name)]
        return gone
