"""The environment: whose word counts, what children see, what is secret."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hermes_agent.config.environ import Environ, may_come_from_project
from hermes_agent.config.paths import Home
from hermes_agent.config.secret_names import is_secret_name, is_secret_setting, mask, masked


def environ_of(tmp_path: Path, user: str, project: str, **process: str) -> Environ:
    home = Home(tmp_path / "home")
    home.ensure()
    home.env_file.write_text(user)
    work = tmp_path / "work"
    work.mkdir()
    (work / ".env").write_text(project)
    return Environ.load(home, variables=process, project_directory=work)


def test_the_users_file_beats_the_shell_and_the_project_fills_gaps(tmp_path: Path) -> None:
    environ = environ_of(
        tmp_path,
        "A_KEY=user\nEMPTY_KEY=\n",
        "A_KEY=project\nB_KEY=project\nC_KEY=project\nEMPTY_KEY=project\n",
        A_KEY="shell",
        B_KEY="shell",
        EMPTY_KEY="shell",
    )
    assert [environ.get(name) for name in ("A_KEY", "B_KEY", "C_KEY", "EMPTY_KEY", "NO")] == [
        "user",
        "shell",
        "project",
        "shell",
        None,
    ]
    assert environ.origin("A_KEY") == str(tmp_path / "home" / ".env")
    assert environ.origin("B_KEY") == "the environment"
    assert environ.origin("C_KEY") == str(tmp_path / "work" / ".env")
    assert environ.origin("NO") is None


@pytest.mark.parametrize(
    "name",
    ["PATH", "LD_PRELOAD", "HERMES_YOLO_MODE", "TERMINAL_ENV", "OPENAI_BASE_URL", "HTTPS_PROXY", "PYTHONPATH",
     "TELEGRAM_ALLOWED_USERS", "GATEWAY_ALLOW_ALL_USERS", "EDITOR", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE"],
)  # fmt: skip
def test_a_project_cannot_steer_the_agent(tmp_path: Path, name: str) -> None:
    assert not may_come_from_project(name)
    assert environ_of(tmp_path, "", f"{name}=evil\n").get(name) is None


def test_the_users_file_cannot_move_the_home_or_load_libraries(tmp_path: Path) -> None:
    environ = environ_of(tmp_path, "HERMES_HOME=/x\nLD_PRELOAD=/x\nFINE=1\n", "")
    assert environ.get("HERMES_HOME") is None
    assert environ.get("LD_PRELOAD") is None
    assert environ.get("FINE") == "1"
    assert len(environ.warnings) == 2


def test_a_broken_project_file_is_a_warning(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    (tmp_path / ".env").mkdir()
    assert Environ.load(home, variables={}, project_directory=tmp_path).get("X") is None


def test_children_see_no_secrets(tmp_path: Path) -> None:
    environ = environ_of(
        tmp_path,
        "OPENAI_API_KEY=sk-1\nEDITOR_COLOUR=red\n",
        "PROJECT_SETTING=1\n",
        PATH="/bin",
        GITHUB_TOKEN="gh",
        DATABASE="postgres://u:pw@h/db",
        HTTP_PROXY="http://u:pw@proxy",
        SSH_AUTH_SOCK="/run/x",
        NOTIFY_SOCKET="/run/y",
        LANG="C",
    )
    assert environ.child_environment() == {
        "PATH": "/bin",
        "LANG": "C",
        "EDITOR_COLOUR": "red",
        "HTTP_PROXY": "http://u:pw@proxy",
        "SSH_AUTH_SOCK": "/run/x",
    }
    assert environ.child_environment(["GITHUB_TOKEN", "NOT_THERE"])["GITHUB_TOKEN"] == "gh"


def test_secret_values_are_exact_and_not_too_short() -> None:
    environ = Environ(
        {
            "A_KEY": "12345",
            "B_KEY": " 123456 ",
            "C_TOKEN": "tok-123456",
            "HOME": "/home/me",
            "DB": "x://u:pw@host",
        }
    )
    assert environ.secret_values() == {"123456", "tok-123456", "x://u:pw@host"}


def test_changes_since_an_earlier_load_are_named() -> None:
    before = Environ({"A": "1", "B": "2", "C": "3"})
    assert Environ({"A": "1", "B": "x", "D": "4"}).changed_names(before) == ("B", "C", "D")


def test_values_never_show_up_in_a_representation() -> None:
    assert "secret" not in repr(Environ({"A_KEY": "secret"}))


@pytest.mark.parametrize(
    "name",
    ["OPENAI_API_KEY", "HF_TOKEN", "AWS_SECRET_ACCESS_KEY", "SUDO_PASSWORD", "PGPASSWORD", "GITHUB_PAT",
     "SENTRY_DSN", "SLACK_WEBHOOK_URL", "NPM_AUTH", "MYAPIKEY", "API_SERVER_KEY"],
)  # fmt: skip
def test_secret_names_are_recognised(name: str) -> None:
    assert is_secret_name(name)


@pytest.mark.parametrize(
    "name",
    ["PATH", "HOME", "SSH_AUTH_SOCK", "TERMINAL_SSH_KEY", "DBUS_SESSION_BUS_ADDRESS", "KEYBOARD_LAYOUT",
     "GIT_AUTHOR_NAME", "TOKENIZERS_PARALLELISM", "SSH_PUBLIC_KEY", "COMPASS_DIR", "XAUTHORITY"],
)  # fmt: skip
def test_harmless_names_are_left_alone(name: str) -> None:
    assert not is_secret_name(name)


@pytest.mark.parametrize(
    ("key", "secret"),
    [
        ("model.api_key", True),
        ("custom_providers.0.api_key", True),
        ("custom_providers.0.key_env", False),
        ("mcp_servers.x.env.GITHUB_TOKEN", True),
        ("mcp_servers.x.env.LANG", False),
        ("mcp_servers.x.headers.Authorization", True),
        ("mcp_servers.x.headers.X-Api-Key", True),
        ("mcp_servers.x.headers.Accept", False),
        ("mcp_servers.x.oauth.client_secret", True),
        ("model.max_tokens", False),
        ("terminal.ssh_key", False),
        ("voice.record_key", False),
        ("api_server.key", True),
        ("dashboard.basic_auth.password_hash", True),
    ],
)
def test_secret_settings_are_recognised(key: str, secret: bool) -> None:
    assert is_secret_setting(key) is secret


def test_masking_keeps_templates_and_hides_the_rest() -> None:
    assert mask("sk-abcdefgh9f3a") == "sk-…9f3a"
    assert mask("short") == "…"
    assert mask("${OPENAI_API_KEY}") == "${OPENAI_API_KEY}"
    assert masked({"api_key": "sk-abcdefgh9f3a", "url": "https://u:pw@h/x", "key": 12345}, "a") == {
        "api_key": "sk-…9f3a",
        "url": "https://u:…@h/x",
        "key": "…",
    }


@given(st.text(min_size=1, max_size=60))
def test_a_mask_never_shows_the_whole(value: str) -> None:
    if "${" not in value:
        assert value not in mask(value) or value == "…"
