"""`agent`, `tool_loop_guardrails`, `approvals`: how a run behaves."""

from typing import Literal

from pydantic import Field

from hermes_agent.config.sections.base import Section


class AgentSettings(Section):
    """`agent`."""

    max_turns: int = Field(default=90, ge=1)
    """Model requests in one run before it is asked to summarise and stop."""
    api_max_retries: int = Field(default=3, ge=0)
    """Further tries of a failed model request."""
    clarify_timeout: float = Field(default=600, gt=0)
    """Seconds to wait for the answer to a clarifying question."""
    gateway_timeout: float = 1800
    """Seconds without progress after which the gateway ends a run."""
    gateway_timeout_warning: float = 900
    """Seconds without progress after which the gateway warns."""
    gateway_notify_interval: float = 180
    """Seconds between `still working` notes."""
    restart_drain_timeout: float = 180
    """Seconds that running runs get when the gateway stops."""
    image_input_mode: Literal["auto", "native", "text"] = "auto"
    """How images reach models: as images, or described in text first."""
    personalities: dict[str, str] = Field(default_factory=dict)
    """Own personalities: name to instruction; they add to the presets."""


class GuardrailSettings(Section):
    """`tool_loop_guardrails`: warnings (and, if on, a stop) when a run repeats itself."""

    warn_same_call_failures: int = 2
    """Identical failing calls before a warning."""
    warn_same_tool_failures: int = 3
    """Consecutive failures of one tool before a warning."""
    warn_no_progress: int = 2
    """Identical calls with identical results before a warning."""
    stop_enabled: bool = False
    """End the run at the limits below."""
    stop_same_call_failures: int = 5
    """Identical failing calls before the run ends."""
    stop_same_tool_failures: int = 8
    """Consecutive failures of one tool before the run ends."""
    stop_no_progress: int = 5
    """Identical calls with identical results before the run ends."""


class ApprovalSettings(Section):
    """`approvals`."""

    mode: Literal["manual", "smart", "off"] = "manual"
    """`manual` asks the person, `smart` lets the auxiliary model judge first, `off` never asks."""
    timeout: float = Field(default=60, gt=0)
    """Seconds to wait for a decision; no decision means no."""
    cron_mode: Literal["deny", "approve"] = "deny"
    """What happens in scheduled jobs, where nobody can be asked."""
