"""Ends what a build started, whatever happens to the build.

Every child of a build runs under this small process. It holds the read end of a pipe, and only the build has the write
end. The pipe closes if the build asks for it or is itself killed. Then this process ends every descendant of its
command, also daemons and descendants in sessions of their own. It does the same once the command has ended, and only
then passes on the status: when this process is gone, nothing is left.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType

import psutil

GRACE_SECONDS = 3.0
"""Seconds between SIGTERM and SIGKILL."""

_PR_SET_CHILD_SUBREAPER = 36
_TAIL_BYTES = 1 << 16


class Supervised:
    """A command with a supervisor above it. The output of both is appended to `log`.

    The command starts at once, without input, in a session of its own, so that Ctrl-C in a terminal reaches only this
    process, which decides. The command inherits none of this process's open files. `env` is the whole environment;
    None means this process's own. A command that cannot be started ends with status 127 and a line in the log.
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        log: Path,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
    ) -> None:
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as output:
            # The supervisor is started by its path, since `-m eva_data.supervise` would not find a package that the
            # parent found through its working directory. -P keeps modules of this folder from being top-level modules.
            self._process = subprocess.Popen(
                [sys.executable, "-P", __file__, *command],
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=output,
                env=env,
                cwd=cwd,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        """Pid of the supervisor, which is the parent of the command."""
        return self._process.pid

    def poll(self) -> int | None:
        """None while the command or anything that it started is running, then the command's exit status.

        If a signal ended the command, the status is 128 + the signal's number, as in a shell. If it is negative, that
        signal killed the supervisor itself.
        """
        return self._process.poll()

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the status that `poll` gives. Raise subprocess.TimeoutExpired after `timeout` seconds."""
        return self._process.wait(timeout)

    def workers(self) -> list[int]:
        """Pids of the command and of all its descendants that are alive, in ascending order."""
        try:
            descendants = psutil.Process(self.pid).children(recursive=True)
        except psutil.NoSuchProcess:
            return []
        return sorted(process.pid for process in descendants if _is_alive(process))

    def stop(self) -> None:
        """End the command and all its descendants, and return when nothing is left. It is safe to call this again."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()

    def __enter__(self) -> Supervised:
        return self

    def __exit__(
        self,
        exception_type: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()


def last_lines(log: Path, count: int = 20, *, since: int = 0) -> str:
    """The last `count` lines of `log` that are not blank. Of a progress bar, only the last state counts.

    What stands before the byte `since` is not read.
    """
    try:
        with log.open("rb") as file:
            file.seek(max(since, file.seek(0, os.SEEK_END) - _TAIL_BYTES))
            text = file.read().decode("utf-8", errors="replace")
    except FileNotFoundError:
        return ""
    lines = [line.rstrip().rpartition("\r")[2] for line in text.split("\n")]
    return "\n".join([line for line in lines if line.strip()][-count:])


def ending(status: int) -> str:
    """How a program ended, in words: a status above 128 is that of a signal."""
    try:
        name = signal.Signals(status - 128).name
    except ValueError:
        return f"ended with status {status}"
    why = ", as the kernel does where memory runs out" if name == "SIGKILL" else ""
    return f"was ended by {name}{why}"


def main(command: Sequence[str]) -> int:
    """Run `command` until it ends or standard input closes. Return its status, which is 128 + n after signal n."""
    overseer = Overseer()
    try:
        child = subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True)
    except OSError as error:
        print(f"cannot start {command[0]}: {error.strerror}", file=sys.stderr)
        return 127
    status = overseer.watch(child.pid)
    child.returncode = status
    return status


class Overseer:
    """What makes this process a supervisor: orphans come to it, and signals and the end of standard input wake it."""

    def __init__(self) -> None:
        self._parent = os.getppid()
        _adopt_orphans()
        self._wake = _wake_on_signals()
        self.stopping = False
        """Whether everything is to end: the parent is gone, or has asked for it."""

    def watch(self, child: int) -> int:
        """Wait until the child with this pid ends or everything is to end; then end its whole family.

        Return its status, which is 128 + n after signal n.
        """
        family = _Family(child)
        while family.status is None and not self.stopping:
            if self._sleep():
                self.stopping = True
            family.look()
        # A killed parent may be started again at once. Nothing of the old one may be writing by then.
        family.end(grace=GRACE_SECONDS if os.getppid() == self._parent else 0.0)
        assert family.status is not None
        return family.status if family.status >= 0 else 128 - family.status

    def heard(self, seconds: float) -> bool:
        """Wait until standard input can be read, which its end counts as. False after so long, or if all is to end."""
        deadline = time.monotonic() + seconds
        while not self.stopping and time.monotonic() < deadline:
            if self._sleep():
                return True
        return False

    def leave(self) -> None:
        """In a fork of this process: be no supervisor any more."""
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGCHLD, signal.SIGTERM):
            signal.signal(number, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        for file in self._wake:
            os.close(file)

    def _sleep(self) -> bool:
        """Sleep for a second at most; whether standard input can be read."""
        read = self._wake[0]
        ready, _, _ = select.select([0, read], [], [], 1.0)
        signals = os.read(read, 512) if read in ready else b""
        # The parent's pid counts too, since a copy of the parent that a bare fork made would hold the pipe open.
        if signal.SIGTERM in signals or signal.SIGINT in signals or os.getppid() != self._parent:
            self.stopping = True
        return 0 in ready


class _Family:
    """A child of this process and all its known descendants."""

    def __init__(self, child: int) -> None:
        self._child = child
        self.status: int | None = None
        """Status of the child as `subprocess` gives it; None while the child is running."""
        self._known: set[psutil.Process] = set()
        self._beyond_reach: set[psutil.Process] = set()

    def look(self) -> None:
        """Collect the status of processes that ended, and note which are alive."""
        with contextlib.suppress(ChildProcessError):
            while (ended := os.waitpid(-1, os.WNOHANG))[0]:
                if ended[0] == self._child:
                    self.status = os.waitstatus_to_exitcode(ended[1])
        # Orphans come to us on Linux only. Elsewhere, an orphan is found only if it was seen before its parent ended.
        if sys.platform != "linux":
            self._known.update(psutil.Process().children(recursive=True))

    def end(self, grace: float) -> None:
        """Send SIGTERM to all, and SIGKILL to all that are left after `grace` seconds; return when none is left."""
        deadline = time.monotonic() + grace
        asked: set[psutil.Process] = set()
        while members := self._members():
            late = time.monotonic() >= deadline
            for process in members if late else members - asked:
                self._signal(process, signal.SIGKILL if late else signal.SIGTERM)
            asked |= members
            time.sleep(0.02)
        while self.status is None:
            time.sleep(0.001)
            self.look()

    def _members(self) -> set[psutil.Process]:
        self.look()
        found = self._known.union(psutil.Process().children(recursive=True)) - self._beyond_reach
        return {process for process in found if _is_alive(process)}

    def _signal(self, process: psutil.Process, number: signal.Signals) -> None:
        try:
            process.send_signal(number)
        except psutil.NoSuchProcess:
            pass
        except psutil.AccessDenied:
            self._beyond_reach.add(process)
            print(f"process {process.pid} belongs to another user and cannot be ended", file=sys.stderr)


def _is_alive(process: psutil.Process) -> bool:
    try:
        return bool(process.is_running()) and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _adopt_orphans() -> None:
    """On Linux, become the parent of every descendant whose parent ends, so that none is lost."""
    if sys.platform == "linux":
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
            raise OSError(ctypes.get_errno(), "cannot become the parent of orphaned processes")


def _wake_on_signals() -> tuple[int, int]:
    """Both ends of a pipe that holds the number of a signal when a child ends or this process is asked to end."""
    read, write = os.pipe()
    os.set_blocking(read, False)
    os.set_blocking(write, False)
    signal.set_wakeup_fd(write)
    for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    return read, write


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
