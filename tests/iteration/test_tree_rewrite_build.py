"""A build with several candidates a step and rewritten responses, against a server that plays creator and solver."""

from __future__ import annotations

import os
import re
from hashlib import sha256
from pathlib import Path

import polars as pl
import pytest
from misbehaving import Misbehaving, Seen
from sandbox_runs import eva, tables, totals

pytestmark = pytest.mark.slow

VERIFIER = """
from hashlib import sha256

def score(prompt: str, response: str) -> float:
    return int(sha256(response.encode()).hexdigest()[:4], 16) / 65536
"""


def number_of(text: str, most: int) -> int:
    return int(sha256(text.encode()).hexdigest()[:8], 16) % most


class Creator(Misbehaving):
    """A model that rewrites, rates and answers. Its replies depend only on the words of the request.

    The sandbox's small model cannot be used here, because it has not learnt to rate.
    """

    def _say(self, seen: Seen, choice: int) -> str:
        if seen.body["temperature"] == 0:
            return super()._say(seen, choice)
        if "Rate the " in seen.prompt:
            stars = 1 + number_of(seen.prompt, 5)
            # Now and then it forgets the rating, and for some prompts it does so again.
            forgets = number_of(seen.prompt, 7) == 0 and (seen.time == 1 or number_of(seen.prompt, 2) == 0)
            return "I like it." if forgets else f"As prompts go.\nRating: {stars}"
        if "<new_prompt>" in seen.prompt:
            if number_of(seen.prompt, 6) == 0:
                return "I would rather not."
            return f"<new_prompt>Tell me of number {number_of(seen.prompt, 10**8)} and why.</new_prompt>"
        if "<new_reply>" in seen.prompt:
            reply = seen.prompt.partition("<reply>\n")[2].partition("\n</reply>")[0]
            longer = " and so on" * 9 if number_of(seen.prompt, 5) == 0 else ""
            return f"<new_reply>{reply[::-1]}{longer}</new_reply>" if number_of(seen.prompt, 4) else "It is good."
        return f"{super()._say(seen, choice)} {number_of(seen.prompt + str(choice), 1000)}"


def write_settings(folder: Path, server: Misbehaving) -> tuple[str, ...]:
    (folder.parent / "scores.py").write_text(VERIFIER)
    rows = [f"Tell me of number {number}." for number in range(24)]
    pl.DataFrame({"prompt": rows}).write_parquet(folder.parent / "prompts.parquet")
    (folder.parent / "eva.yaml").write_text(
        "name: acme/tree\n"
        "seeds: {path: prompts.parquet}\n"
        f"solver: {{backend: api, model: tiny, base_url: '{server.url}', responses: 3, max_in_flight: 8}}\n"
        "reward: {backend: verifier, function: 'scores:score'}\n"
        "evolve: {method: eva, candidates: 3, near_duplicate: null}\n"
        "estimate: {source: previous}\n"
        "pair: {rewrite: true}\n"
    )
    return ("--config", str(folder.parent / "eva.yaml"))


def test_a_tree_of_candidates_and_rewritten_responses_are_built_planned_shown_and_verified(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "tree"
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    with Creator() as server:
        settings = write_settings(folder, server)
        planned = eva(folder, "plan", "--iter", "2", settings=settings)
        built = eva(folder, "build", "--iter", "2", settings=settings)
        assert built.returncode == 0, built.stderr
        verified = eva(folder, "verify", "--iter", "2", settings=settings)
        assert verified.returncode == 0, verified.stdout + verified.stderr
        asked = [seen for seen in server.seen if seen.body["temperature"] != 0]
        shown = eva(folder, "show", "--iter", "2", "--rows", "30", settings=settings)
    # 6 chains of 4 steps of 3 candidates, each rated twice: 72 x 3. A rewritten response to each of 24 prompts.
    assert re.search(r"evolve\b.*\b216\b", planned.stdout), planned.stdout
    assert re.search(r" rewrite\b.*\b24\b", planned.stdout), planned.stdout
    assert "the creator rates every candidate that survives" in " ".join(planned.stdout.split())
    check_candidates(tables(folder, 2)["evolutions"], (folder / "README.md").read_text(encoding="utf-8"))
    check_rewritten(tables(folder, 2), shown.stdout)

    # Every call once, a rating that could not be read once more.
    ratings = [seen.prompt for seen in asked if "Rate the " in seen.prompt]
    assert max(ratings.count(prompt) for prompt in set(ratings)) == 2
    assert totals(folder)["repeated"] == 0
    assert totals(folder)["generations"] == sum(int(seen.body["n"]) for seen in asked)


def check_candidates(attempts: pl.DataFrame, card: str) -> None:
    """Check that the best rated survivor of each step goes on, and that the card shows the ratings."""
    assert attempts["chain_id"].n_unique() * 4 * 3 == attempts.height
    total, alive = pl.col("complexity") + pl.col("quality"), pl.col("reason").is_null()
    steps = attempts.group_by("chain_id", "step").agg(
        candidates=pl.col("candidate"),
        strategies=pl.col("mutation").n_unique(),
        parents=pl.col("parent_id").n_unique(),
        on=alive.sum(),
        most=total.max(),
        best=total.filter(alive).max(),
    )
    assert steps["candidates"].to_list() == [[0, 1, 2]] * steps.height
    assert (set(steps["strategies"]), set(steps["parents"]), steps["on"].max()) == ({3}, {1}, 1)
    assert steps.filter(pl.col("on") == 1, pl.col("most").ne_missing(pl.col("best"))).is_empty()
    assert {"not_best", "unparsable"} <= {str(reason).partition(":")[0] for reason in attempts["reason"]}
    unscored = attempts["unscored"].drop_nulls()
    assert unscored.len() > 0
    assert unscored.str.contains("unparsable: the last line is no rating\nI like it.", literal=True).all()
    taken = attempts.filter(pl.col("status") == "mixed").drop_nulls(["complexity", "quality"])
    complexity, quality = taken.select("complexity", "quality").mean().row(0)
    assert f"| 2 | {taken.height} | {complexity:.4g} | {quality:.4g} |" in card
    assert "each time in 3 ways, of which the way that it rates best is kept, by `eva`" in card
    assert "The solver then rewrites the chosen answer into a better answer of the same length (within 10 % of" in card


def check_rewritten(built: dict[str, pl.DataFrame], shown: str) -> None:
    """Check that rewritten responses are kept with their rewards, and chosen if the reward is not lower."""
    pairs = built["preferences"]
    key = ["prompt_id", "response_idx"]
    written = built["responses"].filter(pl.col("stage") == "rewrite")
    originals = built["responses"].filter(pl.col("stage") == "respond").select(*key, was="response", before="reward")
    both = written.join(originals, on=key)
    assert both["response"].to_list() == both["was"].str.reverse().to_list()
    failed = built["rejects"].filter(pl.col("stage") == "rewrite")
    assert set(failed["reason"]) == {"another_length", "unparsable: no text between <new_reply> and </new_reply>"}
    assert written.height + failed.height == pairs.height
    better = set(both.filter(pl.col("reward") >= pl.col("before"))["prompt_id"])
    assert set(pairs.filter("rewritten")["prompt_id"]) == better
    assert 0 < len(better) < written.height
    chosen = pairs.select(
        "prompt_id", "rewritten", "score_chosen", said=pl.col("chosen").list.first().struct.field("content")
    )
    told = chosen.filter("rewritten").join(written, on="prompt_id")
    assert told.select("said", "score_chosen").rows() == told.select("response", "reward").rows()
    assert chosen["rewritten"].null_count() == 0 and shown.count("  original ") > 0
