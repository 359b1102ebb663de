"""Checks of what hermes talks to: the model, and the place where commands run."""

from __future__ import annotations

import asyncio
import shutil
import socket
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from hermes_agent.cli.checks.finding import Finding, Surroundings
from hermes_agent.config.sections.tools import TerminalSettings
from hermes_agent.core.environment import Command, Environment
from hermes_agent.core.errors import HermesError
from hermes_agent.core.loading import load

_PING_SECONDS = 3.0
_REACH_SECONDS = 120.0


def check_model(around: Surroundings) -> Iterator[Finding]:
    """Who answers, with which key; online: whether it does."""
    config = around.config
    try:
        target = load("hermes_agent.models.resolve:resolve_target")(
            config.settings, config.environ, home=around.home
        )
    except HermesError as error:
        found = Finding.of_error("Model", error)
        yield replace(found, remedy=f"{found.remedy or ''}{_local_remedy()}")
        return
    info = target.endpoint.info
    sources = ", ".join(_source(around, each.source) for each in target.credentials if each.source)
    key = f", key from {sources}" if sources else ", no key needed"
    yield Finding("Model", "ok", f"{info.label}{'' if info.is_demo else key}")
    if not around.is_online:
        return
    try:
        trial = ask_once(around)
    except HermesError as error:
        clean = [around.redactor.redact(line) if line else None for line in (error.message, error.why)]
        yield Finding("Request", "fail", clean[0] or "", clean[1], error.remedy)
        return
    yield Finding("Request", "ok", f"answered in {trial.total_seconds:.1f} s: {trial.text[:80]!r}")


def _local_remedy() -> str:
    """What runs on this machine and could be used; empty if nothing does."""
    servers = asyncio.run(load("hermes_agent.models.discovery:discover")())
    server = next(iter(servers), None)
    if server is None:
        return ""
    address = f" --base-url {server.base_url}" if server.provider == "custom" else ""
    name = server.models[0] if address else f"{server.provider}:{server.models[0]}"
    return f"\n{server.name} runs on this machine: hermes model set {name}{address}"


def ask_once(around: Surroundings) -> Any:
    """One real request (`trial.Trial`), with one retry only. Raises `ModelError`."""
    settings = around.config.settings
    quick = settings.replace(agent=settings.agent.model_copy(update={"api_max_retries": 1}))
    model = load("hermes_agent.models.resolve:resolve_model")(quick, around.config.environ, home=around.home)
    return asyncio.run(load("hermes_agent.cli.checks.trial:try_model")(model))


def _source(around: Surroundings, source: str) -> str:
    if source.startswith("env:"):
        name = source.removeprefix("env:")
        return f"{name} ({around.config.environ.origin(name) or 'unset'})"
    return {"config": "config.yaml"}.get(source, source)


def check_backend(around: Surroundings) -> Iterator[Finding]:
    """The command environment that `terminal.backend` names."""
    terminal = around.config.settings.terminal
    backend = terminal.backend
    if backend == "local":
        found = Finding("Commands", "ok", "run on this machine")
    elif backend == "docker":
        found = _docker(around)
    elif backend == "ssh":
        found = _ssh(around, terminal)
    else:
        found = Finding(
            "Commands",
            "fail",
            f"terminal.backend {backend!r} is not available in this version",
            remedy="hermes config set terminal.backend local",
        )
    yield found
    if around.is_online and found.status == "ok" and backend != "local":
        yield _reach(around, terminal)


def _docker(around: Surroundings) -> Finding:
    address = around.environ.get("DOCKER_HOST") or "unix:///var/run/docker.sock"
    problem = _ping(address)
    if problem is None:
        return Finding("Commands", "ok", f"run in Docker containers ({address})")
    return Finding(
        "Commands",
        "fail",
        f"the Docker engine does not answer at {address}",
        problem,
        "Start it (systemctl start docker), join the group docker, or set DOCKER_HOST; "
        "or: hermes config set terminal.backend local",
    )


def _ping(address: str) -> str | None:
    """Ask an engine whether it lives; None if it does, else why not. TLS engines are only connected to."""
    parts = urlsplit(address)
    try:
        with _connect(parts.scheme, parts.path, parts.hostname or "", parts.port or 2375) as connection:
            if parts.port == 2376:
                return None
            connection.sendall(b"GET /_ping HTTP/1.0\r\nHost: docker\r\n\r\n")
            answer = connection.recv(64)
    except OSError as error:
        return error.strerror or str(error)
    return None if b" 200 " in answer else "Something else answers there."


def _connect(scheme: str, path: str, host: str, port: int) -> socket.socket:
    if scheme == "unix":
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            connection.settimeout(_PING_SECONDS)
            connection.connect(path)
        except OSError:
            connection.close()
            raise
        return connection
    return socket.create_connection((host, port), timeout=_PING_SECONDS)


def _ssh(around: Surroundings, terminal: TerminalSettings) -> Finding:
    if not terminal.ssh_host:
        return Finding(
            "Commands", "fail", "no host is named", remedy="hermes config set terminal.ssh_host HOST"
        )
    if shutil.which("ssh", path=around.environ.get("PATH", "")) is None:
        return Finding(
            "Commands", "fail", "ssh is not installed", remedy="Install the package 'openssh-client'."
        )
    if terminal.ssh_key and not Path(terminal.ssh_key).expanduser().is_file():
        remedy = "hermes config set terminal.ssh_key PATH"
        return Finding("Commands", "fail", f"there is no key file {terminal.ssh_key}", remedy=remedy)
    user = f"{terminal.ssh_user}@" if terminal.ssh_user else ""
    more = "" if around.is_online else " (--online connects to it)"
    return Finding("Commands", "ok", f"run on {user}{terminal.ssh_host} over ssh{more}")


def _reach(around: Surroundings, terminal: TerminalSettings) -> Finding:
    """Run `true` there."""
    environ = around.config.environ
    environment: Environment = load("hermes_agent.environments:open_environment")(
        terminal,
        cwd=Path.cwd(),
        child_env=environ.child_environment(terminal.env_passthrough),
        session_id="doctor",
    )
    try:
        asyncio.run(_run_true(environment))
    except TimeoutError:
        return Finding("Reaching it", "fail", f"no answer within {_REACH_SECONDS:.0f} s")
    except HermesError as error:
        return Finding.of_error("Reaching it", error)
    return Finding("Reaching it", "ok", "a command ran there")


async def _run_true(environment: Environment) -> None:
    try:
        async with asyncio.timeout(_REACH_SECONDS):
            await environment.execute(Command("true", persistent=False))
    finally:
        with suppress(HermesError):
            await environment.aclose()
