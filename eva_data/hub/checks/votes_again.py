"""Reads the answers of a consensus reward again, counts the votes, and says which rewards do not follow from them."""

from __future__ import annotations

from collections.abc import Mapping

import polars as pl

from eva_data.config import Consensus
from eva_data.dataset.manifest import Manifest
from eva_data.dataset.ordered import Table, height_of, in_memory
from eva_data.dataset.staleness import config_of
from eva_data.method.signals.votes import CONSENSUS, Vote, consensus_rewards, vote_of
from eva_data.rewards.backends.consensus import name_of
from eva_data.rewards.equality import READERS
from eva_data.tables.ids import uniform_draw
from eva_data.tables.ranges import ranges_for
from eva_data.tables.schemas import READ_ANSWERS

MOST_READ = 20_000
"""Responses whose answers are read again, drawn by hash; a minute's work."""

_KEY = ("stage", "prompt_id", "response_idx")
_SHOWN = 3


def replay_votes(manifest: Manifest, tables: Mapping[str, Table], unknown: list[str]) -> list[str]:
    """The differences between rewards and votes, one sentence each. `unknown` is told what was not read again.

    Nothing is said of rewards that are no consensus. Known answers are in no table but as they were read, so they count
    as they stand there.
    """
    config = config_of(manifest)
    vote, block = vote_of(config), config.reward
    if vote is None or not isinstance(block, Consensus):
        return []
    responses = tables["responses"].lazy().filter(pl.col("reward_model").str.starts_with(CONSENSUS))
    height = height_of(responses)
    if not height:
        return []
    wrong, several, known = [], [], 0
    drawn: list[pl.DataFrame] = []
    order = uniform_draw(pl.concat_str(*_KEY, separator="/"), seed=0, stage="verify", iteration=manifest.iteration)
    for part in ranges_for(height):
        voted = in_memory(part.of(responses).select(*_KEY, "reward", "reward_model", "finish_reason", *READ_ANSWERS))
        wrong += [_astray(stage, vote) for _, stage in voted.group_by("stage", maintain_order=True)]
        answers = voted.group_by("prompt_id").agg(pl.col("known_answer").n_unique())
        several.append(answers.filter(pl.col("known_answer") > 1)["prompt_id"])
        known += voted["known_answer"].count()
        drawn = [pl.concat([*drawn, voted.with_columns(order=order)]).bottom_k(MOST_READ, by="order")]
    of_stages = pl.concat(wrong).sort(_KEY).group_by("stage", maintain_order=True)
    found = [_wrong(rows, "have rewards that their votes do not give") for _, rows in of_stages]
    prompts = pl.concat(several)
    if prompts.len():
        found.append(f"responses: {prompts.len()} prompts have several known answers: {prompts.sort()[0]} ...")
    if known:
        unknown.append("whether the known answers are those of the file that held them")
    return [*found, *_read_again(manifest, block, responses, drawn[0].drop("order"), height, unknown)]


def _astray(stage: pl.DataFrame, vote: Vote) -> pl.DataFrame:
    """The responses of a stage whose rewards do not follow from their votes."""
    again = consensus_rewards(stage.lazy(), vote).select("prompt_id", "response_idx", now="reward").collect()
    both = stage.join(again, on=["prompt_id", "response_idx"], how="left")
    return both.filter(pl.col("reward").ne_missing(pl.col("now"))).select(_KEY)


def _read_again(
    manifest: Manifest,
    block: Consensus,
    responses: pl.LazyFrame,
    some: pl.DataFrame,
    height: int,
    unknown: list[str],
) -> list[str]:
    """Read the answers of `some` of the responses again, of which there are `height`."""
    if block.equal == "judge":
        unknown.append("which answers the judge found equal")
        return []
    if block.equal == "outputs":
        unknown.append("what the programs in the responses give, which runs no code here")
        return []
    if block.equal == "math":
        unknown.append("the answers that math-verify read, within a time limit")
        return []
    if (manifest.models.reward or "").partition("+answers:")[0] != name_of(block):
        unknown.append("the answers, which another version of eva-data read")
        return []
    if some.height < height:
        unknown.append(f"the answers of all responses but {some.height}")
    wrong = [some.clear()]
    for part in ranges_for(height):
        own = part.of(some.lazy()).select(_KEY)
        given = in_memory(part.of(responses).join(own, on=_KEY, how="semi").select(*_KEY, "response"))
        answers, _ = READERS[block.equal](given["response"].to_list())
        now = given.select(*_KEY, now=pl.Series(answers, dtype=pl.String))
        read = some.join(now, on=_KEY, how="inner")
        wrong.append(read.filter(pl.col("answer").ne_missing(pl.col("now"))).drop("now"))
    other = pl.concat(wrong)
    return [] if other.is_empty() else [_wrong(other, "do not hold their `answer`")]


def _wrong(rows: pl.DataFrame, what: str) -> str:
    named = ", ".join(rows.sort(_KEY).head(_SHOWN).select(pl.concat_str(_KEY, separator="/")).to_series())
    more = f" and {rows.height - _SHOWN} more" if rows.height > _SHOWN else ""
    return f"responses: {rows.height} {what}: {named}{more}"
