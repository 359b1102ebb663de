"""The remote half, with a connection that ends on this machine: plain `sh`, as a host would give it."""

from __future__ import annotations

import asyncio
import os
import subprocess
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest
from environment_contract import EnvironmentContract
from hypothesis import given
from hypothesis import strategies as st

from hermes_agent.core.environment import Command, OutputSink
from hermes_agent.core.errors import ExecutionError
from hermes_agent.environments.children import Child
from hermes_agent.environments.remote import RemoteEnvironment
from hermes_agent.environments.remote_scripts import BOOTSTRAP, encode


class ShChannel:
    """A local process as a channel."""

    def __init__(self, child: Child) -> None:
        self.child = child

    @property
    def exit_code(self) -> int | None:
        return self.child.exit_code

    async def wait(self, timeout_seconds: float | None = None) -> bool:
        return await self.child.wait(timeout_seconds) and await self.child.drain(0.5)

    async def write(self, data: bytes) -> None:
        await self.child.write(data)

    def close_input(self) -> None:
        self.child.close_stdin_now()

    def close(self) -> None:
        self.child.abandon()


class ShConnection:
    """Runs `sh` here; can be cut."""

    def __init__(self, home: Path, shell: str = "/bin/sh") -> None:
        self.environment = {"PATH": os.environ["PATH"], "HOME": str(home)}
        self.shell = shell
        self.generation = 1
        self.channels: list[ShChannel] = []

    async def connect(self) -> int:
        return self.generation

    async def open(
        self, arguments: Sequence[str], *, on_output: OutputSink, on_error: OutputSink, pty: bool
    ) -> ShChannel:
        child = Child.start(
            (self.shell, *arguments[1:]),
            environment=self.environment,
            on_output=on_output,
            on_error=None if pty else on_error,
            stdin="pty" if pty else "pipe",
        )
        self.channels.append(ShChannel(child))
        return self.channels[-1]

    async def explain_loss(self, errors: str) -> ExecutionError:
        return ExecutionError("connection lost", why=errors)

    async def aclose(self) -> None:
        for channel in self.channels:
            channel.close()
            await channel.child.wait(20)


def make(home: Path, connection: ShConnection | None = None, start: str = "/") -> RemoteEnvironment:
    return RemoteEnvironment(
        connection or ShConnection(home),
        name="test",
        is_isolated=False,
        start=start,
        session_id="s1",
        is_persistent=True,
    )


@pytest.fixture
async def environment(tmp_path: Path) -> AsyncIterator[RemoteEnvironment]:
    made = make(tmp_path)
    yield made
    await made.aclose()


@pytest.fixture
def scratch(tmp_path: Path) -> str:
    return str(tmp_path)


class TestRemoteEnvironment(EnvironmentContract):
    """The contract, through scripts."""


@given(st.binary(max_size=300))
def test_any_bytes_travel_in_one_plain_line(data: bytes) -> None:
    line = encode(data)
    assert b"\n" not in line
    program = 'IFS= read -r s; printf "%b" "$s"'
    if b"\0" not in data:  # shells cannot hold it in a variable, but can print it
        done = subprocess.run([*BOOTSTRAP[:2], program], input=line + b"\n", capture_output=True, check=True)
        assert done.stdout == data


async def test_connection_that_breaks_is_told_and_made_anew(tmp_path: Path) -> None:
    connection = ShConnection(tmp_path)
    environment = make(tmp_path, connection)
    await environment.execute(Command("cd /usr; export X=1"))
    task = asyncio.create_task(environment.execute(Command("echo up; sleep 60"), lambda _data: up.set()))
    up = asyncio.Event()
    async with asyncio.timeout(40):
        await up.wait()
    os.kill(connection.channels[-1].child.pid, 9)
    connection.channels[-1].close_input()
    with pytest.raises(ExecutionError, match="connection lost"):
        async with asyncio.timeout(40):
            await task
    connection.generation += 1
    assert (await environment.execute(Command("pwd; echo $X"))).output == "/usr\n1\n"
    await environment.aclose()


async def test_start_directory_that_does_not_exist_is_named(tmp_path: Path) -> None:
    environment = make(tmp_path, start="/no/such/place")
    with pytest.raises(ExecutionError, match="/no/such/place"):
        await environment.execute(Command("true"))
    await environment.aclose()


async def test_place_without_a_shell_is_explained(tmp_path: Path) -> None:
    environment = make(tmp_path, ShConnection(tmp_path, shell="/bin/false"))
    with pytest.raises(ExecutionError):
        await environment.execute(Command("true"))
    await environment.aclose()


async def test_private_directory_is_removed_at_the_end(tmp_path: Path) -> None:
    environment = make(tmp_path)
    await environment.execute(Command("export X=1"))
    private = await environment.stat(environment._directory)
    assert private is not None
    assert private.mode == 0o700
    await environment.aclose()
    later = make(tmp_path)
    assert await later.stat(private.path) is None
    await later.aclose()


async def test_control_marks_in_terminal_output_are_left_alone(
    environment: RemoteEnvironment,
) -> None:
    result = await environment.execute(Command(r"printf '\036hermes-\036\036x\n'", pty=True))
    assert result.output == "\x1ehermes-\x1e\x1ex\r\n"
