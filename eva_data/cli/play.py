"""Commands that build and train."""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path

import click

from eva_data.cli.hub import published_values
from eva_data.cli.options import (
    budget_option,
    config_options,
    findings_option,
    iteration_option,
    read_config,
    solver_option,
    start,
    visibility_option,
)
from eva_data.cli.output import mode, report, reports
from eva_data.cli.say import say

BUILT = ("iteration", "folder", "counts", "flow", "evolving", "informativeness", "spent", "notes", "evaluations")
"""Keys of `--json` of the commands that build."""
PLANNED = ("lines", "measuring", "notes", "measured", "cost", "unpriced", "paid", "spent")
"""Fields of a plan that `--json` shows."""


@click.command()
@reports("file")
@click.option(
    "--recipe",
    metavar="NAME",
    help="Begin with ready settings: paper, vllm, openai-server, cpu, gsm8k, gsm8k-consensus or reasoning-gym.",
)
@click.option("--force", is_flag=True, help="Overwrite an eva.yaml that is there.")
def init(recipe: str | None, force: bool) -> None:
    """Write a commented eva.yaml to this folder.

    \b
    eva-data init                       # your prompts, a model in this process, a scoring function of your own
    eva-data init --recipe paper        # as in the paper: gemma-2-9b-it, ArmoRM, UltraFeedback, a Gemini creator
    eva-data init --recipe vllm         # everything on your own GPUs, served by vLLM
    """
    from eva_data.config.reading import write_template

    path = Path("eva.yaml")
    write_template(path, recipe, force=force)
    report(f"Wrote {path}. Name your prompts, solver and reward in it, then: eva-data build --iter 1", file=path)


@click.command()
@reports(*BUILT, "outline", "published")
@iteration_option
@click.option("--only", is_flag=True, help="Refuse to build or train earlier iterations that are missing.")
@solver_option
@budget_option
@click.option("--push", is_flag=True, help="Publish it to the Hub, as `eva-data publish` does.")
@findings_option
@click.option("--dry-run", is_flag=True, help="Print the resolved settings and what would be done, then stop.")
@click.option(
    "--retry-rejects", is_flag=True, help="Ask again what a server gave up on in a finished iteration, as a revision."
)
@config_options
def build(
    iteration: int,
    only: bool,
    solver: str | None,
    budget: float | None,
    push: bool,
    accept_findings: bool,
    dry_run: bool,
    retry_rejects: bool,
    config_path: Path | None,
    overrides: tuple[str, ...],
) -> None:
    """Build an iteration, and everything missing that it needs.

    \b
    eva-data build --iter 2
    eva-data build --iter 2 --set sample.fraction=0.5 --set folder=data/half
    eva-data build --iter 3 --solver my-org/trained-elsewhere
    eva-data build --iter 1 --budget 20
    eva-data build --iter 1 --retry-rejects

    It is safe to repeat: a finished iteration stays as it is, and after a kill no finished model call is made again.
    """
    from eva_data.cli.text.build import print_build
    from eva_data.cli.text.values import built_values
    from eva_data.game.play import outline, play

    if accept_findings and not push:
        raise click.UsageError("`--accept-findings` is about publishing: give `--push` too, or leave it out")
    if retry_rejects and (push or dry_run):
        raise click.UsageError("`--retry-rejects` goes alone: publish the revision with `eva-data publish`")
    run = start(read_config(config_path, overrides), solver, budget)
    if push:
        from eva_data.hub.publish import refuse_unready

        # This comes before anything is paid for.
        refuse_unready(run)
    if dry_run:
        steps = outline(run, iteration, only=only) + (f"\n- publish to {run.config.publish.repo}" if push else "")
        report(steps, iteration=iteration, folder=run.config.folder, outline=steps)
        return
    if retry_rejects:
        from eva_data.cli.text.build import retried_text
        from eva_data.game.play import retry

        again = retry(run, iteration)
        said = retried_text(again)
        report(said, partial(built_values, run, again.manifest))
        return
    already = iteration in run.store.iterations()
    begun = time.monotonic()
    manifest = play(run, iteration, only=only, train_last=False)
    seconds, published = time.monotonic() - begun, None

    def text() -> None:
        print_build(run, manifest, seconds, already=already)

    if push:
        from eva_data.cli.text.hub import published_text
        from eva_data.hub.publish import publish

        if mode() is None:
            text()
        published = publish(run, iteration, accept_findings=accept_findings)
        said = published_text(published, iteration, dry_run=False)
        report(said, partial(built_values, run, manifest), published=published_values(published))
        return
    report(text, partial(built_values, run, manifest))


