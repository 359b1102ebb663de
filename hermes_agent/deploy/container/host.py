"""The host's side of a container: directories, stable links, garbage collection roots, the lock.

The control directory is root's own and read-only inside. In the state directory, which the agent can
write, everything is done as the service user.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hermes_agent.core.errors import ConfigError, GatewayError, StoreUnwritableError
from hermes_agent.deploy.container.spec import CONTROL_TARGET, STATE_TARGET, ContainerSpec
from hermes_agent.deploy.placing import Placer, Report
from hermes_agent.deploy.privilege import Account, find_account, make_directory
from hermes_agent.deploy.running import as_account

NOTIFY_NAME = "notify/socket"
"""Where the gateway's notifications arrive, in the control directory."""
START_NAME = "start.json"
RECORD_NAME = "running.json"
CURRENT_PACKAGE = "current-package"


@dataclass(frozen=True)
class StartFacts:
    """What the first process in the container does at its next start."""

    facts: Mapping[str, Any]

    @property
    def digest(self) -> str:
        """Tells starts from one another; how often the watchdog looks is no difference."""
        kept = {name: value for name, value in self.facts.items() if name != "variables"}
        return hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()


def resolve_account(spec: ContainerSpec) -> Account:
    """Whose state it is.

    Raises:
        ConfigError: There is no such user, or it is root.
    """
    if spec.uid is not None and spec.gid is not None:
        name = spec.user or str(spec.uid)
        groups = find_account(spec.user).groups if spec.user else ()
        return Account(name, spec.uid, spec.gid, tuple(sorted({spec.gid, *groups})), Path("/"))
    account = find_account(spec.user or "", spec.group)
    if account.uid == 0:
        raise ConfigError(
            "The agent must not be root on this machine",
            remedy="Set services.hermes-agent.user to another user.",
        )
    return account


def start_facts(spec: ContainerSpec, account: Account, variables: Mapping[str, str]) -> StartFacts:
    """What is to run.

    Args:
        spec: The spec.
        account: Whose numbers the user inside has.
        variables: Further variables of the gateway alone.
    """
    return StartFacts(
        {
            "version": 1,
            "user": spec.exec_user,
            "uid": account.uid,
            "gid": account.gid,
            "groups": list(account.groups),
            "home": str(spec.user_home),
            "home_target": str(STATE_TARGET / "home"),
            "directory": str(spec.inside(spec.working_directory)),
            "sudo": spec.sudo,
            "package": str(spec.package),
            "tools": str(spec.tools) if spec.tools else None,
            "command": [
                f"{STATE_TARGET / CURRENT_PACKAGE}/bin/hermes",
                *("gateway", "run", "--replace"),
                *spec.arguments,
            ],
            "variables": {"NOTIFY_SOCKET": str(CONTROL_TARGET / NOTIFY_NAME), **variables},
        }
    )


