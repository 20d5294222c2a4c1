"""The card of a trained solver states its origin. Its folder is pushed to a local Hub."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hub_server import OTHER, READ, WRITE, Hub
from huggingface_hub import ModelCard
from small_store import BASE, REWARD, SETTINGS, THETA, small_store
from tiny import save_model

from eva_data.config.reading import parse_config
from eva_data.dataset.evaluations import RECORD, Compared, EvaluationRecord
from eva_data.dataset.store import Store
from eva_data.files import sha256, write_text
from eva_data.models.player import Player
from eva_data.models.resolve import folder_fingerprint
from eva_data.report.model_card import finish_model, model_card

REPO = "alice/solver"
TRAINING: dict[str, Any] = {
    "split": "iter_1",
    "files": {"iter_1.parquet": "12ab"},
    "model": {"name": "a-snapshot", "commit": "34cd"},
    "settings": {"loss_type": ["sigmoid"], "beta": 0.05, "lr_scheduler_type": "cosine", "odd": "a|b"},
    "versions": {"trl": "1.16.0", "torch": "2.13.0"},
    "pairs": {"read": 5, "prompt_too_long": 1, "sequence_too_long": 2, "trained": 2},
    "steps": 12,
    "epochs": 2.0,
    "history": [{"loss": 0.7, "step": 1}, {"loss": 0.25, "rewards/accuracies": 1.0, "rewards/margins": 0.125}],
}


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    with Hub(tmp_path / "hub") as hub:
        yield hub


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Two iterations and theta_1, with their settings in eva.yaml."""
    store = small_store(tmp_path / "small")
    trained(store, 1, BASE)
    (tmp_path / "eva.yaml").write_text(yaml.safe_dump(SETTINGS | {"folder": "small"}))
    return store


def player(fingerprint: str) -> Player:
    """The model at the beginning of the training."""
    block = parse_config(SETTINGS, "the test").model_solver
    assert block is not None
    theta = 1 if fingerprint == THETA else None
    return Player(block, fingerprint.partition("@")[0], fingerprint, None, theta=theta)


def trained(store: Store, iteration: int, base: str, dataset: str | None = None) -> Path:
    theta = save_model(store.solver_folder(iteration), seed=iteration)
    (theta / "training.json").write_text(json.dumps(TRAINING))
    finish_model(store, iteration, theta, base=player(base), dataset=dataset)
    return theta


def card_of(store: Store, iteration: int = 1, **changes: Any) -> str:
    given = {"repo": None, "revision": None, "dataset": None, "licence": None}
    return model_card(store, iteration, store.solver_folder(iteration), **(given | changes))


def section(card: str, heading: str) -> str:
    return card.split(f"\n## {heading}\n\n")[1].split("\n## ")[0].strip()


def test_the_card_says_what_it_was_trained_from_on_and_how(store: Store) -> None:
    card = (store.solver_folder(1) / "README.md").read_text()
    assert card == card_of(store)
    assert ModelCard(card).data.to_dict() == {
        "library_name": "transformers",
        "pipeline_tag": "text-generation",
        "base_model": "acme/base",
        "base_model_relation": "finetune",
        "tags": ["eva", "dpo", "trl", "self-play"],
    }
    assert (
        f"\n# theta_1 of small\n\n`{BASE}`, trained on 2 preference pairs of iteration 1 of the dataset `small`."
        in card
    )
    assert section(card, "What it was trained on") == (
        "| | |\n"
        "|:--|:--|\n"
        f"| trained from | `{BASE}` |\n"
        "| dataset | `small`, `preferences`, `iter_1` |\n"
        "| pairs | 2 of 5; left out: 1 with a prompt that is too long, 2 with an answer that is too "
        "long |\n"
        f"| reward | `{REWARD}` |\n"
        f"| SHA-256 of the manifest | `{sha256(store.manifest_path(1))}` |\n"
        "| SHA-256 of the pairs, `iter_1.parquet` | `12ab` |"
    )
    assert section(card, "How it was trained") == (
        "By `dpo`, 12 steps, 2 epochs. At the end: loss 0.25, share of pairs with the chosen answer ahead 1, margin of "
        "the implicit rewards 0.125, over the pairs trained on.\n\n"
        "Every setting of the training script that differs from its default:\n\n"
        "| setting | value |\n"
        "|:--|:--|\n"
        "| `beta` | `0.05` |\n"
        '| `loss_type` | `["sigmoid"]` |\n'
        "| `lr_scheduler_type` | `cosine` |\n"
        "| `odd` | <code>a&#124;b</code> |\n"
        "| version of torch | `2.13.0` |\n"
        "| version of trl | `1.16.0` |"
    )
    assert section(card, "How good it is").startswith("Not measured. ")
    assert section(card, "Licence") == (
        "Unknown: the publisher has to name a licence (`eva-data train --push ... --licence ...`).\n\n"
        f"This model comes from `{BASE}`, whose card states the licence `apache-2.0`."
    )


