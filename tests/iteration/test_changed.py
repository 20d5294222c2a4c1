"""A change since an iteration was built is named. Changed data is not built on, trained on or called current."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import yaml
from hub_server import Files, Hub, Repo
from sandbox_runs import command, error_of, eva

from eva_data.dataset.store import Store
from eva_data.files import sha256
from eva_data.project import train_dir

SIDES = {"chosen": "rejected", "rejected": "chosen"}

Change = Callable[[Path], object]


def rewritten(change: Callable[[pl.DataFrame], pl.DataFrame]) -> Change:
    return lambda path: change(pl.read_parquet(path)).write_parquet(path)


def flipped(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


CHANGES: dict[str, tuple[str, Change]] = {
    "sides swapped": ("preferences", rewritten(lambda table: table.rename(SIDES).select(table.columns))),
    "rewards negated": ("responses", rewritten(lambda table: table.with_columns(-pl.col("reward")))),
    "prompts replaced": ("prompts", rewritten(lambda table: table.with_columns(pl.col("prompt").shuffle(seed=1)))),
    "a byte flipped": ("preferences", flipped),
    "cut off": ("responses", lambda path: path.write_bytes(path.read_bytes()[:1000])),
    "zeroed": ("informativeness", lambda path: path.write_bytes(bytes(path.stat().st_size))),
}


@pytest.fixture
def copied(built: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(built, tmp_path / "sandbox"))


@pytest.mark.slow
@pytest.mark.parametrize("name", CHANGES)
def test_a_changed_table_is_neither_built_on_nor_trained_on_nor_shown(copied: Path, name: str) -> None:
    table, change = CHANGES[name]
    path = Store(copied).table_files(table, 2)[0]
    change(path)
    for arguments in (("build", "--iter", "2"), ("build", "--iter", "3"), ("train", "--iter", "2")):
        said = error_of(eva(copied, *arguments))
        assert f"{path} is not the file that iteration 2 was built with" in said
        assert "make it anew with `eva-data build --iter 2`" in said
    assert not Store(copied).solver_folder(2).exists()
    said = error_of(eva(copied, "publish", "--iter", "2", "--repo", "alice/game", "--dry-run"))
    assert f"{table}/iter_2.parquet in {copied} was changed or lost since iteration 2 was built" in said
    if table != "informativeness":
        assert f"{path} is not the file" in error_of(eva(copied, "show", "--iter", "2"))
    shown = eva(copied, "status")
    assert (shown.returncode, "CHANGED since:" in shown.stdout) == (0, True)


@pytest.mark.slow
def test_a_changed_table_is_made_anew_as_the_error_says(copied: Path) -> None:
    store = Store(copied)
    path, manifest = store.table_files("preferences", 2)[0], store.manifest_path(2)
    before, recorded = path.read_bytes(), manifest.read_bytes()
    flipped(path)
    manifest.unlink()
    done = eva(copied, "build", "--iter", "2")
    assert done.returncode == 0, done.stderr
    assert (path.read_bytes(), manifest.read_bytes()) == (before, recorded)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"\xff\xfe{}", "is not valid JSON"),
        (b"", "is not valid JSON"),
        (b"{}", "is no manifest of eva-data"),
        (bytes(1000), "is not valid JSON"),
    ],
)
def test_a_damaged_manifest_is_one_sentence_and_status_goes_on(copied: Path, content: bytes, said: str) -> None:
    path = Store(copied).manifest_path(1)
    path.write_bytes(content)
    publish = ("publish", "--iter", "1", "--repo", "alice/game", "--dry-run")
    for arguments in (("build", "--iter", "2"), ("train", "--iter", "1"), ("show", "--iter", "1"), publish):
        error = error_of(eva(copied, *arguments))
        assert f"{path} {said}" in error
        assert "restore it, or remove it and build again" in error
    shown = eva(copied, "status")
    assert shown.returncode == 0, shown.stderr
    assert "UNREADABLE" in shown.stdout
    assert "prompts, " in shown.stdout


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "damage", "what"),
    [
        ("model.safetensors", lambda path: path.write_bytes(path.read_bytes()[:-10]), "is not as long as it says"),
        ("model.safetensors", lambda path: path.write_bytes(bytes(path.stat().st_size)), "is not as long as it says"),
        ("model.safetensors", lambda path: path.unlink(), "it has no weights"),
        ("config.json", lambda path: path.unlink(), "config.json is missing"),
        ("config.json", lambda path: path.write_bytes(b"\xff{"), "config.json cannot be read"),
        ("training.json", lambda path: path.write_text("[]"), "training.json holds no settings"),
    ],
)
def test_a_damaged_theta_is_one_sentence(copied: Path, name: str, damage: Change, what: str) -> None:
    theta = Store(copied).solver_folder(1)
    damage(theta / name)
    said = error_of(eva(copied, "train", "--iter", "1"))
    assert f"theta_1 in {theta} is damaged (" in said
    assert what in said
    assert "remove the folder and train it anew with `eva-data train --iter 1`" in said
    assert "DAMAGED" in eva(copied, "status").stdout
    Store(copied).manifest_path(2).unlink()
    assert what in error_of(eva(copied, "build", "--iter", "2"))


@pytest.mark.slow
def test_weights_of_the_right_length_that_are_others_do_not_answer(copied: Path) -> None:
    flipped(Store(copied).solver_folder(1) / "model.safetensors")
    Store(copied).manifest_path(2).unlink()
    assert "its files are not those that were trained" in error_of(eva(copied, "build", "--iter", "2"))


# --- inputs ----------------------------------------------------------------------------------------------------


def project(folder: Path, **settings: Any) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "eva.yaml").write_text(yaml.safe_dump({"name": "acme/small", "folder": "data"} | settings))
    return folder


def run(folder: Path, *arguments: str, data: str = "data") -> subprocess.CompletedProcess[str]:
    modules = os.pathsep.join([str(folder), *filter(None, [os.environ.get("PYTHONPATH")])])
    return subprocess.run(
        command(Path(data), *arguments, settings=()),
        cwd=folder,
        env=os.environ | {"PYTHONPATH": modules, "COLUMNS": "400"},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )


def scored(path: Path, rewards: Sequence[float] = (1.0, 0.0, 0.5, 0.25)) -> None:
    prompts = ["Say a.", "Say a.", "Say b.", "Say b."]
    rows = {"prompt": prompts, "response": ["a", "b", "b", "c"], "reward": list(rewards)}
    pl.DataFrame(rows).write_parquet(path)


def inputs_of(folder: Path, data: str = "data") -> dict[str, str]:
    found: dict[str, str] = json.loads((folder / data / "manifests" / "iter_1.json").read_text())["inputs"]
    return found


@pytest.fixture(scope="module")
def tabled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project whose iteration 1 came from a table of scored responses."""
    folder = tmp_path_factory.mktemp("tabled")
    scored(folder / "rows.parquet")
    project(folder, solver={"backend": "table", "path": "rows.parquet"})
    done = run(folder, "build", "--iter", "1")
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture
def table(tabled: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tabled, tmp_path / "tabled"))


