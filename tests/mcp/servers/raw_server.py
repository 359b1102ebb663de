"""A stdio server in plain Python (starts in milliseconds) that misbehaves as its arguments say.

Arguments are `name=value`: see the `option` calls.
"""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

OPTIONS = dict(argument.split("=", 1) for argument in sys.argv[1:] if "=" in argument)


def option(name: str, default: str = "") -> str:
    return OPTIONS.get(name, default)


def send(message: dict) -> None:
    sys.stdout.write(json.dumps({"jsonrpc": "2.0", **message}) + "\n")
    sys.stdout.flush()


def tool(name: str, **fields: object) -> dict:
    return {
        "name": name,
        "description": f"Does {name}",
        "inputSchema": {"type": "object", "properties": {"text": {"type": "string"}}},
        **fields,
    }


TOOLS = [
    tool("echo"),
    tool("read", annotations={"readOnlyHint": True}),
    tool("crash"),
    tool("crash_once", annotations={"idempotentHint": True}),
    tool("hang"),
    tool("big"),
    tool("pid"),
    tool("env"),
    tool("change"),
    tool("progress"),
]
if option("more"):
    TOOLS += [tool("say"), tool("touch"), tool("ask")]


TOLD = {"say": "notifications/message", "touch": "notifications/resources/updated"}


def ask(method: str, params: dict) -> dict:
    """A request of the server's own; whatever else comes meanwhile is put off."""
    send({"id": "own-1", "method": method, "params": params})
    while True:
        message = json.loads(sys.stdin.readline())
        if message.get("id") == "own-1":
            return message.get("result") or message["error"]
        note(message)


def note(message: dict) -> None:
    if option("log"):
        with Path(option("log")).open("a") as file:
            file.write(json.dumps(message) + "\n")


def text(value: object) -> dict:
    return {"content": [{"type": "text", "text": str(value)}]}


def call(name: str, arguments: dict, params: dict) -> dict | None:
    if name in ("echo", "read"):
        return text(arguments.get("text", ""))
    if name == "crash":
        print("the floor gave way", file=sys.stderr, flush=True)
        os._exit(3)
    if name == "crash_once":
        mark = Path(option("mark"))
        if not mark.exists():
            mark.touch()
            os._exit(4)
        return text("second time lucky")
    if name == "hang":
        time.sleep(float(option("deaf", "0")))
        return None
    if name == "big":
        return text("x" * int(arguments.get("size", 10_000_000)))
    if name == "pid":
        return text(os.getpid())
    if name == "env":
        return text(json.dumps(dict(os.environ)))
    if name == "progress":
        for step in (1, 2, 3):
            time.sleep(float(arguments.get("pause", 0)))
            send(
                {
                    "method": "notifications/progress",
                    "params": {
                        "progressToken": params["_meta"]["progressToken"],
                        "progress": step,
                        "total": 3,
                        "message": f"step {step}",
                    },
                }
            )
        return text("done")
    if name in TOLD:
        send({"method": TOLD[name], "params": arguments})
        return text("said")
    if name == "ask":
        return text(json.dumps(ask(arguments["method"], arguments.get("params") or {})))
    if name == "change":
        TOOLS.append(tool(f"grown_{len(TOOLS)}"))
        send(
            {
                "method": "notifications/tools/list_changed",
                **({} if not LISTENERS else {"params": {"_meta": {SUBSCRIPTION: LISTENERS[-1]}}}),
            }
        )
        return text("changed")
    return {**text(f"no tool {name}"), "isError": True}


def listed(params: dict) -> dict:
    extra = json.loads(option("tools", "[]"))
    every = [*TOOLS, *extra]
    size = int(option("page", "0"))
    if not size:
        return {"tools": every}
    start = int(params.get("cursor", "0"))
    page = {"tools": every[start : start + size]}
    if start + size < len(every):
        page["nextCursor"] = str(start + size)
    return page


ANSWERS = json.loads(option("answers", "{}"))


def has_answered(method: str, request_id: object) -> bool:
    """Whether the options say what to answer; bytes, not messages."""
    if method not in ANSWERS:
        return False
    sys.stdout.flush()
    answer = ANSWERS[method].replace("{id}", str(request_id))
    sys.stdout.buffer.write(answer.encode("latin-1") + b"\n")
    sys.stdout.buffer.flush()
    return True


