"""The reference servers from npm, over their real transports."""

import fcntl
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest
from mcp_bench import Bench, data

from hermes_agent.config.sections.mcp import McpServerSettings

PACKAGES = ("@modelcontextprotocol/server-everything", "@modelcontextprotocol/server-filesystem")
PLACE = Path(tempfile.gettempdir()) / "hermes-tests-mcp-npm"


@pytest.fixture(scope="session")
def programs() -> Path:
    """Directory of the installed programs; kept for the next time."""
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("npm is not installed")
    found = PLACE / "node_modules" / ".bin"
    PLACE.mkdir(exist_ok=True)
    with (PLACE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # test processes run side by side
        if not (found / "mcp-server-filesystem").exists():
            install(npm)
    return found


def install(npm: str) -> None:
    options = ["--no-fund", "--no-audit", "--fetch-retries=0"]  # each retry waits 10 s and more
    try:
        installed = subprocess.run(
            [npm, "install", *options, "--prefix", str(PLACE), *PACKAGES],
            capture_output=True,
            text=True,
            timeout=90,
            check=False,
        )
    except subprocess.TimeoutExpired:
        pytest.skip("npm cannot install the servers: no answer for 90 s")
    if installed.returncode:
        pytest.skip(f"npm cannot install the servers: {installed.stderr[-200:]}")


async def test_server_everything_shows_all_its_features(bench: Bench, programs: Path) -> None:
    manager = bench.manager(e=McpServerSettings(command=str(programs / "mcp-server-everything")))
    assert (await bench.call(manager, "mcp_e_echo", message="hi")).text == "Echo: hi"
    assert "is 5" in (await bench.call(manager, "mcp_e_get_sum", a=2, b=3)).text
    assert len((await bench.call(manager, "mcp_e_get_tiny_image")).images) == 1
    long = await bench.call(manager, "mcp_e_trigger_long_running_operation", duration=0.3, steps=3)
    assert "completed" in long.text
    assert bench.person.reports[-1] == "3/3\n"
    weather = await bench.call(manager, "mcp_e_get_structured_content", location="New York")
    assert data(weather)["conditions"] == "Cloudy"
    assert bench.directory.as_uri() in (await bench.call(manager, "mcp_e_get_roots_list")).text
    assert "architecture.md" in (await bench.call(manager, "mcp_e_list_resources")).text
    read = await bench.call(manager, "mcp_e_read_resource", uri="demo://resource/dynamic/text/1")
    assert "Resource 1" in read.text
    assert "simple-prompt" in (await bench.call(manager, "mcp_e_list_prompts")).text
    prompt = await bench.call(manager, "mcp_e_get_prompt", name="args-prompt", arguments={"city": "Ulm"})
    assert "Ulm" in prompt.text
    env = await bench.call(manager, "mcp_e_get_env")
    assert "PATH" in env.text


async def test_server_filesystem_works_and_keeps_to_its_directory(
    bench: Bench, programs: Path, tmp_path: Path
) -> None:
    (tmp_path / "hello.txt").write_text("hello there")
    settings = McpServerSettings(command=str(programs / "mcp-server-filesystem"), args=[str(tmp_path)])
    manager = bench.manager(fs=settings)
    read = await bench.call(manager, "mcp_fs_read_text_file", path=str(tmp_path / "hello.txt"))
    assert read.text == "hello there"
    refused = await bench.call(manager, "mcp_fs_read_text_file", path="/etc/passwd")
    assert refused.is_error
    await bench.call(manager, "mcp_fs_write_file", path=str(tmp_path / "new.txt"), content="new")
    assert (tmp_path / "new.txt").read_text() == "new"
