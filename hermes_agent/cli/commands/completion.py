"""`hermes completion`."""

from __future__ import annotations

import click

from hermes_agent.cli.shell_completion import INSTRUCTIONS, SHELLS, answer, script
from hermes_agent.core.errors import UsageError
from hermes_agent.core.loading import load


def _shells(_ctx: click.Context, _parameter: click.Parameter, incomplete: str) -> list[str]:
    return [shell for shell in SHELLS if shell.startswith(incomplete)]


@click.command("completion")
@click.option("--answer", "asking", type=click.Choice(SHELLS), hidden=True)
@click.argument("words", nargs=-1, type=click.UNPROCESSED, metavar="[bash|zsh|fish]", shell_complete=_shells)
def command(asking: str | None, words: tuple[str, ...]) -> None:
    """Print completion code for a shell.

    Without a shell it says how to install the code for each of them.
    """
    if asking is not None:
        for line in answer(load("hermes_agent.cli.main:root"), asking, words):
            click.echo(line)
    elif not words:
        texts = (text.removeprefix("#compdef hermes\n").rstrip() for text in INSTRUCTIONS.values())
        click.echo("\n\n".join(texts))
    elif len(words) == 1 and words[0] in SHELLS:
        click.echo(script(words[0]), nl=False)
    else:
        raise UsageError(
            f"There is no completion for {' '.join(words)!r}", remedy=f"Shells: {', '.join(SHELLS)}"
        )
