"""`${NAME}` in values of config.yaml."""

from __future__ import annotations

import re
from typing import Any

from hermes_agent.config.keys import Key
from hermes_agent.config.variables import Reader

_TEMPLATE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")


def expand(value: Any, environ: Reader, unresolved: dict[str, Key] | None = None, key: Key = ()) -> Any:
    """A copy of a value with templates replaced in its strings, keys apart.

    A variable that is absent or empty leaves its template as it stands. What a variable holds is not
    expanded again.

    Args:
        value: Maps, lists and scalars.
        environ: Where variables are looked up.
        unresolved: Gets the names of variables that are not set, each with the first key that uses it.
        key: Where the value stands.
    """
    if isinstance(value, str):
        return _expand_text(value, environ, unresolved, key) if "${" in value else value
    if isinstance(value, dict):
        return {name: expand(item, environ, unresolved, (*key, str(name))) for name, item in value.items()}
    if isinstance(value, list):
        return [expand(item, environ, unresolved, (*key, str(index))) for index, item in enumerate(value)]
    return value


def _expand_text(text: str, environ: Reader, unresolved: dict[str, Key] | None, key: Key) -> str:
    def resolve(found: re.Match[str]) -> str:
        value = environ.get(found.group(1))
        if value is None and unresolved is not None:
            unresolved.setdefault(found.group(1), key)
        return found.group(0) if value is None else value

    return _TEMPLATE.sub(resolve, text)


def has_template(value: object) -> bool:
    """Whether a text contains `${NAME}`."""
    return isinstance(value, str) and _TEMPLATE.search(value) is not None
