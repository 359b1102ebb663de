"""Runs beside a script in a container or on another host: carries its tool calls over standard streams.

Its text is sent there and run with whatever Python 3 the place has: standard library only. A connection of
the script is a number; its line goes out as `hermes-rpc NUMBER LINE`, and the answer comes in as
`NUMBER LINE`, or as `NUMBER @PATH` if it is long. It ends with its input.
"""

from __future__ import annotations

import itertools
import os
import socket
import sys
import threading

LINE_BYTES = 8_000_000


def main(path: str) -> None:
    """Serve the socket at this path until standard input ends."""
    server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    server.bind(path)
    server.listen(64)
    waiting: dict[int, socket.socket] = {}
    writing = threading.Lock()
    threading.Thread(target=_answer, args=(waiting,), daemon=True).start()
    _send(writing, b"hermes-rpc 0 ready\n")
    for number in itertools.count(1):
        connection, _ = server.accept()
        waiting[number] = connection
        threading.Thread(target=_ask, args=(number, connection, writing, waiting), daemon=True).start()


def _ask(
    number: int, connection: socket.socket, writing: threading.Lock, waiting: dict[int, socket.socket]
) -> None:
    data = bytearray()
    try:
        connection.settimeout(30)
        while not data.endswith(b"\n") and len(data) <= LINE_BYTES:
            part = connection.recv(65536)
            if not part:
                break
            data += part
        connection.settimeout(None)
    except OSError:
        data.clear()
    line = bytes(data).partition(b"\n")[0] if data.endswith(b"\n") else b""
    if number in waiting:
        _send(writing, b"hermes-rpc %d %s\n" % (number, line))


def _answer(waiting: dict[int, socket.socket]) -> None:
    for line in sys.stdin.buffer:
        number, _, answer = line.rstrip(b"\n").partition(b" ")
        connection = waiting.pop(int(number), None)
        if connection is not None:
            threading.Thread(target=_finish, args=(connection, answer), daemon=True).start()
    os._exit(0)


def _finish(connection: socket.socket, answer: bytes) -> None:
    try:
        if answer.startswith(b"@"):
            with open(answer[1:], "rb") as file:  # noqa: PTH123 - as old a Python as there is
                answer = file.read()
            os.unlink(file.name)  # noqa: PTH108 - likewise
        connection.sendall(answer)
    except OSError:
        pass
    finally:
        connection.close()


def _send(writing: threading.Lock, data: bytes) -> None:
    with writing:
        view = memoryview(data)
        while view:
            view = view[os.write(1, view) :]


if __name__ == "__main__":
    main(sys.argv[1])
