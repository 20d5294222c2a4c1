"""Whole builds with rewards by models, such as the mean of a served judge and a reward model."""

from __future__ import annotations

import json
from hashlib import sha256
from pathlib import Path

import polars as pl
import pytest
from misbehaving import Misbehaving, Seen
from sandbox_runs import eva, tables
from tiny import save_reward_model

pytestmark = pytest.mark.slow


class Judging(Misbehaving):
    """A judge that rates from 1 to 10. For some responses it gives no number."""

    def _say(self, seen: Seen, choice: int) -> str:
        if "<reply>" not in seen.prompt:
            return super()._say(seen, choice)
        number = int(sha256(seen.prompt.encode()).hexdigest(), 16) % 11
        return "It is what it is.\nRating: " + (f"{number}" if number else "hard to say")


def test_a_judge_and_a_reward_model_are_averaged_by_constants_of_the_first_iteration(tmp_path: Path) -> None:
    folder = tmp_path / "judged"
    save_reward_model(tmp_path / "reward", "llama")
    prompts = [f"Tell me all that you know of the number {number} and of its square." for number in range(12)]
    pl.DataFrame({"prompt": prompts}).write_parquet(tmp_path / "prompts.parquet")
    with Judging() as solver, Judging(voice="creator") as creator:
        (tmp_path / "eva.yaml").write_text(
            "name: acme/judged\n"
            "seeds: {path: prompts.parquet}\n"
            f"solver: {{backend: api, model: tiny, base_url: '{solver.url}', responses: 3}}\n"
            f"creator: {{backend: api, model: tiny, revision: creator, base_url: '{creator.url}'}}\n"
            "evolve: {near_duplicate: null, min_chars: 1}\n"
            "estimate: {adjust_length: true}\n"
            "pair: {rule: ranked}\n"
            "reward:\n"
            "  backend: several\n"
            "  rewards:\n"
            f"  - {{backend: classifier, model: '{tmp_path / 'reward'}', threads: 1}}\n"
            "  - backend: judge\n"
            f"    judge: {{backend: api, model: tiny, revision: judge, base_url: '{solver.url}', temperature: 0}}\n"
        )
        done = eva(folder, "build", "--iter", "2", settings=("--config", str(tmp_path / "eva.yaml")))
        assert done.returncode == 0, done.stderr
    first, second = (json.loads((folder / "manifests" / f"iter_{number}.json").read_text()) for number in (1, 2))
    assert first["reward_scales"] == second["reward_scales"]
    assert [name.partition(":")[0] for name in first["reward_scales"]] == ["classifier", "judge"]
    assert second["models"]["creator"] == "tiny@creator"
    responses, rejects = tables(folder, 1)["responses"], tables(folder, 1)["rejects"]
    scored = responses["reward"].drop_nulls()
    # Both are standardised by these very rewards, so that their mean is 0, but for those that the judge did not rate.
    assert abs(scored.mean()) < 0.5  # type: ignore[operator, arg-type]
    unrated = rejects.filter(pl.col("stage") == "reward")
    assert unrated.height == responses["reward"].null_count()
    assert unrated["reason"].str.contains(r"^unscored_by: judge:.*: unparsable: the last line is no rating$").all()
    assert unrated["text"].str.contains("[the judge] It is what it is.", literal=True).all()
    # Both stages have an adjustment for length, which their rewards determine.
    assert [sorted(each["lengths"]) for each in (first, second)] == [["respond"], ["estimate", "respond"]]
    for number in (1, 2):
        verified = eva(folder, "verify", "--iter", str(number), settings=("--config", str(tmp_path / "eva.yaml")))
        assert verified.returncode == 0, verified.stdout


def judged_by(server: Misbehaving, folder: Path) -> tuple[str, str]:
    """Write two prompts and an eva.yaml whose solver and judge are `server`, and return the options of a build."""
    prompts = pl.DataFrame({"prompt": ["Tell me of the number 1.", "Tell me of 2."]})
    prompts.write_parquet(folder.parent / "prompts.parquet")
    (folder.parent / "eva.yaml").write_text(
        "name: acme/mute\n"
        "seeds: {path: prompts.parquet}\n"
        f"solver: {{backend: api, model: tiny, base_url: '{server.url}', responses: 2}}\n"
        f"reward: {{backend: judge, judge: {{backend: api, model: tiny, base_url: '{server.url}'}}}}\n"
    )
    return ("--config", str(folder.parent / "eva.yaml"))


def test_a_judge_that_never_rates_stops_the_build_with_its_words(tmp_path: Path) -> None:
    folder = tmp_path / "mute"
    with Misbehaving() as server:
        done = eva(folder, "build", "--iter", "1", settings=judged_by(server, folder))
        # Every response is asked about twice, and no third time.
        assert sum("<reply>" in seen.prompt for seen in server.seen) == 2 * 4
    assert done.returncode == 1
    error = " ".join(done.stderr.split())
    assert "the judge rated none of 4 responses: 4 of its replies hold no rating that can be read, such as `" in error
    assert "`reward.template`" in error and "Traceback" not in error
    assert not (folder / "manifests").exists()


class FullStops(Misbehaving):
    """A judge that prefers one response of each prompt. Its ratings have different forms."""

    def _say(self, seen: Seen, choice: int) -> str:
        if "<reply>" not in seen.prompt:
            return super()._say(seen, choice)
        good = int(sha256(seen.prompt.encode()).hexdigest(), 16) % 2
        return "**Rating:** 10." if good else "I would rate this reply 1/10."


def test_a_judge_that_writes_its_ratings_in_another_form_is_read(tmp_path: Path) -> None:
    folder = tmp_path / "mute"
    with FullStops() as server:
        done = eva(folder, "build", "--iter", "1", settings=judged_by(server, folder))
        assert sum("<reply>" in seen.prompt for seen in server.seen) == 4
    assert done.returncode == 0, done.stderr
    assert set(tables(folder, 1)["responses"]["reward"]) <= {1.0, 10.0}


@pytest.mark.parametrize("kind", ["causal", "pairrm"])
def test_a_preference_model_scores_a_build(tmp_path: Path, kind: str) -> None:
    from tiny import save_model, save_pairrm

    folder = tmp_path / "pairwise"
    model = save_model(tmp_path / "model") if kind == "causal" else save_pairrm(tmp_path / "model")
    pl.DataFrame({"prompt": ["Say one.", "Say two."]}).write_parquet(tmp_path / "prompts.parquet")
    with Misbehaving() as server:
        (tmp_path / "eva.yaml").write_text(
            "name: acme/pairwise\n"
            "seeds: {path: prompts.parquet}\n"
            f"solver: {{backend: api, model: tiny, base_url: '{server.url}', responses: 3}}\n"
            f"reward: {{backend: pairwise, kind: {kind}, model: '{model}', threads: 1}}\n"
        )
        done = eva(folder, "build", "--iter", "1", settings=("--config", str(tmp_path / "eva.yaml")))
        assert done.returncode == 0, done.stderr
    rewards = tables(folder, 1)["responses"].group_by("prompt_id").agg(pl.col("reward").sum())
    # Every comparison gives one win in all: three responses, two opponents each, so 3 x 0.5 in the mean.
    assert rewards["reward"].to_list() == pytest.approx([1.5, 1.5])
