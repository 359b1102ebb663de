"""The real gateway process with one platform and a scripted model."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "gateway"))
import yaml
from gateway_process import Gateway, measuring_what_is_stopped

__all__ = ["RULES", "PlatformGateway", "measuring_what_is_stopped"]

RULES = {
    "model": "scripted",
    "rules": [
        {"when": {"after": "tool"}, "text": "The tool said: {{tool_result | first:80}}"},
        {"when": {"user": r"send the file (\S+)"}, "text": "Here it is.\nMEDIA:{{match.1}}"},
        {"when": {"user": r"run pwd"}, "tool_calls": [{"name": "terminal", "arguments": {"command": "pwd"}}]},
        {
            "when": {"user": r"remove it"},
            "tool_calls": [{"name": "terminal", "arguments": {"command": "rm -rf ./old && echo removed"}}],
        },
        {
            "when": {"user": r"show markdown"},
            "text": "A **bold** word, a [link](https://example.org), <b>raw</b>.",
        },
        {
            "when": {"user": r"speak slowly"},
            "text": [
                "One moment please, I think. ",
                "It takes some time to say it. ",
                "Now it is complete: done.",
            ],
            "chunk_delay_seconds": 1.0,
        },
        {
            "when": {"user": r"be slow.*?(token-\d+)"},
            "text": "Slow answer to {{match.1}}.",
            "delay_seconds": 1.5,
        },
        {"text": "[{{messages}}] You said: {{user}}"},
    ],
}


@dataclass
class PlatformGateway(Gateway):
    """`platform` with `extra`; the model's address comes from `model_server`."""

    platform: str = ""
    base_url: str = ""
    platforms: dict[str, Any] = field(default_factory=dict)

    def configure(self) -> None:
        config = {
            "model": {
                "provider": "custom",
                "base_url": self.base_url,
                "default": "scripted",
                "api_key": "none",
            },
            "platforms": {self.platform: {"enabled": True, "extra": self.extra}, **self.platforms},
            "display": {"busy_input_mode": "queue"},
            **self.settings,
        }
        self.home.config_file.write_text(yaml.safe_dump(config))
        self.home.config_file.chmod(0o600)

    def state(self) -> dict[str, Any]:
        found: dict[str, Any] = self.ask("status")["services"]["messaging"]["platforms"][self.platform]
        return found

    def end(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait(10)
