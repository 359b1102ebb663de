"""Files in answers: the line `MEDIA:<path>` sends one; `[[audio_as_voice]]`, `[[as_document]]` say how."""

from __future__ import annotations

import re
from pathlib import Path

from hermes_agent.config.paths import Home
from hermes_agent.core.platform import AttachmentKind, OutgoingFile

_LINE = re.compile(r"^[ \t>*-]*MEDIA:[ \t]*(?P<path>\S.*?)[ \t]*$", re.MULTILINE)
_VOICE, _DOCUMENT = "[[audio_as_voice]]", "[[as_document]]"
MAX_FILE_BYTES = 50_000_000
_KINDS: dict[str, AttachmentKind] = {
    **dict.fromkeys((".png", ".jpg", ".jpeg", ".gif", ".webp"), "image"),
    **dict.fromkeys((".mp3", ".m4a", ".wav", ".flac"), "audio"),
    **dict.fromkeys((".ogg", ".opus"), "voice"),
    **dict.fromkeys((".mp4", ".mov", ".webm"), "video"),
}
_OPEN_DIRECTORIES = ("cache", "workspace", "cron")
"""Under the state directory only these may be sent from: everything else there is secret or private."""


def take_media(text: str, home: Home) -> tuple[str, tuple[OutgoingFile, ...]]:
    """The text without its `MEDIA:` lines, and the files they name; refused ones are told in the text."""
    if "MEDIA:" not in text:
        return text, ()
    as_voice, as_document = _VOICE in text, _DOCUMENT in text
    files: list[OutgoingFile] = []
    problems: list[str] = []
    for match in _LINE.finditer(text):
        path = Path(match["path"].strip("`'\"")).expanduser()
        problem = _problem(path, home)
        if problem:
            problems.append(f"({path.name} was not sent: {problem})")
            continue
        kind = _KINDS.get(path.suffix.lower(), "document")
        if as_document:
            kind = "document"
        elif kind in ("audio", "voice"):
            kind = "voice" if as_voice or kind == "voice" else "audio"
        files.append(OutgoingFile(path=str(path), kind=kind, name=path.name))
    rest = _LINE.sub("", text).replace(_VOICE, "").replace(_DOCUMENT, "")
    rest = re.sub(r"\n{3,}", "\n\n", rest).strip()
    return "\n\n".join(part for part in (rest, *problems) if part), tuple(files)


def _problem(path: Path, home: Home) -> str:
    """Why a file may not be sent; empty if it may."""
    if not path.is_absolute():
        return "the path is not absolute"
    try:
        real = path.resolve(strict=True)
        size = real.stat().st_size
    except OSError:
        return "there is no such file"
    if not real.is_file():
        return "it is not a file"
    if size > MAX_FILE_BYTES:
        return f"it is larger than {MAX_FILE_BYTES // 1_000_000} MB"
    root = home.root.resolve()
    if real.is_relative_to(root):
        first = real.relative_to(root).parts[0]
        return "" if first in _OPEN_DIRECTORIES else "files of the state directory are private"
    secret = {".ssh", ".gnupg", ".aws", ".netrc", ".env", ".kube"}
    if secret & set(real.parts) or real.is_relative_to("/proc") or real.is_relative_to("/etc"):
        return "it may hold secrets"
    return ""
