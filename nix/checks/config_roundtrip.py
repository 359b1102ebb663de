"""The seven ways a declared configuration meets a config.yaml, through the packaged program."""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

from hermes_agent.config import yaml_reader

SCENARIOS = {
    "fresh": ({}, {"model": {"default": "a"}}, {"model": {"default": "a"}}),
    "override": ({"timezone": "UTC"}, {"timezone": "Europe/Berlin"}, {"timezone": "Europe/Berlin"}),
    "user keys kept": ({"mine": 1}, {"model": {"default": "a"}}, {"mine": 1, "model": {"default": "a"}}),
    "mixed": (
        {"model": {"default": "mine", "max_tokens": 5}, "toolsets": ["x"]},
        {"model": {"default": "nix"}, "toolsets": ["z"]},
        {"model": {"default": "nix", "max_tokens": 5}, "toolsets": ["z"]},
    ),
    "mcp additive": (
        {"mcp_servers": {"mine": {"command": "m"}, "both": {"command": "old", "timeout": 3}}},
        {"mcp_servers": {"nix": {"url": "u"}, "both": {"command": "new"}}},
        {"mcp_servers": {"mine": {"command": "m"}, "both": {"command": "new", "timeout": 3}, "nix": {"url": "u"}}},
    ),
    "nested deep": ({"a": {"b": {"c": {"d": 1, "e": 2}}}}, {"a": {"b": {"c": {"d": 9}}}}, {"a": {"b": {"c": {"d": 9, "e": 2}}}}),
    "idempotent": ({"a": {"b": 2}}, {"a": {"b": 2}}, {"a": {"b": 2}}),
}


def activate(root: Path, settings: dict) -> str:
    """Apply settings; the content of config.yaml afterwards."""
    spec = {
        "version": 1,
        "state_directory": str(root),
        "home": str(root / ".hermes"),
        "working_directory": str(root / "workspace"),
        "settings": settings,
    }
    (root / "spec.json").write_text(json.dumps(spec))
    command = [sys.executable, "-m", "hermes_agent.deploy.command", "--spec", str(root / "spec.json")]
    subprocess.run(command, check=True)
    return (root / ".hermes/config.yaml").read_text()


for name, (current, declared, expected) in SCENARIOS.items():
    with tempfile.TemporaryDirectory() as directory:
        root = Path(directory)
        config = root / ".hermes/config.yaml"
        config.parent.mkdir()
        if current:
            config.write_text("# a note\n" + json.dumps(current))
        once = activate(root, declared)
        assert yaml_reader.read(config).data == expected, (name, once)
        assert activate(root, declared) == once, f"{name}: a second time changes something"
        print(f"{name}: ok")
