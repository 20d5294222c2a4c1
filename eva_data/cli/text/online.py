"""Text before and after an online run."""

from __future__ import annotations

from eva_data.dataset.manifest import Manifest
from eva_data.game.online_plan import OnlinePlan
from eva_data.iteration.run import Run
from eva_data.training.online_tables import ITERATION


def online_text(run: Run, manifest: Manifest) -> str:
    """The results of an online run, and where they are."""
    online, counts, folder = manifest.online or {}, manifest.counts, run.config.folder
    phases = ", ".join(f"{steps} of {phase}" for phase, steps in online["steps_by_phase"].items())
    replaced = online.get("prompts_replaced")
    more = f", and {replaced} more that others replaced" if replaced else ""
    generated = f" {online['completions']} responses were generated." if "completions" in online else ""
    return (
        f"Trained by {online['algorithm']} for {online['steps']} steps ({phases}) on {online['prompts_trained']} "
        f"prompts{more}: {counts.prompts} different ones, {counts.evolved} of them evolved on the way.{generated}\n"
        f"The model is in {run.store.solver_folder(ITERATION)}, what it was trained on in {folder}:\n"
        f'  load_dataset("{folder}", "prompts", split="iter_{ITERATION}")\n'
        f"Publish that with: eva-data publish --iter {ITERATION} --set folder={folder}"
    )


def plan_text(plan: OnlinePlan) -> str:
    """What an online run takes, who samples and who rewrites, and what stands in its way."""
    passes = f"{plan.prompts / plan.seeds:.2g} times the {plan.seeds} seeds" if plan.seeds else "there are no seeds"
    more = f", and up to {plan.replaced_at_most} to prompts that replace others" if plan.replaced_at_most else ""
    sampled = {
        "transformers": "in the training itself; `use_vllm` in the recipe is faster on a GPU",
        "vllm colocate": "by vLLM in the training's process",
        "vllm server": f"by the vLLM server at {plan.server}",
    }
    lines = [
        f"{plan.algorithm} by the recipe {plan.recipe}: {plan.steps} steps on {plan.prompts} prompts ({passes}).",
        f"Responses: {plan.completions}, {plan.responses} to each prompt{more}; all are scored.",
        f"They are sampled {sampled[plan.generation]}.",
        "Nothing is evolved." if plan.creator is None else f"Prompts are rewritten by {plan.creator}.",
        *(f"The recipe decides: {note}." for note in plan.notes),
    ]
    if plan.server_error is not None:
        lines.append(f"{plan.server} cannot be used now: {plan.server_error}. Start it before the training.")
    return "\n".join(lines)
