"""`eva-data doctor`: one line for everything that a build relies on, with the remedy where it is missing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from hub_server import READ, Hub, Repo
from odd_server import OddServer, said

from eva_data.cli import main

SMI = """\
#!/bin/sh
echo '0, NVIDIA H100 80GB HBM3, 81559, 4, 570.86'
echo '1, NVIDIA H100 80GB HBM3, 81559, 60000, 570.86'
"""


def project(place: Path, **blocks: object) -> Path:
    (place / "seeds.txt").write_text("Name a tree.\nName a river.\n")
    (place / "scores.py").write_text("def score(prompt, response):\n    return float(len(response))\n")
    settings = {
        "name": "acme/examined",
        "folder": str(place / "data"),
        "seeds": {"path": str(place / "seeds.txt")},
        "reward": {"backend": "verifier", "function": str(place / "scores.py") + ":score"},
    } | blocks
    (place / "eva.yaml").write_text(json.dumps(settings))
    return place / "eva.yaml"


def doctor(config: Path, *more: str) -> Result:
    return CliRunner().invoke(main, ["doctor", "--config", str(config), *more])


def lines(result: Result, topic: str) -> list[tuple[str, str]]:
    """(state, what was found) of a topic."""
    found = [line for line in result.output.splitlines() if line[8:].strip().startswith(f"{topic}: ")]
    return [(line[:8].strip(), line[8:].strip().partition(": ")[2]) for line in found]


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that is searched for programs, empty at first."""
    folder = tmp_path / "programs"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    return folder


def made(path: Path, text: str) -> Path:
    path.write_text(text)
    path.chmod(0o755)
    return path


def test_the_sandbox_needs_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(main, ["doctor", "--json"])
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout)
    assert told["problems"] == 0
    topics = [finding["topic"] for finding in told["findings"]]
    assert topics == [
        *("settings", "packages", "gpu", "memory", "folder", "ledger", "Hub cache", "ledger", "open files", "hub")
    ]
    assert not (tmp_path / "data").exists()


def test_gpus_are_counted_against_what_the_blocks_take(tmp_path: Path, program: Path) -> None:
    solver = {"backend": "vllm", "model": "org/big", "tensor_parallel": 4, "python": str(program / "python")}
    config = project(tmp_path, solver=solver)
    missing = doctor(config)
    assert missing.exit_code == 1
    assert lines(missing, "gpu") == [
        (
            "PROBLEM",
            "`solver` wants a GPU, but there is no `nvidia-smi` on this machine: install NVIDIA's driver, set "
            "`device: cpu`, or name the `base_url` of a server on another machine",
        )
    ]
    assert lines(missing, "solver")[0][1].startswith(f"`solver.python` is {program / 'python'}, which is no program")
    made(program / "nvidia-smi", SMI)
    made(program / "python", "#!/bin/sh\necho vllm 0.25.1\n")
    found = doctor(config)
    assert lines(found, "gpu") == [
        ("ok", "0: NVIDIA H100 80GB HBM3, 4 of 81559 MiB, driver 570.86"),
        ("warning", "1: NVIDIA H100 80GB HBM3, 60000 of 81559 MiB, driver 570.86: another process holds a part of it"),
        ("PROBLEM", "`solver` takes 4 GPUs, and there are 2: lower its `tensor_parallel` or `data_parallel`"),
    ]
    assert lines(found, "solver") == [("ok", f"{program / 'python'} has vllm 0.25.1")]
    made(program / "nvidia-smi", "#!/bin/sh\necho 'Driver/library version mismatch' >&2\nexit 18\n")
    assert lines(doctor(config), "gpu") == [("PROBLEM", "`nvidia-smi` fails: Driver/library version mismatch")]


def test_a_python_without_vllm_is_named(tmp_path: Path, program: Path) -> None:
    python = made(program / "python", "#!/bin/sh\necho KeyError: vllm >&2\nexit 1\n")
    config = project(tmp_path, solver={"backend": "vllm", "model": "org/big", "python": str(python)})
    assert lines(doctor(config), "solver") == [
        (
            "PROBLEM",
            f"{python} has no vLLM: install it there, or name the interpreter of its environment as `solver.python`, "
            "or name the `base_url` of a server that runs already",
        )
    ]


