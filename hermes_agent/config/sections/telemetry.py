"""`telemetry`: traces for OpenTelemetry. Nothing is sent unless it is switched on."""

from pydantic import Field

from hermes_agent.config.sections.base import Section


class TelemetrySettings(Section):
    """`telemetry`."""

    traces: bool = False
    """Send a span for every run, model request and tool call to a collector (extra `otel`)."""
    endpoint: str = ""
    """Address of the collector, OTLP over HTTP; empty means `OTEL_EXPORTER_OTLP_TRACES_ENDPOINT`,
    `OTEL_EXPORTER_OTLP_ENDPOINT`, or `http://localhost:4318`. A path is `/v1/traces` unless it names one."""
    headers: dict[str, str] = Field(default_factory=dict)
    """Sent with every request to the collector, for its key: `{Authorization: "Bearer ${OTLP_KEY}"}`."""
    content: bool = False
    """Put what was said, and what tools got and gave, into the spans too; secrets are taken out."""
    service_name: str = "hermes-agent"
    """Name under which the spans appear."""
