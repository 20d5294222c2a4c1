"""Evaluates solvers: gets the answers of both sides to each set and the verdicts, and keeps rows and a record."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from eva_data import __version__
from eva_data.comparing.families import relatives
from eva_data.config import (
    HELDOUT,
    PEOPLE,
    Code,
    Config,
    Consensus,
    Evaluate,
    EvaluationSet,
    Several,
    Tournament,
    Verifier,
)
from eva_data.dataset.evaluations import Compared, EvaluationRecord, keep, read_record, read_rows
from eva_data.dataset.inputs import hash_of_prompts
from eva_data.errors import ConfigError
from eva_data.evaluation.contamination.marking import SetCheck
from eva_data.evaluation.figures import figures_of, plain
from eva_data.evaluation.judging import compared, rated
from eva_data.evaluation.people import reviewed_pairs
from eva_data.evaluation.rates.alarms import alarms_of
from eva_data.evaluation.rates.length import LengthInputs, read_gamed
from eva_data.evaluation.rule import JudgingRule, rule_called
from eva_data.evaluation.scoring import rewards_of, scored, verified, verifier_of
from eva_data.evaluation.sentences import contamination_sentence, sentence_of
from eva_data.evaluation.sets import SET, Note, read_set
from eva_data.evaluation.sides import Contender, answers_of, side_called
from eva_data.files import sha256
from eva_data.iteration.heldout import heldout_prompts
from eva_data.iteration.run import Run
from eva_data.ledger import call_key
from eva_data.models.player import Player, player_of
from eva_data.report.card import write_card
from eva_data.rewards.scorers import reward_model
from eva_data.tables.schemas import EVALUATIONS, MESSAGES

SANDBOX_SET = "sandbox"
"""Name of the set of the sandbox's held-out prompts, `train.heldout` of each depth."""


@dataclass(frozen=True)
class Asked:
    """The options of an evaluation."""

    solver: str
    """`theta_t`, a model folder, a Hub id, or a model's name at a server."""
    against: tuple[str, ...]
    """The names of the other sides. `reference` stands for the answers that come with a set."""
    sets: tuple[EvaluationSet, ...]


_NOTHING = EvaluationRecord(eva_data=__version__)


def settings_of(config: Config) -> Evaluate:
    """The block `evaluate`, or its defaults if the settings have none."""
    return config.evaluate or Evaluate(heldout=0)


def sets_of(run: Run) -> tuple[EvaluationSet, ...]:
    """All sets of the settings, after the held-out prompts, which come from the sandbox or are seeds set aside.

    With `evaluate.second_reward` the held-out prompts are there again, for the reward and for the second one.
    """
    return configured_sets(run.config)


def configured_sets(config: Config) -> tuple[EvaluationSet, ...]:
    """See sets_of."""
    named, usual = settings_of(config).sets, _usual_set(config)
    if usual is None:
        held = tuple(block for block in named if block.name == HELDOUT)
        return (*named, *_rewarded(config, held))
    rewarded = _rewarded(config, (usual,))
    others = (block for block in named if block.name != usual.name)
    # Without a judge and without a verifier, rewards are all that can score the held-out prompts.
    lacking = usual.rule == "verifier" and usual.function is None and not isinstance(config.reward, Verifier)
    return (*(rewarded if lacking and rewarded else (usual, *rewarded)), *others)


def _usual_set(config: Config) -> EvaluationSet | None:
    """The held-out prompts of the sandbox or of the seeds; None if the settings name them, or have none."""
    if config.train.heldout and config.model_solver is not None:
        careless = config.seeds is None or config.seeds.world == "careless"
        function = Verifier(function=f"eva_data.sandbox.{'verifier' if careless else 'steps'}:score")
        return EvaluationSet(name=SANDBOX_SET, rule="verifier", sandbox=config.train.heldout, function=function)
    evaluated = config.evaluate
    if evaluated is None or evaluated.heldout == 0 or any(block.name == HELDOUT for block in evaluated.sets):
        return None
    if config.seeds is None or config.seeds.sandbox is not None:
        return None
    return EvaluationSet(name=HELDOUT, rule="own" if evaluated.judges else "verifier")


