"""`.usage.json` beside the skills: how often each is used, who wrote it, whether it is pinned."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from hermes_agent.config.files import ensure_directory, replace_atomically


@dataclass(frozen=True, slots=True)
class SkillUsage:
    """Figures of one skill. Times are Unix seconds, 0 if it never happened.

    Attributes:
        created_by: `agent` for skills the agent wrote; anything else is the user's.
        state: `active`, `stale` or `archived`, as the curator found it.
    """

    use_count: int = 0
    view_count: int = 0
    patch_count: int = 0
    last_used_at: float = 0.0
    created_at: float = 0.0
    created_by: str = ""
    state: str = "active"
    pinned: bool = False


class UsageFile:
    """The file. Blocking; writers hold the skills' lock."""

    def __init__(self, root: Path) -> None:
        self._path = root / ".usage.json"

    def read(self) -> dict[str, SkillUsage]:
        """Figures by skill name; a broken file counts as empty."""
        return {name: _usage(data) for name, data in self._raw().items() if isinstance(data, dict)}

    def update(self, name: str, **changes: Any) -> SkillUsage:
        """Change some figures; unknown fields of the file are kept."""
        raw = self._raw()
        known = raw.get(name)
        known = known if isinstance(known, dict) else {}
        changed = replace(_usage(known), **changes)
        raw[name] = {**known, **asdict(changed)}
        self._write(raw)
        return changed

    def count(self, name: str, *, is_use: bool) -> None:
        """Note that a skill was read (`view`) or called by name (`use`)."""
        known = self.read().get(name, SkillUsage())
        counts = {"use_count": known.use_count + 1} if is_use else {"view_count": known.view_count + 1}
        self.update(name, last_used_at=time.time(), state="active", **counts)

    def forget(self, name: str) -> None:
        """Drop the figures of a skill that is gone."""
        raw = self._raw()
        if raw.pop(name, None) is not None:
            self._write(raw)

    def _raw(self) -> dict[str, Any]:
        try:
            data = json.loads(self._path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return data if isinstance(data, dict) else {}

    def _write(self, raw: Mapping[str, Any]) -> None:
        ensure_directory(self._path.parent)
        replace_atomically(self._path, json.dumps(raw, indent=1, sort_keys=True).encode(), mode=0o600)


def _usage(data: Mapping[str, Any]) -> SkillUsage:
    kinds = {field.name: type(field.default) for field in fields(SkillUsage)}
    values: dict[str, Any] = {}
    for name, kind in kinds.items():
        value = data.get(name)
        if kind is float and isinstance(value, int | float) and not isinstance(value, bool):
            values[name] = float(value)
        elif isinstance(value, kind) and not (kind is int and isinstance(value, bool)):
            values[name] = value
    return SkillUsage(**values)
