"""Files in answers: the line `MEDIA:<path>` sends one; `[[audio_as_voice]]`, `[[as_document]]` say how."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path, PurePosixPath

from hermes_agent.core.environment import Environment
from hermes_agent.core.errors import HermesError
from hermes_agent.core.platform import AttachmentKind, OutgoingFile
from hermes_agent.gateway.files import MAX_OUTGOING_BYTES, ChatFiles, RefusedFile, check_name

_LINE = re.compile(r"^[ \t>*-]*MEDIA:[ \t]*(?P<path>\S.*?)[ \t]*$", re.MULTILINE)
_FENCE = re.compile(r"^ {0,3}(```+|~~~+)")
_VOICE, _DOCUMENT = "[[audio_as_voice]]", "[[as_document]]"
_MAX_FILES = 10
_KINDS: dict[str, AttachmentKind] = {
    **dict.fromkeys((".png", ".jpg", ".jpeg", ".gif", ".webp"), "image"),
    **dict.fromkeys((".mp3", ".m4a", ".wav", ".flac"), "audio"),
    **dict.fromkeys((".ogg", ".opus"), "voice"),
    **dict.fromkeys((".mp4", ".mov", ".webm"), "video"),
}


async def take_media(
    text: str, files: ChatFiles, environment: Environment | None = None
) -> tuple[str, tuple[OutgoingFile, ...]]:
    """The text without its `MEDIA:` lines, and copies of the files they name; refused ones are told in it.

    Args:
        text: The answer. Lines in code blocks stay as they are.
        files: Where copies go, and what may be sent.
        environment: Where the conversation's commands run: the paths are paths there.
    """
    if "MEDIA:" not in text:
        return text, ()
    as_voice, as_document = _VOICE in text, _DOCUMENT in text
    kept: list[str] = []
    found: list[OutgoingFile] = []
    problems: list[str] = []
    fence = ""
    for line in text.split("\n"):
        fence = _fence_after(line, fence)
        match = None if fence else _LINE.match(line)
        if match is None:
            kept.append(line)
            continue
        path = match["path"].strip("`'\"")
        try:
            if len(found) >= _MAX_FILES:
                raise RefusedFile(f"one answer sends at most {_MAX_FILES} files")
            copy = await _copy(path, files, environment)
        except HermesError as error:
            problems.append(f"({PurePosixPath(path).name or path} was not sent: {error.message})")
            continue
        found.append(OutgoingFile(path=str(copy), kind=_kind(copy, as_voice, as_document), name=copy.name))
    rest = "\n".join(kept).replace(_VOICE, "").replace(_DOCUMENT, "")
    rest = re.sub(r"\n{3,}", "\n\n", rest).strip()
    return "\n\n".join(part for part in (rest, *problems) if part), tuple(found)


async def _copy(path: str, files: ChatFiles, environment: Environment | None) -> Path:
    """Raises `RefusedFile`, or what the environment says."""
    is_here = environment is None or environment.name == "local"
    if is_here or PurePosixPath(path).is_relative_to(files.home.cache):
        cwd = environment.cwd if environment is not None and is_here else ""
        return await asyncio.to_thread(files.copy_out, path, cwd)
    assert environment is not None
    there = environment.resolve(path)
    check_name(Path(there))
    data = await environment.read_bytes(there, max_bytes=MAX_OUTGOING_BYTES + 1)
    if len(data) > MAX_OUTGOING_BYTES:
        raise RefusedFile(f"it is larger than {MAX_OUTGOING_BYTES // 1_000_000} MB")
    return await asyncio.to_thread(files.stage, data, PurePosixPath(there).name)


def _kind(path: Path, as_voice: bool, as_document: bool) -> AttachmentKind:
    kind = _KINDS.get(path.suffix.lower(), "document")
    if as_document:
        return "document"
    if kind in ("audio", "voice"):
        return "voice" if as_voice or kind == "voice" else "audio"
    return kind


def _fence_after(line: str, fence: str) -> str:
    """The marks of the code block that is open after this line; empty if none is."""
    match = _FENCE.match(line)
    if match is None:
        return fence
    if not fence:
        return match[1]
    return "" if match[1].startswith(fence) and not line.strip().strip(fence[0]) else fence
