"""Reads the answers of a consensus reward again, counts the votes, and says which rewards do not follow from them."""

from __future__ import annotations

from collections.abc import Mapping

import polars as pl

from eva_data.config import Consensus
from eva_data.dataset.manifest import Manifest
from eva_data.dataset.ordered import Table, in_memory
from eva_data.dataset.staleness import config_of
from eva_data.method.signals.votes import CONSENSUS, consensus_rewards, vote_of
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
    voted = in_memory(responses.select(*_KEY, "reward", "reward_model", "finish_reason", *READ_ANSWERS))
    if voted.is_empty():
        return []
    found = []
    for _, stage in voted.group_by("stage", maintain_order=True):
        again = consensus_rewards(stage.lazy(), vote).select("prompt_id", "response_idx", now="reward").collect()
        both = stage.join(again, on=["prompt_id", "response_idx"], how="left")
        found += _wrong(
            both.filter(pl.col("reward").ne_missing(pl.col("now"))), "have rewards that their votes do not give"
        )
    several = voted.group_by("prompt_id").agg(pl.col("known_answer").n_unique()).filter(pl.col("known_answer") > 1)
    if several.height:
        found.append(
            f"responses: {several.height} prompts have several known answers: {several['prompt_id'].sort()[0]} ..."
        )
    if voted["known_answer"].count():
        unknown.append("whether the known answers are those of the file that held them")
    return [*found, *_read_again(manifest, block, responses, voted, unknown)]


def _read_again(
    manifest: Manifest, block: Consensus, responses: pl.LazyFrame, voted: pl.DataFrame, unknown: list[str]
) -> list[str]:
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
    key = pl.concat_str(*_KEY, separator="/")
    order = uniform_draw(key, seed=0, stage="verify", iteration=manifest.iteration)
    some = voted if voted.height <= MOST_READ else voted.sort(order).head(MOST_READ)
    if some.height < voted.height:
        unknown.append(f"the answers of all responses but {some.height}")
    wrong = [some.clear()]
    for part in ranges_for(voted.height):
        own = part.of(some.lazy()).select(_KEY)
        given = in_memory(part.of(responses).join(own, on=_KEY, how="semi").select(*_KEY, "response"))
        answers, _ = READERS[block.equal](given["response"].to_list())
        now = given.select(*_KEY, now=pl.Series(answers, dtype=pl.String))
        read = some.join(now, on=_KEY, how="inner")
        wrong.append(read.filter(pl.col("answer").ne_missing(pl.col("now"))).drop("now"))
    return _wrong(pl.concat(wrong), "do not hold their `answer`")


def _wrong(rows: pl.DataFrame, what: str) -> list[str]:
    if rows.is_empty():
        return []
    named = ", ".join(rows.sort(_KEY).head(_SHOWN).select(pl.concat_str(_KEY, separator="/")).to_series())
    more = f" and {rows.height - _SHOWN} more" if rows.height > _SHOWN else ""
    return [f"responses: {rows.height} {what}: {named}{more}"]
