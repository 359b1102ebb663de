"""Loading: layers, wrong values, unknown keys, templates, old forms."""

import copy
import json
import pickle
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hermes_agent.config.effective import Effective, leaf_keys
from hermes_agent.config.environ import Environ
from hermes_agent.config.loader import LoadedConfig, load
from hermes_agent.config.paths import Home
from hermes_agent.config.registry import ROOT_KEYS
from hermes_agent.config.sections.agent import AgentSettings
from hermes_agent.config.settings import Settings
from hermes_agent.core.errors import ConfigFileError, SettingError


def write(home: Home, text: str) -> None:
    home.ensure()
    home.config_file.write_text(text, encoding="utf-8")


def tolerant(home: Home, text: str, **variables: str) -> LoadedConfig:
    write(home, text)
    return load(home, environ=Environ(variables), tolerant=True)


def test_without_a_home_everything_is_default(tmp_path: Path) -> None:
    home = Home(tmp_path / "nothing")
    config = load(home, environ=Environ())
    assert config.settings.agent.max_turns == 90
    assert config.settings.toolsets == ["hermes-cli"]
    assert config.warnings == ()
    assert not home.root.exists()


def test_later_layers_win(home: Home) -> None:
    write(home, "terminal: {backend: ssh, timeout: 10, ssh_port: 2022, ssh_host: file}\n")
    home.env_file.write_text("TERMINAL_SSH_HOST=user\n")
    environ = Environ(
        {"TERMINAL_ENV": "docker", "TERMINAL_TIMEOUT": "20"}, user={"TERMINAL_SSH_HOST": "user"}
    )
    config = load(home, environ=environ, overrides={"terminal.timeout": 30, "model.default": None})
    terminal = config.settings.terminal
    assert (terminal.backend, terminal.timeout, terminal.ssh_port, terminal.ssh_host) == (
        "docker",
        30,
        2022,
        "user",
    )
    assert terminal.persistent_shell is True


def test_flags_with_unknown_keys_are_refused(home: Home) -> None:
    with pytest.raises(SettingError, match=r"agent\.turns"):
        load(home, environ=Environ(), overrides={"agent.turns": 1})


def test_a_wrong_value_names_key_value_kind_file_and_line(home: Home) -> None:
    write(home, "# one\nterminal:\n  timeout: fast\n")
    with pytest.raises(SettingError) as caught:
        load(home, environ=Environ())
    assert caught.value.key == "terminal.timeout"
    assert caught.value.message == (
        f'terminal.timeout in {home.config_file} line 3 must be a number, not "fast"'
    )
    assert caught.value.exit_code == 3


@pytest.mark.parametrize(
    ("text", "key", "expected"),
    [
        ("agent: {max_turns: 0}", "agent.max_turns", "a number of at least 1"),
        ("agent: {max_turns: 1.5}", "agent.max_turns", "a whole number"),
        ("agent: [1]", "agent", "a map"),
        ("agent: fast", "agent", "a map"),
        ("terminal: {persistent_shell: maybe}", "terminal.persistent_shell", "true or false"),
        ("terminal: {backend: dockr}", "terminal.backend", "one of local, docker"),
        ("toolsets: web", "toolsets", "a list"),
        ("toolsets: [[1]]", "toolsets.0", "text"),
        ("providers: {x: 3}", "providers.x", "a map"),
        (
            "providers: {x: {models: {y: {max_tokens: lots}}}}",
            "providers.x.models.y.max_tokens",
            "whole number",
        ),
        ("compression: {threshold: 2}", "compression.threshold", "of at most 1"),
        ("compression: {threshold: .nan}", "compression.threshold", "number"),
        ("model: [a]", "model", "a map"),
        ("mcp_servers: {a: {env: {X: [1]}}}", "mcp_servers.a.env.X", "text"),
        (
            "display: {platforms: {tg: {tool_progress: loud}}}",
            "display.platforms.tg.tool_progress",
            "one of off",
        ),
    ],
)
def test_wrong_values_are_reported_and_the_rest_holds(home: Home, text: str, key: str, expected: str) -> None:
    config = tolerant(home, f"approvals: {{timeout: 7}}\n{text}\nlogging: {{level: debug}}\n")
    assert [problem.key for problem in config.problems if isinstance(problem, SettingError)] == [key]
    assert expected in config.problems[0].message
    assert "line 2" in config.problems[0].message
    assert config.settings.approvals.timeout == 7
    assert config.settings.logging.level == "DEBUG"
    assert isinstance(config.settings.model_dump(), dict)


def test_one_wrong_value_leaves_its_neighbours(home: Home) -> None:
    config = tolerant(home, "terminal: {timeout: fast, backend: docker, ssh_port: x}\n")
    assert len(config.problems) == 2
    assert config.settings.terminal.backend == "docker"
    assert config.settings.terminal.timeout == 180


