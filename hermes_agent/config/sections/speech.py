"""`tts`, `stt`, `voice`: speaking and listening."""

from pydantic import Field

from hermes_agent.config.sections.base import Section


class TextToSpeechSettings(Section):
    """`tts`; what a service needs stands under its own name (`tts.edge.voice`)."""

    provider: str = "edge"
    """Service that speaks."""
    voice: str = ""
    """Voice; empty means the service's."""
    edge: dict[str, str] = Field(default_factory=dict)
    """Options of the service of this name."""
    elevenlabs: dict[str, str] = Field(default_factory=dict)
    """Options of the service of this name."""
    openai: dict[str, str] = Field(default_factory=dict)
    """Options of the service of this name."""
    command: str = ""
    """Command of provider `command`."""


class SpeechToTextSettings(Section):
    """`stt`."""

    enabled: bool = True
    """Write down voice messages."""
    provider: str = "local"
    """Who listens: `openai`, `groq`, `mistral`, `custom` (a server at `stt.base_url` that speaks OpenAI's
    protocol), `command`, or `local` (faster-whisper, if it is installed)."""
    model: str = "base"
    """Model; `base` is that of the local recogniser, a service then takes its own usual one."""
    language: str = ""
    """Language spoken (`en`, `de`); empty finds out."""
    base_url: str = ""
    """Address of the service, up to `/v1`; empty means the usual one. A key is not needed for a server of
    your own; if it wants one, set `STT_API_KEY`."""
    command: str = ""
    """Command of provider `command`; `{file}` becomes the path, the text comes from its standard output."""
    timeout: float = Field(default=120, gt=0)
    """Seconds one message may take."""


class VoiceSettings(Section):
    """`voice`: the microphone of the terminal."""

    record_key: str = "ctrl+b"
    """Key that starts and stops recording."""
    max_recording_seconds: float = Field(default=120, gt=0)
    """Longest recording."""
    silence_threshold: int = Field(default=200, ge=0)
    """Loudness below which it is silence."""
    silence_duration: float = Field(default=3, gt=0)
    """Seconds of silence that end a recording."""
    auto_tts: bool = False
    """Speak answers to spoken messages."""
