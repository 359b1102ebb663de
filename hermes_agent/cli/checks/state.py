"""Checks of the state directory: permissions, config.yaml, `.env`, database, logs, locks."""

from __future__ import annotations

import errno
import json
import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from urllib.parse import unquote

from hermes_agent.app.logging import log_file
from hermes_agent.cli.checks.finding import Finding, Surroundings
from hermes_agent.config import managed
from hermes_agent.config.env_file import EnvFile, read
from hermes_agent.core.errors import ConfigFileError, SessionBusyError
from hermes_agent.core.loading import load

_MEBIBYTE = 1024 * 1024
_LOW_DISK_BYTES = 500 * _MEBIBYTE
_NO_DISK_BYTES = 20 * _MEBIBYTE


def check_home(around: Surroundings) -> Iterator[Finding]:
    """The directory: there, writable, private, with space."""
    home = around.home
    root = home.root
    manager = managed.detect(home)
    by = f", managed by {manager.name}" if manager else ""
    if not root.exists():
        if around.is_fixing:
            home.ensure()
            yield Finding("Home", "ok", f"{root} was made", fixed=True)
        else:
            parent = next(each for each in root.parents if each.exists())
            if os.access(parent, os.W_OK):
                yield Finding("Home", "ok", f"{root} does not exist yet; the first chat makes it{by}")
            else:
                yield Finding(
                    "Home",
                    "fail",
                    f"{root} does not exist and cannot be made",
                    f"{parent} cannot be written.",
                    "Set HERMES_HOME to a directory you can write.",
                )
        return
    if not root.is_dir():
        remedy = f"Move it away: mv '{root}' '{root}.old'"
        yield Finding("Home", "fail", f"{root} is not a directory", remedy=remedy)
        return
    problem = _write_problem(root)
    if problem:
        is_full = problem == os.strerror(errno.ENOSPC)
        remedy = f"Check owner and permissions: ls -ld '{root}'; or set HERMES_HOME elsewhere."
        remedy = "Free some disk space." if is_full else remedy
        yield Finding("Home", "fail", f"{root} cannot be written", problem, remedy)
        return
    yield _home_mode(around, by) if manager is None else Finding("Home", "ok", f"{root}{by}")
    yield _disk_space(root)