def test_evaluations_of_a_theta_and_of_those_before_it_say_how_good_it_is(store: Store) -> None:
    def compared(theta: int, against: int | None, estimate: list[float], **figures: object) -> Compared:
        unit = "right" if against is None else "win rate"
        return Compared(
            key=f"{theta}-{against}",
            set="sums" if against is None else "chat",
            rule="verifier" if against is None else "own",
            source="a source",
            solver=f"iter_{theta}@1",
            solver_name=f"theta_{theta}",
            theta=theta,
            against_name=None if against is None else f"theta_{against}",
            judges=("judge@1",),
            prompts=50,
            prompts_hash="a",
            figures={"unit": unit, "judged": 49, "estimate": estimate} | figures,
        )

    said = {"sentence": "theta_1 is better than theta_0.", "warnings": ["<b>partial</b>"]}
    made = (
        compared(0, None, [0.25, 0.2, 0.3]),
        compared(1, None, [0.5, 0.4, 0.6]),
        compared(1, 0, [0.75, 0.7, 0.8], **said),
        # A later theta says nothing about this one.
        compared(2, None, [0.9, 0.8, 1.0]),
    )
    write_text(store.folder / RECORD, EvaluationRecord(eva_data="0", evaluations=made).model_dump_json())
    told = section(card_of(store), "How good it is")
    assert told.split("\n\n")[:3] == [
        "On prompts that no solver was trained on:",
        "| set | rule | solver | against | figure, with its 95 % interval | judged |\n"
        "|:--|:--|:--|:--|:--|--:|\n"
        "| `sums` | `verifier` | `theta_0` |  | right 25.0 % [20.0, 30.0] | 49 of 50 |\n"
        "| `sums` | `verifier` | `theta_1`, this one |  | right 50.0 % [40.0, 60.0] | 49 of 50 |\n"
        "| `chat` | `own` | `theta_1`, this one | `theta_0` | win rate 75.0 % [70.0, 80.0] | 49 of 50 |",
        "- theta_1 is better than theta_0.\n- Warning: &#60;b&#62;partial&#60;/b&#62;",
    ]
    assert "Judged by `judge@1`." in told and "Not measured" not in told


def test_a_later_theta_names_the_model_that_the_chain_goes_back_to(store: Store) -> None:
    trained(store, 2, THETA)
    card = card_of(store, 2, repo=REPO, revision="iter-2", dataset="alice/game", licence="mit")
    assert f"| trained from | `{THETA}` |\n| which comes from | `{BASE}` |\n" in card
    assert ModelCard(card).data.to_dict() == {
        "library_name": "transformers",
        "pipeline_tag": "text-generation",
        "license": "mit",
        "base_model": "acme/base",
        "base_model_relation": "finetune",
        "datasets": ["alice/game"],
        "tags": ["eva", "dpo", "trl", "self-play"],
    }
    assert 'pipeline("text-generation", model="alice/solver", revision="iter-2")' in card
    assert section(card, "Licence").startswith("`mit`, chosen by the publisher.\n\n")


def test_held_out_accuracy_is_told_where_it_was_measured(store: Store) -> None:
    rows = ["depth,prompts,right,theta", "1,20,20,0", "2,20,5,0", "1,20,19,1", "2,20,10,1", "1,20,20,2", "2,20,11,2"]
    (store.state / "heldout.csv").write_text("\n".join(rows) + "\n")
    assert section(card_of(store), "How good it is") == (
        "Share of right answers to held-out prompts of the sandbox, with greedy decoding, by the number of operations "
        "in a prompt:\n\n"
        "| solver | 1 | 2 |\n"
        "|:--|--:|--:|\n"
        "| theta_0 | 100 % | 25 % |\n"
        "| theta_1, this one | 95 % | 50 % |\n\n"
        "20 prompts of each kind."
    )


