"""Text after an online run."""

from __future__ import annotations

from eva_data.dataset.manifest import Manifest
from eva_data.iteration.run import Run
from eva_data.training.online_tables import (
    ITERATION,
)


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
