"""The options of a chat, shared by `hermes` and `hermes chat`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from typing import TypeVar

import click

from hermes_agent.cli.output import Terminal

CommandT = TypeVar("CommandT", bound=Callable[..., object])


@dataclass(frozen=True, slots=True)
class ChatOptions:
    """What the command line said about a chat; None, False and () mean that it said nothing."""

    prompt: str | None = None
    final_only: str | None = None
    as_json: bool = False
    is_quiet: bool = False
    model: str | None = None
    provider: str | None = None
    toolsets: str | None = None
    max_turns: int | None = None
    yolo: bool = False
    checkpoints: bool = False
    verbose: bool = False
    images: tuple[str, ...] = ()
    source: str | None = None
    resume: str | None = None
    continue_latest: str | None = None
    ignore_user_config: bool = False
    ignore_rules: bool = False
    safe_mode: bool = False
    debug: bool = False

    def merged_with(self, later: ChatOptions) -> ChatOptions:
        """What both say; `later` wins where it says something."""
        given = {
            field.name: value
            for field in fields(self)
            if (value := getattr(later, field.name)) not in (None, False, ())
        }
        return replace(self, **given)


@dataclass(frozen=True, slots=True)
class Invocation:
    """What every command may want to know; `click.Context.obj`."""

    terminal: Terminal
    environ: Mapping[str, str]
    options: ChatOptions = ChatOptions()


_OPTIONS = (
    click.option(
        "-q", "--query", "prompt", metavar="TEXT", help="Ask once, show the work, leave; '-' reads stdin."
    ),
    click.option(
        "-z", "--final", "final_only", metavar="TEXT", help="Ask once, print only the final answer."
    ),
    click.option("--json", "as_json", is_flag=True, help="Ask once, print every event as a JSON line."),
    click.option("-Q", "--quiet", "is_quiet", is_flag=True, help="No banner, no tool lines: answers only."),
    click.option("-m", "--model", metavar="NAME", help="Model, or provider:model."),
    click.option("--provider", metavar="ID", help="Provider; 'demo' works offline and without a key."),
    click.option("-t", "--toolsets", metavar="LIST", help="Toolsets, separated by commas."),
    click.option("--max-turns", type=click.IntRange(min=1), metavar="N", help="Most model requests per run."),
    click.option(
        "-r", "--resume", metavar="SESSION", help="Go on with a session: id, start of it, or title."
    ),
    click.option(
        "-c",
        "--continue",
        "continue_latest",
        is_flag=False,
        flag_value="",
        default=None,
        metavar="[TITLE]",
        help="Go on with the latest session (of that title).",
    ),
    click.option("--image", "images", multiple=True, metavar="FILE", help="Attach an image; repeatable."),
    click.option("--yolo", is_flag=True, help="Run risky commands without asking."),
    click.option("--checkpoints", is_flag=True, help="Take snapshots of files, for /rollback."),
    click.option("-v", "--verbose", is_flag=True, help="Show whole tool outputs."),
    click.option("--source", metavar="NAME", help="Where the session says it came from (default: cli)."),
    click.option("--ignore-user-config", is_flag=True, help="Use built-in settings instead of config.yaml."),
    click.option("--ignore-rules", is_flag=True, help="Read no AGENTS.md and other project rules."),
    click.option("--safe-mode", is_flag=True, help="Both of the above, and no personality."),
    click.option("--debug", is_flag=True, help="Show tracebacks, log everything."),
)


def chat_options(function: CommandT) -> CommandT:
    """Add the options of a chat to a click command."""
    for option in reversed(_OPTIONS):
        function = option(function)
    return function
