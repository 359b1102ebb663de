"""Late loading by import string: the one way to import something only when it is used."""

from __future__ import annotations

from importlib import import_module
from typing import Any


def load(path: str) -> Any:
    """Import `module:attribute`.

    Raises:
        ImportError: The module does not exist or has no such attribute.
    """
    module_name, _, attribute = path.partition(":")
    module = import_module(module_name)
    try:
        return getattr(module, attribute) if attribute else module
    except AttributeError as error:
        raise ImportError(f"{module_name!r} has no attribute {attribute!r}") from error