def test_an_element_that_lacks_a_field_is_left_out(home: Home) -> None:
    config = tolerant(home, "custom_providers:\n  - {name: a, base_url: http://a}\n  - {name: b}\n  - x\n")
    assert [item.name for item in config.settings.custom_providers] == ["a"]
    assert {problem.message.split(" ")[0] for problem in config.problems} == {
        "custom_providers.1",
        "custom_providers.2",
    }


def test_a_wrong_variable_is_named(home: Home) -> None:
    with pytest.raises(SettingError, match="environment variable TERMINAL_SSH_PORT") as caught:
        load(home, environ=Environ({"TERMINAL_SSH_PORT": "ssh"}))
    assert "config set" not in (caught.value.remedy or "")


def test_further_wrong_values_are_counted(home: Home) -> None:
    write(home, "agent: {max_turns: x, api_max_retries: y}\n")
    with pytest.raises(SettingError) as caught:
        load(home, environ=Environ())
    assert "1 more setting is wrong" in (caught.value.remedy or "")


def test_secrets_in_wrong_values_are_masked(home: Home) -> None:
    config = tolerant(home, "model: {api_key: [sk-very-secret-value]}\nwhatsapp: {reply_prefix: [1]}\n")
    assert "sk-very-secret-value" not in "".join("".join(problem.lines) for problem in config.problems)


def test_near_words_are_suggested(home: Home) -> None:
    config = tolerant(
        home, "terminal: {backend: dockr, timout: 3}\nterminl: {}\napproval: {}\nquite_other: 1\n"
    )
    assert "Did you mean 'docker'?" in (config.problems[0].remedy or "")
    text = "\n".join(config.warnings)
    assert "line 1: 'terminal.timout' is not a known setting; did you mean 'terminal.timeout'?" in text
    assert "did you mean 'terminal'?" in text
    assert "did you mean 'approvals'?" in text
    assert "line 4: 'quite_other' is not a known setting" in text


def test_a_key_at_the_wrong_level_is_found(home: Home) -> None:
    config = tolerant(home, "ssh_host: box\n")
    assert "did you mean 'terminal.ssh_host'?" in config.warnings[0]


def test_free_maps_are_free_and_closed_ones_inside_are_not(home: Home) -> None:
    config = tolerant(
        home,
        "mcp_servers: {any: {command: x, comand: y, env: {FREE: 1, B: true}}}\n"
        "model: {default_headers: {X-Any: 1}}\nplatforms: {tg: {extra: {whatever: {deep: 1}}}}\n",
    )
    assert config.problems == ()
    assert [warning.split("'")[1] for warning in config.warnings] == ["mcp_servers.any.comand"]
    assert config.settings.mcp_servers["any"].env == {"FREE": "1", "B": "true"}


def test_null_means_default(home: Home) -> None:
    config = tolerant(
        home, "terminal:\nagent: {max_turns: null, personalities: ~}\nmodel: {api_mode: null}\n"
    )
    assert config.problems == ()
    assert config.settings.terminal.backend == "local"
    assert config.settings.agent.max_turns == 90


def test_off_is_a_word(home: Home) -> None:
    config = tolerant(
        home, "approvals: {mode: off}\nstreaming: {enabled: on}\ndisplay: {tool_progress: off}\n"
    )
    assert config.problems == ()
    assert config.settings.approvals.mode == "off"
    assert config.settings.streaming.enabled is True
    assert config.settings.display.tool_progress == "off"


def test_templates_are_expanded_once_and_unresolved_ones_stay(home: Home) -> None:
    config = tolerant(
        home,
        "model: {api_key: 'a-${KEY}-b', base_url: '${GONE}/v1', default: '${LOOP}'}\n"
        "terminal: {ssh_port: '${PORT}'}\n",
        KEY="k",
        PORT="2200",
        LOOP="${KEY}",
    )
    model = config.settings.model
    assert (model.api_key, model.base_url, model.default) == ("a-k-b", "${GONE}/v1", "${KEY}")
    assert config.settings.terminal.ssh_port == 2200
    assert ["GONE" in warning for warning in config.warnings] == [True]


def test_an_unset_template_in_a_number_says_so(home: Home) -> None:
    config = tolerant(home, "terminal: {ssh_port: '${PORT}'}\n")
    assert "not set" in (config.problems[0].why or "")


def test_a_context_length_in_words_is_left_out_with_a_warning(home: Home) -> None:
    write(home, "model: {default: x, context_length: 256K}\n")
    config = load(home, environ=Environ())
    assert config.settings.model.context_length is None
    assert "256000" in config.warnings[0]


def test_old_forms_work_without_being_migrated(home: Home) -> None:
    before = "model: openrouter:some/model\nfallback_model: {provider: openai-api, model: y}\nmax_turns: 5\n"
    config = tolerant(home, before)
    assert config.problems == ()
    assert config.warnings == ()
    assert config.settings.model.default == "openrouter:some/model"
    assert config.settings.fallback_providers[0].model == "y"
    assert config.settings.agent.max_turns == 5
    assert home.config_file.read_text() == before


