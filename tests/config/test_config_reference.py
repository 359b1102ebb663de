"""What is generated from the sections: the reference, the schema, the list of keys; and that they agree."""

import json
import typing
from pathlib import Path

import pytest

from hermes_agent.config import docstrings, effective, registry, shape
from hermes_agent.config.keys import has, parse_key
from hermes_agent.config.reference import main, render
from hermes_agent.config.schema import json_schema
from hermes_agent.config.settings import Settings
from hermes_agent.config.variables import VARIABLES

TASKS = (
    *(
        "vision",
        "web_extract",
        "compression",
        "session_search",
        "skills_hub",
        "approval",
        "mcp",
        "title_generation",
    ),
    *("triage_specifier", "kanban_decomposer", "curator", "goal_judge", "monitor"),
)
ROOT = Path(__file__).parents[2]


def test_the_committed_reference_is_current() -> None:
    committed = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")
    assert committed == render(), "run scripts/generate-config-reference"


def test_the_generator_checks_and_writes(tmp_path: Path) -> None:
    path = tmp_path / "docs" / "configuration.md"
    assert main([str(path), "--check"]) == 1
    assert main([str(path)]) == 0
    assert main([str(path), "--check"]) == 0


def test_every_field_has_a_docstring() -> None:
    missing = []
    for key in registry.ROOT_KEYS.values():
        queue = [key.model()]
        while queue:
            model = queue.pop()
            docs = docstrings.field_docs(model)
            for name, field in model.model_fields.items():
                if not docs.get(name, "").endswith("."):
                    missing.append(f"{model.__name__}.{name}")
                inner = shape.bare(field.annotation)
                queue.extend([inner] if shape.is_model(inner) else [])
                queue.extend(item for item in typing.get_args(inner) if shape.is_model(item))
    assert missing == []


def test_the_registry_and_the_root_agree() -> None:
    assert set(Settings.__annotations__) - {"_data"} == set(registry.ROOT_KEYS)


def test_every_default_can_be_built_and_is_json() -> None:
    json.dumps(effective.defaults())


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("toolsets", ["hermes-cli"]),
        ("agent.max_turns", 90), ("agent.gateway_timeout", 1800), ("agent.gateway_timeout_warning", 900),
        ("agent.gateway_notify_interval", 180), ("agent.restart_drain_timeout", 180),
        ("agent.api_max_retries", 3), ("agent.clarify_timeout", 600), ("agent.image_input_mode", "auto"),
        ("terminal.backend", "local"), ("terminal.cwd", "."), ("terminal.timeout", 180),
        ("terminal.container_cpu", 1), ("terminal.container_memory", 5120),
        ("terminal.container_disk", 51200), ("terminal.container_persistent", True),
        ("terminal.docker_image", "nikolaik/python-nodejs:python3.11-nodejs20"),
        ("terminal.persistent_shell", True),
        ("compression.enabled", True), ("compression.threshold", 0.5), ("compression.target_ratio", 0.2),
        ("compression.protect_last_n", 20), ("compression.protect_first_n", 3),
        ("compression.hygiene_hard_message_limit", 400), ("prompt_caching.cache_ttl", "5m"),
        ("memory.memory_char_limit", 2200), ("memory.user_char_limit", 1375),
        ("memory.write_approval", False), ("memory.provider", ""), ("memory.nudge_interval", 10),
        ("delegation.max_iterations", 50), ("delegation.max_concurrent_children", 3),
        ("delegation.max_spawn_depth", 1), ("checkpoints.enabled", False), ("checkpoints.max_snapshots", 20),
        ("checkpoints.max_total_size_mb", 500), ("checkpoints.max_file_size_mb", 10),
        ("checkpoints.retention_days", 7), ("tool_output.max_bytes", 50_000), ("tool_output.max_lines", 2000),
        ("tool_output.max_line_length", 2000), ("tool_loop_guardrails.warn_same_call_failures", 2),
        ("tool_loop_guardrails.warn_same_tool_failures", 3), ("tool_loop_guardrails.warn_no_progress", 2),
        ("tool_loop_guardrails.stop_same_call_failures", 5), ("tool_loop_guardrails.stop_no_progress", 5),
        ("tool_loop_guardrails.stop_same_tool_failures", 8), ("tool_loop_guardrails.stop_enabled", False),
        ("approvals.mode", "manual"), ("approvals.timeout", 60), ("approvals.cron_mode", "deny"),
        ("cron.wrap_response", True), ("curator.interval_hours", 168), ("curator.min_idle_hours", 2),
        ("curator.stale_after_days", 30), ("curator.archive_after_days", 90), ("goals.max_turns", 20),
        ("kanban.dispatch_in_gateway", True), ("kanban.dispatch_interval_seconds", 60),
        ("kanban.failure_limit", 2), ("streaming.enabled", False), ("streaming.edit_interval", 0.8),
        ("streaming.buffer_threshold", 24), ("streaming.cursor", " ▉"), ("session_reset.at_hour", 4),
        ("session_reset.idle_minutes", 1440), ("sessions.write_json_snapshots", False),
        ("display.busy_input_mode", "interrupt"), ("display.skin", "default"), ("display.language", "en"),
        ("logging.level", "INFO"), ("logging.max_size_mb", 5), ("logging.backup_count", 3),
        ("security.redact_secrets", True), ("skills.creation_nudge_interval", 10), ("mcp_servers", {}),
        ("dashboard.basic_auth.session_ttl_seconds", 43_200), ("api_server.port", 8642),
        ("_config_version", 29),
    ],
)  # fmt: skip
def test_defaults_are_the_documented_ones(key: str, value: object) -> None:
    found: object = effective.defaults()
    for part in key.split("."):
        assert isinstance(found, dict)
        found = found[part]
    assert found == value


def test_every_auxiliary_task_has_the_same_keys() -> None:
    tasks = effective.defaults()["auxiliary"]
    assert set(tasks) == {*TASKS}
    for task in tasks.values():
        assert {"provider", "model", "base_url", "api_key", "timeout", "extra_body"} <= set(task)
        assert task["provider"] == "auto"


def test_leaf_keys_are_sorted_and_empty_maps_count() -> None:
    keys = effective.leaf_keys()
    assert list(keys) == sorted(keys)
    assert len(keys) == len(set(keys)) >= 150
    assert {"mcp_servers", "agent.personalities", "_config_version", "toolsets"} <= set(keys)
    assert "agent" not in keys
    defaults = effective.defaults()
    assert all(has(defaults, parse_key(key)) for key in keys)


def test_variables_set_keys_that_exist_and_are_unique() -> None:
    assert all(shape.is_known(parse_key(variable.key)) for variable in VARIABLES)
    assert len({variable.name for variable in VARIABLES}) == len(VARIABLES)


def test_the_schema_describes_every_key() -> None:
    schema = json_schema()
    json.dumps(schema)
    assert set(schema["properties"]) == {*registry.ROOT_KEYS, "_config_version"}
    references = json.dumps(schema).split('"#/$defs/')[1:]
    assert {reference.split('"')[0] for reference in references} <= set(schema["$defs"])
    assert schema["$defs"]["TerminalSettings"]["properties"]["timeout"]["description"].startswith("Seconds")
    undescribed = [
        f"{name}.{key}"
        for name, definition in schema["$defs"].items()
        for key, value in definition.get("properties", {}).items()
        if not value.get("description")
    ]
    assert undescribed == []