def _rewarded(config: Config, heldout: Sequence[EvaluationSet]) -> tuple[EvaluationSet, ...]:
    """The held-out prompts for the reward and for the second one; none without a second reward."""
    if config.evaluate is None or config.evaluate.second_reward is None:
        return ()
    return tuple(
        block.model_copy(update={"rule": rule, "function": None, "samples": 1})
        for block in heldout
        for rule in ("reward", "second_reward")
    )


def usual_opponents(solver: str) -> tuple[str, ...]:
    """theta_{t-1} and theta_0 of theta_t, as far as they are other models; theta_0 of any other solver."""
    if solver == "theta_0":
        return ()
    number = solver.removeprefix("theta_")
    if not number.isdigit():
        return ("theta_0",)
    return tuple(dict.fromkeys((f"theta_{int(number) - 1}", "theta_0")))


def evaluate(run: Run, asked: Asked) -> list[Compared]:
    """Compare the solver with every other side on every set, and keep rows, record and card in the dataset's folder.

    Raise ConfigError if there is no judge, or if a judge is a relative of a player, and the errors of asking a model.
    Everything that was asked before an error is in the ledger and is not asked again.
    """
    if not asked.sets:
        raise ConfigError(
            "there is nothing to evaluate on: name prompts in `evaluate.sets`, or a file with `--set-name FILE`; "
            "`evaluate.heldout` sets seeds aside before iteration 1"
        )
    for block in asked.sets:
        if rule_called(block.rule).kind == "score":
            # What is wrong with a reward is said before anything is asked.
            rewards_of(run, block)
    made: list[Compared] = []
    with run.servers:
        for block in asked.sets:
            made += _on_set(run, asked, block)
    for folder in (run.store.state / "jobs" / "iter_0").glob("evaluate-*"):
        shutil.rmtree(folder, ignore_errors=True)
    if run.store.iterations():
        write_card(run.store, run.config.publish.licence)
    return made


def _on_set(run: Run, asked: Asked, block: EvaluationSet) -> list[Compared]:
    """The comparisons on one set. A comparison that the record holds completely is not made again."""
    notes: list[str] = []

    def note(text: str) -> None:
        notes.append(run.note(text))

    rule = rule_called(block.rule)
    if rule.kind == "agree":
        return _on_reviews(run, rule, asked, block)
    prompts = prompts_of(run, block, note)
    _refuse_lacking(rule, block, prompts)
    judges, kin = judges_of(run, rule, asked, block)
    names = dict.fromkeys((asked.solver, *asked.against))
    sides = {name: side_called(run, name, block) for name in names}
    pairs = _pairs(rule, block, [sides[name] for name in names])
    kept = {each.key: each for each in (read_record(run.store) or _NOTHING).evaluations if each.partial is None}
    entries = [_entry(run, rule, block, prompts, ours, theirs, judges, kin) for ours, theirs in pairs]
    missing = [(entry, pair) for entry, pair in zip(entries, pairs, strict=True) if entry.key not in kept]
    needed = dict.fromkeys(side.name for _, pair in missing for side in pair if side is not None)
    answers = {name: answers_of(run, sides[name], block, prompts, turns=rule.turns, note=note) for name in needed}
    made, tables = {}, []
    gamed = read_gamed(block.gamed_baselines, block.name, prompts) if block.gamed_baselines and missing else None
    check = SetCheck(run, block, prompts)
    for entry, (ours, theirs) in missing:
        faced = _faced(prompts, answers[ours.name], answers[theirs.name] if theirs else None)
        rows, stopped = _judged(run, rule, block, faced, judges, ours)
        told = entry.model_copy(update={"partial": stopped, "notes": tuple(notes)})
        marked = _as_rows(rows, entry, ours, theirs)
        made[entry.key], marked = _with_figures(check, told, marked, ours, theirs, gamed)
        tables.append(marked)
    for entry, (ours, theirs) in zip(entries, pairs, strict=True):
        before = kept.get(entry.key)
        if before is not None and not check.stands(before, check.until(*_thetas(ours, theirs))):
            # The verdicts stand; only what the prompts are compared with has changed.
            rows = read_rows(run.store).filter(pl.col("evaluation") == entry.key)
            made[entry.key], marked = _with_figures(check, before, rows, ours, theirs, gamed)
            tables.append(marked)
    if tables:
        keep(run.store, __version__, list(made.values()), pl.concat(tables), alarms_of)
    return [made.get(entry.key) or kept[entry.key] for entry in entries]


