"""How much of project rules is read."""

from __future__ import annotations

from pathlib import Path

from hermes_agent.agent.context_files import ContextFiles
from hermes_agent.environments.local import LocalEnvironment


async def test_rules_are_cut_at_the_limits_of_the_settings(tmp_path: Path) -> None:
    (tmp_path / "AGENTS.md").write_text("a" * 1_000)
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "AGENTS.md").write_text("b" * 1_000)
    environment = LocalEnvironment(cwd=str(tmp_path), child_env={})
    files = ContextFiles(environment, max_chars=100, hint_max_chars=50)
    rules = await files.load(str(tmp_path))
    assert rules is not None and rules.text.count("a") < 120 and "characters left out" in rules.text
    hint = await files.hint_for(str(tmp_path / "sub" / "x"), str(tmp_path))
    assert hint is not None and hint.text.count("b") < 60
    none = ContextFiles(environment, max_chars=0, hint_max_chars=0)
    assert await none.load(str(tmp_path)) is None
    assert await none.hint_for(str(tmp_path / "sub" / "x"), str(tmp_path)) is None
    await environment.aclose()
