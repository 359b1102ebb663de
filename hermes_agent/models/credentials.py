"""Where keys come from: variables, settings and the pool in auth.json. Reads only; sends nothing."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hermes_agent.config.environ import Environ


@dataclass(frozen=True, slots=True)
class Credential:
    """One key. Empty `secret`: the endpoint needs none.

    Attributes:
        id: Stable within a provider.
        label: For people.
        secret: The key itself; never shown.
        source: `env:NAME`, `config`, `manual` …
        priority: Lower ones are taken first by `fill_first`.
    """

    id: str
    label: str = ""
    secret: str = field(default="", repr=False)
    source: str = ""
    priority: int = 0


NO_KEY = Credential("none", "no key")


def usable(secret: str) -> str:
    """The key as a header can carry it: ASCII, without white space around it."""
    return "".join(char for char in secret.strip() if 32 < ord(char) < 127)


def from_environment(environ: Environ, names: Iterable[str]) -> list[Credential]:
    """The keys in variables, in the order of `names`, each value once."""
    found: dict[str, Credential] = {}
    for place, name in enumerate(names):
        secret = usable(environ.get(name) or "")
        if secret and secret not in found:
            found[secret] = Credential(f"env:{name}", name, secret, f"env:{name}", place)
    return list(found.values())


def from_auth_file(path: Path, provider: str, environ: Environ) -> list[Credential]:
    """The provider's entries of `credential_pool`, and its signed-in token, lowest priority number first.

    A missing, unreadable or broken file gives none; `hermes doctor` is where that is reported.
    """
    data = _read(path)
    entries = _mapping(data.get("credential_pool")).get(provider)
    found: list[Credential] = []
    for place, entry in enumerate(entries if isinstance(entries, list) else ()):
        if isinstance(entry, dict):
            credential = _from_entry(entry, place, environ)
            if credential is not None:
                found.append(credential)
    found.sort(key=lambda each: each.priority)
    state = _mapping(_mapping(data.get("providers")).get(provider))
    tokens = _mapping(state.get("tokens"))
    token = state.get("access_token") or tokens.get("access_token")
    if isinstance(token, str) and usable(token):
        found.append(Credential("signed-in", "signed in", usable(token), "auth.json", 1000))
    return found


def _from_entry(entry: Mapping[str, Any], place: int, environ: Environ) -> Credential | None:
    source = str(entry.get("source") or "manual")
    secret = environ.get(source[4:]) if source.startswith("env:") else entry.get("access_token")
    if not isinstance(secret, str) or not usable(secret):
        return None
    priority = entry.get("priority")
    return Credential(
        id=str(entry.get("id") or f"entry-{place + 1}"),
        label=str(entry.get("label") or source),
        secret=usable(secret),
        source=source,
        priority=priority if isinstance(priority, int) else place,
    )


def _read(path: Path) -> Mapping[str, Any]:
    try:
        return _mapping(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return {}


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def distinct(credentials: Iterable[Credential]) -> tuple[Credential, ...]:
    """Each key once, the first of equal ones."""
    by_secret: dict[str, Credential] = {}
    for credential in credentials:
        by_secret.setdefault(credential.secret, credential)
    return tuple(by_secret.values())