def _on_reviews(run: Run, rule: JudgingRule, asked: Asked, block: EvaluationSet) -> list[Compared]:
    """The judges against the people on the reviewed pairs. Without such pairs there is nothing, which a note says."""
    pairs = reviewed_pairs(run.store)
    if pairs.is_empty():
        run.note("no pair is reviewed, so the judges are not compared with people: see `eva-data review`")
        return []
    judges, kin = judges_of(run, rule, asked, block)
    people = Contender(PEOPLE, PEOPLE)
    entry = _entry(run, rule, block, pairs, people, None, judges, kin)
    record = read_record(run.store) or _NOTHING
    kept = next((each for each in record.evaluations if each.key == entry.key and each.partial is None), None)
    if kept is not None:
        return [kept]
    rows, stopped = _judged(run, rule, block, pairs, judges, people)
    told = entry.model_copy(update={"partial": stopped})
    table = _as_rows(rows, entry, people, None)
    figures = figures_of(told, table, own_rules=(block.rule,))
    made = told.model_copy(update={"figures": plain(figures, sentence_of(figures), None)})
    keep(run.store, __version__, [made], table, alarms_of)
    return [made]


def _with_figures(
    check: SetCheck,
    told: Compared,
    rows: pl.DataFrame,
    ours: Contender,
    theirs: Contender | None,
    gamed: LengthInputs | None,
) -> tuple[Compared, pl.DataFrame]:
    """A comparison with its figures, and its rows, in which the prompts that repeat training texts are marked."""
    until = check.until(*_thetas(ours, theirs))
    marked = check.marked(rows, until)
    checked = told.model_copy(update={"contamination": check.record(until)})
    figures = figures_of(checked, marked, gamed, (told.rule,))
    values = plain(figures, sentence_of(figures), contamination_sentence(figures))
    return checked.model_copy(update={"figures": values}), marked


def _thetas(*sides: Contender | None) -> list[int | None]:
    return [side.theta for side in sides if side is not None]


def _pairs(rule: JudgingRule, block: EvaluationSet, sides: list[Contender]) -> list[tuple[Contender, Contender | None]]:
    """The pairs to judge: the solver against each other side, or each side alone if answers are judged by themselves.

    Raise ConfigError if there is no other side to compare with.
    """
    if rule.kind != "compare":
        return [(side, None) for side in sides]
    if len(sides) < 2:
        raise ConfigError(
            f"the rule `{block.rule}` of the set `{block.name}` compares two sides: name the other with `--against`, "
            "such as `theta_0` or `reference`"
        )
    return [(sides[0], other) for other in sides[1:]]


def prompts_of(run: Run, block: EvaluationSet, note: Note) -> pl.DataFrame:
    """SET of a block: the prompts of its file, or the prompts that were set aside."""
    if block.name != HELDOUT:
        return read_set(block, note)
    found = heldout_prompts(run)
    if found.is_empty():
        raise ConfigError(
            "no prompts are held out: set `evaluate.heldout` before iteration 1 is built, or name prompts of your own "
            "in `evaluate.sets`"
        )
    missing = [pl.lit(None, dtype=SET[name]).alias(name) for name in SET if name not in found.columns]
    return found.with_columns(missing).select(SET.names()).sort("prompt_id")


def _refuse_lacking(rule: JudgingRule, block: EvaluationSet, prompts: pl.DataFrame) -> None:
    for name in rule.needs:
        lacking = prompts[name].null_count()
        if lacking:
            raise ConfigError(
                f"the rule `{block.rule}` needs a {name} for every prompt, and {lacking} of {prompts.height} prompts "
                f"of the set `{block.name}` have none: name its column with `{name}`, or take another rule"
            )


