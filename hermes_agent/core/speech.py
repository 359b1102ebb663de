"""The `Transcriber` port: speech to text."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Recording:
    """Something to listen to.

    Attributes:
        path: The file on this machine.
        name: Its name with the ending that tells the format (`voice.ogg`).
    """

    path: str
    name: str


class Transcriber(Protocol):
    """Writes down what is said in a recording."""

    @property
    def name(self) -> str:
        """Who listens, for people: `openai whisper-1`."""
        ...

    async def transcribe(self, recording: Recording) -> str:
        """What is said; empty if nothing is.

        Raises:
            ToolError: It could not be done.
        """
        ...
