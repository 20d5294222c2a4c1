"""Earlier pairs are trained on again, and the loss may have theta_0 for its reference: the numbers, and the records."""

from __future__ import annotations

import json
import math
from pathlib import Path
from types import ModuleType

import polars as pl
import pytest
import torch
from scripts import arguments
from tiny import pairs, preferences, save_dataset, save_model
from transformers import AutoModelForCausalLM, AutoTokenizer

from eva_data.config import Config
from eva_data.config.reading import parse_config
from eva_data.dataset.store import Store
from eva_data.errors import ConfigError, DataError, StaleError
from eva_data.files import sha256
from eva_data.hub.checks.trained_on import trained_on
from eva_data.method.replay import replayed
from eva_data.training.recipes import other_reference, refuse_another, replay_split_of

# TRL 1.16 calls by their old names what transformers 5.23 has renamed.
pytestmark = pytest.mark.filterwarnings("ignore:.*gradient_checkpointing.*:FutureWarning")
in_this_process = pytest.mark.usefixtures("one_thread_and_a_cache_of_its_own")


def with_ids(table: pl.DataFrame) -> pl.DataFrame:
    words = pl.col("chosen").list.first().struct.field("content")
    return table.with_columns(pair_id=words.str.pad_start(32, "0"))


def config(**train: object) -> Config:
    return parse_config(
        {
            "name": "test",
            "seeds": {"sandbox": 10},
            "reward": {"function": "eva_data.sandbox.verifier:score"},
            "solver": {"backend": "transformers", "model": "acme/base", "threads": 1},
            "train": {"recipe": "sandbox", **train},
        },
        "the test",
    )


@pytest.mark.slow
@in_this_process
def test_a_share_of_the_earlier_pairs_is_trained_on_beside_all_of_the_iteration(
    preference: ModuleType, tmp_path: Path
) -> None:
    splits = {
        "iter_1": with_ids(pairs(8)),
        "iter_2": with_ids(pairs(3, start=8)),
        "iter_3": with_ids(pairs(4, start=11)),
    }
    save_dataset(tmp_path / "data", splits)
    model = save_model(tmp_path / "model")
    more = ("--split", "iter_3", "--replay", "0.5", "--replay_split", "iter_1+iter_2", "--seed", "7")
    preference.main(arguments(tmp_path, model, *more, "--max_steps", "1"))

    training = json.loads((tmp_path / "theta" / "training.json").read_text())
    assert training["replay"] == {"share": 0.5, "seed": 7, "pairs": {"iter_1": 4, "iter_2": 2}}
    assert training["pairs"]["read"] == training["pairs"]["trained"] == 4 + 4 + 2
    assert training["split"] == "iter_3"
    assert training["files"] == {
        f"{name}.parquet": sha256(tmp_path / "data" / "preferences" / f"{name}.parquet") for name in splits
    }

    own, _, _ = preference.parse_arguments(arguments(tmp_path, model, *more))
    first, _, _ = preference.replay_pairs(own, 7, preference.COLUMNS)
    words = [turns[0]["content"] for turns in first[0]["chosen"]]
    expected = replayed(splits["iter_1"].lazy(), share=0.5, seed=7, into=3, iteration=1).collect()["pair_id"].to_list()
    assert sorted(word.rjust(32, "0") for word in words) == expected


@pytest.mark.slow
@in_this_process
@pytest.mark.parametrize("precompute", ["true", "false"])
def test_the_reference_is_the_model_that_is_named_and_not_the_model_that_is_trained(
    preference: ModuleType, tmp_path: Path, precompute: str
) -> None:
    triples = [("Say ab.", "ab", "ba"), ("Say a longer word.", "elephant", "ant")]
    save_dataset(tmp_path / "data", {"iter_1": preferences(triples)})
    model, initial = save_model(tmp_path / "model", seed=1), save_model(tmp_path / "initial", seed=0)
    more = ("--precompute_ref_log_probs", precompute, "--reference_model", str(initial), "--loss_type", "sigmoid")
    parsed = preference.parse_arguments(arguments(tmp_path, model, *more, "--loss_weights", "1.0"))
    dataset, _ = preference.load_table(parsed[0], "preferences", ("prompt", "chosen", "rejected"))
    trainer = preference.build_trainer(dataset, *parsed)
    (batch,) = trainer.get_train_dataloader()
    with torch.no_grad():
        loss = trainer.compute_loss(trainer.model, batch).item()

    by_hand = []
    for prompt, chosen, rejected in triples:
        ours, theirs = (
            log_probability(folder, prompt, chosen) - log_probability(folder, prompt, rejected)
            for folder in (model, initial)
        )
        # arXiv 2305.18290, equation 7, with the sandbox's beta of 0.1.
        by_hand.append(math.log1p(math.exp(-0.1 * (ours - theirs))))
    assert loss == pytest.approx(sum(by_hand) / 2, rel=1e-5)
    assert loss != pytest.approx(math.log(2), abs=1e-3)  # which it would be against the model itself
    assert (trainer.ref_model is None) == (precompute == "true")