@contextmanager
def supervising(spec: ContainerSpec) -> Iterator[None]:
    """Be the only one that takes care of this container.

    Raises:
        GatewayError: Somebody else does.
    """
    make_control_directory(spec)
    descriptor = os.open(spec.control / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            pid = os.pread(descriptor, 20, 0).decode("ascii", "replace").strip()
            raise GatewayError(
                f"The container {spec.name!r} is taken care of already, by process {pid or 'unknown'}",
                remedy=f"See it: systemctl status {pid}. End it: hermes-agent-container --spec … stop",
            ) from None
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(descriptor)


def supervisor_pid(spec: ContainerSpec) -> int | None:
    """The process that takes care of the container; None if nobody does."""
    try:
        descriptor = os.open(spec.control / "lock", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        text = os.pread(descriptor, 20, 0).decode("ascii", "replace").strip()
        return int(text) if text.isdecimal() else None
    finally:
        os.close(descriptor)
    return None


def make_control_directory(spec: ContainerSpec) -> None:
    """Make the control directory, for root.

    Raises:
        StoreUnwritableError: It cannot be made, or somebody else could change it.
    """
    try:
        for path in (spec.control, spec.control / "notify"):
            path.mkdir(mode=0o755, parents=True, exist_ok=True)
            path.chmod(0o755)
    except OSError as error:
        raise _unusable(spec.control, error) from error
    check_ownership(spec.control, "The control directory")


def check_ownership(path: Path, what: str) -> None:
    """See that nobody but root (or this user) decides what a path leads to.

    Raises:
        StoreUnwritableError: A part of it is a link, or others may replace it.
    """
    trusted = {0, os.geteuid()}
    for at in (*reversed(path.parents), path):
        try:
            known = at.lstat()
        except OSError as error:
            raise _unusable(at, error) from error
        is_shared = stat.S_IMODE(known.st_mode) & 0o022 and not known.st_mode & stat.S_ISVTX
        if not stat.S_ISDIR(known.st_mode) or known.st_uid not in trusted or is_shared:
            raise StoreUnwritableError(
                f"{what} {path} is not safe: {at} is a link, or others than root may change it",
                why="Root mounts it into the container; it could be made to lead anywhere.",
                remedy=f"Look at it: ls -ld {at}. Name a directory whose parents are root's own.",
            )


def prepare_state(spec: ContainerSpec, account: Account) -> None:
    """See that what is mounted is there: directories of the state, the link to the package.

    Raises:
        StoreUnwritableError: It cannot be made; the message says which and why.
    """
    check_package(spec)
    for path in {spec.state_directory, spec.working_directory}:
        if not path.is_relative_to(spec.state_directory) or path == spec.state_directory:
            make_directory(path, account, 0o2770)
            check_ownership(path.parent, "The parent directory of")
    _check_owner(spec, account)
    report = Report()
    if os.geteuid() == 0:
        code = as_account(account, lambda: _inside_state(spec, report))
    else:
        code = _inside_state(spec, report)
    if code:
        raise StoreUnwritableError(
            f"The state directory {spec.state_directory} cannot be used",
            why="See the lines above.",
            remedy=f"It must be writable for the user {account.name} ({account.uid}:{account.gid}).",
        )


def _check_owner(spec: ContainerSpec, account: Account) -> None:
    known = spec.state_directory.stat()
    if known.st_uid == account.uid:
        return
    have, want = f"{known.st_uid}:{known.st_gid}", f"{account.uid}:{account.gid}"
    raise StoreUnwritableError(
        f"The state directory {spec.state_directory} belongs to {have}, and the service's user is {want}",
        why="Its numbers changed, or the directory came from another machine.",
        remedy=f"Hand it over: chown -hR --from={have} {want} {spec.state_directory}",
    )


def _inside_state(spec: ContainerSpec, report: Report) -> int:
    place = Placer(report)
    for path, mode in (
        (spec.home, 0o2770),
        (spec.state_directory / "home", 0o750),
        (spec.working_directory, 0o2770),
        *((path, 0o750) for path in _mount_points(spec)),
    ):
        place.directory(path, mode)
    place.link(spec.state_directory / CURRENT_PACKAGE, spec.package)
    return 0


def _mount_points(spec: ContainerSpec) -> list[Path]:
    """Targets of mounts in the user's home: made by us, or the engine would make them for root."""
    found = []
    for volume in spec.extra_volumes:
        target = Path(volume.split(":")[1])
        if target.is_relative_to(spec.user_home) and target != spec.user_home:
            relative = target.relative_to(spec.user_home)
            at = spec.state_directory / "home"
            for part in relative.parts:
                at /= part
                found.append(at)
    return found


def check_package(spec: ContainerSpec) -> None:
    """See that the package is there and can start itself.

    Raises:
        ConfigError: It is not, or lacks a command.
    """
    for name in ("hermes", "hermes-agent-container"):
        path = spec.store.on_host(spec.package) / "bin" / name
        if not os.access(path, os.X_OK):
            raise ConfigError(
                f"The package has no command {name}",
                why=f"{path} is not there.",
                remedy="Take module and package from the same revision of the flake.",
            )
    if spec.tools is not None and not spec.store.on_host(spec.tools).is_dir():
        raise ConfigError(f"tools: {spec.tools} is not in the store {spec.store.source}")


def check_mounts(binds: tuple[str, ...]) -> None:
    """See that what is mounted exists: engines make directories for what does not.

    Raises:
        ConfigError: Something is missing.
    """
    for bind in binds:
        source = bind.split(":")[0]
        if source.startswith("/") and not Path(source).exists():
            raise ConfigError(
                f"{source} is to be mounted and is not there",
                remedy=f"Make it (mkdir -p {source}), or take it out of container.extraVolumes.",
            )


def place_control(spec: ContainerSpec, start: StartFacts) -> None:
    """Root the new closure, then let the links lead to it, then say what to start."""
    add_roots(spec)
    place = Placer(Report())
    place.link(spec.control / "package", spec.package)
    if spec.tools is not None:
        place.link(spec.control / "tools", spec.tools)
    else:
        place.remove(spec.control / "tools", "there are none any more")
    zone = _local_time()
    if zone:
        place.write(spec.control / "localtime", zone, mode=0o644)
    else:
        place.remove(spec.control / "localtime", "this machine has none")
    data = json.dumps(start.facts, indent=1).encode() + b"\n"
    place.write(spec.control / START_NAME, data, mode=0o644)


def _local_time() -> bytes:
    """The machine's time zone, as the C library reads it: times of jobs mean the same inside."""
    try:
        data = Path("/etc/localtime").read_bytes()
    except OSError:
        return b""
    return data if data.startswith(b"TZif") else b""


def add_roots(spec: ContainerSpec) -> None:
    """Keep what runs next from garbage collection. What ran before is still kept."""
    if spec.gc_roots_directory is None:
        return
    try:
        spec.gc_roots_directory.mkdir(mode=0o755, parents=True, exist_ok=True)
    except OSError as error:
        raise _unusable(spec.gc_roots_directory, error) from error
    place = Placer(Report())
    for name, target in _roots(spec).items():
        place.link(spec.gc_roots_directory / name, target)


def remove_old_roots(spec: ContainerSpec, *, all_of_them: bool = False) -> list[str]:
    """Let go of what this container ran before; returns the names."""
    if spec.gc_roots_directory is None or not spec.gc_roots_directory.is_dir():
        return []
    wanted = set() if all_of_them else set(_roots(spec))
    removed = []
    for path in sorted(spec.gc_roots_directory.iterdir()):
        is_ours = path.name.partition(":")[0] == spec.name
        if is_ours and path.name not in wanted and path.is_symlink():
            path.unlink(missing_ok=True)
            removed.append(path.name)
    return removed


def _roots(spec: ContainerSpec) -> dict[str, Path]:
    paths = [path for path in (spec.package, spec.tools, *spec.extra_roots) if path is not None]
    return {f"{spec.name}:{path.name}": path for path in paths}


def write_record(spec: ContainerSpec, container: str, started_at: str, start: StartFacts) -> None:
    """Remember what the running container was started with."""
    record = {"container": container, "started_at": started_at, "start": start.digest}
    Placer(Report()).write(spec.control / RECORD_NAME, json.dumps(record).encode() + b"\n", mode=0o644)


def read_record(spec: ContainerSpec) -> Mapping[str, Any]:
    """What `write_record` wrote; empty if nothing readable."""
    try:
        found = json.loads((spec.control / RECORD_NAME).read_bytes())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _unusable(path: Path, error: OSError) -> StoreUnwritableError:
    return StoreUnwritableError(
        f"{path} cannot be used", why=error.strerror, remedy=f"Look at it: ls -ld {path} {path.parent}"
    )