def judges_of(run: Run, rule: JudgingRule, asked: Asked, block: EvaluationSet) -> tuple[list[Player], tuple[str, ...]]:
    """The judges of a rule, and the models that play and belong to a judge's family.

    Raise ConfigError if the rule needs a judge and none is named, or if a judge is a relative without
    `allow_same_judge`.
    """
    if rule.kind in ("verify", "score"):
        return [], ()
    settings = settings_of(run.config)
    if not settings.judges:
        raise ConfigError(
            f"the rule `{block.rule}` of the set `{block.name}` needs a judge: name a model in `evaluate.judges`, of "
            "another family than those that play"
        )
    judges = [player_of(judge) for judge in settings.judges]
    playing = _playing(run.config, asked)
    found = [(judge.name, kin) for judge in judges for kin in relatives(judge.name, playing)]
    if found and not settings.allow_same_judge:
        judge, kin = found[0]
        raise ConfigError(
            f"the judge `{judge}` is of the family of `{kin}`, which plays, and models prefer their own family: name "
            "another judge in `evaluate.judges`, or say `evaluate.allow_same_judge: true`, which report and card repeat"
        )
    return judges, tuple(dict.fromkeys(kin for _, kin in found))


def _playing(config: Config, asked: Asked) -> list[str]:
    """Names of the models that play: solver, creator, reward and the sides of the comparison."""
    blocks = [config.model_solver, None if config.creator == "shared" else config.creator]
    names = [block.model for block in blocks if block is not None]
    rewards = config.reward.rewards if isinstance(config.reward, Several) else (config.reward,)
    for reward in rewards:
        if isinstance(reward, Consensus) and reward.judge is not None:
            names.append(reward.judge.model)
        if reward is None or isinstance(reward, Verifier | Code | Consensus):
            continue
        if isinstance(reward, Tournament):
            names += [judge.model for judge in reward.judges]
            continue
        names.append(reward.judge.model if hasattr(reward, "judge") else reward.model)
    sides = (asked.solver, *asked.against)
    return names + [side for side in sides if not side.startswith("theta_") and side != "reference"]


def _faced(prompts: pl.DataFrame, ours: pl.DataFrame, theirs: pl.DataFrame | None) -> pl.DataFrame:
    """One row per (prompt, turn, sample) that the solver answered, with the other side's answer beside it.

    `prompt` is the conversation up to the judged turn, with the solver's earlier answer in it.
    """
    told = ("response", "finish_reason", "completion_tokens", "error")
    rows = ours.join(prompts, on="prompt_id")
    if theirs is None:
        rows = rows.with_columns(pl.lit(None, dtype=rows.schema[name]).alias(f"{name}_against") for name in told)
    else:
        rows = rows.join(theirs, on=["prompt_id", "turn", "sample"], suffix="_against")
    first = ours.filter(pl.col("turn") == 1).select("prompt_id", "sample", earlier=pl.col("response"))
    rows = rows.join(first, on=["prompt_id", "sample"], how="left")
    second = pl.concat_list(
        pl.col("prompt"),
        pl.concat_list(
            pl.struct(role=pl.lit("assistant"), content=pl.col("earlier")),
            pl.struct(role=pl.lit("user"), content=pl.col("turn_2")),
        ),
    ).cast(MESSAGES)
    return rows.with_columns(
        prompt=pl.when(pl.col("turn") == 2).then(second).otherwise(pl.col("prompt")),
        reference=pl.col("reference").list.get(pl.col("turn") - 1, null_on_oob=True),
    )


def _judged(
    run: Run, rule: JudgingRule, block: EvaluationSet, faced: pl.DataFrame, judges: Sequence[Player], ours: Contender
) -> tuple[pl.DataFrame, str | None]:
    if rule.kind == "verify":
        return verified(run, block, faced, f"evaluate-{block.name}-verify-{ours.fingerprint[-12:]}"), None
    if rule.kind == "score":
        return scored(run, block, faced, f"evaluate-{block.name}-{block.rule}-{ours.fingerprint[-12:]}"), None
    judge_by = rated if rule.kind == "rate" else compared
    parts, stopped = [], None
    for judge in judges:
        rows, ended = judge_by(run, rule, block, faced, judge)
        parts.append(rows)
        stopped = stopped or ended
    return pl.concat(parts), stopped


