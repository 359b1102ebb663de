"""`hermes-agent-container run`: bring the container up, stay with it, and stand in for it towards systemd.

Readiness, watchdog and time-outs are the gateway's own: it says them inside, they are handed on outside.
If this process is killed the container goes on, and the next one adopts it.
"""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any

from hermes_agent.config.paths import Home
from hermes_agent.core.errors import ExecutionError, HermesError
from hermes_agent.deploy.container import host
from hermes_agent.deploy.container.engine import Engine
from hermes_agent.deploy.container.notify import NotifySocket, ServiceManager, one_line
from hermes_agent.deploy.container.reconcile import Action, Plan, Reconciler, decide, observe
from hermes_agent.deploy.container.spec import ContainerSpec
from hermes_agent.deploy.container.structure import build_structure

EXIT_ROLLED_BACK = 1
_GRACE_SECONDS = 20
_ASK_SECONDS = 4.0
_ADOPT_TRIES = 3
_LAST_WORDS_SECONDS = 5.0
_REPEAT_SECONDS = 2.0


class Supervisor:
    """One run of the container.

    Args:
        spec: The spec.
        variables: The process environment: `NOTIFY_SOCKET` and `WATCHDOG_USEC` are read from it.
    """

    def __init__(self, spec: ContainerSpec, variables: Mapping[str, str]) -> None:
        self._spec = spec
        self._structure = build_structure(spec)
        self._account = host.resolve_account(spec)
        watchdog = {"WATCHDOG_USEC": variables["WATCHDOG_USEC"]} if variables.get("WATCHDOG_USEC") else {}
        self._start = host.start_facts(spec, self._account, watchdog)
        self._manager = ServiceManager(variables.get("NOTIFY_SOCKET"))
        self._ending = asyncio.Event()
        self._is_ready = False
        self._is_stopping = False
        self._container = ""
        self._exited: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._tasks: set[asyncio.Task[None]] = set()
        self._output: threading.Thread | None = None

    async def run(self) -> int:
        """Stay until the container has ended; returns the exit code for systemd.

        Raises:
            HermesError: It could not be brought up.
        """
        spec = self._spec
        with host.supervising(spec):
            host.add_roots(spec)
            host.prepare_state(spec, self._account)
            host.check_mounts(self._structure.binds)
            self._notifications = NotifySocket(
                spec.control / host.NOTIFY_NAME,
                self._account.gid,
                self._on_message,
                longest_extension=spec.drain_seconds + 2 * _GRACE_SECONDS,
            )
            self._notifications.open()
            try:
                with _Signals(self):
                    return await self._work()
            finally:
                self._notifications.close()

    def end(self) -> None:
        """Stop in good order. A second call hurries what still runs."""
        if not self._ending.is_set():
            self._ending.set()
        elif self._container:
            self._signal("SIGTERM")

    def reload(self) -> None:
        """Hand a reload on."""
        if self._container:
            self._signal("SIGHUP")

    async def _work(self) -> int:
        spec = self._spec
        self._engine = await asyncio.to_thread(Engine, spec.backend, spec.sockets)
        self._reconciler = Reconciler(
            spec, self._structure, self._engine, tell=self._tell_busy, is_stopped=self._ending.is_set
        )
        try:
            plan = await asyncio.to_thread(self._plan)
            for line in plan.lines(spec.name):
                _say(line)
            if plan.action is Action.ADOPT and not await self._adopt(plan):
                _say("The gateway in it does not answer; it is started again.")
                assert plan.base is not None
                await asyncio.to_thread(self._reconciler.stop, plan.base.id, hurry=True)
                plan = Plan(Action.START, (), plan.base)
            if plan.action is not Action.ADOPT:
                await self._bring_up(plan)
            if self._ending.is_set() and not self._container:
                return 0
            return await self._stay()
        except ExecutionError:
            if self._ending.is_set() and not self._container:
                return 0  # told to end while it was still preparing
            raise
        finally:
            self._engine.close()

    def _plan(self) -> Plan:
        return decide(self._spec, self._structure, self._start, observe(self._spec, self._engine))

    async def _adopt(self, plan: Plan) -> bool:
        """Take over a container that runs; False if its gateway does not answer."""
        assert plan.base is not None
        home = Home(self._spec.home)
        self._container = plan.base.id
        for _ in range(_ADOPT_TRIES):
            status = await asyncio.to_thread(ask_status, home)
            if status is not None:
                break
            with suppress(TimeoutError):
                await asyncio.wait_for(self._ending.wait(), 1)
        else:
            self._container = ""
            return False
        self._container = await asyncio.to_thread(self._reconciler.make_ready, plan)
        await asyncio.to_thread(self._follow)
        self._watch()
        if status.get("gateway_state") == "running":
            self._on_message(["READY=1", "STATUS=adopted"])
        return True

    async def _bring_up(self, plan: Plan) -> None:
        container = await asyncio.to_thread(self._reconciler.make_ready, plan)
        if self._ending.is_set():
            return
        host.place_control(self._spec, self._start)
        self._manager.busy("starting the gateway in the container", 120)
        self._notifications.forget()
        self._container = container
        await asyncio.to_thread(self._follow)
        try:
            await asyncio.to_thread(self._engine.start, container)
            found = await asyncio.to_thread(self._engine.find, container)
        except ExecutionError:
            await self._roll_back()
            raise
        if found is not None:
            host.write_record(self._spec, container, found.started_at, self._start)
        self._watch()

    async def _stay(self) -> int:
        ending: asyncio.Future[bool] = asyncio.ensure_future(self._ending.wait())
        either: set[asyncio.Future[Any]] = {ending, self._exited}
        try:
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        finally:
            ending.cancel()
        was_asked = self._ending.is_set() and not self._exited.done()
        if was_asked:
            await self._stop()
        code = await self._exited
        await asyncio.to_thread(self._last_words)
        if was_asked:
            return 0 if code in {0, 128 + signal.SIGTERM} else code
        found = await asyncio.to_thread(self._engine.find, self._container)
        reason = ": there was no memory left" if found is not None and found.is_out_of_memory else ""
        _say(f"The container ended with exit code {code}{reason}.")
        if not self._is_ready and await self._roll_back():
            return code or EXIT_ROLLED_BACK
        return code

    async def _stop(self) -> None:
        patience = self._spec.drain_seconds + _GRACE_SECONDS
        self._manager.tell(
            "STOPPING=1",
            "STATUS=waiting for the gateway in the container",
            f"EXTEND_TIMEOUT_USEC={int((patience + 10) * 1_000_000)}",
        )
        await self._ask_to_end(patience)
        if not self._exited.done():
            _say(f"The container did not end within {patience:g} s; it is killed.")
            await asyncio.to_thread(self._engine.signal, self._container, "SIGKILL")
            await asyncio.wait({self._exited}, timeout=30)
        if not self._exited.done():
            raise ExecutionError("The container cannot be ended", remedy="Restart the container engine.")

    async def _ask_to_end(self, patience: float) -> None:
        """Send SIGTERM until somebody says that it arrived: what only just begins does not hear it."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + patience
        while not self._exited.done() and (left := deadline - loop.time()) > 0:
            if not self._is_stopping:
                await asyncio.to_thread(self._engine.signal, self._container, "SIGTERM")
            await asyncio.wait({self._exited}, timeout=min(left, _REPEAT_SECONDS))

    async def _roll_back(self) -> bool:
        is_back = await asyncio.to_thread(self._reconciler.roll_back)
        if is_back:
            _say(
                "The new container did not get ready. The old one is back, with all that is in it; "
                "it runs again with the old configuration (nixos-rebuild switch --rollback)."
            )
        return is_back

    def _on_message(self, lines: list[str]) -> None:
        if not self._container:
            return  # the last words of one that gives way to another
        self._manager.tell(*lines)
        self._is_stopping = self._is_stopping or "STOPPING=1" in lines
        if "READY=1" in lines and not self._is_ready:
            self._is_ready = True
            self._begin(self._confirm())

    async def _confirm(self) -> None:
        try:
            gone = await asyncio.to_thread(self._reconciler.confirm)
            gone += [f"the root {name}" for name in host.remove_old_roots(self._spec)]
            for thing in gone:
                _say(f"No longer needed and removed: {thing}.")
        except HermesError as error:
            _say(f"Something old could not be removed: {' '.join(error.lines)}")

    def _signal(self, name: str) -> None:
        self._begin(self._send(name))

    async def _send(self, name: str) -> None:
        try:
            await asyncio.to_thread(self._engine.signal, self._container, name)
        except HermesError as error:
            _say(" ".join(error.lines))

    def _begin(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _tell_busy(self, status: str, seconds: float) -> None:
        self._manager.busy(status, seconds)

    def _follow(self) -> None:
        """Copy what the container writes from now on. Its thread ends with the container."""
        pieces = self._engine.another().output(self._container)
        self._output = threading.Thread(target=_copy, args=(pieces,), name="output", daemon=True)
        self._output.start()

    def _watch(self) -> None:
        """Notice the end of the container."""
        loop = asyncio.get_running_loop()
        container, engine = self._container, self._engine

        def wait() -> None:
            try:
                code = engine.another().wait(container)
            except HermesError as error:
                failure = error
                with suppress(RuntimeError):
                    loop.call_soon_threadsafe(self._lost, failure)
                return
            with suppress(RuntimeError):
                loop.call_soon_threadsafe(self._ended, code)

        threading.Thread(target=wait, name="wait", daemon=True).start()

    def _ended(self, code: int) -> None:
        if not self._exited.done():
            self._exited.set_result(code)

    def _lost(self, error: HermesError) -> None:
        if not self._exited.done():
            self._exited.set_exception(error)

    def _last_words(self) -> None:
        if self._output is not None:
            self._output.join(_LAST_WORDS_SECONDS)


class _Signals:
    """SIGTERM and SIGINT end, SIGHUP and SIGUSR1 reload."""

    def __init__(self, supervisor: Supervisor) -> None:
        self._supervisor = supervisor

    def __enter__(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._supervisor.end)
        for number in (signal.SIGHUP, signal.SIGUSR1):
            loop.add_signal_handler(number, self._supervisor.reload)

    def __exit__(self, *_: object) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1):
            loop.remove_signal_handler(number)


def ask_status(home: Home) -> Mapping[str, Any] | None:
    """What the running gateway says of itself; None if it does not answer."""
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as asking:
            asking.settimeout(_ASK_SECONDS)
            deadline = time.monotonic() + _ASK_SECONDS
            asking.connect(str(home.gateway_socket))
            asking.sendall(b'{"command": "status"}\n')
            received = b""
            while not received.endswith(b"\n") and time.monotonic() < deadline:
                data = asking.recv(65_536)
                if not data:
                    break
                received += data
        answer = json.loads(received)
    except (OSError, ValueError):
        return None
    return answer if isinstance(answer, dict) and answer.get("ok") else None


def _copy(pieces: Iterable[tuple[bytes | None, bytes | None]]) -> None:
    for out, err in pieces:
        # Whoever reads may go away; the container's output is still taken, or it would stand still.
        with suppress(OSError, ValueError):
            if out:
                sys.stdout.buffer.write(out)
                sys.stdout.buffer.flush()
            if err:
                sys.stderr.buffer.write(err)
                sys.stderr.buffer.flush()


def _say(text: str) -> None:
    with suppress(OSError):
        print(one_line(text) if "\n" not in text else text, flush=True)


async def supervise(spec: ContainerSpec, variables: Mapping[str, str]) -> int:
    """Be the supervisor; returns the exit code. Raises `HermesError` if the container cannot be had."""
    return await Supervisor(spec, variables).run()