def test_keys_and_servers_are_looked_at_before_they_are_paid(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with OddServer(said) as server:
        blocks = {
            "solver": {"backend": "api", "model": "tiny", "base_url": server.url},
            "creator": {"backend": "api", "model": "gemini/gemini-2.5-flash", "api_key_env": "ABSENT_KEY"},
        }
        config = project(tmp_path, **blocks)
        result = doctor(config)
        assert result.exit_code == 1
        assert lines(result, "solver") == [("ok", f"{server.url} serves tiny@unknown")]
        (creator,) = lines(result, "creator")
        assert creator[0] == "PROBLEM"
        assert creator[1].startswith("the environment variable ABSENT_KEY, which holds the key of `gemini/")
        assert result.output.splitlines()[-1].endswith("findings are problems.")
        monkeypatch.setenv("ABSENT_KEY", "sk-0123456789abcdef0123")
        present = doctor(config)
        assert present.exit_code == 0, present.output
        assert lines(present, "creator") == [
            ("ok", "ABSENT_KEY holds a key of `gemini/gemini-2.5-flash`"),
            ("unknown", "the first request shows whether the provider serves `gemini/gemini-2.5-flash`; it costs"),
        ]
        assert "sk-0123456789abcdef0123" not in present.output
        assert not server.asked
    (gone,) = lines(doctor(config), "solver")
    assert gone[0] == "PROBLEM" and gone[1].startswith(f"no server answers at {server.url}: start it")


@pytest.mark.parametrize(
    ("reward", "topic"),
    [
        ({"backend": "code"}, "reward"),
        ({"backend": "consensus", "equal": "outputs"}, "reward.programs"),
    ],
)
def test_what_isolates_code_is_looked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reward: dict[str, object], topic: str
) -> None:
    tests = tmp_path / "tests.jsonl"
    tests.write_text('{"prompt": "Name a tree.", "answer": "assert f() == 1"}\n')
    runs = {"allow": True, "answers": {"path": str(tests), "answer": "answer"}}
    if topic == "reward.programs":
        runs = {"programs": {"allow": True, "calls": ["f()"]}, "anchors": 0}
    monkeypatch.setenv("PATH", str(tmp_path))
    solver = {"backend": "transformers", "model": "sandbox"}
    mix = {"source": "new_seeds"}
    result = doctor(project(tmp_path, solver=solver, mix=mix, reward=reward | runs))
    assert lines(result, topic), result.output
    [(state, found)] = lines(result, topic)
    assert state == "PROBLEM" and "there is no `bwrap` (bubblewrap) to isolate it: install it" in found


def test_a_ledger_on_a_network_disk_is_a_problem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import psutil

    there = [psutil._ntuples.sdiskpart("server:/home", str(tmp_path / "shared"), "nfs4", "rw")]
    monkeypatch.setattr(psutil, "disk_partitions", lambda all: there)
    config = project(tmp_path, solver={"backend": "transformers", "model": "sandbox"})
    place = tmp_path / "shared" / "ledger.sqlite"
    found = lines(doctor(config, "--set", f"ledger={place}"), "ledger")[1]
    assert found[0] == "PROBLEM" and f"{place} is on nfs4, where SQLite's locks are not safe" in found[1]
    elsewhere = lines(doctor(config), "ledger")[1]
    assert elsewhere[0] == "unknown"


@pytest.mark.slow
def test_the_hub_says_who_is_logged_in_and_what_may_be_read(tmp_path: Path) -> None:
    seeds = {"dataset": "acme/questions", "split": "train"}
    config = project(tmp_path, solver={"backend": "transformers", "model": "sandbox"}, publish={"repo": "alice/new"})
    with Hub(tmp_path / "hub") as hub:
        known = hub.run(tmp_path, "doctor", "--config", str(config))
        assert known.returncode == 0, known.stdout + known.stderr
        assert "ok       hub: logged in as alice" in known.stdout
        nobody = hub.run(tmp_path, "doctor", "--config", str(config), token=None)
        assert nobody.returncode == 1
        assert "PROBLEM  hub: nobody is logged in to the Hub, so alice/new cannot be written to" in nobody.stdout
        other = project(tmp_path, solver={"backend": "transformers", "model": "sandbox"}, seeds=seeds)
        absent = hub.run(tmp_path, "doctor", "--config", str(other), token=READ)
        assert absent.returncode == 1
        assert "PROBLEM  hub: the dataset acme/questions is not on the Hub, or not for this login" in absent.stdout
        hub.repos["acme/questions"] = Repo(private=False)
        there = hub.run(tmp_path, "doctor", "--config", str(other), token=READ)
        assert "ok       hub: the dataset acme/questions is there and may be read" in there.stdout


@pytest.mark.parametrize(
    ("servers", "expected"),
    [
        (
            {"launch": "slurm", "replicas": 16},
            ("PROBLEM", "there is no `sbatch` on this machine: run the command on a login node of the cluster"),
        ),
        (
            {"launch": "local", "replicas": 3},
            (
                "warning",
                "3 servers of `solver` take 6 GPUs, and there are 4, so servers share them: lower `servers.replicas`, "
                "or set it to null",
            ),
        ),
    ],
)
def test_servers_that_cannot_be_started_as_asked_are_named(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    program: Path,
    servers: dict[str, object],
    expected: tuple[str, str],
) -> None:
    monkeypatch.setenv("PATH", str(program))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1,2,3")
    solver = {"backend": "vllm", "model": "acme/tiny", "tensor_parallel": 2}
    found = lines(doctor(project(tmp_path, servers=servers, solver=solver)), "servers")
    assert found[0] == expected
