"""What the tests of the container unit share: a package store that is a plain directory, engines, specs."""

from __future__ import annotations

import compileall
import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import docker
import pytest
from docker import errors

ROOT = Path(__file__).parents[2]
IMAGE = "testbed/debian:trixie"
UID, GID = 4321, 4322
SOCKETS = {"docker": "/var/run/docker.sock", "podman": "/run/podman/podman.sock"}

# Stands in for `hermes gateway run`: ready at once, tells what it is, and ends when it is told to.
GATEWAY = """
import json, os, signal, socket, sys, time
def tell(text):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as out:
        try:
            out.connect(os.environ["NOTIFY_SOCKET"]); out.send(text.encode())
        except OSError:
            pass
def end(number, frame):
    tell("STOPPING=1\\nSTATUS=draining\\nEXTEND_TIMEOUT_USEC=3000000")
    print("told to end", flush=True); sys.exit(0)
def reload(number, frame):
    tell(f"RELOADING=1\\nMONOTONIC_USEC={time.monotonic_ns() // 1000}"); tell("READY=1\\nSTATUS=again")
    print("told to reload", flush=True)
signal.signal(signal.SIGTERM, end); signal.signal(signal.SIGHUP, reload)
home = os.environ["HERMES_HOME"]
facts = {"argv": sys.argv, "uid": os.getuid(), "gid": os.getgid(), "groups": os.getgroups(),
         "cwd": os.getcwd(), "umask": os.umask(0o007), "environment": dict(os.environ),
         "package": os.path.realpath("/data/current-package")}
print("gateway", VERSION, json.dumps(sys.argv[1:]), flush=True)
with open(home + "/facts.json.tmp", "w") as file: json.dump(facts, file)
os.rename(home + "/facts.json.tmp", home + "/facts.json")
if os.path.exists(home + "/fail"): print("it fails", file=sys.stderr); sys.exit(3)
os.makedirs(home + "/run", exist_ok=True)
path = home + "/run/gateway.sock"
if os.path.exists(path): os.unlink(path)
serving = socket.socket(socket.AF_UNIX); serving.bind(path); serving.listen(5); serving.settimeout(0.3)
tell("READY=1\\nSTATUS=all is well")
while True:
    tell("WATCHDOG=1")
    try:
        peer, _ = serving.accept()
    except TimeoutError:
        continue
    with peer:
        peer.recv(1000)
        peer.sendall(b'{"ok": true, "gateway_state": "running"}\\n')
"""


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


def python_tree(store: Path, *, libraries: bool) -> None:
    """The interpreter that runs the tests and our code, perhaps with all libraries, relocatable."""
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    base, target = Path(sys.base_prefix), store / "python"
    target.mkdir(parents=True)
    (target / "bin").mkdir()
    _link(os.path.realpath(sys.executable), str(target / f"bin/{version}"))
    (target / "bin/python3").symlink_to(version)
    unwanted = shutil.ignore_patterns("test", "tests", "idlelib", "tkinter", "site-packages", "config-*")
    shutil.copytree(base / "lib" / version, target / "lib" / version, copy_function=_link, ignore=unwanted)
    for library in (base / "lib").glob("libpython3*.so*"):
        _link(os.path.realpath(library), str(target / "lib" / library.name))
    site = target / "lib" / version / "site-packages"
    if libraries:
        installed = next(path for path in sys.path if path.endswith("site-packages"))
        skipped = shutil.ignore_patterns("*.pth", "mypy*", "ruff*", "uv", "uv-*", "tests", "discord*", "nio*")
        shutil.copytree(installed, site, copy_function=_link, ignore=skipped)
    shutil.copytree(
        ROOT / "hermes_agent", site / "hermes_agent", ignore=shutil.ignore_patterns("__pycache__")
    )
    compileall.compile_dir(site / "hermes_agent", quiet=2)