def test_a_newer_file_is_read_with_a_warning(home: Home) -> None:
    assert "newer" in tolerant(home, "_config_version: 99\n").warnings[0]


def test_a_broken_file_raises_or_is_reported(home: Home) -> None:
    write(home, "a: [\n")
    with pytest.raises(ConfigFileError):
        load(home, environ=Environ())
    config = load(home, environ=Environ({"TERMINAL_ENV": "docker"}), tolerant=True)
    assert isinstance(config.problems[0], ConfigFileError)
    assert config.settings.terminal.backend == "docker"


def test_the_file_can_be_left_aside(home: Home) -> None:
    write(home, "a: [\n")
    assert load(home, environ=Environ(), use_file=False).settings.agent.max_turns == 90


def test_secrets_of_the_file_are_known_for_redaction(home: Home) -> None:
    config = tolerant(
        home,
        "model: {api_key: sk-in-the-file}\n"
        "mcp_servers: {x: {env: {SOME_TOKEN: tok-in-env, PLAIN: harmless-value},\n"
        "  headers: {Authorization: Bearer abcdef}}}\n"
        "custom_providers: [{name: c, base_url: http://c, api_key: '${UNSET_KEY}'}]\n",
        OPENAI_API_KEY="sk-in-environment",
    )
    assert config.secret_values() == {"sk-in-the-file", "tok-in-env", "abcdef", "sk-in-environment"}


def test_yolo_variable_counts_only_when_true(home: Home) -> None:
    assert load(home, environ=Environ({"HERMES_YOLO_MODE": "1"})).settings.approvals.mode == "off"
    assert load(home, environ=Environ({"HERMES_YOLO_MODE": "0"})).settings.approvals.mode == "manual"


def test_a_variable_reaches_below_a_wrong_section(home: Home) -> None:
    config = tolerant(home, "terminal: local\n", TERMINAL_ENV="docker")
    assert config.settings.terminal.backend == "docker"


def test_the_working_directory_may_be_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    assert load(Home(tmp_path / "home")).settings.agent.max_turns == 90


def test_a_home_that_is_a_file_reads_as_empty(tmp_path: Path) -> None:
    path = tmp_path / "home"
    path.write_text("x")
    assert load(Home(path), tolerant=True).settings.agent.max_turns == 90


def test_settings_are_frozen_and_replaceable() -> None:
    settings = Settings({"agent": {"max_turns": 3}})
    assert settings.agent.max_turns == 3
    with pytest.raises(AttributeError):
        settings.agent = AgentSettings()  # frozen at run time
    changed = settings.replace(agent=AgentSettings(max_turns=4))
    assert (changed.agent.max_turns, settings.agent.max_turns) == (4, 3)
    with pytest.raises(AttributeError, match="nothing"):
        _ = settings.nothing
    assert Settings({"mine": 1}).extra == {"mine": 1}


def test_settings_can_be_copied_and_sent_to_other_processes() -> None:
    settings = Settings({"agent": {"max_turns": 3}})
    assert copy.deepcopy(settings).agent.max_turns == 3
    assert pickle.loads(pickle.dumps(settings)).agent.max_turns == 3


def test_settings_never_show_values() -> None:
    assert "sk-secret" not in repr(Settings({"model": {"api_key": "sk-secret"}}))


ODD_NAMES = [
    "model_config",
    "copy",
    "__class__",
    "model_fields",
    "",
    "a.b",
    "0",
    "model_extra",
    "x y",
    "null",
]
NAMES = st.sampled_from([*ROOT_KEYS, *{part for key in leaf_keys() for part in key.split(".")}, *ODD_NAMES])
ANYTHING = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-(10**20), 10**20),
        st.floats(),
        st.text("aä😀 :#-\n'\"", max_size=5),
        st.sampled_from(["off", "auto", "${X}", "${HOME}", "local", "1"]),
    ),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(NAMES, inner, max_size=4)),
    max_leaves=12,
)


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.dictionaries(NAMES, ANYTHING, max_size=5))
def test_any_map_loads_with_problems_reported_and_every_value_in_reach(
    home: Home, data: dict[str, Any]
) -> None:
    home.config_file.write_text(
        json.dumps(data, ensure_ascii=False).replace("Infinity", ".inf").replace("NaN", ".nan")
    )
    config = load(home, environ=Environ({"HOME": "/h"}), tolerant=True)
    assert set(config.settings.model_dump()) == set(ROOT_KEYS)
    values = [*Effective(config).all(), *Effective(config).given()]
    assert all(value.source for value in values)
    assert json.dumps([value.value for value in values])
    for problem in config.problems:
        assert isinstance(problem, SettingError)
        assert problem.remedy
