"""Seeds that are kept for evaluation: their choice, and that no training prompt repeats them."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_store import replace_table, small_store

from eva_data.config.evaluation import Evaluate
from eva_data.config.reading import parse_config
from eva_data.dataset.seeds import as_prompts, read_seeds
from eva_data.dataset.store import Store
from eva_data.errors import ConfigError
from eva_data.evolve.elimination.eliminate import eliminate
from eva_data.iteration.heldout import HELDOUT_INPUT, SeedPrompts, heldout_size, split_seeds
from eva_data.iteration.run import Run
from eva_data.iteration.stale import changed_inputs, inputs_to_record
from eva_data.tables.ids import prompt_id
from eva_data.tables.schemas import EVOLUTIONS, MESSAGES, conform


class Silent:
    """A reporter that says nothing."""

    def foresee(self, stages: object) -> None:
        pass

    def stage(self, name: str, iteration: int) -> object:
        return lambda done, total: None

    def waiting(self, name: str) -> object:
        return lambda seconds, heard: None

    def note(self, text: str) -> None:
        pass


def run_on(folder: Path, prompts: list[str], heldout: int | None, **seeds: object) -> Run:
    path = folder / "seeds.parquet"
    pl.DataFrame({"prompt": prompts}).write_parquet(path)
    values = {
        "name": "game",
        "folder": str(folder / "game"),
        "seeds": {"path": str(path)} | seeds,
        "solver": {"model": "sandbox"},
        "reward": {"function": "eva_data.sandbox.verifier:score"},
        "evaluate": {"heldout": heldout},
    }
    return Run(parse_config(values, "the test"), Silent())  # type: ignore[arg-type]


def split_of(run: Run) -> SeedPrompts:
    return split_seeds(run.config, run.store, {})


NUMBERED = [
    f"Tell a story about the number {number}, its friends {number * 7} and {number * 13}." for number in range(40)
]


@pytest.mark.parametrize(
    ("seeds", "held"),
    [(10, 2), (100, 20), (2_499, 499), (4_000, 500), (10_000, 500), (20_000, 1_000), (100_001, 5_001)],
)
def test_without_a_number_five_percent_are_held_out_at_least_500_and_at_most_a_fifth(seeds: int, held: int) -> None:
    assert heldout_size(Evaluate(), seeds) == held
    assert heldout_size(None, seeds) == 0


def test_the_last_seeds_of_the_drawn_order_are_held_out(tmp_path: Path) -> None:
    run = run_on(tmp_path, NUMBERED, 8)
    assert run.config.seeds is not None
    everything, _ = read_seeds(run.config.seeds, run.config.seed)
    split = split_of(run)
    assert split.training["prompt_id"].to_list() == everything["prompt_id"].to_list()[:-8]
    assert split.heldout["prompt_id"].to_list() == everything["prompt_id"].to_list()[-8:]
    # Remembered, and the same for a run that has not seen them.
    assert split_of(run).heldout.equals(split.heldout)
    (tmp_path / "game" / ".eva" / "heldout.json").unlink()
    assert split_of(run).heldout.equals(split.heldout)


def test_a_seed_that_nearly_repeats_a_training_seed_is_trained_on(tmp_path: Path) -> None:
    long = (
        "Explain in plain words how a bridge carries the weight of a train, and why it does not fall, number {} of 40."
    )
    alike = [long.format(number) for number in range(20)]
    run = run_on(tmp_path, NUMBERED[:20] + alike, 12)
    similar = run.config.evolve.model_copy(update={"near_duplicate": 0.7})
    split = split_of(Run(run.config.model_copy(update={"evolve": similar}), run.reporter))
    held = {row[-1]["content"] for row in split.heldout["prompt"].to_list()}
    # All that are alike are one cluster, and some of it is trained on.
    assert 0 < len(held) < 12 and not held & set(alike)
    assert split.training.height + split.heldout.height == 40


@settings(max_examples=30)
@given(size=st.integers(1, 39), seed=st.integers(0, 10))
def test_no_prompt_is_on_both_sides_and_none_is_lost(
    size: int, seed: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    run = run_on(tmp_path_factory.mktemp("split"), NUMBERED, size)
    run = Run(run.config.model_copy(update={"seed": seed}), run.reporter)
    split = split_of(run)
    training, heldout = set(split.training["prompt_id"]), set(split.heldout["prompt_id"])
    assert not training & heldout and len(training | heldout) == 40 and len(heldout) == size


def test_more_than_there_are_cannot_be_held_out(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"`evaluate.heldout` is 40, and there are 40 seeds, so none would be left"):
        split_of(run_on(tmp_path, NUMBERED, 40))


def test_a_folder_holds_out_what_its_iterations_have_not_used(tmp_path: Path) -> None:
    store = small_store(tmp_path / "game")
    used = store.scan("prompts", 1).select("prompt").collect()["prompt"].to_list()
    run = run_on(tmp_path, [turns[0]["content"] for turns in used], 2)
    # The prompts of this folder have ids by hand; by their ids they are used only where the ids agree.
    seeds = read_seeds(run.config.seeds, run.config.seed)[0] if run.config.seeds else None
    assert seeds is not None
    ids = seeds["prompt_id"].to_list()
    manifest = store.manifest(1)
    table = store.scan("prompts", 1).collect().with_columns(root_id=pl.Series(ids), prompt_id=pl.Series(ids))
    replace_table(store, "prompts", 1, table.sort("prompt_id"))
    with pytest.raises(ConfigError, match=r"no seeds can be held out: the iterations in .* use all of them"):
        split_of(run)
    assert HELDOUT_INPUT not in manifest.inputs


def test_what_was_held_out_is_recorded_and_another_number_is_told(tmp_path: Path) -> None:
    run = run_on(tmp_path, NUMBERED, 8)
    recorded = inputs_to_record(run, 1)
    assert len(recorded[HELDOUT_INPUT]) == 64
    store = small_store(tmp_path / "game")
    manifest = store.manifest(1).model_copy(update={"inputs": recorded, "config": run.config.data()})
    assert changed_inputs(run, manifest) == []
    assert changed_inputs(run_on(tmp_path, NUMBERED, 9), manifest) == ["`evaluate.heldout` is 9, was 8"]


def test_an_evolved_prompt_that_repeats_a_held_out_one_is_eliminated(tmp_path: Path) -> None:
    split = split_of(run_on(tmp_path, NUMBERED, 8))
    known, heldout = (
        as_prompts(each, 1).lazy().select("prompt_id", "prompt", "root_id", "depth")
        for each in (split.training, split.heldout)
    )
    kept = split.heldout["prompt"].to_list()[0][0]["content"]
    texts = [kept, kept + " Now.", "Say something else altogether, in a poem of four lines."]
    prompts = pl.Series([[{"role": "user", "content": text}] for text in texts], dtype=MESSAGES)
    attempts = conform(
        pl.DataFrame({"prompt": prompts, "step": [1, 2, 3]})
        .with_columns(prompt_id=prompt_id(pl.col("prompt")), chain_id=pl.lit("c"), root_id=pl.lit("r"), depth=pl.lit(1))
        .with_columns(candidate=pl.lit(0)),
        EVOLUTIONS,
    )
    judged = eliminate(attempts, known=known, near_duplicate=0.7, heldout=heldout).sort("step")
    first = split.heldout["prompt_id"][0]
    assert judged.select("status", "reason", "duplicate_of").rows() == [
        ("eliminated", "heldout", first),
        ("eliminated", "heldout", first),
        (None, None, None),
    ]


def test_nothing_is_held_out_without_a_block(tmp_path: Path) -> None:
    run = run_on(tmp_path, NUMBERED, 8)
    without = Run(run.config.model_copy(update={"evaluate": None}), run.reporter)
    assert split_of(without).heldout.is_empty()
    assert HELDOUT_INPUT not in inputs_to_record(without, 1)
    assert not (Store(tmp_path / "game").state / "heldout.json").exists()