@pytest.mark.slow
def test_the_snippet_of_the_card_runs_and_the_card_is_no_part_of_the_model(store: Store) -> None:
    theta = store.solver_folder(1)
    before = folder_fingerprint(theta)
    (code,) = re.findall(r"^```python\n(.*?)^```$", (theta / "README.md").read_text(), re.MULTILINE | re.DOTALL)
    assert 'model="iter_1"' in code and 'question = "Say ab."' in code
    done = subprocess.run(
        [sys.executable, "-c", code.replace("256", "4")], cwd=theta.parent, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    (theta / "README.md").unlink()
    (theta / "training.json").unlink()
    assert folder_fingerprint(theta) == before


def push(hub: Hub, store: Store, *options: str, token: str | None = WRITE) -> subprocess.CompletedProcess[str]:
    return hub.run(store.folder.parent, "train", "--iter", "1", "--push", REPO, *options, token=token)


def error_of(done: subprocess.CompletedProcess[str]) -> str:
    assert (done.returncode, done.stderr.count("\n")) == (1, 1), done.stderr
    return done.stderr.strip()


@pytest.mark.slow
def test_a_pushed_model_is_one_commit_and_one_tag_of_a_private_repo_and_loads_from_there(
    hub: Hub, store: Store
) -> None:
    done = push(hub, store)
    assert done.returncode == 0, done.stderr
    theta = store.solver_folder(1)
    names = sorted(path.name for path in theta.iterdir())
    assert done.stdout.splitlines()[-1] == f"{hub.url}/{REPO} holds it at iter-1; {len(names)} files were uploaded."
    repo = hub.repos[REPO]
    assert repo.private
    _, commit = repo.commits
    assert repo.tags == {"iter-1": commit.sha}
    assert sorted(commit.files) == sorted([*names, ".gitattributes"])
    assert all(commit.files[name] == (theta / name).read_bytes() for name in names if name != "README.md")
    card = commit.files["README.md"].decode()
    assert card == card_of(store, repo=REPO, revision="iter-1")
    assert WRITE not in str(commit.files)
    (code,) = re.findall(r"^```python\n(.*?)^```$", card, re.MULTILINE | re.DOTALL)
    loaded = hub.python(store.folder.parent, "-c", code.replace("256", "4"))
    assert loaded.returncode == 0, loaded.stderr

    again = push(hub, store)
    assert again.stdout.splitlines()[-1] == f"{hub.url}/{REPO} holds it at iter-1; 0 files were uploaded."
    assert len(repo.commits) == 2

    (theta / "model.safetensors").write_bytes(
        (save_model(store.folder / "other", seed=9) / "model.safetensors").read_bytes()
    )
    assert error_of(push(hub, store)) == (
        f"Error: {REPO} holds another model as iter-1 (model.safetensors differ), and what is tagged is never "
        "overwritten: push to another repo"
    )
    assert len(repo.commits) == 2


@pytest.mark.slow
def test_a_push_that_was_cut_off_before_the_tag_is_finished_by_the_next(hub: Hub, store: Store) -> None:
    hub.fail(f"POST /api/models/{REPO}/tag", "die")
    assert "cannot be reached" in error_of(push(hub, store))
    repo = hub.repos[REPO]
    assert (len(repo.commits), repo.tags) == (2, {})
    hub.start()
    assert push(hub, store).returncode == 0
    assert (len(repo.commits), repo.tags) == (2, {"iter-1": repo.commits[1].sha})


@pytest.mark.slow
def test_who_may_not_push_is_told_so(hub: Hub, store: Store) -> None:
    assert error_of(push(hub, store, token=None)).startswith(
        f"Error: nobody is logged in to the Hub, so {REPO} cannot "
    )
    assert error_of(push(hub, store, "--public")) == (
        "Error: what is public needs a licence: choose one that the model it was trained from allows, for example with "
        "`--licence apache-2.0`, or push with `--private`"
    )
    for token in (READ, OTHER, "hf_wrong"):
        refused = error_of(push(hub, store, token=token))
        assert re.match(r"Error: .*\((401|403): ", refused) and token not in refused
    assert hub.repos == {}
    assert push(hub, store, "--public", "--licence", "mit").returncode == 0
    assert not hub.repos[REPO].private
    assert "\nlicense: mit\n" in hub.repos[REPO].commits[-1].files["README.md"].decode()


@pytest.mark.slow
def test_a_commit_by_somebody_else_meanwhile_is_not_overwritten(hub: Hub, store: Store) -> None:
    assert push(hub, store).returncode == 0
    repo = hub.repos[REPO]
    repo.tags.clear()
    (store.solver_folder(1) / "generation_config.json").write_text("{}")
    hub.fail(f"POST /api/models/{REPO}/commit", lambda: repo.add(repo.commits[-1].files, "somebody else's"))
    assert error_of(push(hub, store)) == (
        f"Error: somebody else committed to {REPO} while theta_1 was uploaded, so it was not pushed, and nothing there "
        "was changed: repeat the command"
    )
    assert (len(repo.commits), repo.tags) == (3, {})
