"""`Environ`: the process environment and the `.env` files, the one place they are read."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from hermes_agent.config import env_file
from hermes_agent.config.paths import Home
from hermes_agent.config.secret_names import is_secret_name, is_secret_variable, names
from hermes_agent.core.errors import ConfigFileError

_SERVICE_VARIABLES = names(
    "PYDANTIC_DISABLE_PLUGINS NOTIFY_SOCKET WATCHDOG_USEC WATCHDOG_PID LISTEN_FDS LISTEN_PID LISTEN_FDNAMES "
    "CREDENTIALS_DIRECTORY"
)
_MIN_SECRET_CHARS = 6
_CREDENTIAL_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_MAX_CREDENTIAL_BYTES = 100_000
_NOT_FROM_PROJECTS = (
    "HERMES_",
    "TERMINAL_",
    "GATEWAY_",
    "MESSAGING_",
    "API_SERVER_",
    "SESSION_",
    "XDG_",
    "SSL_",
)
_NOT_FROM_PROJECTS_END = (
    "_BASE_URL",
    "_PROXY",
    "_ALLOWED_USERS",
    "_ALLOW_ALL_USERS",
    "_HOME_CHANNEL",
    "_BUNDLE",
)


class Environ:
    """Variables by name.

    Order: credentials that the service manager handed over as files (`$CREDENTIALS_DIRECTORY`), the user's
    `.env`, then the process environment, then the project's `.env` (which only fills gaps). Empty values
    count as absent. Immutable; `load` again to see changes.

    Args:
        variables: The process environment.
        user: The home's `.env`.
        project: The project's `.env`, already without names it must not set.
        credentials: What the service manager handed over; always secret.
        user_path: Where `user` was read.
        project_path: Where `project` was read.
        warnings: What was odd about the files, for people.
    """

    def __init__(
        self,
        variables: Mapping[str, str] | None = None,
        *,
        user: Mapping[str, str] | None = None,
        project: Mapping[str, str] | None = None,
        credentials: Mapping[str, str] | None = None,
        user_path: Path | None = None,
        project_path: Path | None = None,
        warnings: tuple[str, ...] = (),
    ) -> None:
        self._process = {name: value for name, value in (variables or {}).items() if value.strip()}
        self._user = {name: value for name, value in (user or {}).items() if value.strip()}
        self._project = {name: value for name, value in (project or {}).items() if value.strip()}
        self._credentials = {name: value for name, value in (credentials or {}).items() if value.strip()}
        self._user_path = user_path
        self._project_path = project_path
        self.warnings = warnings

    @classmethod
    def load(
        cls,
        home: Home,
        *,
        variables: Mapping[str, str] | None = None,
        project_directory: Path | None = None,
    ) -> Environ:
        """Read the process environment (or `variables`), the home's `.env` and the project's.

        Args:
            home: Its `.env` overrides the shell.
            variables: Instead of the process environment.
            project_directory: Its `.env` fills gaps; None reads none.

        Raises:
            ConfigFileError: The home's `.env` cannot be read.
        """
        process = os.environ if variables is None else variables
        user = env_file.read(home.env_file)
        warnings = list(user.warnings)
        taken: dict[str, str] = {}
        for name, value in user.values.items():
            if env_file.is_ignored(name):
                warnings.append(f"{home.env_file}: {name} is not taken from .env; set it in the shell")
            else:
                taken[name] = value
        path = project_directory / ".env" if project_directory is not None else None
        project: dict[str, str] = {}
        if path is not None and path != home.env_file:
            project, notes = _read_project(path)
            warnings.extend(notes)
        credentials, notes = _read_credentials(process.get("CREDENTIALS_DIRECTORY", ""))
        warnings.extend(notes)
        return cls(
            process,
            user=taken,
            project=project,
            credentials=credentials,
            user_path=home.env_file,
            project_path=path,
            warnings=tuple(warnings),
        )

    def get(self, name: str) -> str | None:
        """The value of a variable; None if it is absent or empty."""
        for source in (self._credentials, self._user, self._process, self._project):
            value = source.get(name)
            if value is not None:
                return value.strip() if is_secret_name(name) else value
        return None

    def origin(self, name: str) -> str | None:
        """Where the value comes from, for people: a path of a `.env`, or `the environment`."""
        if name in self._credentials:
            return "a credential of the service"
        if name in self._user:
            return str(self._user_path or ".env")
        if name in self._process:
            return "the environment"
        if name in self._project:
            return str(self._project_path or "the project's .env")
        return None

    def names(self) -> Iterator[str]:
        """Every name that has a value."""
        yield from dict.fromkeys((*self._credentials, *self._user, *self._process, *self._project))

    def changed_names(self, before: Environ) -> tuple[str, ...]:
        """Names whose values differ from those of an earlier `load`, sorted."""
        both = {*self.names(), *before.names()}
        return tuple(sorted(name for name in both if self.get(name) != before.get(name)))

    def secret_values(self) -> frozenset[str]:
        """Values whose names look secret; those too short to be told from ordinary text are left out."""
        values = {
            value.strip() for value in self._credentials.values() if len(value.strip()) >= _MIN_SECRET_CHARS
        }
        for source in (self._user, self._process, self._project):
            for name, value in source.items():
                if is_secret_variable(name, value) and len(value.strip()) >= _MIN_SECRET_CHARS:
                    values.add(value.strip())
        return frozenset(values)

    def child_environment(self, passthrough: Iterable[str] = ()) -> dict[str, str]:
        """The environment for a command: no secrets, nothing of the service manager.

        The project's `.env` is left to the project; the user's `.env` takes part.

        Args:
            passthrough: Names that are handed over although they look secret.
        """
        merged = {**self._process, **self._user}
        child = {
            name: value
            for name, value in merged.items()
            if name not in _SERVICE_VARIABLES
            and name not in self._credentials
            and not is_secret_variable(name, value)
        }
        for name in passthrough:
            value = self.get(name)
            if value is not None:
                child[name] = value
        return child

    def __repr__(self) -> str:
        return f"Environ({len(list(self.names()))} variables)"  # Values may be secret.


def _read_credentials(directory: str) -> tuple[dict[str, str], list[str]]:
    """Files named like variables in the directory of the service's credentials: name to content."""
    found: dict[str, str] = {}
    warnings: list[str] = []
    if not directory:
        return found, warnings
    try:
        for path in sorted(Path(directory).iterdir()):
            if not _CREDENTIAL_NAME.fullmatch(path.name) or env_file.is_ignored(path.name):
                continue
            try:
                found[path.name] = path.read_bytes()[:_MAX_CREDENTIAL_BYTES].decode().rstrip("\r\n")
            except (OSError, UnicodeDecodeError):
                warnings.append(f"The credential {path.name} cannot be read, or is no text")
    except OSError as error:
        warnings.append(f"The credentials in {directory} cannot be read: {error.strerror}")
    return found, warnings


def _read_project(path: Path) -> tuple[dict[str, str], list[str]]:
    """A project's `.env`: somebody else may have written it, so it must not steer this program."""
    try:
        if not path.is_file() or path.stat().st_uid not in {0, os.geteuid()}:
            return {}, []
        parsed = env_file.read(path)
    except (OSError, ConfigFileError) as error:
        return {}, [f"{path} was not read: {error}"]
    return {name: value for name, value in parsed.values.items() if may_come_from_project(name)}, []


def may_come_from_project(name: str) -> bool:
    """Whether a project's `.env` may set a variable: not how hermes behaves, nor where it connects to."""
    return not (
        env_file.is_refused(name)
        or env_file.is_ignored(name)
        or name.startswith(_NOT_FROM_PROJECTS)
        or name.upper().endswith(_NOT_FROM_PROJECTS_END)
    )
