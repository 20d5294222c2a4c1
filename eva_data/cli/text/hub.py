"""Texts after a publish or a pull, or a dry run of it."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil
from pathlib import Path

from rich.filesize import decimal

from eva_data.config.reading import load_config
from eva_data.dataset.staleness import differences
from eva_data.errors import ConfigError
from eva_data.foreign import visible
from eva_data.hub.consent import parts_of, recorded_settings
from eva_data.hub.publish import MAX_FILES, Published, Step
from eva_data.hub.pull import Pulled


def published_text(published: Published, iteration: int, *, dry_run: bool) -> str:
    """What was or would be published: the files with their sizes, and the card."""
    where = f"{published.repo} ({'private' if published.private else 'public'})"
    beside = _beside_lines(published, where, dry_run)
    if not published.steps:
        there = f"Iteration {iteration} is in {where} already, just as it is here: {published.url}/tree/{published.tag}"
        return "\n".join([there, *beside])
    lines = [line for step in published.steps for line in _step_lines(step, where, dry_run)] + beside
    if dry_run:
        return "\n".join([*lines, "", _card(published)])
    split = f'split="iter_{iteration}", revision="{published.tag}"'
    load = f'  load_dataset("{published.repo}", "preferences", {split})'
    return "\n".join([*lines, f"{published.url}/tree/{published.tag}", load])


def _beside_lines(published: Published, where: str, dry_run: bool) -> list[str]:
    done = "Would publish" if dry_run else "Published"
    return [f"{done} {name} to {where}, tagged {new.tag}" for name, new in published.beside.items()]


def _card(published: Published) -> str:
    last = published.steps[-1]
    return f"Its card:\n\n{last.card}" if last.card else "Its card is there already."


def _step_lines(step: Step, where: str, dry_run: bool) -> list[str]:
    which = f"iteration {step.iteration}" + (f" r{step.revision}" if step.revision else "")
    if not step.sizes:
        done = "would be" if dry_run else "was"
        return [f"{which.capitalize()} is in {where}, and only its tag {step.tag} {done} added."]
    size = decimal(sum(step.sizes.values()))
    count = ceil(len(step.sizes) / MAX_FILES)
    commits = "a commit" if count == 1 else f"{count} commits"
    what = f"{which} to {where}: {commits} of {len(step.sizes)} files, {size}, tagged {step.tag}"
    if not dry_run:
        return [f"Published {what}"]
    width = max(len(name) for name in step.sizes)
    return [f"Would publish {what}", *(f"  {name:<{width}} {decimal(size):>10}" for name, size in step.sizes.items())]


def pulled_text(pulled: Pulled, repo: str, settings: Path, *, dry_run: bool) -> str:
    """What was or would be pulled, what its settings would do, and how to go on."""
    last, recorded = pulled.iterations[-1], recorded_settings(pulled.manifest)
    which = f"iterations 1 to {last}" if last > 1 else "iteration 1"
    parts = parts_of(recorded)
    waiting = [f"`{key}`" for part in parts for key in part.waiting]
    told = [f"  {line}" for part in parts for line in part.told]
    if dry_run:
        size = f"{pulled.files} files, {decimal(pulled.bytes)}"
        return "\n".join([f"Would pull {which} of {repo} to {pulled.folder}: {size}.", *_would(waiting, told)])
    lines = [f"Pulled {which} of {repo} to {pulled.folder}: every file is what its manifest says."]
    if pulled.wrote_settings:
        lines.append(f"Wrote {settings}, the settings of iteration {last}: its values are active.")
        lines += _would(waiting, told)
    else:
        lines += _left_as_it_is(pulled, settings)
    if recorded.trains and last >= recorded.first_answered:
        lines.append(
            f"The trained solvers are not in it: the next build trains them anew from the pairs, or name theta_{last} "
            "with `--solver`."
        )
    first = f"decide these in {settings}, then: " if pulled.wrote_settings and waiting else ""
    return "\n".join([*lines, f"Next: {first}eva-data build --iter {last + 1}"])


def _would(waiting: Sequence[str], told: Sequence[str]) -> list[str]:
    if not waiting:
        return []
    return [f"These of its settings wait for you, commented out: {', '.join(waiting)}. They would do this:", *told]


def _left_as_it_is(pulled: Pulled, settings: Path) -> list[str]:
    """How an existing eva.yaml differs from the dataset's settings."""
    try:
        config = load_config(settings)
    except ConfigError as error:
        return [f"{settings} was there already and is left as it is. It cannot be used yet: {visible(str(error))}."]
    other = differences(config, pulled.manifest)
    if config.folder.resolve() != pulled.folder.resolve():
        other.append(f"`folder` is {config.folder}, and the dataset is in {pulled.folder}")
    if not other:
        return []
    set_them = visible("; ".join(other))
    return [f"{settings} was there already and is left as it is. To go on, set: {set_them}."]
