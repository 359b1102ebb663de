"""Discord and Slack without their libraries: the gateway says what to install, and goes on."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest
from vendor_process import VendorGateway, make_gateway

from hermes_agent.config.paths import Home

ROOT = Path(__file__).parents[2]
LIBRARIES = {"discord": ("discord",), "slack": ("slack_sdk", "slack-sdk")}


def packages_without(directory: Path, names: tuple[str, ...]) -> Path:
    """A directory with everything that is installed here, except some."""
    directory.mkdir()
    for each in Path(sysconfig.get_paths()["purelib"]).iterdir():
        if each.suffix != ".pth" and not each.name.startswith(names):
            (directory / each.name).symlink_to(each)
    return directory


@pytest.fixture
def gateway(home: Home, tmp_path: Path, request: pytest.FixtureRequest) -> VendorGateway:
    platform = request.param
    tokens = {"discord": "x.y.z", "slack": "xoxb-1"}
    made = make_gateway(home, platform, tokens[platform], {"app_token": "xapp-1"})
    made.interpreter = ("-S",)
    made.env = {
        "PYTHONPATH": f"{ROOT}:{packages_without(tmp_path / 'packages', LIBRARIES[platform])}",
        "PYTHONNOUSERSITE": "1",
    }
    return made


@pytest.mark.parametrize("gateway", ["discord", "slack"], indirect=True)
def test_a_missing_library_is_named_with_the_way_to_get_it(gateway: VendorGateway) -> None:
    probe = [sys.executable, "-S", "-c", f"import {LIBRARIES[gateway.platform][0]}"]
    assert subprocess.run(probe, env=gateway.environment(), capture_output=True, check=False).returncode
    try:
        gateway.start()
        state = gateway.state()
        assert state["state"] == "failed"
        assert f"[{gateway.platform}]" in state["error_message"]
        assert gateway.ask("status")["gateway_state"] == "running"
    finally:
        gateway.end()


@pytest.mark.parametrize("platform", ["discord", "slack"])
def test_settings_that_cannot_be_used_are_named(home: Home, platform: str) -> None:
    pytest.importorskip(LIBRARIES[platform][0])
    gateway = make_gateway(home, platform, "xoxb-1", {"history_messages": 5000, "app_token": "xapp-1"})
    try:
        gateway.start()
        assert gateway.state()["state"] == "failed"
        assert "history_messages" in gateway.state()["error_message"]
    finally:
        gateway.end()


@pytest.mark.parametrize("gateway", ["discord", "slack"], indirect=True)
def test_under_nixos_the_option_is_named(gateway: VendorGateway) -> None:
    gateway.env["HERMES_MANAGED"] = "true"
    try:
        gateway.start()
        option = f'services.hermes-agent.extraDependencyGroups = [ "{gateway.platform}" ]'
        assert option in gateway.state()["error_message"]
    finally:
        gateway.end()
