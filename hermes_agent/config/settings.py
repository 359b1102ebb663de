"""The root of all settings: frozen, typed, and built section by section when first used."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from hermes_agent.config.registry import ROOT_KEYS, VERSION_KEY, RootKey

if TYPE_CHECKING:
    from hermes_agent.config.sections.agent import AgentSettings, ApprovalSettings, GuardrailSettings
    from hermes_agent.config.sections.api_server import ApiServerSettings
    from hermes_agent.config.sections.auxiliary import AuxiliarySettings
    from hermes_agent.config.sections.base import Section
    from hermes_agent.config.sections.browser import BrowserSettings
    from hermes_agent.config.sections.budgets import BudgetSettings
    from hermes_agent.config.sections.checkpoints import CheckpointSettings
    from hermes_agent.config.sections.code_execution import CodeExecutionSettings
    from hermes_agent.config.sections.compression import CompressionSettings
    from hermes_agent.config.sections.context import ContextSettings
    from hermes_agent.config.sections.cron import CronSettings
    from hermes_agent.config.sections.curator import CuratorSettings
    from hermes_agent.config.sections.dashboard import DashboardSettings
    from hermes_agent.config.sections.delegation import DelegationSettings
    from hermes_agent.config.sections.display import DisplaySettings
    from hermes_agent.config.sections.gateway import GatewaySettings, PlatformSettings, WhatsAppSettings
    from hermes_agent.config.sections.goals import GoalSettings
    from hermes_agent.config.sections.kanban import KanbanSettings
    from hermes_agent.config.sections.logging import LoggingSettings
    from hermes_agent.config.sections.mcp import McpServerSettings, McpSettings
    from hermes_agent.config.sections.memory import MemorySettings
    from hermes_agent.config.sections.model import (
        CustomProviderSettings,
        FallbackSettings,
        ModelSettings,
        ProviderSettings,
    )
    from hermes_agent.config.sections.plugins import PluginSettings
    from hermes_agent.config.sections.prompt_caching import PromptCachingSettings
    from hermes_agent.config.sections.security import SecuritySettings
    from hermes_agent.config.sections.session_reset import SessionResetSettings
    from hermes_agent.config.sections.sessions import SessionSettings
    from hermes_agent.config.sections.skills import SkillSettings
    from hermes_agent.config.sections.speech import (
        SpeechToTextSettings,
        TextToSpeechSettings,
        VoiceSettings,
    )
    from hermes_agent.config.sections.streaming import StreamingSettings
    from hermes_agent.config.sections.telemetry import TelemetrySettings
    from hermes_agent.config.sections.tools import TerminalSettings, ToolOutputSettings
    from hermes_agent.config.sections.web import WebSettings


class Settings:
    """All settings.

    `Settings()` holds the defaults; `Settings({"agent": {"max_turns": 3}})` or
    `Settings(agent=AgentSettings(max_turns=3))` some values. A section is validated when it is first
    read and kept from then on, so a start pays only for what it uses. `config.loader` validates
    everything that a file, the environment or a flag sets before anybody reads it.

    Args:
        data: Values by top-level key, maps or `Section` objects.
        sections: The same as keywords; they win.

    Raises:
        pydantic.ValidationError: From an attribute whose data is wrong (never after `loader.load`).
    """

    model: ModelSettings
    providers: dict[str, ProviderSettings]
    custom_providers: list[CustomProviderSettings]
    fallback_providers: list[FallbackSettings]
    model_aliases: dict[str, str]
    credential_pool_strategies: dict[str, str]
    auxiliary: AuxiliarySettings
    prompt_caching: PromptCachingSettings
    provider_routing: dict[str, Any]
    prefill_messages_file: str
    agent: AgentSettings
    compression: CompressionSettings
    context: ContextSettings
    memory: MemorySettings
    skills: SkillSettings
    curator: CuratorSettings
    delegation: DelegationSettings
    budgets: BudgetSettings
    goals: GoalSettings
    tool_loop_guardrails: GuardrailSettings
    toolsets: list[str]
    platform_toolsets: dict[str, list[str]]
    custom_toolsets: dict[str, list[str]]
    terminal: TerminalSettings
    tool_output: ToolOutputSettings
    code_execution: CodeExecutionSettings
    checkpoints: CheckpointSettings
    web: WebSettings
    browser: BrowserSettings
    tts: TextToSpeechSettings
    stt: SpeechToTextSettings
    voice: VoiceSettings
    mcp_servers: dict[str, McpServerSettings]
    mcp: McpSettings
    approvals: ApprovalSettings
    security: SecuritySettings
    command_allowlist: list[str]
    display: DisplaySettings
    quick_commands: dict[str, dict[str, Any]]
    timezone: str
    gateway: GatewaySettings
    session_reset: SessionResetSettings
    streaming: StreamingSettings
    whatsapp: WhatsAppSettings
    platforms: dict[str, PlatformSettings]
    unauthorized_dm_behavior: str
    group_sessions_per_user: bool
    thread_sessions_per_user: bool
    api_server: ApiServerSettings
    cron: CronSettings
    dashboard: DashboardSettings
    kanban: KanbanSettings
    logging: LoggingSettings
    plugins: PluginSettings
    sessions: SessionSettings
    telemetry: TelemetrySettings
    hooks: dict[str, Any]

    __slots__ = ("__dict__", "_data")

    _data: dict[str, object]

    def __init__(self, data: Mapping[str, object] | None = None, /, **sections: object) -> None:
        object.__setattr__(self, "_data", {**(data or {}), **sections})

    @classmethod
    def model_validate(cls, data: Mapping[str, object]) -> Settings:
        """Build settings and validate every section that `data` names.

        Raises:
            pydantic.ValidationError: A value is of the wrong kind.
        """
        settings = cls(data)
        for name in data:
            if name in ROOT_KEYS:
                getattr(settings, name)
        return settings

    def replace(self, **sections: object) -> Settings:
        """A copy with other values for some top-level keys."""
        return Settings(self._data, **sections)

    def model_copy(self, *, update: Mapping[str, object] | None = None) -> Settings:
        """`replace`, in pydantic's words."""
        return Settings(self._data, **(update or {}))

    def model_dump(self, names: Iterable[str] = ROOT_KEYS) -> dict[str, Any]:
        """All effective values, defaults included, as plain maps; `names` picks top-level keys."""
        return {name: plain(getattr(self, name)) for name in names}

    @property
    def extra(self) -> dict[str, object]:
        """Top-level keys nobody knows, as they stand in the file."""
        return {
            name: value for name, value in self._data.items() if name not in ROOT_KEYS and name != VERSION_KEY
        }

    def __getattr__(self, name: str) -> Any:
        key = ROOT_KEYS.get(name)
        if key is None:
            raise AttributeError(f"settings have no section {name!r}")
        value = self._build(key)
        self.__dict__[name] = value
        return value

    def _build(self, key: RootKey) -> object:
        model = key.model()
        if key.is_field:
            given = {key.name: self._data[key.name]} if key.name in self._data else {}
            return getattr(model.model_validate(given), key.name)
        value = self._data.get(key.name)
        return model.model_validate({} if value is None else value)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"settings are frozen; use replace({name}=…)")

    def __copy__(self) -> Settings:
        return self

    def __deepcopy__(self, _memo: object) -> Settings:
        return self

    def __reduce__(self) -> tuple[type[Settings], tuple[dict[str, object]]]:
        return Settings, (self._data,)

    def __repr__(self) -> str:
        return f"Settings({', '.join(sorted(self._data))})"  # Values may be secret.


def plain(value: object) -> Any:
    """A value as JSON-compatible maps, lists and scalars."""
    dump = getattr(value, "model_dump", None)
    if dump is not None:
        return dump(mode="json")
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value


def section_of(settings: Settings, name: str) -> Section:
    """The section of a top-level key that is a map of its own."""
    value: Section = getattr(settings, name)
    return value
