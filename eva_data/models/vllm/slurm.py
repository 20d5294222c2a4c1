"""Starts servers as Slurm jobs, by `sbatch`, `squeue` and `scancel`.

A job must not outlive the command that needs it, also if that command is killed. So a job holds a lease: the command
writes a number into a file every few seconds, and a job that sees no new number for `lease_minutes` ends itself. A
job's key is in a file that only the user may read, neither on a command line nor in the job's environment.
"""

from __future__ import annotations

import os
import secrets
import shlex
import shutil
import subprocess
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from eva_data.config.machines.launching import SlurmServers
from eva_data.errors import ModelError
from eva_data.files import write_text
from eva_data.models.vllm.hosts import KEY, Host, Order, environment
from eva_data.secrets import secret_names

LOOK_SECONDS = 5.0
"""Seconds between two calls of `squeue`, which tells about all jobs at once."""
BEAT_SECONDS = 10.0
_COMMAND_SECONDS = 60.0
_END_SECONDS = 20.0
"""Seconds that a running job has to end by itself before it is cancelled."""

_SCRIPT = """\
#!/bin/bash
# A server that eva-data asked for. It ends when the file `wanted` is gone, or when the lease is not renewed.
umask 077
cd {folder} || exit 1
export {variable}="$(cat key)"
port="$({python} -c 'import socket; s = socket.socket(); s.bind(("", 0)); print(s.getsockname()[1])')"
[ -n "$port" ] || exit 1
{command} --host 0.0.0.0 --port "$port" < /dev/null &
server=$!
unset {variable}
printf '%s %s\\n' "$(hostname)" "$port" > .address && mv .address address
family() {{ local child; for child in $(ps -o pid= --ppid "$1"); do echo "$child"; family "$child"; done; }}
known=
end() {{
    kill -TERM "$server" 2> /dev/null
    for _ in $(seq 50); do kill -0 "$server" 2> /dev/null || break; sleep 0.1; done
    kill -KILL "$server" $known 2> /dev/null
}}
trap 'end; exit 143' TERM INT
since=$SECONDS
last=
while kill -0 "$server" 2> /dev/null && [ -e wanted ]; do
    known="$(family "$server")"
    now="$(cat {lease} 2> /dev/null)"
    if [ "$now" != "$last" ]; then last="$now"; since=$SECONDS; fi
    if [ $((SECONDS - since)) -ge {quiet} ]; then echo 'the command that asked for this server is gone'; break; fi
    sleep 1
done
if kill -0 "$server" 2> /dev/null; then end; fi
wait "$server"
status=$?
kill -KILL $known 2> /dev/null
echo "$status" > .status && mv .status status
exit "$status"
"""


@dataclass(frozen=True)
class _Listed:
    """A job as `squeue` shows it."""

    state: str
    reason: str
    seconds_left: float | None


