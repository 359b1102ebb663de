"""The docker environment in a real engine, with some image that is already there. Nothing is pulled."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
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


def docker(*arguments: str) -> str:
    return run(*arguments).stdout.strip()


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["docker", *arguments], check=False, capture_output=True, text=True, timeout=60)


@pytest.fixture(scope="session")
def image() -> Iterator[str]:
    """A local image that has bash and the usual tools."""
    if shutil.which("docker") is None or not docker("version", "--format", "{{.Server.Version}}"):
        pytest.skip("no Docker engine answers here")
    need = "command -v bash && command -v setsid && command -v stty && command -v seq && stat -c %a /"
    for name in docker("images", "--format", "{{.Repository}}:{{.Tag}}").splitlines():
        if "<none>" in name or name.startswith("hermes-"):  # those of other tests come and go
            continue
        arguments = ("run", "--rm", "--network", "none", "--entrypoint", "sh", name, "-c", need)
        if run(*arguments).returncode == 0:
            yield name
            return
    pytest.skip("no local Docker image has bash, and none is pulled for a test")


@pytest.fixture
async def opened(image: str) -> AsyncIterator[Open]:
    made: list[Environment] = []

    def open_it(*, on_progress: Callable[[str], None] | None = None, **changes: object) -> Environment:
        values = {
            "backend": "docker",
            "docker_image": image,
            "docker_network": "none",
            "container_persistent": False,
            "container_memory": 512,
            **changes,
        }
        environment = open_environment(
            TerminalSettings.model_validate(values),
            cwd=Path("/"),
            child_env=dict(os.environ),
            session_id="s1",
            on_progress=on_progress,
        )
        made.append(environment)
        return environment

    yield open_it
    for environment in made:
        await environment.aclose()


class TestDockerEnvironment(EnvironmentContract):
    """The contract, in a container."""

    @pytest.fixture
    async def environment(self, opened: Open) -> Environment:
        return opened()

    async def test_child_that_keeps_the_output_open_does_not_hold_the_command(
        self, environment: Environment, scratch: str
    ) -> None:
        if "Podman" in docker("version", "--format", "{{range .Server.Components}}{{.Name}} {{end}}"):
            pytest.skip("Podman closes the output of what the first process of a command left behind")
        await super().test_child_that_keeps_the_output_open_does_not_hold_the_command(environment, scratch)

    @pytest.fixture
    async def scratch(self, environment: Environment) -> str:
        return (await environment.execute(Command("mktemp -d", persistent=False))).output.strip()


async def name_of(environment: Environment) -> str:
    found = docker("ps", "-q", "--no-trunc", "--filter", "label=hermes-agent").splitlines()
    inside = (await environment.execute(Command("cat /proc/self/mountinfo"))).output
    return next(container for container in found if container in inside)


async def test_container_is_confined(opened: Open) -> None:
    environment = opened(container_cpu=0.5)
    assert environment.is_isolated
    status = (await environment.execute(Command("grep -E '^(NoNewPrivs|CapEff)' /proc/self/status"))).output
    assert "NoNewPrivs:\t1" in status
    capabilities = int(next(line for line in status.splitlines() if "CapEff" in line).split()[1], 16)
    assert not capabilities & (1 << 21)  # CAP_SYS_ADMIN
    assert not capabilities & (1 << 13)  # CAP_NET_RAW
    assert capabilities & 1  # CAP_CHOWN
    container = await name_of(environment)
    facts = " ".join(
        f"{{{{.HostConfig.{name}}}}}" for name in ("PidsLimit", "Memory", "NanoCpus", "NetworkMode")
    )
    assert docker("inspect", "-f", facts, container) == f"256 {512 << 20} 500000000 none"


async def test_container_goes_with_its_session(opened: Open) -> None:
    environment = opened()
    await environment.execute(Command("true"))
    container = await name_of(environment)
    await environment.aclose()
    assert container not in docker("ps", "-aq", "--no-trunc")


async def test_persistent_container_is_found_again(opened: Open) -> None:
    settings = {"container_persistent": True, "container_memory": 300 + os.getpid() % 100}
    first = opened(**settings)
    await first.execute(Command("echo kept >/root-of-the-matter; export X=1"))
    container = await name_of(first)
    await first.aclose()
    try:
        second = opened(**settings)
        result = await second.execute(Command('cat /root-of-the-matter; echo "[$X]"'))
        assert result.output == "kept\n[]\n"
        await second.aclose()
        docker("stop", "-t", "1", container)
        third = opened(**settings)
        assert (await third.execute(Command("cat /root-of-the-matter"))).output == "kept\n"
        assert await name_of(third) == container
        await third.aclose()
    finally:
        docker("rm", "-f", container)


async def test_volumes_are_mounted(opened: Open, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("from outside\n")
    environment = opened(docker_volumes=[f"{tmp_path}:/data:ro"], cwd="/data")
    result = await environment.execute(Command("cat file; touch new; echo $?"))
    assert result.output.startswith("from outside\n")
    assert result.output.endswith("1\n")


@pytest.mark.parametrize("how", ["kill", "rm"])
async def test_container_that_is_killed_is_told_and_comes_back(opened: Open, how: str) -> None:
    environment = opened()
    up = asyncio.Event()
    task = asyncio.create_task(environment.execute(Command("echo up; sleep 60"), lambda _data: up.set()))
    async with asyncio.timeout(30):
        await up.wait()
    container = await name_of(environment)
    await asyncio.to_thread(docker, *(("kill",) if how == "kill" else ("rm", "-f")), container)
    with pytest.raises(ExecutionError, match="The container was"):
        async with asyncio.timeout(30):
            await task
    assert (await environment.execute(Command("echo again"))).output == "again\n"


async def test_command_that_needs_too_much_memory_does_not_end_the_container(opened: Open) -> None:
    environment = opened(container_memory=64)
    result = await environment.execute(Command("head -c 300M /dev/zero | tail >/dev/null; echo $?"))
    assert result.output.strip().endswith("137")


async def test_orphans_are_reaped(opened: Open) -> None:
    environment = opened()
    await environment.execute(Command("(sleep 0.1 &) ; (sleep 0.1 &)"))
    result = await environment.execute(
        Command("sleep 0.5; grep -l '^State:.Z' /proc/[0-9]*/status 2>/dev/null | wc -l")
    )
    assert result.output == "0\n"


async def test_missing_image_says_what_to_do(opened: Open) -> None:
    lines: list[str] = []
    # Nothing listens at port 1 of this machine: the pull fails at once and leaves the machine alone.
    environment = opened(docker_image="localhost:1/no/such:image", on_progress=lines.append)
    with pytest.raises(ExecutionError, match="cannot be pulled") as caught:
        await environment.execute(Command("true"))
    assert "docker pull localhost:1/no/such:image" in (caught.value.remedy or "")
    assert lines[0] == "Pulling the image localhost:1/no/such:image ..."


async def test_missing_engine_says_what_to_do(tmp_path: Path) -> None:
    environment = open_environment(
        TerminalSettings(backend="docker"),
        cwd=Path("/"),
        child_env={"DOCKER_HOST": f"unix://{tmp_path}/docker.sock"},
        session_id="s1",
    )
    with pytest.raises(ExecutionError, match="No container engine answers") as caught:
        await environment.execute(Command("true"))
    assert "Start Docker" in (caught.value.remedy or "")
    await environment.aclose()


async def test_wrong_volume_is_named(opened: Open) -> None:
    with pytest.raises(ExecutionError, match="docker_volumes has 'nonsense'"):
        await opened(docker_volumes=["nonsense"]).execute(Command("true"))


HERMES = """
import asyncio, os, sys
from pathlib import Path
from hermes_agent.config.sections.tools import TerminalSettings
from hermes_agent.core.environment import Command
from hermes_agent.environments import open_environment

async def main():
    environment = open_environment(
        TerminalSettings(
            backend="docker", docker_image=sys.argv[1], docker_network="none", container_persistent=False
        ),
        cwd=Path("/"), child_env=dict(os.environ), session_id="killed",
    )
    await environment.spawn(Command("sleep 300"))
    await environment.execute(Command("echo up; sleep 301"), lambda data: os.write(1, data))

asyncio.run(main())
"""


async def test_container_of_a_killed_hermes_runs_nothing_and_is_swept_up(opened: Open, image: str) -> None:
    hermes = await asyncio.create_subprocess_exec(
        sys.executable, "-c", HERMES, image, stdout=asyncio.subprocess.PIPE
    )
    assert hermes.stdout is not None
    async with asyncio.timeout(25):
        assert await hermes.stdout.readline() == b"up\n"
    (container,) = docker("ps", "-q", "--filter", "name=hermes-killed").splitlines()
    hermes.kill()
    await hermes.wait()
    async with asyncio.timeout(25):
        while "sleep 30" in docker("top", container):  # noqa: ASYNC110 - another process
            await asyncio.sleep(0.1)
    await opened().execute(Command("true"))
    assert docker("ps", "-aq", "--filter", "name=hermes-killed") == ""
