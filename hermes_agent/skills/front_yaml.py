"""Front matters that need a YAML reader."""

from __future__ import annotations

import yaml

from hermes_agent.skills.front_matter import SkillFormatError

_Loader: type[yaml.SafeLoader] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
MAX_DEPTH = 12


def read(head: str) -> object:
    """The value of a front matter.

    Raises:
        SkillFormatError: It is no YAML, or uses what could blow it up.
    """
    try:
        loader = _Loader(head)
        try:
            depth = 0
            while (event := loader.get_event()) is not None:  # type: ignore[no-untyped-call]
                # References could blow a short text up to gigabytes, deep nesting overflows the stack.
                if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
                    raise SkillFormatError("the front matter must not use YAML anchors")
                depth += isinstance(event, yaml.CollectionStartEvent)
                depth -= isinstance(event, yaml.CollectionEndEvent)
                if depth > MAX_DEPTH:
                    raise SkillFormatError("the front matter is nested too deeply")
        finally:
            loader.dispose()
        return yaml.load(head, Loader=_Loader)  # noqa: S506 - a safe loader
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        if isinstance(error, SkillFormatError):
            raise
        first = " ".join(str(error).split())[:160]
        raise SkillFormatError(f"the front matter is no valid YAML: {first}") from error
