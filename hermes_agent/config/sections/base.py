"""What all sections share."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """A frozen part of the settings. Keys nobody knows are kept, so that they survive a save.

    The docstring under a field is its documentation: the configuration reference and the JSON Schema
    are generated from it.
    """

    model_config = ConfigDict(frozen=True, extra="allow", use_attribute_docstrings=True, defer_build=True)
