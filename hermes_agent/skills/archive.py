"""Skills as a tar file. A module of its own, because loading tarfile costs more than a start may."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

from hermes_agent.core.errors import StoreError


def pack(root: Path, max_bytes: int) -> bytes:
    """All skills and their usage as a compressed tar.

    Raises:
        StoreError: They are larger than `max_bytes`.
    """
    buffer = io.BytesIO()
    size = 0
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for path in sorted(root.rglob("*")):
            relative = path.relative_to(root)
            hidden = relative.parts[0].startswith(".") and relative.parts[0] != ".usage.json"
            if hidden or path.is_symlink() or not path.is_file():
                continue
            size += path.stat().st_size
            if size > max_bytes:
                raise StoreError(
                    f"The skills are larger than {max_bytes // 1_000_000} MB; no backup was made"
                )
            archive.add(path, str(relative), recursive=False)
    return buffer.getvalue()


def unpack(path: Path, root: Path) -> None:
    """Put the files of a tar back; nothing outside `root` is touched.

    Raises:
        OSError: It cannot be read or written.
        ValueError: It is no tar file, or holds something that does not belong there.
    """
    try:
        with tarfile.open(path) as archive:
            archive.extractall(root, filter="data")
    except tarfile.TarError as error:
        raise ValueError(str(error)) from error