LISTENERS: list = []
SUBSCRIPTION = "io.modelcontextprotocol/subscriptionId"


def acknowledged(listener: object, params: dict) -> dict:
    return {
        "method": "notifications/subscriptions/acknowledged",
        "params": {"notifications": params["notifications"], "_meta": {SUBSCRIPTION: listener}},
    }


def modern(request: dict, params: dict) -> dict | None:
    """What a server answers that speaks only the protocol of 2026."""
    method = request["method"]
    if method == "initialize":
        data = {"supported": ["2026-07-28"], "requested": params["protocolVersion"]}
        return {"error": {"code": -32022, "message": "Unsupported protocol version", "data": data}}
    if method == "server/discover":
        return {
            "result": {
                "supportedVersions": ["2026-07-28"],
                "capabilities": {"tools": {"listChanged": True}},
                "resultType": "complete",
                "ttlMs": 0,
                "cacheScope": "private",
            }
        }
    if method == "tools/list":
        return {"result": {**listed(params), "resultType": "complete", "ttlMs": 0, "cacheScope": "private"}}
    if method == "tools/call" and params["name"] == "echo" and "inputResponses" not in params:
        question = {
            "method": "elicitation/create",
            "params": {
                "mode": "form",
                "message": "Loudly?",
                "requestedSchema": {"type": "object", "properties": {"loud": {"type": "boolean"}}},
            },
        }
        return {
            "result": {"resultType": "input_required", "inputRequests": {"q": question}, "requestState": "s1"}
        }
    if method == "tools/call" and params["name"] == "echo":
        is_loud = params["inputResponses"]["q"]["content"]["loud"] and params["requestState"] == "s1"
        words = params["arguments"]["text"]
        return {"result": {**text(words.upper() if is_loud else words), "resultType": "complete"}}
    if method == "tools/call":
        return {
            "result": {
                **call(params["name"], params.get("arguments") or {}, params),
                "resultType": "complete",
            }
        }
    return None


def prepare() -> None:
    if option("stubborn"):
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if option("child"):
        child = subprocess.Popen(["sleep", "1000"])
        Path(option("child")).write_text(str(child.pid))
    if option("starts"):
        with Path(option("starts")).open("a") as file:
            file.write(f"{os.getpid()}\n")
    if option("fail") and not (option("until") and Path(option("until")).exists()):
        print(option("fail"), file=sys.stderr, flush=True)
        sys.exit(7)
    time.sleep(float(option("delay", "0")))
    while option("gate") and not Path(option("gate")).exists():
        time.sleep(0.01)
    if option("garbage"):
        print("Welcome to my server!\n{]\n\n\x00\xff", flush=True)


def main() -> None:
    prepare()
    for line in sys.stdin:
        request = json.loads(line)
        method, params = request.get("method"), request.get("params") or {}
        note(request)
        if "id" not in request or method is None:
            continue
        if option("mute") or has_answered(method, request["id"]):
            continue
        if option("modern"):
            if method == "subscriptions/listen":
                send(acknowledged(request["id"], params))
                LISTENERS.append(request["id"])
                continue
            answer = modern(request, params)
            if answer is not None:
                send({"id": request["id"], **answer})
                continue
        if method == "initialize":
            result = {
                "protocolVersion": params["protocolVersion"],
                "capabilities": {"tools": {"listChanged": True}, **json.loads(option("capabilities", "{}"))},
                "serverInfo": {"name": "raw", "version": "1"},
            }
        elif method == "tools/list":
            result = listed(params)
        elif method == "tools/call":
            result = call(params["name"], params.get("arguments") or {}, params)
            if result is None:
                continue
        elif method == "resources/read":
            result = {"contents": [{"uri": params["uri"], "text": "as it is now"}]}
        elif method in ("resources/subscribe", "logging/setLevel", "ping"):
            result = {}
        else:
            send({"id": request["id"], "error": {"code": -32601, "message": f"no {method}"}})
            continue
        send({"id": request["id"], "result": result})
    if option("stubborn"):
        time.sleep(1000)


main()
