"""The ssh environment against a real sshd of our own on the loopback interface."""

from __future__ import annotations

import asyncio
import getpass
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "environments"))
from environment_contract import EnvironmentContract

from hermes_agent.config.sections.tools import TerminalSettings
from hermes_agent.core.environment import Command, Environment
from hermes_agent.core.errors import ExecutionError
from hermes_agent.environments import open_environment

pytestmark = pytest.mark.system

Open = Callable[..., Environment]

# With a high SHLVL bash does not read the ~/.bashrc of whoever runs the tests.
CONFIG = """\
Port {port}
ListenAddress 127.0.0.1
HostKey {directory}/host
AuthorizedKeysFile {directory}/user.pub
PidFile none
StrictModes no
UsePAM no
UseDNS no
PasswordAuthentication no
MaxSessions 50
PermitUserRC no
SetEnv SHLVL=5
"""


def children(pid: int) -> list[int]:
    found = subprocess.run(["pgrep", "-P", str(pid)], check=False, capture_output=True, text=True)
    return [int(child) for child in found.stdout.split()]


@dataclass
class Server:
    """A running sshd and a directory whose `bin/ssh` trusts its key."""

    directory: Path
    port: int
    process: subprocess.Popen[bytes]

    def environment(self, known: str | None = None) -> dict[str, str]:
        """For the client: its own known hosts, nobody's own configuration."""
        hosts = self.directory / f"known-{secrets.token_hex(4)}"
        key = (self.directory / "host.pub").read_text() if known is None else known
        hosts.write_text(f"[127.0.0.1]:{self.port} {key}" if key else "")
        tools = self.directory / f"{hosts.name}-bin"
        tools.mkdir()
        real = shutil.which("ssh")
        (tools / "ssh").write_text(f'#!/bin/sh\nexec {real} -F none -o UserKnownHostsFile={hosts} "$@"\n')
        (tools / "ssh").chmod(0o755)
        return {"PATH": f"{tools}:{os.environ['PATH']}", "HOME": str(self.directory)}

    def masters(self) -> list[int]:
        """Processes of sshd that serve a connection."""
        return children(self.process.pid)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    sshd = shutil.which("sshd", path=f"{os.environ['PATH']}:/usr/sbin:/usr/local/sbin")
    if sshd is None or shutil.which("ssh") is None:
        pytest.skip("no OpenSSH server and client here (Debian: openssh-server)")
    directory = tmp_path_factory.mktemp("sshd")
    for name in ("host", "user", "other"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", directory / name], check=True)
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    (directory / "config").write_text(CONFIG.format(port=port, directory=directory))
    log = (directory / "log").open("wb")
    process = subprocess.Popen([sshd, "-D", "-e", "-f", str(directory / "config")], stderr=log)
    try:
        for _ in range(200):
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                if process.poll() is not None:
                    pytest.skip(f"sshd does not start: {(directory / 'log').read_text()[-300:]}")
                time.sleep(0.05)
        yield Server(directory, port, process)
    finally:
        process.terminate()
        process.wait()
        log.close()


@pytest.fixture
async def opened(server: Server) -> AsyncIterator[Open]:
    made: list[Environment] = []

    def open_it(*, child_env: dict[str, str] | None = None, **changes: object) -> Environment:
        values = {
            "backend": "ssh",
            "ssh_host": "127.0.0.1",
            "ssh_port": server.port,
            "ssh_user": getpass.getuser(),
            "ssh_key": str(server.directory / "user"),
            **changes,
        }
        environment = open_environment(
            TerminalSettings.model_validate(values),
            cwd=Path("/"),
            child_env=server.environment() if child_env is None else child_env,
            session_id="s1",
        )
        made.append(environment)
        return environment

    yield open_it
    for environment in made:
        await environment.aclose()


class TestSshEnvironment(EnvironmentContract):
    """The contract, on a host."""

    @pytest.fixture
    async def environment(self, opened: Open) -> Environment:
        return opened()

    @pytest.fixture
    def scratch(self, tmp_path: Path) -> str:
        return str(tmp_path)


async def refusal(environment: Environment) -> ExecutionError:
    with pytest.raises(ExecutionError) as caught:
        await environment.execute(Command("true"))
    return caught.value


async def test_unknown_host_key_is_refused_with_a_way_out(opened: Open, server: Server) -> None:
    error = await refusal(opened(child_env=server.environment(known="")))
    assert "is not known yet" in error.message
    assert f"ssh -p {server.port}" in (error.remedy or "")


async def test_changed_host_key_is_refused(opened: Open, server: Server) -> None:
    other = (server.directory / "other.pub").read_text()
    error = await refusal(opened(child_env=server.environment(known=other)))
    assert "has changed" in error.message
    assert f"ssh-keygen -R '[127.0.0.1]:{server.port}'" in (error.remedy or "")


async def test_refused_login_is_explained(opened: Open, server: Server) -> None:
    error = await refusal(opened(ssh_key=str(server.directory / "other")))
    assert "refused the login" in error.message


async def test_host_that_does_not_answer_is_named(opened: Open) -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    error = await refusal(opened(ssh_port=port))
    assert "Cannot connect" in error.message
    assert "refused" in (error.why or "")


async def test_missing_client_is_named(opened: Open) -> None:
    error = await refusal(opened(child_env={"PATH": "/nowhere"}))
    assert "ssh program is not installed" in error.message


def test_missing_host_is_named() -> None:
    with pytest.raises(ExecutionError, match="no host"):
        open_environment(TerminalSettings(backend="ssh"), cwd=Path("/"), child_env={}, session_id="s")
    with pytest.raises(ExecutionError, match="cannot begin with"):
        open_environment(
            TerminalSettings(backend="ssh", ssh_host="-oProxyCommand=x"),
            cwd=Path("/"),
            child_env={},
            session_id="s",
        )


async def test_one_connection_serves_all_commands(opened: Open, server: Server) -> None:
    environment = opened()
    before = set(server.masters())
    for _ in range(3):
        await environment.execute(Command("true"))
    assert len(set(server.masters()) - before) == 1


async def test_connection_that_breaks_is_told_and_made_anew(opened: Open, server: Server) -> None:
    environment = opened()
    before = set(server.masters())
    await environment.execute(Command("cd /usr"))
    (master,) = set(server.masters()) - before
    up = asyncio.Event()
    task = asyncio.create_task(environment.execute(Command("echo up; sleep 60"), lambda _data: up.set()))
    async with asyncio.timeout(30):
        await up.wait()
    for process in (*children(master), master):
        os.kill(process, signal.SIGKILL)
    with pytest.raises(ExecutionError, match="broke off"):
        async with asyncio.timeout(30):
            await task
    assert (await environment.execute(Command("pwd"))).output == "/usr\n"


async def test_nothing_stays_when_the_session_ends(opened: Open, server: Server) -> None:
    environment = opened()
    before = set(server.masters())
    await environment.spawn(Command("sleep 60"))
    await environment.aclose()
    async with asyncio.timeout(40):
        while set(server.masters()) - before:  # noqa: ASYNC110 - another process
            await asyncio.sleep(0.05)