def make_store(store: Path, *, libraries: bool = False) -> Path:
    """A store with an interpreter, packages `v1` and `v2` (stand-in gateways), `real`, and `tools`.

    Only `real` needs the libraries; what prepares a container is standard library only.
    """
    python_tree(store, libraries=libraries)
    _own_libraries(store)
    loader = "/nix/store/libraries/ld.so --library-path /nix/store/libraries:/nix/store/python/lib"
    run = f"exec {loader} /nix/store/python/bin/python3"
    for name in ("v1", "v2", "real"):
        place = store / f"{name}-hermes-agent" / "bin"
        place.mkdir(parents=True)
        gateway = f"{run} -m hermes_agent" if name == "real" else f"{run} {place.parent.name}/gateway.py"
        if name != "real":
            (place.parent / "gateway.py").write_text(f"VERSION = {name!r}\n{GATEWAY}")
            gateway = f"{run} /nix/store/{place.parent.name}/gateway.py"
        _script(place / "hermes", gateway)
        _script(place / "hermes-agent-container", f"{run} -m hermes_agent.deploy.container.command")
    tools = store / "tools-1" / "bin"
    tools.mkdir(parents=True)
    _script(tools / "python3", run)
    _script(tools / "node", "echo v24.0.0 #")
    return store


def _own_libraries(store: Path) -> None:
    """The C library and what else the interpreter needs: packages of Nix bring them, too."""
    target = store / "libraries"
    target.mkdir()
    modules = (store / "python/lib").glob("python3*/lib-dynload/*.so")
    binaries = [str(path) for path in (*(store / "python/bin").iterdir(), *modules)]
    listed = subprocess.run(["ldd", *binaries], capture_output=True, text=True, check=False).stdout
    for found in {
        word for word in listed.split() if word.startswith("/") and ".so" in word and ":" not in word
    }:
        if found.startswith(str(store)):
            continue
        name = "ld.so" if Path(found).name.startswith("ld-") else Path(found).name
        if not (target / name).exists():
            shutil.copy2(os.path.realpath(found), target / name)


def _script(path: Path, command: str) -> None:
    path.write_text(f'#!/bin/sh\n{command} "$@"\n')
    path.chmod(0o755)


@dataclass
class Machine:
    """One container of the unit under test, and its surroundings."""

    backend: str
    directory: Path
    store: Path
    name: str
    api: Any
    changes: dict[str, Any] = field(default_factory=dict)
    running: list[Supervised] = field(default_factory=list)

    @property
    def state(self) -> Path:
        return self.directory / "state"

    @property
    def home(self) -> Path:
        return self.state / ".hermes"

    def spec(self, **changes: Any) -> Path:
        self.changes |= changes
        facts = {
            "version": 1,
            "backend": self.backend,
            "socket": SOCKETS[self.backend],
            "name": self.name,
            "image": IMAGE,
            "pull": "never",
            "uid": UID,
            "gid": GID,
            "state_directory": str(self.state),
            "home": str(self.home),
            "working_directory": str(self.state / "workspace"),
            "package": "/nix/store/v1-hermes-agent",
            "store": {"source": str(self.store), "target": "/nix/store"},
            "control_directory": str(self.directory / "control"),
            "gc_roots_directory": str(self.directory / "roots"),
            "drain_seconds": 5,
            **self.changes,
        }
        path = self.directory / "spec.json"
        path.write_text(json.dumps(facts))
        return path

    def command(self, *words: str, **changes: Any) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*COMMAND, "--spec", str(self.spec(**changes)), *words],
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )

    def run(self, **changes: Any) -> Supervised:
        supervised = Supervised(self, self.spec(**changes))
        self.running.append(supervised)
        return supervised

    def up(self, **changes: Any) -> Supervised:
        """Run, and wait until it is ready."""
        supervised = self.run(**changes)
        supervised.until("READY=1")
        return supervised

    def facts(self) -> dict[str, Any]:
        """What the stand-in gateway saw when it started."""
        found: dict[str, Any] = json.loads((self.home / "facts.json").read_text())
        return found

    def inspect(self) -> dict[str, Any]:
        found: dict[str, Any] = self.api.inspect_container(self.name)
        return found

    def exec(self, *command: str, user: str = "hermes") -> tuple[int, str]:
        made = self.api.exec_create(self.name, list(command), user=user)
        said = self.api.exec_start(made["Id"])
        return self.api.exec_inspect(made["Id"])["ExitCode"], said.decode()

    def names(self) -> set[str]:
        found = self.api.containers(all=True, filters={"label": f"hermes-agent.container={self.name}"})
        return {each["Names"][0].lstrip("/") for each in found}

    def layers(self) -> list[str]:
        found = self.api.images(filters={"label": f"hermes-agent.container={self.name}"})
        names = [name for image in found for name in image["RepoTags"] or ()]
        return [name for name in names if name != "<none>:<none>"]

    def close(self) -> None:
        for supervised in self.running:
            supervised.kill()
        for name in (self.name, f"{self.name}-previous"):
            try:
                self.api.remove_container(name, force=True, v=True)
            except errors.NotFound:
                continue
        for image in self.api.images(filters={"label": f"hermes-agent.container={self.name}"}):
            with contextlib.suppress(errors.APIError):  # the engine may still be busy with removing it
                self.api.remove_image(image["Id"], force=True)