def _entry(
    run: Run,
    rule: JudgingRule,
    block: EvaluationSet,
    prompts: pl.DataFrame,
    ours: Contender,
    theirs: Contender | None,
    judges: Sequence[Player],
    kin: tuple[str, ...],
) -> Compared:
    judged_by = [each.fingerprint for each in judges]
    if rule.kind == "verify":
        judged_by = [verifier_of(run, block).fingerprint]
    elif rule.kind == "score":
        judged_by = [reward_model(rewards_of(run, block))]
    entry = Compared(
        key="",
        set=block.name,
        rule=block.rule,
        source=rule.source,
        solver=ours.fingerprint,
        solver_name=ours.name,
        theta=ours.theta,
        against=theirs.fingerprint if theirs else None,
        against_name=theirs.name if theirs else None,
        judges=tuple(sorted(judged_by)),
        prompts=prompts.height,
        prompts_hash=hash_of_prompts(prompts) if rule.kind != "agree" else _hash_of_pairs(prompts),
        right=block.right if rule.kind == "verify" else None,
        samples=block.samples,
        references_hash=_references_hash(rule, prompts),
        own_template=block.judge_template is not None,
        answers_of=theirs.answers_of if theirs else None,
        gamed=_named(block.gamed_baselines),
        decoding=ours.decoding,
        decoding_against=theirs.decoding if theirs else "",
        relatives=kin,
    )
    told = {"partial", "notes", "solver_name", "against_name", "key", "figures", "own_template", "answers_of"}
    told.add("contamination")
    # What an older comparison did not have does not change its key.
    told |= {name for name in ("references_hash", "gamed") if not getattr(entry, name)}
    template = hashlib.sha256(_asked_words(rule, block).encode()).hexdigest()
    identity = entry.model_dump(mode="json", exclude=told) | {"question": template} | _beside(prompts)
    return entry.model_copy(update={"key": call_key(identity).hex()[:16]})


def _beside(prompts: pl.DataFrame) -> dict[str, str]:
    """The hash of everything that a set holds beside its prompts and that is shown or told; empty without any."""
    # Reviewed pairs have no second turn.
    shown = [name for name in ("turn_2", "reference", "checklist", "category") if name in prompts.columns]
    columns = prompts.select(shown)
    if all(column.null_count() == prompts.height for column in columns):
        return {}
    return {"beside": hashlib.sha256(columns.write_json().encode()).hexdigest()}


def _hash_of_pairs(pairs: pl.DataFrame) -> str:
    """The hash of the reviewed pairs and of what people say of them."""
    rows = pairs.select("pair_id", "category").sort("pair_id").rows()
    return call_key({"reviewed": [list(row) for row in rows]}).hex()


def _references_hash(rule: JudgingRule, prompts: pl.DataFrame) -> str:
    """The hash of what a judge sees beside prompts and answers; empty if that is nothing, or nobody is asked."""
    shown = prompts.filter(pl.col("reference").is_not_null() | pl.col("checklist").is_not_null())
    if rule.kind in ("verify", "score") or shown.is_empty():
        return ""
    rows = shown.select("prompt_id", "reference", "checklist").sort("prompt_id").rows()
    return call_key({"references": [list(row) for row in rows]}).hex()[:16]


def _named(path: Path | None) -> str | None:
    """The name of a file and the hash of its content; None without a file."""
    return None if path is None else f"{path.name}@{sha256(path)[:16]}"


def _asked_words(rule: JudgingRule, block: EvaluationSet) -> str:
    return rule.template if block.judge_template is None else block.judge_template.read_text(encoding="utf-8")


def _as_rows(rows: pl.DataFrame, entry: Compared, ours: Contender, theirs: Contender | None) -> pl.DataFrame:
    """The rows as EVALUATIONS."""
    literal = {
        "evaluation": entry.key,
        "set": entry.set,
        "rule": entry.rule,
        "solver": ours.fingerprint,
        "against": theirs.fingerprint if theirs else None,
        "contaminated": None,
        "nearest_id": None,
        "nearest_score": None,
        "iteration": ours.theta,
    }
    named = {name: pl.lit(value, dtype=EVALUATIONS[name]) for name, value in literal.items()}
    if "preference" not in rows.columns:
        named["preference"] = pl.lit(None, dtype=pl.Float64)
    return rows.with_columns(**named).select(EVALUATIONS.names()).cast(dict(EVALUATIONS))  # type: ignore[arg-type]
