"""`/save`: the conversation as a file."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Iterator
from pathlib import Path

from hermes_agent.agent.session import Session
from hermes_agent.agent.session_commands import to_markdown
from hermes_agent.core.errors import UsageError


def save_session(session: Session, path: Path) -> None:
    """Write Markdown, or JSON lines if the name ends in `.jsonl`. The file is for its owner only.

    Raises:
        UsageError: The file cannot be written.
    """
    text = "".join(_json_lines(session)) if path.suffix == ".jsonl" else to_markdown(session)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8", errors="replace") as file:
            file.write(text)
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise UsageError(f"{path} cannot be written", why=error.strerror) from error


def _json_lines(session: Session) -> Iterator[str]:
    for message in session.messages:
        role = type(message).__name__.removesuffix("Message").lower()
        yield json.dumps({"role": role, **dataclasses.asdict(message)}, ensure_ascii=False) + "\n"
