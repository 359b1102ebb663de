"""Values of `hermes doctor`: what a check looks at, and what it finds."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

from hermes_agent.cli.output import Terminal
from hermes_agent.config.loader import LoadedConfig
from hermes_agent.config.paths import Home
from hermes_agent.core.errors import HermesError
from hermes_agent.core.redaction import Redactor

Status = Literal["ok", "warn", "fail", "skip"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report.

    Attributes:
        name: What was looked at.
        status: `warn` limits something, `fail` keeps hermes from working, `skip` was not looked at.
        message: What is the case.
        why: The cause, if it is known and adds something.
        remedy: What to do.
        fixed: `--fix` just mended it.
    """

    name: str
    status: Status
    message: str
    why: str | None = None
    remedy: str | None = None
    fixed: bool = False

    @classmethod
    def of_error(cls, name: str, error: HermesError, status: Status = "fail") -> Finding:
        """What an error says."""
        return cls(name, status, error.message, error.why, error.remedy)


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What checks look at, and how far they may go.

    Attributes:
        environ: The process environment.
        config: Loaded tolerantly: what is wrong is in `problems`.
        is_deep: Read the whole database.
        is_online: Ask the model, reach the command environment.
        is_fixing: Mend what can be mended safely.
    """

    home: Home
    environ: Mapping[str, str]
    terminal: Terminal
    config: LoadedConfig
    redactor: Redactor
    is_deep: bool = False
    is_online: bool = False
    is_fixing: bool = False


Check: TypeAlias = Callable[[Surroundings], Iterator[Finding]]
"""Yields one finding or more; raises nothing but `HermesError`."""
