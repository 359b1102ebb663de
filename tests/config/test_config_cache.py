"""Long-running processes: fresh when the file changes, alive when it breaks."""

import asyncio
import os
from pathlib import Path

import pytest

from hermes_agent.config.cache import ConfigCache
from hermes_agent.config.files import replace_atomically
from hermes_agent.config.paths import Home
from hermes_agent.core.errors import ConfigError


def write(home: Home, text: str) -> None:
    replace_atomically(home.config_file, text.encode())


def test_nothing_is_read_again_while_nothing_changes(home: Home) -> None:
    write(home, "agent: {max_turns: 1}\n")
    cache = ConfigCache(home)
    assert cache.current() is cache.current()


def test_changes_of_both_files_are_seen(home: Home) -> None:
    cache = ConfigCache(home)
    write(home, "agent: {max_turns: 1}\n")
    assert cache.current().settings.agent.max_turns == 1
    home.env_file.write_text("TERMINAL_ENV=docker\n")
    assert cache.current().settings.terminal.backend == "docker"
    home.config_file.unlink()
    assert cache.current().settings.agent.max_turns == 90


@pytest.mark.parametrize("text", ["a: [\n", "agent: {max_turns: x}\n", "- a\n"])
def test_a_broken_file_keeps_the_last_good_copy_and_is_reported_once(home: Home, text: str) -> None:
    problems: list[ConfigError] = []
    write(home, "agent: {max_turns: 1}\n")
    cache = ConfigCache(home, on_problem=problems.append)
    good = cache.current()
    write(home, text)
    assert cache.current() is good
    assert cache.current() is good
    assert len(problems) == 1
    assert cache.problem is problems[0]
    write(home, "agent: {max_turns: 2}\n")
    assert cache.current().settings.agent.max_turns == 2
    assert cache.problem is None
    assert len(problems) == 1


def test_a_start_with_a_broken_file_is_refused(home: Home) -> None:
    write(home, "a: [\n")
    with pytest.raises(ConfigError):
        ConfigCache(home)


def test_a_link_that_points_elsewhere_is_seen(home: Home, tmp_path: Path) -> None:
    for number in (1, 2):
        target = tmp_path / f"{number}.yaml"
        target.write_text(f"agent: {{max_turns: {number}}}\n")
        os.utime(target, ns=(1_000_000_000, 1_000_000_000))  # as in /nix/store
    home.config_file.symlink_to(tmp_path / "1.yaml")
    cache = ConfigCache(home)
    assert cache.current().settings.agent.max_turns == 1
    home.config_file.unlink()
    home.config_file.symlink_to(tmp_path / "2.yaml")
    assert cache.current().settings.agent.max_turns == 2


async def test_watchers_are_told_of_good_changes_only(home: Home) -> None:
    write(home, "agent: {max_turns: 1}\n")
    reported = asyncio.Event()
    loop = asyncio.get_running_loop()
    cache = ConfigCache(home, on_problem=lambda _error: loop.call_soon_threadsafe(reported.set))
    changes = cache.changes(poll_seconds=0.01)
    following = asyncio.ensure_future(anext(changes))
    write(home, "a: [\n")
    await asyncio.wait_for(reported.wait(), 10)
    assert not following.done()
    write(home, "agent: {max_turns: 2}\n")
    config = await asyncio.wait_for(following, 60)
    assert config.settings.agent.max_turns == 2
    await changes.aclose()
