"""`open_environment`: from settings to the place where a session's commands run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from hermes_agent.config.sections.tools import TerminalSettings
from hermes_agent.core.environment import Environment
from hermes_agent.core.errors import ExecutionError
from hermes_agent.core.loading import load
from hermes_agent.environments.local import LocalEnvironment

_REMOTE = {
    "docker": "hermes_agent.environments.docker:open_docker",
    "ssh": "hermes_agent.environments.ssh:open_ssh",
}


def open_environment(
    settings: TerminalSettings,
    *,
    cwd: Path,
    child_env: Mapping[str, str],
    session_id: str,
    on_progress: Callable[[str], None] | None = None,
) -> Environment:
    """Make the environment that `terminal.backend` names. Cheap: it connects at its first use.

    Args:
        settings: The `terminal` section.
        cwd: The directory hermes was started in; `terminal.cwd` is relative to it.
        child_env: The whole environment of local commands (and of the `ssh` client), without secrets.
        session_id: Exported to commands as `HERMES_SESSION_ID`.
        on_progress: Gets lines for people when getting ready takes long (an image is pulled).

    Raises:
        ExecutionError: The back end is not part of this version.
    """
    if settings.backend == "local":
        start = Path(settings.cwd).expanduser() if settings.cwd not in ("", ".") else cwd
        return LocalEnvironment(
            cwd=str((cwd / start).absolute()),
            child_env=child_env,
            session_id=session_id,
            is_persistent=settings.persistent_shell,
        )
    if settings.backend not in _REMOTE:
        raise ExecutionError(
            f"The terminal backend {settings.backend!r} is not available in this version",
            why="This version runs commands on this machine, in Docker or Podman, and over SSH.",
            remedy="Set terminal.backend to local, docker or ssh.",
        )
    environment: Environment = load(_REMOTE[settings.backend])(
        settings, child_env=child_env, session_id=session_id, on_progress=on_progress or _silent
    )
    return environment


def _silent(_line: str) -> None:
    pass