COMMAND = [sys.executable, "-m", "hermes_agent.deploy.container.command"]


class Supervised:
    """`hermes-agent-container run` under a stand-in for systemd's notification socket."""

    def __init__(self, machine: Machine, spec: Path) -> None:
        self.messages: list[str] = []
        self.log = machine.directory / f"log-{len(machine.running)}"
        address = machine.directory / f"notify-{len(machine.running)}"
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(address))
        self._socket.settimeout(0.1)
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [*COMMAND, "--spec", str(spec), "run"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, "NOTIFY_SOCKET": str(address), "WATCHDOG_USEC": "6000000"},
            )

    @property
    def output(self) -> str:
        return self.log.read_text(errors="replace")

    def until(self, message: str, seconds: float = 80) -> None:
        """Wait for a notification that holds a line."""
        self.until_true(lambda: any(message in text.split("\n") for text in self.messages), message, seconds)

    def until_true(self, is_true: Callable[[], bool], what: str, seconds: float = 80) -> None:
        end = time.monotonic() + seconds
        while not is_true():
            try:
                self.messages.append(self._socket.recv(5000).decode())
            except TimeoutError:
                ended = self.process.poll()
                assert ended is None, f"ended with {ended} before {what}:\n{self.output}"
                assert time.monotonic() < end, f"waited in vain for {what}: {self.messages}\n{self.output}"

    def forget(self) -> None:
        self.messages.clear()

    def wait(self, seconds: float = 80) -> int:
        """Wait for its end, and read on meanwhile; returns the exit code."""
        end = time.monotonic() + seconds
        while (code := self.process.poll()) is None:
            assert time.monotonic() < end, f"does not end: {self.messages}\n{self.output}"
            self._collect()
        self._collect()
        return code

    def end(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.wait()

    def kill(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait(10)
        self._socket.close()

    def _collect(self) -> None:
        with contextlib.suppress(TimeoutError, OSError):
            while True:
                self.messages.append(self._socket.recv(5000).decode())


def open_engine(backend: str) -> Any:
    """The engine's API, if it is here with the image; skips otherwise."""
    if os.geteuid() != 0:
        pytest.skip("needs root, as the unit does")
    try:
        api = docker.APIClient(base_url=f"unix://{SOCKETS[backend]}", version="auto", timeout=60)
        api.inspect_image(IMAGE)
    except (errors.DockerException, OSError):
        pytest.skip(f"no {backend} with the image {IMAGE} answers here")
    return api


def machines(backend: str, store: Path, tmp_path: Path) -> Iterator[Machine]:
    """A machine for one test; everything is removed afterwards."""
    api = open_engine(backend)
    machine = Machine(backend, tmp_path, store, f"hermes-test-{os.getpid()}-{os.urandom(3).hex()}", api)
    try:
        yield machine
    finally:
        machine.close()
        api.close()
