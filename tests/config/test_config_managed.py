"""Managed mode: detection, names, the one gate."""

import pytest

from hermes_agent.config.managed import detect, require_unmanaged
from hermes_agent.config.paths import Home
from hermes_agent.core.errors import ManagedError


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HERMES_MANAGED", "HERMES_MANAGED_EXIT_ZERO"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    ("value", "name"),
    [
        ("true", "NixOS"), ("1", "NixOS"), ("YES", "NixOS"), ("nix", "NixOS"), ("NixOS", "NixOS"),
        ("brew", "Homebrew"), ("homebrew", "Homebrew"), ("Guix", "Guix"), (" true ", "NixOS"),
        ("false", None), ("0", None), ("no", None), ("", None), ("  ", None),
    ],
)  # fmt: skip
def test_the_environment_names_the_manager(
    home: Home, monkeypatch: pytest.MonkeyPatch, value: str, name: str | None
) -> None:
    monkeypatch.setenv("HERMES_MANAGED", value)
    manager = detect(home)
    assert (manager.name if manager else None) == name


@pytest.mark.parametrize(
    ("text", "name"), [("", "NixOS"), ("homebrew\n", "Homebrew"), ("# c\nGuix\n", "Guix")]
)
def test_the_marker_names_the_manager(home: Home, text: str, name: str) -> None:
    home.managed_marker.write_text(text)
    manager = detect(home)
    assert manager is not None
    assert manager.name == name


def test_the_environment_beats_the_marker(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    home.managed_marker.write_text("")
    monkeypatch.setenv("HERMES_MANAGED", "homebrew")
    manager = detect(home)
    assert manager is not None
    assert manager.name == "Homebrew"
    monkeypatch.setenv("HERMES_MANAGED", "false")
    assert detect(home) is None


def test_a_marker_that_cannot_be_read_counts(home: Home) -> None:
    home.managed_marker.symlink_to("/nonexistent/marker")
    assert detect(home) is not None
    home.managed_marker.unlink()
    home.managed_marker.mkdir()
    assert detect(home) is not None


def test_without_a_manager_everything_is_allowed(home: Home) -> None:
    require_unmanaged(home, "hermes setup", None)


def test_the_refusal_says_what_to_change_instead(home: Home) -> None:
    home.managed_marker.write_text("")
    with pytest.raises(ManagedError, match="managed by NixOS") as caught:
        require_unmanaged(home, "hermes config set", "services.hermes-agent.settings.agent.max_turns")
    assert caught.value.exit_code == 7
    remedy = caught.value.remedy or ""
    assert "services.hermes-agent.settings.agent.max_turns" in remedy
    assert "configuration.nix" in remedy


def test_the_exit_code_can_be_zero(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HERMES_MANAGED", "true")
    monkeypatch.setenv("HERMES_MANAGED_EXIT_ZERO", "1")
    with pytest.raises(ManagedError) as caught:
        require_unmanaged(home, "hermes setup")
    assert caught.value.exit_code == 0


def test_homebrew_names_its_own_command(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HERMES_MANAGED", "brew")
    with pytest.raises(ManagedError, match="managed by Homebrew") as caught:
        require_unmanaged(home, "hermes update")
    assert "brew upgrade" in (caught.value.remedy or "")


def test_a_manager_may_leave_some_keys_to_people(home: Home) -> None:
    home.managed_marker.write_text("nixos\nallow=model.default, display\n")
    prefix = "services.hermes-agent.settings."
    require_unmanaged(home, "set", prefix + "model.default")
    require_unmanaged(home, "set", prefix + "display.skin")
    for option in (
        prefix + "model.provider",
        prefix + "displays",
        "services.hermes-agent.environmentFiles",
        None,
    ):
        with pytest.raises(ManagedError):
            require_unmanaged(home, "set", option)
