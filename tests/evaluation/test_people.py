"""Judges against the people who reviewed the same pairs."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest
from judge_server import JudgeServer
from reviewing import store_of_pairs
from sandbox_runs import eva

from eva_data.comparing.orders import FIRST, SECOND
from eva_data.config import EvaluationSet
from eva_data.dataset.evaluations import read_record, read_rows
from eva_data.dataset.store import Store
from eva_data.evaluation.rates.people import agreement_of
from eva_data.hub.checks.evaluations_again import verify_evaluations
from eva_data.review.pull import add_revision
from eva_data.statistics.shares import share
from eva_data.tables.schemas import REVIEWS, conform


def rows(*pairs: tuple[str, float | None, float | None]) -> pl.DataFrame:
    """For each pair what people say, and the judge's score of the chosen response shown first, and shown second."""
    made = [
        (f"p{number}", 1, 0, "judge", order, said, score)
        for number, (said, *scores) in enumerate(pairs)
        for order, score in zip((FIRST, SECOND), scores, strict=True)
    ]
    names = ("prompt_id", "turn", "sample", "judge", "order", "category", "score")
    return pl.DataFrame(made, schema=list(names), orient="row", infer_schema_length=None)


def test_agreement_by_hand() -> None:
    found = agreement_of(
        rows(
            ("chosen", 1.0, 1.0),
            ("chosen", 1.0, 0.5),
            ("rejected", 0.0, 0.0),
            ("chosen", 0.0, 0.0),
            ("rejected", 1.0, 0.0),  # the order decides: no preference
            ("tie", 0.5, 0.5),
            ("tie", 1.0, 1.0),
            ("chosen", 1.0, None),  # judged in one order only
        )
    )
    assert found.pairs.height == 7 and found.undecided == 1
    assert found.agrees == share(3, 4)
    # Of 7 pairs they agree on 4. People say chosen 3, rejected 2, tie 2; the judge chosen 3, rejected 2, tie 2:
    # by chance (9 + 4 + 4) / 49, so (4 / 7 - 17 / 49) / (1 - 17 / 49) = 11 / 32.
    assert found.kappa == pytest.approx(11 / 32)
    nobody = agreement_of(rows(("tie", 0.5, 0.5)))
    assert (nobody.agrees, nobody.kappa) == (None, None)


def test_the_set_of_reviewed_pairs_has_its_rule_and_no_place() -> None:
    assert EvaluationSet(name="reviews", rule="people").rule == "people"
    for wrong in ({"name": "reviews"}, {"name": "mine", "rule": "people", "path": "x.jsonl"}):
        with pytest.raises(ValueError, match=r"the set `reviews` and the rule `people` belong together"):
            EvaluationSet.model_validate(wrong)
    with pytest.raises(ValueError, match=r"is the pairs that people reviewed, and has no `path`"):
        EvaluationSet.model_validate({"name": "reviews", "rule": "people", "path": "x.jsonl"})


@pytest.mark.slow
def test_judges_are_asked_about_reviewed_pairs_only_when_the_set_is_named(tmp_path: Path) -> None:
    def prefer(first: str, second: str) -> str:
        return "first" if "better" in first else "second"

    store = store_of_pairs(tmp_path / "reviewed", 6)
    pairs = store.scan("preferences", 1).collect().sort("pair_id")
    # People prefer the reward's choice but for the first pair; of the last they say that it is a tie.
    place = pl.int_range(pl.len())
    said = pairs.select(
        "pair_id",
        "prompt_id",
        reviewer=pl.lit("r1"),
        status=pl.lit("submitted"),
        verdict=pl.when(place == 5).then(pl.lit("tie")).otherwise(pl.lit("first")),
        first_idx=pl.when(place == 0).then("rejected_idx").otherwise("chosen_idx"),
        second_idx=pl.when(place == 0).then("chosen_idx").otherwise("rejected_idx"),
        iteration=pl.lit(1, pl.Int32),
    ).with_columns(preferred_idx=pl.when(pl.col("verdict") == "first").then("first_idx"))
    with JudgeServer(prefer) as judge:
        (tmp_path / "eva.yaml").write_text(
            "name: acme/reviewed\nseeds: {path: seeds.txt}\n"
            f"solver: {{backend: api, model: small, base_url: '{judge.url}'}}\n"
            "reward: {backend: verifier, function: 'eva_data.rewards.answers:math_equal'}\n"
            f"evaluate:\n  heldout: 0\n  judges: [{{backend: api, model: tiny, base_url: '{judge.url}'}}]\n"
        )
        settings = ("--config", str(tmp_path / "eva.yaml"))

        def evaluate(*more: str) -> str:
            done = eva(store.folder, "evaluate", "--set-name", "reviews", *more, settings=settings)
            assert done.returncode == 0, done.stderr
            return done.stdout + done.stderr

        def asked() -> int:
            return len([each for each in judge.asked if "<first_reply>" in each.prompt])

        assert "no pair is reviewed, so the judges are not compared with people" in evaluate()
        assert judge.asked == []
        add_revision(store, 1, conform(said, REVIEWS), key=b"k" * 32)
        assert "reviews (people): 6 reviewed pairs, at most 12 verdicts" in evaluate("--dry-run")
        told = evaluate()
        assert asked() == 12
    # People and judge prefer a response of five pairs, and the same in four; Wilson's interval of 4 of 5.
    assert (
        "On reviewed pairs the judge agrees with people in 80.0 % [37.6, 96.4] of 5 on which both prefer a response"
    ) in told
    made = Store(store.folder)
    record = read_record(made)
    assert record is not None and len(record.evaluations) == 1
    figures = record.evaluations[0].figures
    # The judge always says `chosen`, so chance alone would agree as often: kappa 0.
    assert figures["people"] == {"pairs": 6, "decided": 5, "kappa": pytest.approx(0, abs=1e-9)}
    assert sorted(read_rows(made)["category"].unique()) == ["chosen", "rejected", "tie"]
    assert verify_evaluations(made) == ([], [])
