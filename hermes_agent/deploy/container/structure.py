"""What a container is made of, as opposed to what runs in it: only a change of this makes a new one."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hermes_agent.core.errors import ConfigError
from hermes_agent.deploy.container.options import LABEL_PREFIX, CreateOptions, parse_options
from hermes_agent.deploy.container.spec import CONTROL_TARGET, STATE_TARGET, ContainerSpec

SCHEMA = 1
LABEL_NAME = f"{LABEL_PREFIX}container"
"""Whose container (or image) this is: the container's name in its spec."""
LABEL_IDENTITY = f"{LABEL_PREFIX}identity"
LABEL_STRUCTURE = f"{LABEL_PREFIX}structure"

ENTRYPOINT = (f"{CONTROL_TARGET}/package/bin/hermes-agent-container", "init", f"{CONTROL_TARGET}/start.json")
_PLAIN_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_WITHOUT_SUDO = ("CHOWN", "DAC_OVERRIDE", "FOWNER", "KILL", "SETGID", "SETUID")
"""What the first process needs to prepare the container and to become the user."""


@dataclass(frozen=True)
class Structure:
    """What is compared. `facts` is JSON: names of inputs to what they are."""

    facts: Mapping[str, Any]
    options: CreateOptions
    binds: tuple[str, ...]
    environment: Mapping[str, str]

    @property
    def text(self) -> str:
        """The facts, always written the same way."""
        return json.dumps(self.facts, sort_keys=True, separators=(",", ":"))

    @property
    def identity(self) -> str:
        """SHA-256 of the facts."""
        return hashlib.sha256(self.text.encode()).hexdigest()

    @property
    def labels(self) -> dict[str, str]:
        """How a container says what it is."""
        return {
            **self.options.labels,
            LABEL_NAME: str(self.facts["name"]),
            LABEL_IDENTITY: self.identity,
            LABEL_STRUCTURE: self.text,
        }

    def host_options(self, *, sudo: bool) -> dict[str, Any]:
        """Keywords for the engine."""
        host = dict(self.options.host)
        if not sudo:
            host["security_opt"] = [*host.get("security_opt", ()), "no-new-privileges"]
            host["cap_add"] = sorted({*host.get("cap_add", ()), *_WITHOUT_SUDO})
            host["cap_drop"] = ["ALL"]
        elif not host.get("privileged") and not {"ALL", "MKNOD"} & set(host.get("cap_add", ())):
            # A device it makes in the state directory would be one on the host, too.
            host["cap_drop"] = [*host.get("cap_drop", ()), "MKNOD"]
        return host


def build_structure(spec: ContainerSpec) -> Structure:
    """What the container of a spec is made of.

    Raises:
        ConfigError: An option or a mount cannot be used.
    """
    options = parse_options(spec.extra_options)
    binds = _binds(spec, [*spec.extra_volumes, *options.volumes])
    environment = {**_environment(spec), **options.environment, **spec.environment}
    facts = {
        "schema": SCHEMA,
        "name": spec.name,
        "backend": spec.backend,
        "image": spec.image,
        "sudo": spec.sudo,
        "network": options.network or spec.network,
        "volumes": sorted(binds),
        "options": list(spec.extra_options),
        "environment": environment,
        "user": spec.exec_user,
    }
    return Structure(facts, options, binds, environment)


def describe_changes(labels: Mapping[str, str], wanted: Structure) -> list[str]:
    """Which inputs differ from those a container was made with, one line each; empty if none does."""
    if labels.get(LABEL_IDENTITY) == wanted.identity:
        return []
    try:
        before = json.loads(labels.get(LABEL_STRUCTURE, ""))
    except ValueError:
        before = None
    if not isinstance(before, dict):
        return ["structure: the container does not say what it was made with"]
    lines: list[str] = []
    for name, value in wanted.facts.items():
        lines.extend(_differences(name, before.get(name), value))
    return lines or ["structure: made by another version of this program"]


def image_changed(labels: Mapping[str, str], wanted: Structure) -> bool:
    """Whether the container was made from another image than the spec names."""
    try:
        before = json.loads(labels.get(LABEL_STRUCTURE, ""))
        return bool(before["image"] != wanted.facts["image"] or before["backend"] != wanted.facts["backend"])
    except (ValueError, KeyError, TypeError):
        return False


def stale_variables(labels: Mapping[str, str], wanted: Structure) -> list[str]:
    """Variables that the container was made with and the new one does not have."""
    try:
        before = json.loads(labels.get(LABEL_STRUCTURE, ""))["environment"]
        return sorted(set(before) - set(wanted.environment))
    except (ValueError, KeyError, TypeError):
        return []


