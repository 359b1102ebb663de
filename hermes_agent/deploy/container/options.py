"""Options of `docker create`, as words of a command line, for an engine that is spoken to without one."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from hermes_agent.core.errors import ConfigError

LABEL_PREFIX = "hermes-agent."
"""Labels of ours start like this; nobody else's may."""


@dataclass
class CreateOptions:
    """What options say.

    Attributes:
        host: Keywords of the SDK's `create_host_config`.
        environment: Variables.
        labels: Labels.
        volumes: `source:target[:options]`.
        ports: Container port to (address, port) of the host.
        network: Instead of the spec's.
        hostname: Name of the machine inside.
    """

    host: dict[str, Any] = field(default_factory=dict)
    environment: dict[str, str] = field(default_factory=dict)
    labels: dict[str, str] = field(default_factory=dict)
    volumes: list[str] = field(default_factory=list)
    ports: dict[str, tuple[str, int]] = field(default_factory=dict)
    network: str | None = None
    hostname: str | None = None


_Take = Callable[[CreateOptions, str], None]


def _text(name: str) -> _Take:
    return lambda options, value: options.host.__setitem__(name, value)


def _number(name: str) -> _Take:
    return lambda options, value: options.host.__setitem__(name, int(value))


def _more(name: str) -> _Take:
    return lambda options, value: options.host.setdefault(name, []).append(value)


def _pair(name: str) -> _Take:
    def take(options: CreateOptions, value: str) -> None:
        key, equals, content = value.partition("=")
        if not equals:
            raise ValueError("needs NAME=VALUE")
        options.host.setdefault(name, {})[key] = content

    return take


def _switch(name: str) -> _Take:
    def take(options: CreateOptions, value: str) -> None:
        if value not in {"", "true", "false"}:
            raise ValueError("is true or false")
        options.host[name] = value != "false"

    return take


def _cpus(options: CreateOptions, value: str) -> None:
    options.host["nano_cpus"] = int(float(value) * 1_000_000_000)


def _tmpfs(options: CreateOptions, value: str) -> None:
    path, _, how = value.partition(":")
    options.host.setdefault("tmpfs", {})[path] = how


def _ulimit(options: CreateOptions, value: str) -> None:
    match = re.fullmatch(r"([a-z]+)=(-?\d+)(?::(-?\d+))?", value)
    if match is None:
        raise ValueError("needs NAME=SOFT[:HARD]")
    soft = int(match[2])
    limit = {"Name": match[1], "Soft": soft, "Hard": int(match[3]) if match[3] else soft}
    options.host.setdefault("ulimits", []).append(limit)


def _gpus(options: CreateOptions, value: str) -> None:
    request: dict[str, Any] = {"Capabilities": [["gpu"]]}
    if value == "all":
        request["Count"] = -1
    elif value.isdecimal():
        request["Count"] = int(value)
    elif value.strip('"').startswith("device="):
        request["DeviceIDs"] = value.strip('"').removeprefix("device=").split(",")
    else:
        raise ValueError("is all, a number, or device=ID,ID")
    options.host.setdefault("device_requests", []).append(request)


def _variable(options: CreateOptions, value: str) -> None:
    name, equals, content = value.partition("=")
    if not equals or not name:
        raise ValueError("needs NAME=VALUE; the service's own environment is not handed over")
    options.environment[name] = content


def _label(options: CreateOptions, value: str) -> None:
    name, _, content = value.partition("=")
    if name.startswith(LABEL_PREFIX):
        raise ValueError(f"labels that start with {LABEL_PREFIX} are the program's own")
    options.labels[name] = content


def _publish(options: CreateOptions, value: str) -> None:
    match = re.fullmatch(r"(?:([\d.]+|\[[\da-fA-F:]+\]):)?(\d+):(\d+)(/tcp|/udp)?", value)
    if match is None:
        raise ValueError("needs [ADDRESS:]PORT:CONTAINER_PORT[/udp]")
    options.ports[match[3] + (match[4] or "/tcp")] = (match[1] or "", int(match[2]))


