"""Editing config.yaml as a whole: on a draft, so that a broken one never takes the file's place."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from hermes_agent.config import expansion, migrations, validation, yaml_reader
from hermes_agent.config.environ import Environ
from hermes_agent.config.files import exclusive, read_file, replace_atomically
from hermes_agent.config.managed import OPTION_PREFIX, require_unmanaged
from hermes_agent.config.paths import Home
from hermes_agent.core.errors import ConfigError, ConfigFileError

_STARTER = b"""# Settings of hermes. All keys: hermes config keys. What one does: hermes config explain KEY.
# Keys and other secrets belong into .env: hermes config set OPENROUTER_API_KEY

"""
_MODE = 0o600


@dataclass(frozen=True, slots=True)
class Draft:
    """A copy to edit. `original` is None if there was no file."""

    path: Path
    original: bytes | None


@contextlib.contextmanager
def open_draft(home: Home) -> Iterator[Draft]:
    """Make a copy of config.yaml (or a starter) that is gone afterwards.

    Raises:
        ManagedError: The installation is managed.
        ConfigFileError: The file cannot be read; a broken one can.
    """
    require_unmanaged(
        home,
        "hermes config edit",
        OPTION_PREFIX.removesuffix("."),
        nix_line=f"{OPTION_PREFIX}agent.max_turns = 60;  # any key of config.yaml",
    )
    home.ensure()
    original = read_file(home.config_file)
    directory = Path(tempfile.mkdtemp(prefix="hermes-config-"))
    try:
        draft = Draft(directory / "config.yaml", original)
        replace_atomically(draft.path, _STARTER if original is None else original, mode=_MODE)
        yield draft
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def problems_of(home: Home, data: bytes) -> list[ConfigError]:
    """What is wrong with the text of a config.yaml; empty if it can be used."""
    try:
        document = yaml_reader.parse(data, home.config_file)
    except ConfigFileError as error:
        return [error]
    content = document.data
    migrations.upgrade(content)
    content = expansion.expand(content, Environ.load(home))
    _valid, problems = validation.validate(
        content, lambda key: f"in line {document.line_of(key)}" if document.line_of(key) else ""
    )
    return [*problems]


def is_unchanged(draft: Draft) -> bool:
    """Whether nothing was edited."""
    return draft.path.read_bytes() == (_STARTER if draft.original is None else draft.original)


def accept(home: Home, draft: Draft) -> Path | None:
    """Put a draft in the file's place.

    Returns:
        The copy of what was there before (`backups/config.yaml.last-good`); None if it was no good or
        was not there.

    Raises:
        ConfigError: The file changed meanwhile; the draft was saved beside it.
        StoreUnwritableError: Something cannot be written.
    """
    with exclusive(home.config_lock):
        if read_file(home.config_file) != draft.original:
            saved = keep(home, draft)
            raise ConfigError(
                f"{home.config_file} was changed by somebody else meanwhile",
                why=f"Your version is in {saved}.",
                remedy="Run `hermes config edit` again and take over what you need.",
            )
        backup = None
        if draft.original is not None and not problems_of(home, draft.original):
            backup = home.last_good_config
            home.backups.mkdir(mode=0o700, parents=True, exist_ok=True)
            replace_atomically(backup, draft.original, mode=_MODE)
        replace_atomically(home.config_file, draft.path.read_bytes(), mode=_MODE)
        return backup


def keep(home: Home, draft: Draft) -> Path:
    """Save a draft that is not accepted, so that no work is lost."""
    home.backups.mkdir(mode=0o700, parents=True, exist_ok=True)
    saved = home.config_draft
    replace_atomically(saved, draft.path.read_bytes(), mode=_MODE)
    return saved
