"""Skills that come with the program: copied into the state directory, updated unless the user changed them.

`.bundled_manifest` says, one `name:hash` a line, what was copied. A skill that is in the manifest and
not on disk was removed by the user and stays away; one whose hash differs is the user's now.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from dataclasses import dataclass, field
from pathlib import Path

from hermes_agent.config.files import ensure_directory, replace_atomically
from hermes_agent.skills.discovery import MAIN_FILE

SHIPPED = Path(__file__).parent / "bundled"
MANIFEST = ".bundled_manifest"
OPT_OUT = ".no-bundled-skills"


@dataclass(slots=True)
class Synced:
    """Names of what a synchronisation did."""

    added: list[str] = field(default_factory=list)
    updated: list[str] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)


def read_manifest(root: Path) -> dict[str, str]:
    """Skill name to the hash of what was copied."""
    try:
        lines = (root / MANIFEST).read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return {}
    found = {}
    for line in lines:
        name, colon, digest = line.strip().rpartition(":")
        if colon and name:
            found[name] = digest
    return found


def folder_hash(folder: Path) -> str:
    """SHA-256 over the names and contents of a folder's files, hidden ones left out."""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        relative = path.relative_to(folder)
        if (
            any(part.startswith(".") or part == "__pycache__" for part in relative.parts)
            or not path.is_file()
        ):
            continue
        digest.update(f"{relative.as_posix()}\0".encode())
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def sync(root: Path, source: Path = SHIPPED) -> Synced:
    """Bring new and changed skills. Call under the skills' lock.

    Raises:
        StoreUnwritableError: The state directory cannot be written.
    """
    done = Synced()
    if (root / OPT_OUT).exists() or not source.is_dir():
        return done
    before = read_manifest(root)
    manifest = dict(before)
    for folder in sorted(path for path in source.iterdir() if (path / MAIN_FILE).is_file()):
        name, shipped = folder.name, folder_hash(folder)
        target = root / name
        if name not in manifest:
            if os.path.lexists(target):
                done.kept.append(name)  # the user has one of this name
                continue
            _copy(folder, target)
            done.added.append(name)
            manifest[name] = shipped
        elif target.is_dir() and manifest[name] != shipped:
            if folder_hash(target) != manifest[name]:
                done.kept.append(name)
                continue
            _copy(folder, target)
            done.updated.append(name)
            manifest[name] = shipped
    if manifest != before:
        ensure_directory(root)
        text = "".join(f"{name}:{digest}\n" for name, digest in sorted(manifest.items()))
        replace_atomically(root / MANIFEST, text.encode(), mode=0o600)
    return done


def _copy(source: Path, target: Path) -> None:
    """Put a whole folder into place; a crash leaves the old one or the new one."""
    ensure_directory(target.parent)
    fresh = target.with_name(f".{target.name}.new")
    old = target.with_name(f".{target.name}.old")
    for leftover in (fresh, old):
        shutil.rmtree(leftover, ignore_errors=True)
    fresh.mkdir(mode=0o755)
    for path in sorted(source.rglob("*")):
        relative = path.relative_to(source)
        if "__pycache__" in relative.parts:
            continue
        if path.is_dir():
            (fresh / relative).mkdir()
        else:
            # Not copy2: files of a read-only package (a Nix store) would come unwritable.
            (fresh / relative).write_bytes(path.read_bytes())
    if target.exists():
        target.rename(old)
    fresh.rename(target)
    shutil.rmtree(old, ignore_errors=True)
