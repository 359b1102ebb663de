"""The table of sections: which class stands behind each top-level key of config.yaml.

Classes are named by import string, so that a start pays only for sections it uses.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from hermes_agent.core.loading import load

if TYPE_CHECKING:
    from hermes_agent.config.sections.base import Section

_SECTIONS = "hermes_agent.config.sections."


@dataclass(frozen=True, slots=True)
class RootKey:
    """A top-level key.

    Attributes:
        name: The key.
        path: Import string of the class.
        is_field: The key is one field of the class; otherwise the class describes the key's map.
        group: Heading under which people find it.
    """

    name: str
    path: str
    is_field: bool
    group: str

    def model(self) -> type[Section]:
        """The class."""
        model: type[Section] = load(_SECTIONS + self.path)
        return model


def _maps(group: str, **paths: str) -> tuple[RootKey, ...]:
    return tuple(RootKey(name, path, False, group) for name, path in paths.items())


def _fields(group: str, path: str, *names: str) -> tuple[RootKey, ...]:
    return tuple(RootKey(name, path, True, group) for name in names)


_KEYS = (
    *_maps("Model", model="model:ModelSettings"),
    *_fields(
        "Model",
        "model:ModelRoot",
        "providers",
        "custom_providers",
        "fallback_providers",
        "model_aliases",
        "credential_pool_strategies",
    ),
    *_maps(
        "Model",
        auxiliary="auxiliary:AuxiliarySettings",
        prompt_caching="prompt_caching:PromptCachingSettings",
    ),
    *_fields("Model", "general:GeneralSettings", "provider_routing", "prefill_messages_file"),
    *_maps(
        "Agent",
        agent="agent:AgentSettings",
        compression="compression:CompressionSettings",
        context="context:ContextSettings",
        memory="memory:MemorySettings",
        skills="skills:SkillSettings",
        curator="curator:CuratorSettings",
        delegation="delegation:DelegationSettings",
        budgets="budgets:BudgetSettings",
        goals="goals:GoalSettings",
        tool_loop_guardrails="agent:GuardrailSettings",
    ),
    *_fields("Tools", "general:GeneralSettings", "toolsets", "platform_toolsets", "custom_toolsets"),
    *_maps(
        "Tools",
        terminal="tools:TerminalSettings",
        tool_output="tools:ToolOutputSettings",
        code_execution="code_execution:CodeExecutionSettings",
        checkpoints="checkpoints:CheckpointSettings",
        web="web:WebSettings",
        browser="browser:BrowserSettings",
        tts="speech:TextToSpeechSettings",
        stt="speech:SpeechToTextSettings",
        voice="speech:VoiceSettings",
    ),
    *_fields("Tools", "mcp:McpRoot", "mcp_servers", "mcp"),
    *_maps("Safety", approvals="agent:ApprovalSettings", security="security:SecuritySettings"),
    *_fields("Safety", "general:GeneralSettings", "command_allowlist"),
    *_maps("Display", display="display:DisplaySettings"),
    *_fields("Display", "general:GeneralSettings", "quick_commands", "timezone"),
    *_maps(
        "Gateway",
        gateway="gateway:GatewaySettings",
        session_reset="session_reset:SessionResetSettings",
        streaming="streaming:StreamingSettings",
        whatsapp="gateway:WhatsAppSettings",
    ),
    *_fields(
        "Gateway",
        "gateway:GatewayRoot",
        "platforms",
        "unauthorized_dm_behavior",
        "group_sessions_per_user",
        "thread_sessions_per_user",
    ),
    *_maps(
        "Services",
        api_server="api_server:ApiServerSettings",
        cron="cron:CronSettings",
        dashboard="dashboard:DashboardSettings",
        kanban="kanban:KanbanSettings",
        logging="logging:LoggingSettings",
        plugins="plugins:PluginSettings",
        sessions="sessions:SessionSettings",
        telemetry="telemetry:TelemetrySettings",
    ),
    *_fields("Services", "general:GeneralSettings", "hooks"),
)

ROOT_KEYS: dict[str, RootKey] = {key.name: key for key in _KEYS}
"""Every top-level key but `_config_version`, in the order people read them."""

VERSION_KEY = "_config_version"
CONFIG_VERSION = 29
"""Version of the file format; older files are brought up to it by `config.migrations`."""