def search_path(spec: ContainerSpec, image_path: str) -> str:
    """PATH of the container: what the user installed, what the image has, what comes with the package."""
    home = spec.user_home
    first = [f"{home}/.local/bin", f"{home}/.venv/bin", f"{home}/.npm-global/bin"]
    last = [f"{CONTROL_TARGET}/tools/bin"]
    known = {*first, *last, ""}
    middle = [place for place in (image_path or _PLAIN_PATH).split(":") if place not in known]
    return ":".join([*first, *middle, *last])


def _environment(spec: ContainerSpec) -> dict[str, str]:
    home = str(spec.user_home)
    return {
        "HOME": home,
        "USER": spec.exec_user,
        "LANG": "C.UTF-8",
        "HERMES_HOME": str(spec.inside(spec.home)),
        "HERMES_MANAGED": "true",
        "MESSAGING_CWD": str(spec.inside(spec.working_directory)),
        "NPM_CONFIG_PREFIX": f"{home}/.npm-global",
        "NPM_CONFIG_UPDATE_NOTIFIER": "false",
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        # A link to something in the store would lead nowhere after the next upgrade.
        "UV_PYTHON_PREFERENCE": "system",
    }


def _binds(spec: ContainerSpec, volumes: list[str]) -> tuple[str, ...]:
    binds = [
        f"{spec.store.source}:{spec.store.target}:ro",
        f"{spec.state_directory}:{STATE_TARGET}",
        f"{spec.control}:{CONTROL_TARGET}:ro",
    ]
    if not spec.working_directory.is_relative_to(spec.state_directory):
        binds.append(f"{spec.working_directory}:{spec.working_directory}")
    for path in (spec.store.source, spec.state_directory, spec.control, spec.working_directory):
        if ":" in str(path):
            raise ConfigError(f"{path} cannot be mounted", why="Paths of mounts cannot hold a colon.")
    binds.extend(_extra_bind(spec, volume) for volume in volumes)
    _see_that_no_source_can_be_replaced(binds)
    targets = [bind.split(":")[1].rstrip("/") for bind in binds]
    for target in targets:
        if targets.count(target) > 1:
            raise ConfigError(f"extra_volumes: {target} is mounted more than once")
    return tuple(binds)


def _options(bind: str) -> list[str]:
    return bind.split(":")[2].split(",") if bind.count(":") > 1 else []


def _see_that_no_source_can_be_replaced(binds: list[str]) -> None:
    """What is below another mount the agent can rename, and put a link to anywhere in its place."""
    writable = [Path(bind.split(":")[0]) for bind in binds if "ro" not in _options(bind)]
    for bind in binds:
        source = Path(bind.split(":")[0])
        above = next((path for path in writable if path != source and source.is_relative_to(path)), None)
        if source.is_absolute() and above is not None:
            raise ConfigError(
                f"extra_volumes: {source} is below {above}, which is mounted, too",
                why="The agent could put a link there that leads the mount anywhere on this machine.",
                remedy=f"Mount {above} read-only (:ro), or only one of the two.",
            )


def _extra_bind(spec: ContainerSpec, volume: str) -> str:
    source, _, rest = volume.partition(":")
    target, colon, how = rest.partition(":")
    if not source or not target.startswith("/") or ".." in Path(target).parts or ":" in how:
        raise ConfigError(
            f"extra_volumes: {volume!r} is not a mount",
            remedy="Write /source:/target, /source:/target:ro, or name-of-a-volume:/target.",
        )
    if source.startswith("/"):
        path = Path(source)
        if ".." in path.parts:
            raise ConfigError(f"extra_volumes: {volume!r} holds '..'")
        if path.is_relative_to(spec.state_directory):
            raise ConfigError(
                f"extra_volumes: {source} is in the state directory",
                why="The agent could put a link there that leads the mount anywhere on this machine.",
                remedy=f"It is in the container already, as {spec.inside(path)}.",
            )
    elif "/" in source or source.startswith((".", "~")):
        raise ConfigError(f"extra_volumes: {source!r} is neither an absolute path nor the name of a volume")
    place = Path(target)
    if place in (Path("/"), STATE_TARGET, spec.user_home) or place.is_relative_to(CONTROL_TARGET):
        raise ConfigError(f"extra_volumes: {target} is the container's own")
    if place.is_relative_to(spec.user_home):
        # The home is a link inside, which no mount may replace.
        target = str(STATE_TARGET / "home" / place.relative_to(spec.user_home))
    return f"{source}:{target}{colon}{how}"


def _differences(name: str, before: object, after: object) -> list[str]:
    if before == after:
        return []
    if isinstance(before, list) and isinstance(after, list):
        gone = [f"{name}: without {value}" for value in before if value not in after]
        come = [f"{name}: with {value}" for value in after if value not in before]
        return gone + come or [f"{name}: in another order"]
    if isinstance(before, dict) and isinstance(after, dict):
        keys = sorted(key for key in {*before, *after} if before.get(key) != after.get(key))
        return [f"{name}: {key}" for key in keys]
    return [f"{name}: {before} -> {after}"]
