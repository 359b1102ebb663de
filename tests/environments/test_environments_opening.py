"""From settings to an environment."""

from __future__ import annotations

from pathlib import Path

import pytest

from hermes_agent.config.sections.tools import TerminalSettings
from hermes_agent.core.environment import Command
from hermes_agent.core.errors import ExecutionError
from hermes_agent.environments import open_environment


@pytest.mark.parametrize("backend", ["singularity", "modal", "daytona"])
def test_backend_of_a_later_version_is_refused_clearly(backend: str) -> None:
    with pytest.raises(ExecutionError, match="not available in this version") as caught:
        open_environment(
            TerminalSettings.model_validate({"backend": backend}), cwd=Path("/"), child_env={}, session_id="s"
        )
    assert "local, docker or ssh" in (caught.value.remedy or "")


@pytest.mark.parametrize(
    ("configured", "expected"), [(".", ""), ("", ""), ("sub", "/sub"), ("sub/../other", "/sub/../other")]
)
async def test_start_directory_is_relative_to_where_hermes_was_started(
    tmp_path: Path, configured: str, expected: str
) -> None:
    environment = open_environment(
        TerminalSettings(cwd=configured), cwd=tmp_path, child_env={}, session_id="s"
    )
    assert environment.cwd == f"{tmp_path}{expected}"
    await environment.aclose()


async def test_missing_start_directory_does_not_stop_the_session(tmp_path: Path) -> None:
    environment = open_environment(
        TerminalSettings(cwd="missing"), cwd=tmp_path, child_env={"PATH": "/usr/bin:/bin"}, session_id="s"
    )
    result = await environment.execute(Command("pwd"))
    assert result.output == f"hermes: {tmp_path}/missing is gone, continuing in {tmp_path}\n{tmp_path}\n"
    await environment.aclose()


async def test_shell_that_forgets_is_a_setting(tmp_path: Path) -> None:
    environment = open_environment(
        TerminalSettings(persistent_shell=False),
        cwd=tmp_path,
        child_env={"PATH": "/usr/bin:/bin"},
        session_id="s",
    )
    await environment.execute(Command("cd /usr; export X=1"))
    assert (await environment.execute(Command('pwd; echo "[$X]"'))).output == f"{tmp_path}\n[]\n"
    await environment.aclose()
