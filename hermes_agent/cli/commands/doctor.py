"""`hermes doctor`."""

from __future__ import annotations

import json

import click

from hermes_agent.cli.checks.finding import Finding, Surroundings
from hermes_agent.cli.checks.report import examine, render, to_json, worst
from hermes_agent.cli.options import Invocation
from hermes_agent.config.loader import load
from hermes_agent.config.paths import Home
from hermes_agent.core.redaction import Redactor

EXIT_FAILED = 1


@click.command("doctor")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object.")
@click.option("--fix", "is_fixing", is_flag=True, help="Mend what can be mended without losing anything.")
@click.option("--online", "is_online", is_flag=True, help="Also ask the model and reach the command backend.")
@click.option("--deep", "is_deep", is_flag=True, help="Also read the whole database, however large.")
@click.pass_context
def command(ctx: click.Context, as_json: bool, is_fixing: bool, is_online: bool, is_deep: bool) -> None:
    """Check the installation and say how to mend it.

    Nothing is changed without --fix, and nothing leaves this machine without --online. Exits with 1 if
    something fails.
    """
    invocation: Invocation = ctx.obj
    home = Home.from_environment()
    config = load(home, tolerant=True)
    around = Surroundings(
        home,
        invocation.environ,
        invocation.terminal,
        config,
        Redactor(config.secret_values()),
        is_deep=is_deep or is_fixing,
        is_online=is_online,
        is_fixing=is_fixing,
    )
    findings: list[tuple[str, Finding]] = []
    heading = ""
    for group, finding in examine(around):
        findings.append((group, finding))
        if as_json:
            continue
        if group != heading:
            click.echo(("\n" if heading else "") + (click.style(group, bold=True)))
            heading = group
        click.echo(render(finding, color=invocation.terminal.color_stdout))
    if as_json:
        click.echo(json.dumps(to_json(findings), indent=2, ensure_ascii=False))
    else:
        click.echo("\n" + _summary(findings))
    ctx.exit(EXIT_FAILED if worst(findings) == "fail" else 0)


def _summary(findings: list[tuple[str, Finding]]) -> str:
    counts = {status: sum(each.status == status for _, each in findings) for status in ("fail", "warn")}
    mended = sum(each.fixed for _, each in findings)
    parts = [f"{mended} mended"] if mended else []
    if counts["fail"]:
        parts.append(f"{counts['fail']} {'problem' if counts['fail'] == 1 else 'problems'}")
    if counts["warn"]:
        parts.append(f"{counts['warn']} {'warning' if counts['warn'] == 1 else 'warnings'}")
    if not counts["fail"] and not counts["warn"]:
        parts.append("All is well")
    return ", ".join(parts) + "."
