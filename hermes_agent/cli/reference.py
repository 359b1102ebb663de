"""The command-line reference, made from the commands themselves: `docs/cli.md`.

`python -m hermes_agent.cli.reference` prints it; `--write` updates the file, `--check` fails if the file
is behind. A test does the same check.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import click

from hermes_agent.cli.errors import EXIT_CODES
from hermes_agent.cli.main import root

PATH = Path(__file__).resolve().parents[2] / "docs" / "cli.md"
_WIDTH = 10_000  # one line per paragraph: the reader's screen wraps it
_HEAD = """\
# Command line

Every command and option of `hermes`. This page is made from the program itself
(`python -m hermes_agent.cli.reference --write`); `hermes COMMAND --help` shows the same.

Output for programs: commands with `--json` print one JSON document, and nothing else, on standard
output. Messages for people go to standard error. `NO_COLOR` turns colours off; where standard output
is no terminal there are none. Shell completion: `hermes completion`.
"""


def render() -> str:
    """The whole page, Markdown."""
    context = _context(root, "hermes")
    with context.scope(cleanup=False):
        parts = [_HEAD, *_command(root, context, level=2)]
    rows = [f"| {code} | {meaning} |" for code, meaning in EXIT_CODES]
    parts += ["## Exit codes\n", "| code | meaning |\n| ---: | --- |\n" + "\n".join(rows) + "\n"]
    return "\n".join(parts)


def _context(command: click.Command, name: str, parent: click.Context | None = None) -> click.Context:
    return click.Context(
        command, info_name=name, parent=parent, terminal_width=_WIDTH, max_content_width=_WIDTH
    )


def _command(command: click.Command, context: click.Context, level: int) -> Iterator[str]:
    """A command's section, then those of its subcommands."""
    usage = " ".join([context.command_path, *command.collect_usage_pieces(context)])
    yield f"{'#' * level} {context.command_path}\n"
    yield f"```\n{usage}\n```\n"
    if command.help:
        yield _prose(command.help)
    options = list(_options(command, context))
    if options:
        yield "| option | meaning |\n| --- | --- |\n" + "\n".join(options) + "\n"
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            child = command.get_command(context, name)
            if child is None or child.hidden:
                continue
            below = _context(child, name, context)
            with below.scope(cleanup=False):
                yield from _command(child, below, min(level + 1, 4))


def _options(command: click.Command, context: click.Context) -> Iterator[str]:
    for parameter in command.get_params(context):
        record = parameter.get_help_record(context)
        if record is None or not isinstance(parameter, click.Option) or "--help" in parameter.opts:
            continue
        names, meaning = (text.replace("|", "\\|") for text in record)
        yield f"| `{names}` | {meaning} |"


def _prose(text: str) -> str:
    """Click's help as Markdown paragraphs."""
    text = text.replace("\b\n", "")
    paragraphs = [" ".join(part.split()) for part in text.split("\f")[0].split("\n\n")]
    return "\n\n".join(filter(None, paragraphs)) + "\n"


def main(arguments: Sequence[str]) -> int:
    """Print, write or check the page; returns the exit code."""
    text = render()
    if "--write" in arguments:
        PATH.write_text(text, encoding="utf-8")
    elif "--check" in arguments:
        if not PATH.exists() or PATH.read_text(encoding="utf-8") != text:
            click.echo(f"{PATH} is behind; python -m hermes_agent.cli.reference --write", err=True)
            return 1
    else:
        click.echo(text, nl=False)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