class Slurm:
    """Submits jobs, and renews their lease until it is closed."""

    def __init__(self, launching: SlurmServers, folder: Path) -> None:
        """Raise ModelError if this machine has no `sbatch`."""
        self._launching = launching
        self._folder = (folder / "slurm").absolute()
        for program in ("sbatch", "squeue", "scancel"):
            if shutil.which(program) is None:
                raise ModelError(
                    f"`servers.launch` is slurm, but there is no `{program}` on this machine: run the command on a "
                    "login node of the cluster, or use `launch: local`"
                )
        self._lease = self._folder / f"lease-{secrets.token_hex(4)}"
        self._lock = threading.Lock()
        self._listed: dict[str, _Listed] | None = None
        self._looked = 0.0
        self._closed = threading.Event()
        self._beats: threading.Thread | None = None

    def count(self, gpus: int) -> int:
        return 1

    def begin(self, order: Order) -> Host:
        folder = self._folder / f"{order.of}-{order.number}-{secrets.token_hex(4)}".replace("/", "_")
        folder.mkdir(parents=True, mode=0o700)
        folder.chmod(0o700)
        file = os.open(folder / "key", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(file, "w", encoding="utf-8") as opened:
            opened.write(order.key)
        (folder / "wanted").touch()
        quoted = [shlex.quote(part) for part in order.command]
        script = _SCRIPT.format(
            folder=shlex.quote(str(folder)),
            variable=KEY,
            python=quoted[0],
            command=" ".join(quoted),
            lease=shlex.quote(str(self._lease)),
            quiet=max(1, round(self._launching.lease_minutes * 60)),
        )
        write_text(folder / "job.sh", script)
        self._renew()
        order.log.parent.mkdir(parents=True, exist_ok=True)
        log = str(order.log.absolute()).replace("%", "%%")
        command = ["sbatch", "--parsable", "--nodes=1", f"--job-name=eva-data-{order.of}-{order.number}"]
        command += [f"--output={log}", "--open-mode=append", *self._launching.options]
        if not any(option.startswith(("--gres", "--gpus", "-G")) for option in self._launching.options):
            command += [f"--gres=gpu:{order.gpus}"]
        done = _run([*command, str(folder / "job.sh")])
        if done.returncode:
            shutil.rmtree(folder)
            raise ModelError(
                f"`sbatch` refuses a server of `{order.of}`: {' '.join(done.stderr.split())[:600]}; what it was asked "
                "for stands in `servers.options`"
            )
        with self._lock:
            self._listed = None
        return _SlurmJob(self, done.stdout.strip().partition(";")[0], folder)

    def listed(self, job: str, *, fresh: bool = False) -> _Listed | None:
        """A job as `squeue` shows it; None if it has ended.

        While Slurm does not answer, a job counts as it was shown last.
        """
        with self._lock:
            if self._listed is None or fresh or time.monotonic() - self._looked > LOOK_SECONDS:
                done = _run(["squeue", "--noheader", "--me", "--format=%A|%T|%r|%L"])
                self._looked = time.monotonic()
                if done.returncode == 0:
                    rows = [line.split("|") for line in done.stdout.splitlines() if line.count("|") == 3]
                    self._listed = {row[0]: _Listed(row[1], row[2], seconds(row[3])) for row in rows}
            if self._listed is None:
                return _Listed("UNKNOWN", "Slurm does not answer", None)
            return self._listed.get(job)

    def close(self) -> None:
        self._closed.set()
        if self._beats is not None:
            self._beats.join()
        self._lease.unlink(missing_ok=True)

    def _renew(self) -> None:
        with self._lock:
            if self._beats is None:
                write_text(self._lease, f"{time.time()}\n")
                self._beats = threading.Thread(target=self._beat, daemon=True, name="slurm-lease")
                self._beats.start()

    def _beat(self) -> None:
        every = min(BEAT_SECONDS, self._launching.lease_minutes * 60 / 4)
        while not self._closed.wait(every):
            write_text(self._lease, f"{time.time()}\n")


class _SlurmJob:
    """One job."""

    def __init__(self, slurm: Slurm, number: str, folder: Path) -> None:
        self._slurm, self._number, self._folder = slurm, number, folder
        self._status: int | None = None

    def poll(self) -> int | None:
        if self._status is None and self._slurm.listed(self._number) is None:
            self._status = self._written_status()
        return self._status

    def address(self) -> tuple[str, int] | None:
        try:
            host, port = (self._folder / "address").read_text(encoding="utf-8").split()
        except FileNotFoundError:
            return None
        return host, int(port)

    def waits_for(self) -> str:
        found = self._slurm.listed(self._number)
        if found is None or found.state == "RUNNING":
            return ""
        return f"Slurm job {self._number} is {found.state.lower()} ({found.reason})"

    def seconds_left(self) -> float | None:
        found = self._slurm.listed(self._number)
        return found.seconds_left if found is not None and found.state == "RUNNING" else None

    def stop(self) -> None:
        (self._folder / "wanted").unlink(missing_ok=True)
        deadline = time.monotonic() + _END_SECONDS
        while (found := self._slurm.listed(self._number, fresh=True)) is not None:
            if found.state not in ("RUNNING", "COMPLETING") or time.monotonic() > deadline:
                _run(["scancel", self._number])
                if time.monotonic() > deadline + _COMMAND_SECONDS:
                    # It is cancelled. What Slurm still tidies up is not ours to wait for.
                    break
            time.sleep(0.5)
        self.poll()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _written_status(self) -> int:
        try:
            return int((self._folder / "status").read_text(encoding="utf-8"))
        except (FileNotFoundError, ValueError):
            # Slurm ended the job, or its node is gone.
            return 1


def seconds(left: str) -> float | None:
    """The time that `squeue` shows as `days-hours:minutes:seconds`, in seconds; None if it shows no time."""
    days, dash, rest = left.strip().rpartition("-")
    parts = rest.split(":")
    if not all(part.isdecimal() for part in parts) or (dash and not days.isdecimal()):
        return None
    total = 0
    for part in parts:
        total = 60 * total + int(part)
    return float(total + 86_400 * int(days or 0))


def _run(command: list[str]) -> subprocess.CompletedProcess[str]:
    """Run one of Slurm's commands. A command without an answer counts as failed."""
    kept = {
        name: value
        for name, value in environment(os.environ).items()
        # Within a Slurm job, its own variables would change what is asked for.
        if (not name.startswith(("SLURM_", "SBATCH_")) or name == "SLURM_CONF") and name not in secret_names()
    }
    try:
        return subprocess.run(
            command, capture_output=True, text=True, env=kept, timeout=_COMMAND_SECONDS, stdin=subprocess.DEVNULL
        )
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess(command, 1, "", f"no answer within {_COMMAND_SECONDS:.0f} seconds")