@click.command()
@reports("iteration", "prompts", "known", *PLANNED, "pilot")
@iteration_option
@click.option(
    "--pilot",
    "prompts",
    default=0,
    show_default=True,
    type=click.IntRange(min=0),
    metavar="PROMPTS",
    help="Ask about so many prompts first, as the build would, and plan from that. What it pays is not paid again.",
)
@solver_option
@budget_option
@config_options
def plan(
    iteration: int,
    prompts: int,
    solver: str | None,
    budget: float | None,
    config_path: Path | None,
    overrides: tuple[str, ...],
) -> None:
    """Say what an iteration will take and cost: calls, tokens, dollars and time of every stage.

    \b
    eva-data plan --iter 1
    eva-data plan --iter 2 --pilot 8 --budget 20
    """
    from eva_data.cli.text.costs import print_plan
    from eva_data.game.pilot import ask_pilot
    from eva_data.game.plan import plan_iteration

    run = start(read_config(config_path, overrides), solver, budget)
    piloted = ask_pilot(run, iteration, prompts)
    planned = plan_iteration(run, iteration)
    report(
        lambda: print_plan(planned, piloted, budget),
        iteration=iteration,
        prompts=planned.start.count,
        known=planned.start.known,
        **{name: getattr(planned, name) for name in PLANNED},
        pilot=piloted,
    )


@click.command()
@reports("iteration", "prompts", "evolutions", "responses", "cost", "unpriced", "kept")
@iteration_option
@click.option(
    "-n", "--prompts", default=3, show_default=True, type=click.IntRange(min=1), help="How many prompts are looked at."
)
@solver_option
@budget_option
@config_options
def preview(
    iteration: int,
    prompts: int,
    solver: str | None,
    budget: float | None,
    config_path: Path | None,
    overrides: tuple[str, ...],
) -> None:
    """Rewrite and answer a few prompts of an iteration as the build would, and show them.

    \b
    eva-data preview --iter 1
    eva-data preview --iter 2 -n 3 --budget 1

    What it asks of a server or provider is kept in the ledger, and the build does not ask for it again.
    """
    from eva_data.cli.text.preview import preview_text
    from eva_data.game.pilot import preview as look_ahead

    found = look_ahead(start(read_config(config_path, overrides), solver, budget), iteration, prompts)
    report(lambda: say(preview_text(found)), **vars(found))


@click.command()
@reports("iteration", "folder", "pushed")
@iteration_option
@click.option(
    "--algorithm",
    metavar="NAME",
    help="dpo, sppo, simpo, orpo, ipo, cpo, kto or sft, by its ready recipe. "
    "Default: what `train.recipe` in eva.yaml is of.",
)
@click.option("--push", "repo", metavar="OWNER/NAME", help="Push it to this model repo on the Hub, private by default.")
@visibility_option
@click.option("--licence", help="With --push: the model's licence by the Hub's name; a public repo needs one.")
@config_options
def train(
    iteration: int,
    algorithm: str | None,
    repo: str | None,
    private: bool | None,
    licence: str | None,
    config_path: Path | None,
    overrides: tuple[str, ...],
) -> None:
    """Train the solver on an iteration's pairs: theta_t, which answers in iteration t + 1.

    \b
    eva-data train --iter 1
    eva-data train --iter 1 --algorithm simpo
    eva-data train --iter 2 --set train.mode=scratch
    eva-data train --iter 1 --push my-org/my-solver

    It is safe to repeat: a trained solver is not trained again, so --push may come later.
    """
    from eva_data.game.play import train_iteration
    from eva_data.training.recipes import with_algorithm

    config = read_config(config_path, overrides)
    run = start(config if algorithm is None else with_algorithm(config, algorithm))
    if repo is not None:
        from eva_data.hub.push_model import model_target, push_model

        # This comes before an hour of training.
        target = model_target(run, repo, private=private, licence=licence)
    with run.store.locked():
        folder = train_iteration(run, iteration)
    said = f"theta_{iteration} is in {folder}. Next: eva-data build --iter {iteration + 1}"
    pushed = None
    if repo is not None:
        if mode() is None:
            say(said)
        pushed = push_model(run, iteration, target)
        said = f"{pushed.url} holds it at {pushed.tag}; {pushed.files} files were uploaded."
    report(said, iteration=iteration, folder=folder, pushed=pushed)


