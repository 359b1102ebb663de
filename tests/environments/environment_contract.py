"""What every environment promises, as tests. Subclasses give the `environment` fixture."""

from __future__ import annotations

import asyncio
import time

import pytest

from hermes_agent.core.environment import Command, Environment
from hermes_agent.core.errors import ToolError


class EnvironmentContract:
    """Needs a fixture `environment`, open in a place with bash, where `scratch` is a new directory."""

    async def test_output_of_both_streams_is_interleaved_and_the_exit_code_kept(
        self, environment: Environment
    ) -> None:
        result = await environment.execute(Command("echo a; echo b >&2; echo c; exit 7"))
        assert (result.output, result.exit_code, result.timed_out) == ("a\nb\nc\n", 7, False)

    async def test_directory_and_exported_variables_persist(
        self, environment: Environment, scratch: str
    ) -> None:
        result = await environment.execute(Command(f"cd {scratch}; export KEPT=\"a 'b' $HOME\nc\"; L=1"))
        assert result.cwd == environment.cwd == scratch
        result = await environment.execute(Command('pwd; printf "%s|%s" "${KEPT#* }" "$L"'))
        home = (await environment.execute(Command('printf "%s" "$HOME"'))).output
        assert result.output == f"{scratch}\n'b' {home}\nc|"

    async def test_functions_aliases_and_shell_options_persist(self, environment: Environment) -> None:
        await environment.execute(Command("greet() { echo hi $1; }; alias l='echo ll'; shopt -s nullglob"))
        result = await environment.execute(Command("greet you; l; shopt -q nullglob && echo on"))
        assert result.output == "hi you\nll\non\n"

    @pytest.mark.parametrize(
        "ending",
        [
            "exit 3",
            "set -e; false; echo not here",
            "exec true",
            "if then",
            "echo 'unbalanced",
            "kill -9 $$",
            "trap 'echo own trap' EXIT; exit 0",
            "set -u; echo $nothing_of_this_name",
            "return 3",
            "unset PATH",
            "readonly LOCKED=1; export LOCKED",
            "set -o posix; set -o noclobber",
            "exec >/dev/null 2>&1",
        ],
    )
    async def test_state_survives_whatever_ends_a_command(
        self, environment: Environment, ending: str
    ) -> None:
        await environment.execute(Command("export SURVIVES=yes"))
        await environment.execute(Command(ending))
        assert (await environment.execute(Command("echo $SURVIVES"))).output == "yes\n"

    async def test_directory_that_is_gone_is_replaced_by_its_parent(
        self, environment: Environment, scratch: str
    ) -> None:
        await environment.execute(Command(f"mkdir -p {scratch}/x/y && cd {scratch}/x/y && rm -r {scratch}/x"))
        result = await environment.execute(Command("pwd"))
        assert result.output == f"hermes: {scratch}/x/y is gone, continuing in {scratch}\n{scratch}\n"
        assert (await environment.execute(Command("pwd"))).output == f"{scratch}\n"

    async def test_variables_of_one_command_win_and_do_not_persist(self, environment: Environment) -> None:
        await environment.execute(Command("export OTHER=kept"))
        result = await environment.execute(Command("echo $ONCE $OTHER", env={"ONCE": "a b", "OTHER": "won"}))
        assert result.output == "a b won\n"
        assert (await environment.execute(Command('echo "[$ONCE]"'))).output == "[]\n"

    async def test_session_id_is_exported(self, environment: Environment) -> None:
        assert (await environment.execute(Command("echo $HERMES_SESSION_ID"))).output == "s1\n"

    async def test_workdir_of_one_command_does_not_persist(self, environment: Environment) -> None:
        before = (await environment.execute(Command("true"))).cwd
        assert (await environment.execute(Command("pwd", cwd="/usr"))).output == "/usr\n"
        assert environment.cwd == before
        assert (await environment.execute(Command("pwd", cwd="/no/such/place"))).exit_code == 126

    async def test_forgetful_command_leaves_no_trace(self, environment: Environment) -> None:
        await environment.execute(Command("export GONE=1; cd /usr", persistent=False))
        assert (await environment.execute(Command('echo "[$GONE]"'))).output == "[]\n"
        assert environment.cwd != "/usr"

    async def test_input_is_closed(self, environment: Environment) -> None:
        result = await environment.execute(Command("cat; read x; echo $?"))
        assert result.output == "1\n"

    async def test_timeout_ends_what_ignores_polite_requests(self, environment: Environment) -> None:
        mark = f"9{time.monotonic_ns() % 10**9}"  # a duration nobody else sleeps
        result = await environment.execute(
            Command(
                f"trap '' TERM; (trap '' TERM; sleep {mark}; true) & (set -m; sleep {mark} & wait) & "
                f"echo up; sleep {mark}; sleep {mark}",
                timeout_seconds=0.5,
            )
        )
        assert result.timed_out
        assert result.exit_code is None
        assert result.output.startswith("up\n")
        assert await self.count(environment, mark) == 0

    async def test_cancellation_ends_the_command(self, environment: Environment) -> None:
        mark = f"8{time.monotonic_ns() % 10**9}"
        up = asyncio.Event()
        command = Command(f"echo up; sleep {mark} & sleep {mark}")
        task = asyncio.create_task(environment.execute(command, lambda _data: up.set()))
        async with asyncio.timeout(60):
            await up.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await self.count(environment, mark) == 0

    async def test_child_that_keeps_the_output_open_does_not_hold_the_command(
        self, environment: Environment, scratch: str
    ) -> None:
        result = await environment.execute(
            Command(f"(sleep 0.5; echo later; echo alive >{scratch}/mark; sleep 30) & echo $!")
        )
        assert result.duration_seconds < 5
        child = result.output.strip()
        # It is not hurt by our not listening, and goes when the session ends.
        alive = Command(
            f"until [ -s {scratch}/mark ]; do sleep 0.05; done; kill -0 {child}", timeout_seconds=20
        )
        assert (await environment.execute(alive)).exit_code == 0

    async def test_flood_is_kept_in_part_and_counted(self, environment: Environment) -> None:
        result = await environment.execute(
            Command("echo first; head -c 20000000 /dev/zero; echo; echo last", max_output_bytes=10_000)
        )
        assert result.output.startswith("first\n")
        assert result.output.endswith("\nlast\n")
        assert "bytes omitted" in result.output
        assert result.dropped_bytes == 20_000_000 + 12 - 10_000
        assert len(result.output) < 11_000

    async def test_invalid_utf8_is_replaced(self, environment: Environment) -> None:
        result = await environment.execute(Command(r"printf 'a\377\303\250b'"))
        assert result.output == "a\N{REPLACEMENT CHARACTER}èb"

    async def test_output_is_passed_on_as_it_comes(self, environment: Environment) -> None:
        seen: list[bytes] = []
        await environment.execute(Command("printf '\\377\\000x'"), seen.append)
        assert b"".join(seen) == b"\xff\x00x"

    async def test_terminal_has_a_size_and_a_type(self, environment: Environment) -> None:
        result = await environment.execute(
            Command("[ -t 0 ] && [ -t 1 ] && stty size && echo $TERM && : </dev/tty; exit 5", pty=True)
        )
        lines = result.output.split()
        assert lines[:2] == ["24", "120"]
        assert lines[2].startswith("xterm")
        assert result.exit_code == 5

    async def test_timeout_ends_a_command_on_a_terminal(self, environment: Environment) -> None:
        mark = f"7{time.monotonic_ns() % 10**9}"
        result = await environment.execute(Command(f"sleep {mark}", pty=True, timeout_seconds=0.4))
        assert result.timed_out
        assert await self.count(environment, mark) == 0

    async def test_long_command_is_run(self, environment: Environment, scratch: str) -> None:
        text = "x" * 300_000
        result = await environment.execute(
            Command(f"cat >{scratch}/long <<'END'\n{text}\nEND\nwc -c <{scratch}/long; echo $#")
        )
        assert result.output.split() == ["300001", "0"]

    async def test_zero_byte_in_a_command_is_refused(self, environment: Environment) -> None:
        with pytest.raises(ToolError, match="zero byte"):
            await environment.execute(Command("echo \0"))

    async def test_commands_at_the_same_time_do_not_mix(self, environment: Environment) -> None:
        commands = [Command(f"export N={n}; echo {n}; sleep 0.1; echo {n}") for n in range(4)]
        results = await asyncio.gather(*(environment.execute(command) for command in commands))
        assert [result.output for result in results] == [f"{n}\n{n}\n" for n in range(4)]
        assert (await environment.execute(Command("echo $N"))).output.strip() in "0123"

    async def test_background_process_reads_writes_and_ends(self, environment: Environment) -> None:
        await environment.execute(Command("export SEEN=inside"))
        process = await environment.spawn(Command('while read -r l; do echo "$SEEN $l"; done; exit 6'))
        assert process.id.startswith("proc_")
        assert len(process.id) == 17
        assert process.exit_code is None
        await process.write(b"one\ntw\xc3\xa8 % \\ '\n")
        await process.close_stdin()
        assert await process.wait(20)
        assert process.exit_code == 6
        async with asyncio.timeout(60):
            while process.output().count("\n") < 2:  # noqa: ASYNC110 - what is left in the pipe when it ends
                await asyncio.sleep(0.01)
        assert process.output() == "inside one\ninside twè % \\ '\n"
        with pytest.raises(ToolError, match="has ended"):
            await process.write(b"more")

    async def test_background_process_is_killed(self, environment: Environment) -> None:
        process = await environment.spawn(Command("trap '' TERM; while :; do sleep 0.1; done"))
        assert not await process.wait(0.3)
        await process.kill()
        assert process.exit_code == 137

    async def test_background_output_is_bounded(self, environment: Environment) -> None:
        process = await environment.spawn(
            Command("head -c 3000000 /dev/zero | tr '\\0' x; echo end; sleep 60")
        )
        async with asyncio.timeout(60):
            while not process.output().endswith("end\n"):
                await process.wait(0.05)
        assert len(process.output()) == 200_000
        await process.kill()

    async def test_files_are_written_and_read_byte_for_byte(
        self, environment: Environment, scratch: str
    ) -> None:
        path = f'{scratch}/new dir/it\'s $HOME `x` "q" -n.bin'
        data = bytes(range(256)) * 1_000
        await environment.write_bytes(path, data)
        assert await environment.read_bytes(path) == data
        assert await environment.read_bytes(path, offset=300, max_bytes=10) == data[300:310]
        assert await environment.read_bytes(path, offset=len(data)) == b""
        info = await environment.stat(path)
        assert info is not None
        assert (info.kind, info.size) == ("file", len(data))
        await environment.write_bytes(path, b"")
        assert await environment.read_bytes(path) == b""
        await environment.remove(path)
        assert await environment.stat(path) is None

    async def test_replacing_a_file_keeps_mode_and_follows_links(
        self, environment: Environment, scratch: str
    ) -> None:
        await environment.execute(
            Command(
                f"cd {scratch}; mkdir d; echo old >d/target; chmod 750 d/target; ln -s d/target link; ls -i d"
            )
        )
        await environment.write_bytes(f"{scratch}/link", b"new")
        result = await environment.execute(Command("stat -c %a d/target; cat link; [ -L link ] && ls -A d"))
        assert result.output == "750\nnewtarget\n"
        await environment.execute(Command("umask 022"))
        await environment.write_bytes("fresh", b"x")
        info = await environment.stat("fresh")
        assert info is not None
        assert info.mode & 0o600 == 0o600
        await environment.execute(Command("cd /"))

    async def test_files_that_cannot_be_used_give_clear_errors(
        self, environment: Environment, scratch: str
    ) -> None:
        with pytest.raises(ToolError, match="File not found"):
            await environment.read_bytes(f"{scratch}/nothing")
        with pytest.raises(ToolError, match="File not found"):
            await environment.remove(f"{scratch}/nothing")
        for action in (
            environment.read_bytes(scratch),
            environment.remove(scratch),
            environment.write_bytes(scratch, b""),
        ):
            with pytest.raises(ToolError, match="is a directory"):
                await action
        with pytest.raises(ToolError, match="Cannot read /dev/zero"):
            await environment.read_bytes("/dev/zero")
        with pytest.raises(ToolError, match="Cannot write /dev/full"):
            await environment.write_bytes("/dev/full", b"x")
        await environment.write_bytes(f"{scratch}/file", b"")
        with pytest.raises(ToolError):
            await environment.write_bytes(f"{scratch}/file/below", b"x")
        assert await environment.read_bytes(f"{scratch}/file") == b""

    async def test_paths_are_resolved(self, environment: Environment) -> None:
        await environment.execute(Command("cd /usr"))
        home = (await environment.execute(Command('printf "%s" "$HOME"'))).output
        assert environment.resolve("bin/../lib/./x") == "/usr/lib/x"
        assert environment.resolve("/a/../b") == "/b"
        assert environment.resolve("~") == home
        assert environment.resolve("~/x") == f"{home.rstrip('/')}/x"

    async def test_closing_twice_is_fine(self, environment: Environment) -> None:
        await environment.spawn(Command("sleep 60"))
        await environment.aclose()
        await environment.aclose()

    async def count(self, environment: Environment, mark: str) -> int:
        """How many processes have `mark` among their arguments; waits a little for them to go."""
        script = (
            f"exec 2>/dev/null; for i in $(seq 40); do n=0; for f in /proc/[0-9]*/cmdline; do "
            f"a=$(tr '\\0' ' ' <$f); case $a in 'sleep {mark} ') n=$((n+1));; esac; done; "
            "[ $n -eq 0 ] && break; sleep 0.1; done; echo $n"
        )
        result = await environment.execute(Command(script, persistent=False))
        return int(result.output)