def log_probability(folder: Path, prompt: str, response: str) -> float:
    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModelForCausalLM.from_pretrained(folder)
    turns = [{"role": "user", "content": prompt}, {"role": "assistant", "content": response}]
    start = len(tokenizer.apply_chat_template(turns[:1], add_generation_prompt=True, return_dict=False))
    ids = tokenizer.apply_chat_template(turns, return_dict=False)
    with torch.no_grad():
        every = model(torch.tensor([ids])).logits[0].log_softmax(-1)
    return float(sum(every[at - 1, ids[at]] for at in range(start, len(ids))))


@pytest.mark.slow
@in_this_process
def test_a_reference_of_another_vocabulary_or_without_use_is_refused(preference: ModuleType, tmp_path: Path) -> None:
    save_dataset(tmp_path / "data", {"iter_1": pairs(2)})
    model = save_model(tmp_path / "model")
    other = ("--reference_model", str(save_model(tmp_path / "other")))
    with pytest.raises(SystemExit, match=r"`reference_model` is given, but the loss of simpo has no reference model"):
        preference.main(arguments(tmp_path, model, *other, recipe="sandbox_simpo"))
    settings = json.loads((tmp_path / "other" / "config.json").read_text())
    (tmp_path / "other" / "config.json").write_text(json.dumps(settings | {"vocab_size": 999}))
    with pytest.raises(
        SystemExit, match=r"the reference model .*other knows 999 tokens, and the model that is trained"
    ):
        preference.main(arguments(tmp_path, model, *other))


def test_which_iterations_are_replayed_and_when_the_reference_is_another_model(tmp_path: Path) -> None:
    tables = {"iter_1": pairs(3), "iter_2": pairs(0), "iter_3": pairs(2)}
    store = Store(save_dataset(tmp_path / "data", tables))
    assert replay_split_of(config(), store, 3) == ""
    assert replay_split_of(config(replay=0.5), store, 1) == ""
    assert replay_split_of(config(replay=0.5), store, 3) == "iter_1"  # iteration 2 has no pairs
    initial = config(reference="initial")
    assert [other_reference(initial, theta) for theta in (1, 2)] == [False, True]
    assert not other_reference(config(reference="initial", mode="scratch"), 2)
    assert not other_reference(config(), 2)
    with pytest.raises(ConfigError, match="the loss of orpo has no reference model: set it to previous, or take a"):
        other_reference(config(reference="initial", recipe="orpo"), 1)


def test_all_pairs_are_not_replayed_on_top_of_all_pairs() -> None:
    with pytest.raises(ConfigError, match=r"`train\.replay` is 0\.5, but `train\.mode: scratch` trains on all pairs"):
        config(replay=0.5, mode="scratch")


def test_a_theta_of_another_replay_or_reference_is_not_passed_off(tmp_path: Path) -> None:
    store = Store(save_dataset(tmp_path / "data", {"iter_1": pairs(3), "iter_2": pairs(2)}))
    solver = save_model(store.solver_folder(2))
    record = {"algorithm": "dpo", "split": "iter_2"}
    (solver / "training.json").write_text(json.dumps(record))
    refuse_another(config(), store, 2)
    with pytest.raises(StaleError, match=r"by dpo on iter_2 and not by dpo on iter_2 with 0\.5 of the earlier pairs,"):
        refuse_another(config(replay=0.5), store, 2)
    with pytest.raises(StaleError, match=r"trained by dpo on iter_2 and not by dpo on iter_2 against theta_0, and"):
        refuse_another(config(reference="initial"), store, 2)
    more = {"replay": {"share": 0.5, "seed": 42, "pairs": {"iter_1": 2}}, "reference": {"name": "base"}}
    (solver / "training.json").write_text(json.dumps(record | more))
    refuse_another(config(replay=0.5, reference="initial"), store, 2)
    with pytest.raises(StaleError, match=r"with 0\.5 of the earlier pairs against theta_0 and not by dpo on iter_2,"):
        refuse_another(config(), store, 2)


def test_replayed_counts_are_drawn_again_by_verify(tmp_path: Path) -> None:
    splits = {"iter_1": with_ids(pairs(4)), "iter_2": with_ids(pairs(2, start=4))}
    store = Store(save_dataset(tmp_path / "data", splits))
    files = {
        f"{name}.parquet": store.manifest(int(name[5:])).files[f"preferences/{name}.parquet"].sha256 for name in splits
    }
    solver = save_model(store.solver_folder(2))

    def checked(count: int, **changes: object) -> tuple[list[str], list[str]]:
        replay = {"share": 0.5, "seed": 42, "pairs": {"iter_1": count}}
        record = {"split": "iter_2", "replay": replay, "files": files} | changes
        (solver / "training.json").write_text(json.dumps(record))
        unknown: list[str] = []
        return trained_on(store, 2, unknown), unknown

    assert checked(2) == ([], [])
    assert checked(3) == (["theta_2: 3 pairs of iter_1 are said to be replayed, the draw takes 2"], [])
    assert checked(3, files={}) == ([], ["the pairs of theta_2, which are of other revisions of iter_2, iter_1"])
    solver.joinpath("training.json").unlink()
    with pytest.raises(DataError, match=r"theta_2 in .* is damaged"):
        trained_on(store, 2, [])