@click.command()
@reports(*BUILT, "pushed", "plan")
@click.option("--steps", type=click.IntRange(min=1), help="Optimizer steps, of 8 prompts by default.")
@click.option(
    "--epochs",
    type=click.FloatRange(min=0, min_open=True),
    metavar="NUMBER",
    help="In the place of --steps: as many prompts as there are seeds, so often. 1 is the paper's 1x.",
)
@click.option("--algorithm", default="rloo", show_default=True, help="rloo, grpo or oaif (online DPO).")
@click.option("--recipe", metavar="NAME", help="A recipe of your own, instead of the algorithm's.")
@click.option("--static", is_flag=True, help="Evolve nothing: the same algorithm on the seeds alone, for comparison.")
@click.option("--dry-run", is_flag=True, help="Check everything, say what it takes and who samples, then stop.")
@click.option("--push", "repo", metavar="OWNER/NAME", help="Push it to this model repo on the Hub, private by default.")
@visibility_option
@click.option("--licence", help="With --push: the model's licence by the Hub's name; a public repo needs one.")
@solver_option
@budget_option
@config_options
def online(
    steps: int | None,
    epochs: float | None,
    algorithm: str,
    recipe: str | None,
    static: bool,
    dry_run: bool,
    repo: str | None,
    private: bool | None,
    licence: str | None,
    solver: str | None,
    budget: float | None,
    config_path: Path | None,
    overrides: tuple[str, ...],
) -> None:
    """Train the solver while its prompts evolve: RLOO, GRPO or online DPO with the paper's prioritized buffer.

    \b
    eva-data online --steps 400
    eva-data online --epochs 1 --dry-run
    eva-data online --steps 400 --algorithm grpo --recipe dapo
    eva-data online --steps 400 --static
    eva-data online --steps 400 --push my-org/my-solver

    Its prompts and answers become a dataset of their own, in `folder` with the algorithm's name appended, and the
    trained model is theta_1 there. It is safe to repeat: a run that was cut off goes on from its last checkpoint.
    """
    if (steps is None) == (epochs is None):
        raise click.UsageError("how long is missing: give either `--steps` or `--epochs`")
    from eva_data.cli.text.online import online_text
    from eva_data.game.online import Online, online_config, train_online

    config, recipe = online_config(read_config(config_path, overrides, online=True), algorithm, static, recipe)
    game = start(config, solver, budget)
    if dry_run:
        from eva_data.cli.text.online import plan_text
        from eva_data.game.online_plan import plan_online

        planned = plan_online(game, Online(recipe, steps, epochs, static))
        report(plan_text(planned), plan=planned)
        return
    if repo is not None:
        from eva_data.hub.push_model import model_target, push_model

        # This comes before hours of training.
        target = model_target(game, repo, private=private, licence=licence)
    with game.store.locked():
        manifest = train_online(game, Online(recipe, steps, epochs, static))
    from eva_data.cli.text.values import built_values

    said = online_text(game, manifest)
    pushed = None
    if repo is not None:
        if mode() is None:
            say(said)
        pushed = push_model(game, manifest.iteration, target)
        said = f"{pushed.url} holds it at {pushed.tag}; {pushed.files} files were uploaded."
    report(said, partial(built_values, game, manifest), pushed=pushed)


@click.command()
@reports(*BUILT)
@click.option("--iters", type=click.IntRange(min=1), required=True, help="Iterations to play, each built and trained.")
@budget_option
@config_options
def run(iters: int, budget: float | None, config_path: Path | None, overrides: tuple[str, ...]) -> None:
    """Build and train in turn, from the present state up to the given iteration."""
    from eva_data.cli.text.build import print_build
    from eva_data.cli.text.values import built_values
    from eva_data.game.play import play

    game = start(read_config(config_path, overrides), budget=budget)
    begun = time.monotonic()
    manifest = play(game, iters, only=False, train_last=True)
    seconds = time.monotonic() - begun
    report(lambda: print_build(game, manifest, seconds), partial(built_values, game, manifest))
