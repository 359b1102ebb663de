"""Speech to text: services that speak OpenAI's transcription protocol, a command, or faster-whisper."""

from __future__ import annotations

import asyncio
import os
import shlex
import signal
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import httpx

from hermes_agent.config.sections.speech import SpeechToTextSettings
from hermes_agent.core.errors import ToolError
from hermes_agent.core.loading import load
from hermes_agent.core.speech import Recording, Transcriber

Variable = Callable[[str], "str | None"]

_LOCAL_DEFAULT = "base"
_MAX_ANSWER = 1_000_000


@dataclass(frozen=True, slots=True)
class SpeechService:
    """A service with `POST {base_url}/audio/transcriptions`.

    Attributes:
        variables: Where its key is, best first.
        max_bytes: Largest file it takes.
        needs_key: It refuses requests without one.
    """

    name: str
    base_url: str
    model: str
    variables: tuple[str, ...]
    max_bytes: int = 25_000_000
    needs_key: bool = True


SERVICES: tuple[SpeechService, ...] = (
    SpeechService(
        "openai",
        "https://api.openai.com/v1",
        "gpt-4o-mini-transcribe",
        ("STT_API_KEY", "VOICE_TOOLS_OPENAI_KEY", "OPENAI_API_KEY"),
    ),
    SpeechService(
        "groq",
        "https://api.groq.com/openai/v1",
        "whisper-large-v3-turbo",
        ("STT_API_KEY", "GROQ_API_KEY"),
    ),
    SpeechService(
        "mistral",
        "https://api.mistral.ai/v1",
        "voxtral-mini-latest",
        ("STT_API_KEY", "MISTRAL_API_KEY"),
    ),
    SpeechService("custom", "", "whisper-1", ("STT_API_KEY",), needs_key=False),
)
"""Every service, as data."""


def make_transcriber(settings: SpeechToTextSettings, variable: Variable) -> Transcriber | None:
    """Who listens, by the settings; None if nobody can.

    A service without a key, `custom` without an address and `local` without faster-whisper count as
    nobody: nothing is sent anywhere that was not chosen.
    """
    if not settings.enabled:
        return None
    if settings.provider == "command":
        return CommandTranscriber(settings) if settings.command.strip() else None
    if settings.provider == "local":
        return LocalTranscriber(settings) if find_spec("faster_whisper") is not None else None
    for service in SERVICES:
        if service.name == settings.provider:
            return _of_service(service, settings, variable)
    return None


def _of_service(
    service: SpeechService, settings: SpeechToTextSettings, variable: Variable
) -> Transcriber | None:
    key = next((value for name in service.variables if (value := variable(name))), "")
    base_url = (settings.base_url or service.base_url).rstrip("/")
    if not base_url or (service.needs_key and not key):
        return None
    model = service.model if settings.model in ("", _LOCAL_DEFAULT) else settings.model
    return ServiceTranscriber(service, base_url, model, key, settings)


class ServiceTranscriber:
    """Sends the recording to a service."""

    def __init__(
        self, service: SpeechService, base_url: str, model: str, key: str, settings: SpeechToTextSettings
    ) -> None:
        self._service = service
        self._url = f"{base_url}/audio/transcriptions"
        self._model = model
        self._key = key
        self._settings = settings

    @property
    def name(self) -> str:
        """Service and model."""
        return f"{self._service.name} {self._model}"

    async def transcribe(self, recording: Recording) -> str:
        """What is said. Raises `ToolError`."""
        data = await asyncio.to_thread(_read, recording, self._service.max_bytes)
        fields = {"model": self._model, "response_format": "json"}
        if self._settings.language:
            fields["language"] = self._settings.language
        headers = {"Authorization": f"Bearer {self._key}"} if self._key else {}
        try:
            async with httpx.AsyncClient(timeout=self._settings.timeout) as client:
                response = await client.post(
                    self._url, headers=headers, data=fields, files={"file": (recording.name, data)}
                )
        except httpx.TimeoutException as error:
            raise ToolError(f"{self.name} did not answer in time") from error
        except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
            raise ToolError(f"{self.name} cannot be reached", why=str(error)) from error
        if response.status_code != 200:
            raise ToolError(
                f"{self.name} answered {response.status_code}",
                why=response.text[:300].replace(self._key, "…") if self._key else response.text[:300],
            )
        return _text_in(response, self.name)


class CommandTranscriber:
    """Runs a command of the owner's."""

    def __init__(self, settings: SpeechToTextSettings) -> None:
        self._settings = settings
        self.name = "the command stt.command"

    async def transcribe(self, recording: Recording) -> str:
        """What is said. Raises `ToolError`."""
        path = shlex.quote(recording.path)
        command = self._settings.command
        text = command.replace("{file}", path) if "{file}" in command else f"{command} {path}"
        process = await asyncio.create_subprocess_exec(
            "/bin/sh",
            "-c",
            text,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,
        )
        try:
            async with asyncio.timeout(self._settings.timeout):
                output, errors = await process.communicate()
        except TimeoutError:
            raise ToolError(f"{self.name} took longer than {self._settings.timeout:g} s") from None
        finally:
            if process.returncode is None:
                with suppress(ProcessLookupError, PermissionError):
                    os.killpg(process.pid, signal.SIGKILL)
                await process.wait()
        if process.returncode:
            last = errors.decode(errors="replace").strip().rpartition("\n")[2]
            raise ToolError(f"{self.name} failed with exit code {process.returncode}", why=last[:300])
        return output[:_MAX_ANSWER].decode(errors="replace").strip()


class LocalTranscriber:
    """faster-whisper in this process; the model is loaded with the first message and kept."""

    _models: dict[str, Any] = {}  # noqa: RUF012 - shared on purpose: a model takes hundreds of megabytes

    def __init__(self, settings: SpeechToTextSettings) -> None:
        self._settings = settings
        self.name = f"faster-whisper {settings.model}"

    async def transcribe(self, recording: Recording) -> str:
        """What is said. Raises `ToolError`."""
        try:
            return await asyncio.to_thread(self._listen, recording.path)
        except (RuntimeError, ValueError, OSError) as error:
            raise ToolError(f"{self.name} failed", why=str(error)) from error

    def _listen(self, path: str) -> str:
        name = self._settings.model
        if name not in self._models:
            self._models[name] = load("faster_whisper:WhisperModel")(name, compute_type="int8")
        segments, _info = self._models[name].transcribe(path, language=self._settings.language or None)
        return "".join(segment.text for segment in segments).strip()


def _read(recording: Recording, max_bytes: int) -> bytes:
    path = Path(recording.path)
    try:
        if path.stat().st_size > max_bytes:
            raise ToolError(f"The recording is larger than {max_bytes // 1_000_000} MB")
        return path.read_bytes()
    except OSError as error:
        raise ToolError(f"{recording.name} cannot be read", why=error.strerror) from error


def _text_in(response: httpx.Response, name: str) -> str:
    try:
        found = response.json()
    except ValueError:
        found = response.text
    text = found.get("text") if isinstance(found, dict) else found
    if not isinstance(text, str):
        raise ToolError(f"{name} gave no text", why=response.text[:200])
    return text[:_MAX_ANSWER].strip()
