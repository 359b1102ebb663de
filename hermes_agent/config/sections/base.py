"""What all sections share."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, model_validator

# Otherwise the first model looks through the metadata of every installed package for plug-ins of pydantic.
os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "1")


class Section(BaseModel):
    """A frozen part of the settings. Keys nobody knows are kept, so that they survive a save.

    The docstring under a field is its documentation: the configuration reference and the JSON Schema
    are generated from it (`config.schema` reads the source only then, so that a start need not).
    A key whose value is null counts as absent.
    """

    model_config = ConfigDict(
        frozen=True,
        extra="allow",
        defer_build=True,
        coerce_numbers_to_str=True,
        protected_namespaces=(),
    )

    @model_validator(mode="before")
    @classmethod
    def _null_is_absent(cls, data: Any) -> Any:
        if isinstance(data, Mapping):
            return {key: value for key, value in data.items() if value is not None}
        return data


def _word(value: Any) -> Any:
    return ("true" if value else "false") if isinstance(value, bool) else value


Word = Annotated[str, BeforeValidator(_word)]
"""A text that may also be written as a bare `true` or `false`: values of variables and headers."""