def named(folder: Path, key: str) -> None:
    """Every command that uses iteration 1 names the changed input, and status goes on."""
    said = f"`{key}` holds other content than iteration 1 was built from"
    for arguments in (("build",), ("plan",), ("build", "--dry-run")):
        done = run(folder, *arguments, "--iter", "1")
        assert said in error_of(done)
        assert "build into a folder of its own" in done.stderr
    shown = run(folder, "status")
    assert (shown.returncode, f"stale: {said}" in shown.stdout) == (0, True), shown.stdout + shown.stderr


@pytest.mark.slow
def test_the_manifest_holds_hashes_of_the_inputs_and_no_path(table: Path) -> None:
    assert set(inputs_of(table)) == {"prompts", "solver.path"}
    assert all(len(value) == 64 for value in inputs_of(table).values())
    again = run(table, "build", "--iter", "1")
    assert again.returncode == 0, again.stderr
    assert "as they are now" in run(table, "status").stdout


@pytest.mark.slow
def test_a_table_of_responses_that_holds_others_is_told(table: Path) -> None:
    scored(table / "rows.parquet", rewards=(0.0, 1.0, 0.5, 0.25))
    named(table, "solver.path")


@pytest.mark.slow
def test_another_path_counts_by_its_content(table: Path) -> None:
    shutil.move(table / "rows.parquet", table / "moved.parquet")
    project(table, solver={"backend": "table", "path": "moved.parquet"})
    assert run(table, "build", "--iter", "1").returncode == 0
    scored(table / "other.parquet", rewards=(0.0, 1.0, 0.5, 0.25))
    project(table, solver={"backend": "table", "path": "other.parquet"})
    named(table, "solver.path")


