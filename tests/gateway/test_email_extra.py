"""Email and Matrix without their libraries: the gateway says what to install, and goes on."""

from __future__ import annotations

from pathlib import Path

import pytest
from vendor_process import make_gateway

from hermes_agent.config.paths import Home

EXTRA = {
    "email": {"address": "a@x.test", "imap_host": "127.0.0.1", "smtp_host": "127.0.0.1"},
    "matrix": {"homeserver": "http://127.0.0.1:9", "user_id": "@a:x.test"},
}


@pytest.mark.parametrize(("platform", "module"), [("email", "aiosmtplib"), ("matrix", "nio")])
def test_a_missing_library_is_named_with_the_way_to_get_it(
    home: Home, tmp_path: Path, platform: str, module: str
) -> None:
    absent = tmp_path / "absent" / module
    absent.mkdir(parents=True)
    (absent / "__init__.py").write_text(
        f"raise ModuleNotFoundError('No module named {module}', name='{module}')"
    )
    gateway = make_gateway(home, platform, "secret", EXTRA[platform])
    gateway.env = {"PYTHONPATH": str(absent.parent), "HERMES_MANAGED": "true"}
    try:
        gateway.start()
        state = gateway.state()
        assert state["state"] == "failed"
        assert f'services.hermes-agent.extraDependencyGroups = [ "{platform}" ]' in state["error_message"]
        assert gateway.ask("status")["gateway_state"] == "running"
    finally:
        gateway.end()
