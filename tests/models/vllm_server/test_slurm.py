"""Servers as Slurm jobs, on a real slurmctld and slurmd of this machine that the tests start and end."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from fake_vllm import answered, starts, write_interpreter
from processes import alive
from vllm_builds import build, finished, killed_in_the_middle

from eva_data.config import VllmModel
from eva_data.config.machines.launching import SlurmServers
from eva_data.errors import ModelError
from eva_data.models.vllm.fleet import Servers
from eva_data.models.vllm.register import read
from eva_data.models.vllm.slurm import seconds

pytestmark = pytest.mark.long

CONF = """
ClusterName=here
SlurmctldHost={name}(127.0.0.1)
SlurmctldPort={controller}
SlurmdPort={daemon}
SlurmUser=root
AuthType=auth/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/pgid
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
MpiDefault=none
ReturnToService=2
KillWait=2
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SchedulerParameters=batch_sched_delay=0,sched_interval=1
SlurmdParameters=config_overrides
NodeName={name} NodeAddr=127.0.0.1 CPUs=8 State=UNKNOWN
PartitionName=main Nodes={name} Default=YES MaxTime=INFINITE State=UP
"""


def free_ports() -> tuple[int, int]:
    with socket.socket() as one, socket.socket() as other:
        one.bind(("127.0.0.1", 0))
        other.bind(("127.0.0.1", 0))
        return one.getsockname()[1], other.getsockname()[1]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A cluster of this machine alone, to which Slurm's commands of this process talk."""
    if os.getuid() != 0 or not all(shutil.which(name) for name in ("slurmctld", "slurmd", "munged")):
        pytest.skip("needs root and Slurm with munge, on Debian the package slurm-wlm")
    if subprocess.run("munge -n | unmunge", shell=True, capture_output=True).returncode:
        pytest.skip("needs a running munged")
    folder = tmp_path_factory.mktemp("slurm")
    (folder / "state").mkdir()
    (folder / "spool").mkdir()
    controller, daemon = free_ports()
    conf = folder / "slurm.conf"
    conf.write_text(CONF.format(name=socket.gethostname(), controller=controller, daemon=daemon, folder=folder))
    before = os.environ.get("SLURM_CONF")
    os.environ["SLURM_CONF"] = str(conf)
    running = [subprocess.Popen([program, "-D"], stderr=subprocess.DEVNULL) for program in ("slurmctld", "slurmd")]
    try:
        deadline = time.monotonic() + 30
        while "idle" not in subprocess.run(["sinfo", "-h", "-o", "%t"], capture_output=True, text=True).stdout:
            assert time.monotonic() < deadline, (folder / "slurmctld.log").read_text()
            time.sleep(0.2)
        yield
    finally:
        subprocess.run(["scancel", "--me"], capture_output=True)
        for process in reversed(running):
            process.terminate()
            process.wait(30)
        os.environ.pop("SLURM_CONF")
        if before is not None:
            os.environ["SLURM_CONF"] = before


def wait_until_dead(pids: list[int]) -> None:
    deadline = time.monotonic() + 40
    while alive(pids) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert alive(pids) == []


OPTIONS = ", options: [--gres=none], lease_minutes: 0.1"


def test_a_job_killed_in_the_middle_of_a_build_is_replaced_and_nothing_is_left_of_it(
    tmp_path: Path, undisturbed: dict[str, str], cluster: None
) -> None:
    project = tmp_path / "project"
    process = build(project, "slurm", OPTIONS)
    killed_in_the_middle(project, process)
    assert finished(project, process) == undisturbed
    wait_until_dead([pid for start in starts(project) for pid in start["pids"]])
    assert subprocess.run(["squeue", "-h", "--me"], capture_output=True, text=True).stdout == ""
    keys = {start["environment"]["VLLM_API_KEY"] for start in starts(project)}
    assert len(keys) == len(starts(project)) >= 2
    written = "".join(
        path.read_text(errors="replace") for path in project.rglob("*") if path.suffix in (".log", ".json")
    )
    assert not any(key in written for key in keys)


def test_a_killed_build_leaves_no_job_behind(tmp_path: Path, cluster: None) -> None:
    project = tmp_path / "project"
    process = build(project, "slurm", OPTIONS)
    deadline = time.monotonic() + 60
    while len(answered(project)) < 2 and time.monotonic() < deadline:
        time.sleep(0.02)
    pids = [pid for start in starts(project) for pid in start["pids"]]
    assert alive(pids) == pids
    process.send_signal(signal.SIGKILL)
    process.wait()
    wait_until_dead(pids)


def test_a_job_that_slurm_refuses_is_one_sentence(tmp_path: Path, cluster: None) -> None:
    block = VllmModel(backend="vllm", model="m", python=write_interpreter(tmp_path))
    launching = SlurmServers(launch="slurm", options=("--partition=nowhere", "--gres=none"))
    with (
        pytest.raises(
            ModelError, match=r"`sbatch` refuses a server of `solver`: .*invalid partition.*`servers.options`"
        ),
        Servers(tmp_path / "state", launching) as servers,
    ):
        servers.reach(block, Path("/models/m"), "m", log=tmp_path / "server.log", key="solver")


def test_a_job_that_waits_for_its_turn_says_so(tmp_path: Path, cluster: None) -> None:
    block = VllmModel(backend="vllm", model="m", python=write_interpreter(tmp_path))
    launching = SlurmServers(launch="slurm", options=("--gres=none", "--begin=now+1hour"))
    said: list[str] = []

    def wait(seconds: float, line: str) -> None:
        said.append(line)
        if "pending" in line:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), Servers(tmp_path / "state", launching, on_wait=wait) as servers:
        servers.reach(block, Path("/models/m"), "m", log=tmp_path / "server.log", key="solver")
    assert said[-1].endswith(" is pending (BeginTime)")
    assert read(tmp_path / "state" / "register.json") == {}
    assert subprocess.run(["squeue", "-h", "--me"], capture_output=True, text=True).stdout == ""


@pytest.mark.parametrize(
    ("left", "expected"),
    [("59", 59.0), ("1:02:03", 3723.0), ("2-00:00:10", 172810.0), ("UNLIMITED", None), ("INVALID", None), ("", None)],
)
def test_the_time_that_a_job_has_left_is_read(left: str, expected: float | None) -> None:
    assert seconds(left) == expected
