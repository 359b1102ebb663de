"""The real gateway with one real platform's adapter, which talks to a loopback server."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, cast

import yaml
from gateway_process import Gateway
from loopback_server import LoopbackServer

from hermes_agent.config.paths import Home


@dataclass
class VendorGateway(Gateway):
    """`extra` is `platforms.<platform>.extra`."""

    platform: str = ""
    token: str = ""
    model: dict[str, Any] = field(default_factory=lambda: {"provider": "demo", "default": "demo"})

    def configure(self) -> None:
        config = {
            "model": self.model,
            "platforms": {self.platform: {"enabled": True, "token": self.token, "extra": self.extra}},
            **self.settings,
        }
        self.home.config_file.write_text(yaml.safe_dump(config))
        self.home.config_file.chmod(0o600)

    def state(self) -> dict[str, Any]:
        service = self.ask("status")["services"]["messaging"]
        found: dict[str, Any] = service["platforms"][self.platform]
        return found

    def end(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait(10)


def make_gateway(home: Home, platform: str, token: str, extra: dict[str, Any]) -> VendorGateway:
    return VendorGateway(home, cast("LoopbackServer", None), platform=platform, token=token, extra=extra)
