"""The guard: a tiny shell that outlives us and ends our commands if we die without doing so.

It reads what we run from a pipe of which only we hold the other end. When that end closes, for
whatever reason (`kill -9`, a crash, the out-of-memory killer), it ends every session it was told of.
Chosen over `PR_SET_PDEATHSIG`, which needs slow forks, follows threads instead of processes,
reaches only the direct child and exists only on Linux.
"""

from __future__ import annotations

import contextlib
import os
import subprocess

SLAY = """\
slay() {
  kill "-$1" "-$2"
  for file in /proc/[0-9]*/stat; do
    read -r line <"$file" || continue
    pid=${line%% *}; set -- "$1" "$2" ${line##*) }
    [ "$6" = "$2" ] && [ "$pid" != "$2" ] && kill "-$1" "$pid"
  done
}
"""
"""Shell function: signal $1 to group and session $2; the session is found in `/proc` where it exists."""

_SCRIPT = (
    "trap '' HUP INT TERM QUIT PIPE; exec 2>/dev/null\n"
    + SLAY
    + """\
k=' '; h=' '; d=
drop() { case $1 in *" $2 "*) r="${1%%" $2 "*} ${1#*" $2 "}";; *) r=$1;; esac; }
while read -r op n; do
  [ "$op" = d ] && d=$n && continue
  drop "$k" "$n"; k=$r; drop "$h" "$n"; h=$r
  case $op in k) k="$k$n ";; h) h="$h$n ";; esac
done
for n in $h; do kill -0 "$n" || slay HUP "$n"; done  # a living leader is a stranger with an old id
if [ "$k" != ' ' ]; then
  for n in $k; do slay TERM "$n"; done
  sleep 1
  for n in $k; do slay KILL "$n"; done
fi
[ -z "$d" ] || rm -rf "$d"
"""
)


class Guard:
    """Knows the sessions that must not outlive us. Starts with the first one."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._pipe: int | None = None

    def watch(self, leader: int) -> None:
        """End this session (SIGTERM, then SIGKILL) should we die."""
        if self._process is None:
            self._start()
        self._tell("k", str(leader))

    def remove_later(self, directory: str) -> None:
        """Remove this directory (the newest named counts), should we die."""
        if "\n" not in directory:
            self._tell("d", directory)

    def hang_up_later(self, leader: int) -> None:
        """The command is over but left processes behind: only SIGHUP for them, should we die."""
        self._tell("h", str(leader))

    def forget(self, leader: int) -> None:
        """Nothing of this session is left."""
        self._tell("-", str(leader))

    def close(self) -> None:
        """Dismiss the guard. What it was told of must be forgotten or ended before."""
        if self._pipe is not None:
            os.close(self._pipe)
            self._pipe = None
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def _start(self) -> None:
        read_end, write_end = os.pipe()
        try:
            self._process = subprocess.Popen(
                ["/bin/sh", "-c", _SCRIPT],
                stdin=read_end,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env={"PATH": os.defpath},
                cwd="/",
                start_new_session=True,
            )
        except OSError:  # without /bin/sh there is no guard, but there are still commands
            os.close(write_end)
        else:
            os.set_blocking(write_end, False)
            self._pipe = write_end
        finally:
            os.close(read_end)

    def _tell(self, what: str, whom: str) -> None:
        if self._pipe is not None:
            with contextlib.suppress(OSError):  # killed by somebody: nothing to be done
                os.write(self._pipe, f"{what} {whom}\n".encode(errors="surrogateescape"))
