"""Applying an activation spec: idempotent, atomic, and as the service user.

Root (if it is root that runs this) reads what only it may read, makes directories that are missing, and
gives itself up in a child process; the child does everything inside the state directory. What only root
may write (`.container-mode`) is written by the parent afterwards.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hermes_agent.config.paths import Home
from hermes_agent.core.errors import ConfigError, ConfigFileError, HermesError
from hermes_agent.deploy.merge import merge_file
from hermes_agent.deploy.placing import Placer, Report
from hermes_agent.deploy.secrets import CompiledEnv, SecretFile, compile_env, read_secret_file
from hermes_agent.deploy.spec import ActivationSpec

PLUGIN_PREFIX = "nix-managed-"
"""Links in `plugins/` that start like this are ours."""
_DIRECTORIES = ("cron", "sessions", "logs", "memories", "plugins", "skills")
_MAX_FILE_BYTES = 10_000_000


@dataclass(frozen=True)
class Sources:
    """Everything that is read before the rights to read it are given up."""

    secrets: tuple[SecretFile, ...] = ()
    config: bytes | None = None
    auth: bytes | None = None
    documents: Mapping[str, bytes] = field(default_factory=dict)


def read_sources(
    spec: ActivationSpec, *, only_secrets: bool = False, read: Callable[[Path], bytes] = Path.read_bytes
) -> Sources:
    """Read all files that a spec names.

    Args:
        spec: The spec.
        only_secrets: Only the files for `.env`.
        read: Reads one, with the rights it takes.

    Raises:
        ConfigFileError: One cannot be read, or a plug-in has no `plugin.yaml`.
    """
    secrets = tuple(read_secret_file(path, read) for path in spec.environment_files)
    if only_secrets:
        return Sources(secrets)
    for plugin in spec.plugins:
        if not (plugin.path / "plugin.yaml").is_file():
            raise ConfigFileError(
                f"The plug-in {plugin.name!r} has no plugin.yaml",
                path=plugin.path,
                why=f"{plugin.path}/plugin.yaml is not there.",
                remedy="Put the folder that holds plugin.yaml into extraPlugins.",
            )
    documents = {
        name: (document.text or "").encode() if document.path is None else _read(document.path, name, read)
        for name, document in spec.documents.items()
    }
    return Sources(
        secrets,
        _read(spec.config_file, "configFile", read) if spec.config_file else None,
        _read(spec.auth_file, "authFile", read) if spec.auth_file and spec.auth_file.exists() else None,
        documents,
    )


def _read(path: Path, what: str, read: Callable[[Path], bytes]) -> bytes:
    try:
        if not path.is_file() or path.stat().st_size > _MAX_FILE_BYTES:
            raise ConfigFileError(
                f"{path} ({what}) is no file, or larger than 10 MB", path=path, remedy=f"ls -lL {path}"
            )
        return read(path)
    except OSError as error:
        raise ConfigFileError(f"Cannot read {path} ({what})", path=path, why=error.strerror) from error


class Activation:
    """The part that runs as the service user.

    Args:
        spec: What to put in place.
        sources: What was read for it.
        placer: Writes, or only reports.
    """

    def __init__(self, spec: ActivationSpec, sources: Sources, placer: Placer) -> None:
        self._spec = spec
        self._sources = sources
        self._place = placer
        self._home = Home(spec.home)

    @property
    def report(self) -> Report:
        """What was done so far."""
        return self._place.report

    def apply(self) -> list[HermesError]:
        """Put everything in place. A step that fails does not keep the others from being done.

        Returns:
            What failed.
        """
        failed = self._steps(self._directories)
        if failed:
            return failed
        self._place.remove_leftovers(
            self._home.root, ("config.yaml", ".env", ".managed", "auth.json", ".deployed.json")
        )
        self._place.remove_leftovers(self._home.plugins, (f"{PLUGIN_PREFIX}*",))
        return self._steps(
            self._managed, self._config, self._environment, self._auth, self._documents, self._plugins
        )

    def compile_environment(self) -> list[HermesError]:
        """Only `.env`: at each start of the service, so that new secrets need no more than a restart."""
        return self._steps(self._environment_at_start)

    def _steps(self, *steps: Callable[[], None]) -> list[HermesError]:
        failed = []
        for step in steps:
            try:
                step()
            except HermesError as error:
                failed.append(error)
        return failed

    def _directories(self) -> None:
        mode = int(self._spec.directory_mode, 8)
        self._place.directory(self._spec.state_directory, mode)
        if self._spec.user_home is not None:
            self._place.directory(self._spec.user_home, 0o750)
        self._place.directory(self._home.root, mode)
        self._place.directory(self._spec.working_directory, mode)
        for name in _DIRECTORIES:
            self._place.directory(self._home.root / name, mode)

    def _managed(self) -> None:
        managed = self._spec.managed
        if managed is None:
            return
        lines = [managed.manager]
        if managed.allow:
            lines.append(f"allow={','.join(managed.allow)}")
        self._place.write(self._home.managed_marker, ("\n".join(lines) + "\n").encode(), mode=0o644)

    def _config(self) -> None:
        path = self._home.config_file
        mode = int(self._spec.config_mode, 8)
        if self._sources.config is not None:
            self._place.write(path, self._sources.config, mode=mode)
            self._remember(settings=None)
            return
        if self._spec.settings is None:
            return
        state = self._state()
        before = [found for name in ("settings", "pending") if isinstance(found := state.get(name), dict)]
        raw = self._place.read(path)
        merged = merge_file(raw or b"", self._spec.settings, before, path=path)
        self.report.warnings.extend(
            f"{path}: {key} left the declaration and stays, because it was changed since"
            for key in merged.kept_keys
        )
        if merged.problem:
            self._place.set_aside(path, self._home.backups, merged.problem)
        # Whatever happens between the two writes, the next activation knows both declarations.
        self._remember(pending=self._spec.settings)
        note = ", ".join(
            f"{what} {' '.join(keys)}"
            for what, keys in (("set", merged.set_keys), ("removed", merged.removed_keys))
            if keys
        )
        if raw is not None or merged.data or self._spec.settings:
            self._place.write(path, merged.data, mode=mode, note=note)
        self._remember(settings=self._spec.settings, pending=None)

    def _environment(self) -> None:
        compiled = self._compiled()
        if compiled.missing and self._place.read(self._home.env_file) is not None:
            self.report.warnings.append(
                f"{self._home.env_file} stays as it is until the service starts, because of that"
            )
            return
        self._write_environment(compiled)

    def _environment_at_start(self) -> None:
        self._write_environment(self._compiled())

    def _compiled(self) -> CompiledEnv:
        compiled = compile_env(self._spec.environment, self._sources.secrets)
        self.report.warnings.extend(compiled.warnings)
        return compiled

    def _write_environment(self, compiled: CompiledEnv) -> None:
        note = f"{len(compiled.names)} variables"
        data = compiled.text.encode()
        self._place.write(self._home.env_file, data, mode=0o640, note=note, is_secret=True)

    def _auth(self) -> None:
        if self._spec.auth_file is None:
            return
        if self._sources.auth is None:
            self.report.warnings.append(f"{self._spec.auth_file} (authFile) is not there (yet)")
            return
        if self._place.read(self._home.auth_file) is None or self._spec.auth_file_force_overwrite:
            self._place.write(self._home.auth_file, self._sources.auth, mode=0o600, is_secret=True)

    def _documents(self) -> None:
        written: dict[str, str] = {}
        for name, data in self._sources.documents.items():
            path = self._spec.working_directory / name
            at = self._spec.working_directory
            for part in Path(name).parts[:-1]:
                at /= part
                self._place.directory(at, int(self._spec.directory_mode, 8))
            self._place.write(path, data, mode=0o640)
            written[name] = hashlib.sha256(data).hexdigest()
        before = self._state().get("documents")
        for name, digest in before.items() if isinstance(before, dict) else ():
            if name in written or name.startswith("/") or ".." in Path(name).parts:
                continue
            path = self._spec.working_directory / name
            old = self._place.read(path)
            if old is not None and hashlib.sha256(old).hexdigest() == digest:
                self._place.remove(path, "it left the declaration")
        self._remember(documents=written)

    def _plugins(self) -> None:
        wanted = {f"{PLUGIN_PREFIX}{plugin.name}": plugin.path for plugin in self._spec.plugins}
        directory = self._home.plugins
        if directory.is_dir():
            for path in sorted(directory.glob(f"{PLUGIN_PREFIX}*")):
                if path.name not in wanted and path.is_symlink():
                    self._place.remove(path, "it left the declaration")
        for name, target in wanted.items():
            self._place.link(directory / name, target)

    def _state(self) -> dict[str, Any]:
        try:
            data = json.loads(self._place.read(self._home.deployed_state) or b"{}")
        except ValueError:
            self.report.warnings.append(
                f"{self._home.deployed_state} is damaged; what left the declaration is not removed this time"
            )
            return {}
        return data if isinstance(data, dict) else {}

    def _remember(self, **facts: object) -> None:
        state = {**self._state(), "version": 1, **facts}
        kept = {name: value for name, value in state.items() if value is not None}
        data = (json.dumps(kept, indent=1, sort_keys=True, ensure_ascii=False) + "\n").encode()
        if data != self._place.read(self._home.deployed_state):
            silent = Placer(Report(), dry_run=self._place.is_dry_run)
            silent.write(self._home.deployed_state, data, mode=0o640)


def container_mode_text(spec: ActivationSpec) -> bytes:
    """The content of `.container-mode`.

    Raises:
        ConfigError: The spec has no container.
    """
    mode = spec.container_mode
    if mode is None:
        raise ConfigError("The activation spec has no container_mode")
    lines = (
        "# Written by hermes-agent-activate: commands on this host run in the container.",
        f"backend={mode.backend}",
        f"container_name={mode.container_name}",
        f"exec_user={mode.exec_user}",
        f"hermes_bin={mode.hermes_bin}",
    )
    return ("\n".join(lines) + "\n").encode()


def is_root() -> bool:
    """Whether this process may do everything."""
    return os.geteuid() == 0
