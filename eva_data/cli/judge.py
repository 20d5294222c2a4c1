"""The command that compares solvers."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from eva_data.cli.options import budget_option, config_options, read_config, start
from eva_data.cli.output import report, reports

if TYPE_CHECKING:
    from eva_data.iteration.run import Run


@click.command()
@reports("evaluations", "partial", "outlook")
@click.option(
    "--solver",
    "names",
    multiple=True,
    metavar="NAME",
    help="Who is evaluated: theta_0, theta_1 ..., a folder, a Hub id or what a server serves. May be repeated. "
    "Default: the newest theta.",
)
@click.option(
    "--against",
    multiple=True,
    metavar="NAME",
    help="The other side: a solver, or `reference` for the answers that come with a set. May be repeated. "
    "Default: theta_{t-1} and theta_0.",
)
@click.option(
    "--set-name",
    "sets",
    multiple=True,
    metavar="NAME|FILE",
    help="A set of `evaluate.sets`, `heldout`, or a file of prompts, judged by --rule. Default: all sets.",
)
@click.option(
    "--rule", metavar="NAME", help="The rule for a file of --set-name: own, arena_hard, mt_bench, verifier ..."
)
@click.option(
    "--judge",
    "judge",
    metavar="BLOCK",
    help="The judge, as a block of settings instead of `evaluate.judges`: '{backend: api, model: ..., base_url: ...}'.",
)
@click.option("--dry-run", is_flag=True, help="Say what would be asked and which difference it could see, then stop.")
@budget_option
@config_options
def evaluate(
    names: tuple[str, ...],
    against: tuple[str, ...],
    sets: tuple[str, ...],
    rule: str | None,
    judge: str | None,
    dry_run: bool,
    budget: float | None,
    config_path: Path | None,
    overrides: tuple[str, ...],
) -> None:
    """Say whether a solver is better than another, with intervals.

    \b
    eva-data evaluate                                        # the newest theta against the one before and theta_0
    eva-data evaluate --solver theta_2 --against theta_0
    eva-data evaluate --solver theta_2 --against reference --set-name alpaca_eval
    eva-data evaluate --set-name prompts.jsonl --judge '{backend: api, model: gpt-5, api_key_env: OPENAI_API_KEY}'

    Every verdict is kept in `evaluations/`, and every finished call in the ledger, so a repeated command pays for
    nothing twice. If the budget ends in the middle, the figures say that they are partial.
    """
    from eva_data.cli.text.evaluations import print_evaluations
    from eva_data.cli.text.values import evaluation_values
    from eva_data.evaluation.asked import asked_for, outlook
    from eva_data.evaluation.evaluate import evaluate as compare

    config = read_config(config_path, overrides)
    if judge is not None:
        # If only a judge is given, no prompts are set aside.
        aside = () if config.evaluate else ("evaluate.heldout=0",)
        config = read_config(config_path, (*overrides, *aside, f"evaluate.judges=[{judge}]"))
    run = start(config, budget=budget)
    asked = asked_for(run, names, against, sets, rule)
    if dry_run:
        lines = [line for each in asked for line in outlook(run, each)]
        report("\n".join(lines), outlook=lines)
        return
    with run.store.locked():
        made = [compared for each in asked for compared in compare(run, each)]
    stopped = [each.partial for each in made if each.partial]
    report(lambda: print_evaluations(run, made), lambda: {"evaluations": evaluation_values(run, made)}, partial=stopped)
    if stopped:
        from eva_data.errors import BudgetError

        raise BudgetError(f"{stopped[0]}; the figures above are partial: raise the budget and repeat the command")


_BENCHMARKS = ("alpaca_eval", "arena_hard", "mt_bench")
_TRAINERS = ("kto", "sft", "nemo_rl", "llama_factory", "axolotl", "openai", "verifiers", "verl", "openrlhf")
_ANSWERED = ("verl", "openrlhf")
"""Forms of prompts with right answers, which the settings of the reward know."""


@click.command()
@reports("file", "format", "solver", "set", "prompts", "iteration", "rows")
@click.option(
    "--iter", "iteration", type=click.IntRange(min=1), help="Whose pairs, for a trainer. Default: the newest."
)
@click.option("--solver", "name", metavar="NAME", help="Whose answers: theta_0, theta_1 ... Default: the newest theta.")
@click.option("--set-name", "set_name", metavar="NAME", help="A set of `evaluate.sets`, or `heldout`, for a benchmark.")
@click.option(
    "--format",
    "form",
    required=True,
    type=click.Choice([*_TRAINERS, *_BENCHMARKS]),
    help="Whose trainer, or whose benchmark's tool, reads the file.",
)
@click.option("--output", required=True, type=click.Path(path_type=Path, dir_okay=False), help="The file to write.")
@config_options
def export(
    iteration: int | None,
    name: str | None,
    set_name: str | None,
    form: str,
    output: Path,
    config_path: Path | None,
    overrides: tuple[str, ...],
) -> None:
    """Write an iteration's pairs for another trainer, or a solver's answers for a benchmark's own tool.

    \b
    eva-data export --iter 2 --format kto --output kto.jsonl        # or sft, nemo_rl, llama_factory, axolotl, openai
    eva-data export --iter 2 --format verifiers --output tasks.jsonl
    eva-data export --iter 2 --format verl --output prompts.parquet # prompts with answers; openrlhf is .jsonl
    eva-data export --solver theta_2 --set-name alpaca_eval --format alpaca_eval --output theta_2.json
    eva-data export --solver theta_2 --set-name mt_bench --format mt_bench --output theta_2.jsonl

    TRL's preference trainers read the dataset itself. The answers are those of the evaluations that are kept; what was
    not evaluated has none.
    """
    run = start(read_config(config_path, overrides))
    if form in _TRAINERS:
        if name is not None or set_name is not None:
            raise click.UsageError(f"--format {form} is for a trainer: it takes --iter, not --solver or --set-name")
        _for_a_trainer(run, iteration, form, output)
        return
    if iteration is not None or set_name is None:
        raise click.UsageError(f"--format {form} is for a benchmark: it takes --set-name and --solver, not --iter")
    from eva_data.evaluation.asked import newest_solver
    from eva_data.evaluation.kept_answers import answers_to_export
    from eva_data.export.answers import write_answers

    solver = name or newest_solver(run)
    count = write_answers(output, answers_to_export(run, solver, set_name), form, solver)  # type: ignore[arg-type]
    said = f"{output} holds {solver}'s answers to {count} prompts of {set_name}, as {form} reads them."
    report(said, file=output, format=form, solver=solver, set=set_name, prompts=count)


def _for_a_trainer(run: Run, iteration: int | None, form: str, output: Path) -> None:
    from eva_data.config import Verifier
    from eva_data.errors import ConfigError, DataError
    from eva_data.export.trainers import write_for_trainer

    built = run.store.iterations()
    if not built:
        raise DataError(f"{run.store.folder} holds no iteration yet: `eva-data build --iter 1` makes one")
    chosen = iteration or built[-1]
    if chosen not in built:
        raise DataError(f"{run.store.folder} has no iteration {chosen}: it holds {', '.join(map(str, built))}")
    if form in _ANSWERED:
        from eva_data.export.prompts import write_prompts
        from eva_data.rewards.backends.verifier import known_answers

        block = run.config.reward
        if not isinstance(block, Verifier):
            raise ConfigError(f"{form} reads prompts with right answers, which a verifier has: `reward` is another")
        answers = known_answers(block, run.store, chosen)
        count, others = write_prompts(output, run.store, chosen, form, answers)  # type: ignore[arg-type]
        left = f" {others} prompts, whose answer nobody knows, are left out." if others else ""
        said = f"{output} holds {count} prompts of iteration {chosen} with their answers, as {form} reads them.{left}"
        report(said, file=output, format=form, iteration=chosen, rows=count)
        return
    count = write_for_trainer(output, run.store, chosen, form)  # type: ignore[arg-type]
    said = f"{output} holds {count} lines of iteration {chosen}, as {form} reads them."
    report(said, file=output, format=form, iteration=chosen, rows=count)