@pytest.mark.slow
def test_an_input_that_is_not_here_is_unknown_and_one_that_an_older_manifest_lacks_is_unchanged(table: Path) -> None:
    (table / "rows.parquet").unlink()
    assert "as far as is known: `solver.path` cannot be read here" in run(table, "status").stdout
    assert run(table, "build", "--iter", "1").returncode == 0
    path = table / "data" / "manifests" / "iter_1.json"
    manifest = json.loads(path.read_text())
    del manifest["inputs"]["solver.path"]
    path.write_text(json.dumps(manifest))
    scored(table / "rows.parquet", rewards=(0.0, 1.0, 0.5, 0.25))
    assert run(table, "build", "--iter", "1").returncode == 0
    assert "as they are now" in run(table, "status").stdout


MODEL = {"backend": "transformers", "model": "sandbox", "responses": 2, "max_tokens": 8, "threads": 1}
FUNCTION = "def score(prompt, response, answer=None):\n    return float(len(response))\n"


def write_prompts(path: Path, prompts: Sequence[str]) -> None:
    path.write_text("".join(json.dumps({"prompt": prompt}) + "\n" for prompt in prompts))


@pytest.fixture(scope="module")
def answered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project whose seeds, answers and function are files of its own."""
    folder = tmp_path_factory.mktemp("answered")
    write_prompts(folder / "prompts.jsonl", ["Say 1.", "Say 2.", "Say 3."])
    answers = [{"prompt": f"Say {number}.", "answer": str(number)} for number in (1, 2, 3)]
    (folder / "answers.jsonl").write_text("".join(json.dumps(row) + "\n" for row in answers))
    (folder / "own_scores.py").write_text(FUNCTION)
    reward = {"backend": "verifier", "function": "own_scores:score", "answers": {"path": "answers.jsonl"}}
    project(folder, seeds={"path": "prompts.jsonl"}, solver=MODEL, reward=reward)
    done = run(folder, "build", "--iter", "1")
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture
def asked(answered: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(answered, tmp_path / "answered"))


@pytest.mark.slow
def test_every_file_and_function_that_changed_is_named(asked: Path) -> None:
    assert set(inputs_of(asked)) == {"prompts", "seeds.path", "reward.answers", "reward.function"}
    for name, key, other in (
        ("prompts.jsonl", "seeds.path", '{"prompt": "Say 4."}\n'),
        ("answers.jsonl", "reward.answers", '{"prompt": "Say 1.", "answer": "one"}\n'),
        ("own_scores.py", "reward.function", FUNCTION.replace("len(", "-len(")),
    ):
        before = (asked / name).read_text()
        (asked / name).write_text(other)
        named(asked, key)
        assert f"`{key}` holds other content" in error_of(run(asked, "train", "--iter", "1"))
        (asked / name).write_text(before)
    assert run(asked, "build", "--iter", "1").returncode == 0
    # The same prompts in another order are the same prompts.
    write_prompts(asked / "prompts.jsonl", ["Say 3.", "Say 1.", "Say 2."])
    assert run(asked, "build", "--iter", "1").returncode == 0
    assert "as they are now" in run(asked, "status").stdout


@pytest.mark.slow
def test_a_version_of_your_own_stands_for_the_source_of_a_function(asked: Path) -> None:
    settings = yaml.safe_load((asked / "eva.yaml").read_text())
    settings["reward"]["version"] = "1"
    (asked / "eva.yaml").write_text(yaml.safe_dump(settings))
    for source in (FUNCTION, FUNCTION + "\n# Only a comment.\n"):
        (asked / "own_scores.py").write_text(source)
        done = run(asked, "build", "--iter", "1", data="versioned")
        assert done.returncode == 0, done.stderr
    assert inputs_of(asked, "versioned")["reward.function"] == "1"


@pytest.mark.slow
def test_a_hub_dataset_is_read_at_the_commit_that_iteration_1_recorded(tmp_path: Path) -> None:
    settings = {
        "seeds": {"dataset": "alice/prompts"},
        "solver": MODEL,
        "reward": {"backend": "verifier", "function": "eva_data.sandbox.verifier:score"},
        "sample": {"fraction": 1.0},
        "mix": {"evolved": 0.4, "original": "seeds", "shortfall": "fill_original"},
        "pair": {"min_chosen": None},
    }
    with Hub(tmp_path / "hub") as hub:
        repo = hub.repos["alice/prompts"] = Repo(private=True)
        asked = [f"Reverse the word a{letter}." for letter in "bcdef"]
        first = repo.add(in_hub(asked, tmp_path), "first")
        home = project((tmp_path / "home"), **settings)
        built = hub.run(home, "build", "--iter", "1")
        assert built.returncode == 0, built.stderr
        assert inputs_of(home)["seeds.dataset"] == first.sha
        # The branch goes on; the dataset that is being built does not go with it.
        repo.add(in_hub(["Something else.", "And another."], tmp_path), "second")
        again = hub.run(home, "build", "--iter", "1")
        assert again.returncode == 0, again.stderr
        later = hub.run(home, "build", "--iter", "2", "--solver", "sandbox")
        assert later.returncode == 0, later.stderr
    store = Store(home / "data")
    assert store.manifest(2).inputs["seeds.dataset"] == first.sha
    prompts = store.scan("prompts", 2).filter(pl.col("mix_role") == "seed").collect()["prompt"]
    assert {turns[-1]["content"] for turns in prompts} <= set(asked)
    assert len(prompts) > 0


def in_hub(prompts: Sequence[str], folder: Path) -> Files:
    write_prompts(folder / "prompts.jsonl", prompts)
    front = "---\nconfigs:\n- config_name: default\n  data_files: [{split: train, path: prompts.jsonl}]\n---\n"
    return {"README.md": front.encode(), "prompts.jsonl": (folder / "prompts.jsonl").read_bytes()}


@pytest.mark.slow
def test_a_recipe_of_your_own_that_changed_is_named_by_train_and_by_the_iteration_that_its_theta_answered(
    built: Path, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(built, tmp_path / "sandbox"))
    recipe = tmp_path / "mine.yaml"
    recipe.write_text((train_dir() / "recipes" / "sandbox.yaml").read_text())
    theta, own = Store(folder).solver_folder(1), ("--set", f"train.recipe={recipe}")
    shutil.rmtree(theta)
    Store(folder).manifest_path(2).unlink()
    done = eva(folder, "build", "--iter", "2", *own)
    assert done.returncode == 0, done.stderr
    assert Store(folder).manifest(2).inputs["train.recipe"] == sha256(recipe)
    assert eva(folder, "train", "--iter", "1", *own).returncode == 0
    # Other names are other choices, which each theta may have made for itself.
    assert eva(folder, "build", "--iter", "2").returncode == 0
    recipe.write_text(recipe.read_text() + "\nseed: 7\n")
    assert "`train.recipe` holds other content than it was trained by" in error_of(
        eva(folder, "train", "--iter", "1", *own)
    )
    said = "`train.recipe` holds other content than iteration 2 was built from"
    assert said in error_of(eva(folder, "build", "--iter", "2", *own))
