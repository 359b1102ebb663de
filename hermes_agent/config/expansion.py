"""`${NAME}` in values of config.yaml."""

from __future__ import annotations

import re
from typing import Any

from hermes_agent.config.variables import Reader

_TEMPLATE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")


def expand(value: Any, environ: Reader, unresolved: set[str]) -> Any:
    """A copy of a value with templates replaced in its strings, keys apart.

    A variable that is absent or empty leaves its template as it stands; its name is added to
    `unresolved`. What a variable holds is not expanded again.
    """
    if isinstance(value, str):
        return (
            _TEMPLATE.sub(lambda found: _resolve(found, environ, unresolved), value)
            if "${" in value
            else value
        )
    if isinstance(value, dict):
        return {key: expand(item, environ, unresolved) for key, item in value.items()}
    if isinstance(value, list):
        return [expand(item, environ, unresolved) for item in value]
    return value


def _resolve(found: re.Match[str], environ: Reader, unresolved: set[str]) -> str:
    value = environ.get(found.group(1))
    if value is None:
        unresolved.add(found.group(1))
        return found.group(0)
    return value


def has_template(value: object) -> bool:
    """Whether a text contains `${NAME}`."""
    return isinstance(value, str) and _TEMPLATE.search(value) is not None
