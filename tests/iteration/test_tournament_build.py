"""A game scored by judges that compare: planned, killed, built, verified, published and loaded, with planted judges."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest
import yaml
from hub_server import WRITE, Hub
from judge_server import JudgeServer
from odd_server import Answer, Asked, OddServer, said

from eva_data.dataset.store import Store
from eva_data.files import sha256
from eva_data.hub.verify import verify_iteration

pytestmark = pytest.mark.slow

REPO = "alice/judged"
HARDER = "Make this harder: "
RESPONSES = ("worst 1", "poor 2", "good 3", "best 4")


def solver(asked: Asked) -> Answer:
    """Gives each prompt one response of each quality; as the creator it adds a word."""
    *_, prompt = asked.prompt.split(HARDER)
    if HARDER in asked.prompt:
        return said(asked, f"{prompt} Quickly number {len(prompt)}.")
    status, reply = said(asked)[:2]
    for choice in range(asked.body.get("n", 1)):
        text = RESPONSES[(asked.time - 1 + choice) % 4]
        reply["choices"][choice]["message"]["content"] = f"To {prompt} {text}"
    return status, reply


def quality(reply: str) -> int:
    return int(reply[-1])


def fair(first: str, second: str) -> str:
    return "first" if quality(first) > quality(second) else "second"


def hasty(first: str, second: str) -> str:
    """Prefers what is shown first if the two are close, and sometimes forgets to say so."""
    if "Name a lake" in first and {quality(first), quality(second)} == {1, 4}:
        return "Hm."
    return fair(first, second) if abs(quality(first) - quality(second)) > 1 else "first"


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "eva_data.cli", *arguments],
        cwd=folder,
        env=os.environ | {"COLUMNS": "200"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


class Killing(JudgeServer):
    """Kills the build in the middle of its seventh comparison."""

    building: subprocess.Popen[str] | None = None

    def _note(self, path: str, headers: dict[str, str], body: dict[str, object]) -> Asked:
        asked = super()._note(path, headers, body)
        if self.building is not None and len(self.asked) == 7:
            os.killpg(self.building.pid, signal.SIGKILL)
            self.building.wait()
        return asked


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Counter[str], str, str]]:
    """A folder with an eva.yaml and two iterations, the questions to the first judge, the plan and the printed text."""
    folder = tmp_path_factory.mktemp("judged")
    pl.DataFrame({"prompt": ["Name a river.", "Name a lake.", "Name a hill.", "Name a wood."]}).write_csv(
        folder / "seeds.csv"
    )
    one = Killing(fair)
    with OddServer(solver) as answering, one, JudgeServer(hasty) as other:
        api = {"backend": "api", "canary": False, "model": "tiny"}
        settings = {
            "name": "alice/judged",
            "folder": "data",
            "seeds": {"path": "seeds.csv"},
            "solver": {**api, "base_url": answering.url, "responses": 4, "temperature": 1.0},
            "reward": {
                **{"backend": "tournament", "rounds": 2},
                "judges": [
                    {**api, "model": "fair", "base_url": one.url, "max_in_flight": 1, "max_tokens": 50},
                    {**api, "model": "hasty", "base_url": other.url, "max_tokens": 50},
                ],
            },
            "estimate": {"min_best": None},
            "sample": {"fraction": 0.5},
            "evolve": {
                **{"only_own": True, "evolutions": 2, "near_duplicate": None, "min_chars": 1},
                "strategies": [{"name": "harder", "template": HARDER + "{prompt}"}],
            },
        }
        (folder / "eva.yaml").write_text(yaml.safe_dump(settings))
        planned = run(folder, "plan", "--iter", "1", "--json")
        assert planned.returncode == 0, planned.stdout + planned.stderr
        command = [sys.executable, "-m", "eva_data.cli", "build", "--iter", "1"]
        one.building = subprocess.Popen(command, cwd=folder, start_new_session=True, text=True)
        assert one.building.wait(timeout=120) == -signal.SIGKILL
        one.building = None
        done = run(folder, "build", "--iter", "2")
        assert done.returncode == 0, done.stdout + done.stderr
        yield folder, Counter(each.prompt for each in one.asked), planned.stdout, done.stdout


@pytest.fixture
def store(played: tuple[Path, Counter[str], str, str], tmp_path: Path) -> Store:
    """A copy, without what is not published."""
    return Store(Path(shutil.copytree(played[0] / "data", tmp_path / "data", ignore=shutil.ignore_patterns(".eva"))))


def test_the_plan_counts_every_comparison(played: tuple[Path, Counter[str], str, str], store: Store) -> None:
    lines = [line for line in json.loads(played[2])["lines"] if line["stage"].startswith("judge")]
    # 4 prompts, 2 rounds of 2 matches, both orders.
    assert [(line["model"], line["completions"]) for line in lines] == [("fair", 32), ("hasty", 32)]
    assert store.scan("comparisons", 1).collect().height == 64


def test_no_finished_comparison_is_asked_again_after_a_kill(played: tuple[Path, Counter[str], str, str]) -> None:
    twice = {question: times for question, times in played[1].items() if times > 1}
    # The seventh question was under way when the build was killed.
    assert sum(twice.values()) == 2


def test_the_best_response_is_chosen_and_every_reward_has_its_error(store: Store) -> None:
    responses = store.scan("responses", 1).collect()
    assert responses["reward_se"].is_not_null().to_list() == responses["reward"].is_not_null().to_list()
    pairs = store.scan("preferences", 1).collect()
    assert pairs.height == 4
    assert {each[-1]["content"][-6:] for each in pairs["chosen"]} == {"best 4"}
    assert pairs["score_chosen"].is_between(0.5, 3).all()


def test_verdicts_are_stored_as_they_were_given(store: Store) -> None:
    found = store.scan("comparisons", 1).filter(pl.col("judge").str.starts_with("hasty")).collect()
    responses = store.scan("responses", 1).select("prompt_id", "response_idx", "response").collect()
    for side in ("first", "second"):
        text = responses.rename({"response_idx": f"{side}_idx", "response": side})
        found = found.join(text, on=["prompt_id", f"{side}_idx"])
    for row in found.to_dicts():
        verdict = hasty(row["first"], row["second"])
        if verdict == "Hm.":
            assert (row["verdict"], row["raw"]) == (None, "Hm.")
            assert row["reason"] == "unparsable: the last line is no verdict"
        else:
            assert (row["verdict"], row["reason"], row["raw"]) == (verdict, None, None)


def test_the_build_says_how_often_a_judge_turned_with_the_order(store: Store) -> None:
    notes = [note for note in store.manifest(1).notes if "turned with the order" in note]
    assert re.match(r"respond: the verdict of the judge fair@unknown\S* turned with the order in 0 % of 16", notes[0])
    turned = re.search(r"hasty\S* turned with the order in (\d+) % of", notes[1])
    assert turned is not None
    assert int(turned[1]) > 0


def test_verify_plays_the_tournaments_again_and_finds_what_does_not_follow(store: Store) -> None:
    for iteration in (1, 2):
        assert verify_iteration(store, iteration).problems == []
    lies: dict[tuple[str, str, object], str] = {
        ("responses", "reward", 0.25): "responses: 1 have rewards that the verdicts do not give",
        ("comparisons", "verdict", "tie"): "have rewards that the verdicts do not give",
        ("comparisons", "round", 2): "comparisons: in 1 tournaments others met than follows from the verdicts",
    }
    for (table, column, lie), said_so in lies.items():
        path = store.table_files(table, 2)[0]
        honest = path.read_bytes()
        rows = pl.read_parquet(path)
        values = rows[column].to_list()
        values[next(place for place, value in enumerate(values) if value not in (lie, None))] = lie
        rows.with_columns(pl.Series(column, values, dtype=rows.schema[column])).write_parquet(path)
        _sign(store, path)
        assert [each for each in verify_iteration(store, 2).problems if said_so in each], (table, column)
        path.write_bytes(honest)
        _sign(store, path)


def _sign(store: Store, path: Path) -> None:
    """Write a table's hash into its manifest, as a liar does."""
    manifest = json.loads(store.manifest_path(2).read_text())
    name = str(path.relative_to(store.folder))
    manifest["files"][name] |= {"sha256": sha256(path), "bytes": path.stat().st_size}
    store.manifest_path(2).write_text(json.dumps(manifest))


def test_it_is_published_and_loaded_with_its_verdicts(store: Store, tmp_path: Path) -> None:
    assert "compared two by two" in (store.folder / "README.md").read_text()
    with Hub(tmp_path / "hub") as hub:
        done = hub.run(
            *(tmp_path, "publish", "--iter", "2", "--repo", REPO, "--set", f"folder={store.folder}"), token=WRITE
        )
        assert done.returncode == 0, done.stdout + done.stderr
        load = (
            "from datasets import load_dataset\n"
            f"rows = load_dataset('{REPO}', 'comparisons', split='iter_2', revision='iter-2')\n"
            "print(len(rows), sorted(set(rows['verdict']), key=str))"
        )
        loaded = hub.python(tmp_path, "-c", load, token=WRITE)
        assert loaded.returncode == 0, loaded.stderr
        rows = store.scan("comparisons", 2).collect()
        assert loaded.stdout.strip() == f"{rows.height} {sorted(rows['verdict'].unique(), key=str)}"
