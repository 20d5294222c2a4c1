"""The two sides of a comparison: a model that answers a set, or a file of answers."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass, replace
from typing import Any

import polars as pl

from eva_data.calls import Chain, Completion, Message, Request, Rows
from eva_data.config import Evaluate, EvaluationSet
from eva_data.config.base import Settings
from eva_data.errors import ConfigError, StaleError
from eva_data.evaluation.sets import Note, answered_by, read_baseline
from eva_data.files import sha256
from eva_data.iteration.players import solver_of
from eva_data.iteration.run import Run
from eva_data.jobs.job import Job
from eva_data.models.player import Player
from eva_data.tables.schemas import frame_of

REFERENCE = "reference"
"""The name, for `--against`, of the answers that come with a set."""

ANSWERS = pl.Schema(
    {
        "prompt_id": pl.String,
        "turn": pl.Int32,
        "sample": pl.Int32,
        "response": pl.String,
        "finish_reason": pl.String,
        "completion_tokens": pl.Int32,
        "error": pl.String,
    }
)
"""One row per (prompt, turn, sample). `response` is null if the call failed, and `error` says why."""

_THETA = re.compile(r"theta_([0-9]+)")


@dataclass(frozen=True)
class Contender:
    """A side of a comparison, which answers a set."""

    name: str
    """The side's name for the user: `theta_2`, `reference`, or a model."""
    fingerprint: str
    theta: int | None = None
    """t of theta_t; None for a model that was not trained here."""
    player: Player | None = None
    """The model that answers; None if the answers are in a file."""
    decoding: str = ""
    """How the side samples, in words; empty if it is unknown."""
    answers_of: str | None = None
    """Whose answers a file holds; None if it does not say, or if a model answers."""


class Answering(Settings):
    """The settings of the job that answers a set."""

    samples: int
    """Number of answers to each prompt."""


def side_called(run: Run, name: str, block: EvaluationSet) -> Contender:
    """The side of that name: `theta_0`, `theta_t`, `reference`, or a model folder, Hub id or served name.

    Raise StaleError if a theta is not trained, and ConfigError if there is no reference or no model.
    """
    if name == REFERENCE:
        if block.baseline is None:
            return Contender(REFERENCE, f"{REFERENCE}:{block.name}")
        held = f"{REFERENCE}:{block.baseline.name}@{sha256(block.baseline)[:16]}"
        return Contender(REFERENCE, held, answers_of=answered_by(block.baseline, block.name))
    found = _THETA.fullmatch(name)
    if found is None:
        player = solver_of(replace(run, solver_override=name), 1)
        return Contender(name, player.fingerprint, None, player, _decoding(run, player, block))
    theta = int(found[1])
    plain = replace(run, solver_override=None)
    if theta and not run.store.solver_folder(theta).exists():
        raise StaleError(
            f"{name} is not trained: make it with `eva-data train --iter {theta}`, or name a solver that is there"
        )
    if theta and not run.config.trains:
        raise ConfigError(f"{name} was asked for, but the solver of these settings is not trained here: name a model")
    player = solver_of(plain, theta + 1)
    return Contender(name, player.fingerprint, theta, player, _decoding(run, player, block))


def _decoding(run: Run, player: Player, block: EvaluationSet) -> str:
    sampling = _sampling(run, player, block)
    return ", ".join(f"{key} {value:g}" for key, value in sampling.items())


def _sampling(run: Run, player: Player, block: EvaluationSet) -> dict[str, Any]:
    evaluate = run.config.evaluate or Evaluate(heldout=0)
    temperature = player.block.temperature if block.samples > 1 else evaluate.temperature
    longest = evaluate.max_tokens or player.block.max_tokens
    return {"temperature": temperature, "top_p": player.block.top_p, "max_tokens": longest}


def answers_of(
    run: Run, side: Contender, block: EvaluationSet, prompts: pl.DataFrame, *, turns: int, note: Note
) -> pl.DataFrame:
    """ANSWERS of a side to a set. Finished answers come from the ledger."""
    if side.player is None:
        return _from_file(block, prompts, note)
    rows = prompts.select("prompt_id", "prompt", turn_2=pl.col("turn_2") if turns > 1 else pl.lit(None, pl.String))
    results = run.ask(
        side.player,
        "evaluate",
        rows,
        iteration=0,
        stage="evaluate",
        settings=Answering(samples=block.samples),
        key="solver",
        folder=f"evaluate-{block.name}-{_slug(side.name)}",
        shown=f"{side.name} answers {block.name}",
        function=answer_rows,
        **_sampling(run, side.player, block),
    )
    table = (
        (
            row["prompt_id"],
            turn + 1,
            sample,
            *(answer[key] for key in ("text", "finish_reason", "completion_tokens", "error")),
        )
        for row, samples in results
        for sample, answered in enumerate(samples)
        for turn, answer in enumerate(answered)
    )
    return frame_of(table, ANSWERS)


def answer_rows(job: Job, rows: Rows) -> list[list[list[dict[str, Any]]]]:
    """For each row {prompt, turn_2}, the answers of each sample, one per turn. This runs in a child process."""
    assert isinstance(job.settings, Answering)
    samples = job.settings.samples
    llm = job.llm()
    llm.load()
    answers = llm.drive(
        [_turns(row, samples) for row in rows], sum(samples * (1 + (row["turn_2"] is not None)) for row in rows)
    )
    llm.unload()
    return answers


def _turns(row: dict[str, Any], samples: int) -> Chain[list[list[dict[str, Any]]]]:
    """Ask for every sample of the first turn at once, then each sample's second turn after its own first answer."""
    messages: tuple[Message, ...] = tuple(row["prompt"])
    first: list[Completion] = yield [Request(messages, index) for index in range(samples)]
    answered = [[asdict(completion)] for completion in first]
    usable = [place for place, completion in enumerate(first) if completion.text is not None]
    if row["turn_2"] is None or not usable:
        return answered
    following = {"role": "user", "content": row["turn_2"]}
    second: list[Completion] = yield [
        Request((*messages, {"role": "assistant", "content": first[place].text or ""}, following), place)
        for place in usable
    ]
    for place, completion in zip(usable, second, strict=True):
        answered[place].append(asdict(completion))
    return answered


def _from_file(block: EvaluationSet, prompts: pl.DataFrame, note: Note) -> pl.DataFrame:
    if block.baseline is not None:
        found = read_baseline(block.baseline, block.name, prompts, note)
    else:
        found = prompts.select("prompt_id", response=pl.col("reference").list.first()).drop_nulls()
        if found.is_empty():
            raise ConfigError(
                f"the set `{block.name}` has no reference answers to compare with: name a file of answers as its "
                "`baseline`, or compare with `theta_0`"
            )
    if missing := prompts.height - found.height:
        note(
            f"{missing} of {prompts.height} prompts of the set `{block.name}` have no reference answer: they are not "
            "compared"
        )
    columns = {"turn": pl.lit(1), "sample": pl.lit(0)} | {
        name: pl.lit(None) for name in ("finish_reason", "completion_tokens", "error")
    }
    return found.with_columns(**columns).select(ANSWERS.names()).cast(dict(ANSWERS))  # type: ignore[arg-type]


def _slug(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name)[-60:]