def _write_problem(root: Path) -> str | None:
    probe = root / f".doctor-{os.getpid()}"
    try:
        descriptor = os.open(probe, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        try:
            os.write(descriptor, b"x")
        finally:
            os.close(descriptor)
    except OSError as error:
        return error.strerror
    finally:
        probe.unlink(missing_ok=True)
    return None


def _home_mode(around: Surroundings, by: str) -> Finding:
    root = around.home.root
    mode = stat.S_IMODE(root.stat().st_mode)
    if not mode & 0o077:
        return Finding("Home", "ok", f"{root}{by}")
    if around.is_fixing:
        root.chmod(mode & 0o700)
        return Finding("Home", "ok", f"{root} is private now (0700)", fixed=True)
    return Finding(
        "Home",
        "warn",
        f"{root} is open to others (mode {mode:04o})",
        "Conversations and keys live there.",
        f"chmod 700 '{root}', or hermes doctor --fix",
    )


def _disk_space(root: Path) -> Finding:
    free = shutil.disk_usage(root).free
    shown = f"{free / _MEBIBYTE:,.0f} MiB free"
    remedy = "Free some space; `hermes sessions prune` and cache/ are places to look at."
    if free < _NO_DISK_BYTES:
        return Finding("Disk", "fail", shown, "Conversations can hardly be stored.", remedy)
    if free < _LOW_DISK_BYTES:
        return Finding("Disk", "warn", shown, remedy=remedy)
    return Finding("Disk", "ok", shown)


def check_config(around: Surroundings) -> Iterator[Finding]:
    """config.yaml: readable, valid, known keys, present form."""
    config, path = around.config, around.home.config_file
    problems = [each for each in config.problems if getattr(each, "path", path) == path]
    for error in problems:
        place = f" (line {error.line})" if isinstance(error, ConfigFileError) and error.line else ""
        remedy = error.remedy or "hermes config edit"
        yield Finding("config.yaml", "fail", f"{error.message}{place}", error.why, remedy)
    unknown = [warning for warning in config.warnings if not _is_about_env(warning)]
    for warning in unknown:
        yield Finding("config.yaml", "warn", warning, remedy="hermes config edit")
    if problems:
        return
    if not config.document.exists:
        yield Finding("config.yaml", "ok", "none: built-in settings are used")
        return
    notes = list(load("hermes_agent.config.editor:migrate")(around.home, dry_run=True)[0])
    if notes and around.is_fixing:
        copied = load("hermes_agent.config.editor:migrate")(around.home)[1]
        yield Finding("config.yaml", "ok", f"brought up to date; the old one is {copied}", fixed=True)
    elif notes:
        yield Finding(
            "config.yaml",
            "warn",
            f"{len(notes)} {'setting has' if len(notes) == 1 else 'settings have'} an older form",
            "; ".join(notes),
            "hermes config migrate, or hermes doctor --fix",
        )
    elif not unknown:
        yield Finding("config.yaml", "ok", str(path))


def _is_about_env(warning: str) -> bool:
    return ".env line" in warning or ".env:" in warning


def check_env_file(around: Surroundings) -> Iterator[Finding]:
    """`.env`: readable, private, every line understood."""
    path = around.home.env_file
    try:
        parsed: EnvFile = read(path)
    except ConfigFileError as error:
        yield Finding.of_error(".env", error)
        return
    if not path.exists():
        yield Finding(".env", "ok", "none")
        return
    mode = stat.S_IMODE(path.stat().st_mode)
    too_open = mode & (0o007 if managed.detect(around.home) else 0o077)
    if too_open and around.is_fixing and managed.detect(around.home) is None:
        path.chmod(0o600)
        yield Finding(".env", "ok", "is private now (0600)", fixed=True)
    elif too_open:
        yield Finding(
            ".env",
            "fail",
            f"others can read it (mode {mode:04o})",
            "It holds keys.",
            f"chmod 600 '{path}', or hermes doctor --fix",
        )
    for warning in parsed.warnings:
        yield Finding(".env", "warn", warning, remedy=f"Mend the line in {path}")
    if not too_open and not parsed.warnings:
        count = len(parsed.values)
        yield Finding(".env", "ok", f"{count} {'variable' if count == 1 else 'variables'}, mode {mode:04o}")


def check_auth_file(around: Surroundings) -> Iterator[Finding]:
    """auth.json, if there is one: readable, private, a map."""
    path = around.home.auth_file
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        mode = stat.S_IMODE(path.stat().st_mode)
    except FileNotFoundError:
        return
    except OSError as error:
        yield Finding("auth.json", "fail", "cannot be read", error.strerror, f"Check it: ls -ld '{path}'")
        return
    except ValueError as error:
        remedy = f"Mend it, or move it away: mv '{path}' '{path}.old'"
        yield Finding("auth.json", "fail", "is not JSON: its keys are not used", str(error), remedy)
        return
    too_open = mode & (0o007 if managed.detect(around.home) else 0o077)
    if not isinstance(data, dict):
        yield Finding("auth.json", "fail", "holds no map: its keys are not used")
    elif too_open and around.is_fixing and managed.detect(around.home) is None:
        path.chmod(0o600)
        yield Finding("auth.json", "ok", "is private now (0600)", fixed=True)
    elif too_open:
        remedy = f"chmod 600 '{path}', or hermes doctor --fix"
        yield Finding("auth.json", "fail", f"others can read it (mode {mode:04o})", "It holds keys.", remedy)
    else:
        yield Finding("auth.json", "ok", f"mode {mode:04o}")


def check_soul(around: Surroundings) -> Iterator[Finding]:
    """SOUL.md, if there is one: readable."""
    path = around.home.soul_file
    try:
        path.read_bytes()
    except FileNotFoundError:
        return
    except OSError as error:
        remedy = f"Check it: ls -ld '{path}'"
        yield Finding("SOUL.md", "warn", "cannot be read: it is not used", error.strerror, remedy)


def check_database(around: Surroundings) -> Iterator[Finding]:
    """state.db: can be opened, is of a known version, and (deep) sound."""
    path = around.home.state_db
    if not path.exists():
        yield Finding("state.db", "ok", "none yet")
        return
    if path.is_dir():
        remedy = f"Move it away: mv '{path}' '{path}.old'"
        yield Finding("state.db", "fail", f"{path} is a directory", remedy=remedy)
        return
    size = path.stat().st_size
    if not around.is_deep and size > 64 * _MEBIBYTE:
        load("hermes_agent.store.features:stored_version")(path)
        deep = "hermes doctor --deep reads all of it"
        yield Finding("state.db", "ok", f"{size / _MEBIBYTE:,.0f} MiB, opens; {deep}")
        return
    problems = load("hermes_agent.store.recovery:check")(path)
    if not problems:
        yield Finding("state.db", "ok", f"{size / _MEBIBYTE:,.1f} MiB, sound")
        return
    if not around.is_fixing:
        yield Finding(
            "state.db",
            "fail",
            "the database is damaged",
            "; ".join(problems[:3]),
            "hermes doctor --fix saves what can be read and keeps the damaged file.",
        )
        return
    repaired = load("hermes_agent.store.recovery:repair")(path, around.home.backups)
    rows = repaired.salvaged.rows
    saved = f"{rows.get('sessions', 0)} sessions and {rows.get('messages', 0)} messages were saved"
    aside = repaired.set_aside[0].parent if repaired.set_aside else around.home.backups
    yield Finding("state.db", "ok", f"{saved}; the damaged file is in {aside}", fixed=True)


def check_logs(around: Surroundings) -> Iterator[Finding]:
    """Log files can be written; what they complained about lately."""
    logs = around.home.logs
    if logs.exists() and (not logs.is_dir() or _write_problem(logs)):
        yield Finding(
            "Logs",
            "warn",
            f"{logs} cannot be written",
            "Nothing is logged.",
            f"Check owner and permissions: ls -ld '{logs}'",
        )
        return
    errors = log_file(around.home, "errors")
    size = errors.stat().st_size if errors.is_file() else 0
    yield Finding("Logs", "ok", f"{logs}" + (": hermes logs errors shows problems" if size else ""))


def check_locks(around: Surroundings) -> Iterator[Finding]:
    """Files that processes left when they were killed; harmless, since the kernel drops their locks."""
    directory = around.home.run
    running = load("hermes_agent.store.locks:running_sessions")(directory) if directory.is_dir() else []
    left = _left_locks(directory, {holder.session_id for holder in running})
    now = f"{len(running)} {'session' if len(running) == 1 else 'sessions'} open now"
    if left and around.is_fixing:
        for session_id in left:
            with (
                suppress(SessionBusyError),
                load("hermes_agent.store.locks:SessionLock")(directory, session_id),
            ):
                pass  # letting go of a lock removes its file
        yield Finding("Locks", "ok", f"{len(left)} left by killed processes removed; {now}", fixed=True)
    elif left:
        yield Finding("Locks", "ok", f"{now}; {len(left)} left by killed processes (harmless)")
    else:
        yield Finding("Locks", "ok", now)


def _left_locks(directory: Path, open_sessions: set[str]) -> list[str]:
    names = (path.name for path in directory.glob("session-*.lock"))
    found = (unquote(name.removeprefix("session-").removesuffix(".lock")) for name in names)
    return [session_id for session_id in found if session_id not in open_sessions]