def _network(options: CreateOptions, value: str) -> None:
    options.network = value


def _hostname(options: CreateOptions, value: str) -> None:
    options.hostname = value


def _volume(options: CreateOptions, value: str) -> None:
    options.volumes.append(value)


_KNOWN: dict[str, _Take] = {
    "--add-host": _more("extra_hosts"),
    "--cap-add": _more("cap_add"),
    "--cap-drop": _more("cap_drop"),
    "--cgroup-parent": _text("cgroup_parent"),
    "--cgroupns": _text("cgroupns"),
    "--cpu-shares": _number("cpu_shares"),
    "--cpus": _cpus,
    "--cpuset-cpus": _text("cpuset_cpus"),
    "--device": _more("devices"),
    "--device-cgroup-rule": _more("device_cgroup_rules"),
    "--dns": _more("dns"),
    "--dns-option": _more("dns_opt"),
    "--dns-search": _more("dns_search"),
    "--env": _variable,
    "--gpus": _gpus,
    "--group-add": _more("group_add"),
    "--hostname": _hostname,
    "--ipc": _text("ipc_mode"),
    "--label": _label,
    "--memory": _text("mem_limit"),
    "--memory-reservation": _text("mem_reservation"),
    "--memory-swap": _text("memswap_limit"),
    "--network": _network,
    "--oom-score-adj": _number("oom_score_adj"),
    "--pid": _text("pid_mode"),
    "--pids-limit": _number("pids_limit"),
    "--privileged": _switch("privileged"),
    "--publish": _publish,
    "--runtime": _text("runtime"),
    "--security-opt": _more("security_opt"),
    "--shm-size": _text("shm_size"),
    "--storage-opt": _pair("storage_opt"),
    "--sysctl": _pair("sysctls"),
    "--tmpfs": _tmpfs,
    "--ulimit": _ulimit,
    "--userns": _text("userns_mode"),
    "--uts": _text("uts_mode"),
    "--volume": _volume,
}
_SHORT = {
    "-e": "--env",
    "-h": "--hostname",
    "-l": "--label",
    "-m": "--memory",
    "-p": "--publish",
    "-v": "--volume",
    "--net": "--network",
}
_WITHOUT_VALUE = {"--privileged"}
_OURS = {
    *("--name", "--restart", "--rm", "--user", "-u", "--entrypoint", "--workdir", "-w", "--read-only"),
    *("--detach", "-d", "--interactive", "-i", "--tty", "-t", "--init", "--log-driver", "--stop-timeout"),
    *("--stop-signal", "--pull"),
}


def known_options() -> tuple[str, ...]:
    """The names of all options that are understood."""
    return tuple(_KNOWN)


def parse_options(words: Sequence[str]) -> CreateOptions:
    """Read options of `docker create`: `--memory=4g`, `--memory 4g` in two words, `-v A:B`.

    Raises:
        ConfigError: One is unknown, belongs to this program, or has a value that cannot be.
    """
    options = CreateOptions()
    for name, value in _split(words):
        try:
            _KNOWN[name](options, value)
        except ValueError as error:
            why = str(error).removeprefix("invalid literal for ")
            raise ConfigError(f"extra_options: {name} {value!r} cannot be used", why=why) from error
    return options


def _split(words: Sequence[str]) -> Iterator[tuple[str, str]]:
    pending = iter(words)
    for word in pending:
        name, equals, value = word.partition("=")
        name = _SHORT.get(name, name)
        if name in _OURS:
            raise ConfigError(
                f"extra_options: {name} is set by hermes-agent-container itself",
                remedy="Take it out of services.hermes-agent.container.extraOptions.",
            )
        if name not in _KNOWN:
            raise ConfigError(
                f"extra_options: {word!r} is not an option that is understood",
                why="There are: " + " ".join(_KNOWN),
                remedy="Write one option a word, as --memory=4g.",
            )
        if not equals and name not in _WITHOUT_VALUE:
            try:
                value = next(pending)
            except StopIteration:
                raise ConfigError(f"extra_options: {name} needs a value") from None
        yield name, value
