"""`api_server`: the OpenAI-compatible server."""

from pydantic import Field

from hermes_agent.config.sections.base import Section


class ApiServerSettings(Section):
    """`api_server`."""

    enabled: bool | None = None
    """Serve; null means: if a key is set."""
    host: str = "127.0.0.1"
    """Address to listen on."""
    port: int = Field(default=8642, ge=0, le=65535)
    """Port to listen on; 0 takes a free one."""
    key: str = ""
    """Key that clients must send; better `API_SERVER_KEY` in `.env`."""
    cors_origins: list[str] = Field(default_factory=list)
    """Origins of web pages that may call the server; empty allows none."""
    model_name: str = "hermes-agent"
    """Name under which the agent is listed as a model."""
    metrics: bool = False
    """Offer counters for Prometheus at `/metrics` (with the key)."""
