"""The module `hermes_tools` that a script of the model imports: one function per tool.

Its text is written beside the script and runs in whatever Python the project has (3.8 or newer), so it
uses the standard library only and nothing of this package. A call opens its own connection: scripts may
use threads and forks.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from hermes_agent.core.model import ToolDefinition

_HEAD: Final = '''\
"""Tools of the agent that runs this script."""
import json as _json
import os as _os
import socket as _socket


class ToolError(Exception):
    """A tool failed or was refused."""


def _call(_name, _arguments):
    sock = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
    try:
        sock.connect(_os.path.join(_os.path.dirname(_os.path.abspath(__file__)), "rpc"))
        request = {"tool": _name, "arguments": _arguments}
        sock.sendall(_json.dumps(request).encode("utf-8") + b"\\n")
        parts = []
        while True:
            part = sock.recv(1 << 16)
            if not part:
                break
            parts.append(part)
    except OSError as error:
        raise ToolError("the agent does not answer: %s" % error) from None
    finally:
        sock.close()
    if not parts:
        raise ToolError("the agent does not answer any more")
    answer = _json.loads(b"".join(parts).decode("utf-8"))
    if "error" in answer:
        raise ToolError(answer["error"])
    return answer["result"]

'''


def stub(definitions: Sequence[ToolDefinition]) -> str:
    """The module's text, with a function for each of these tools."""
    return _HEAD + "\n".join(_function(definition) for definition in definitions)


def _function(definition: ToolDefinition) -> str:
    properties: dict[str, object] = definition.parameters.get("properties", {})
    required = [name for name in definition.parameters.get("required", ()) if name in properties]
    optional = [name for name in properties if name not in required]
    signature = ", ".join([*required, *(f"{name}=None" for name in optional)])
    given = ", ".join(f'"{name}": {name}' for name in [*required, *optional])
    kept = f"{{k: v for k, v in {{{given}}}.items() if v is not None or k in {required!r}}}"
    return f"\ndef {definition.name}({signature}):\n    return _call({definition.name!r}, {kept})\n"
