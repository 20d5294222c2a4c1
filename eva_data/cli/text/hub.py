"""What a person reads after a publish or a pull, and before one that is only tried."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from math import ceil
from pathlib import Path

from rich.filesize import decimal

from eva_data.config import Config
from eva_data.config.reading import dump_config
from eva_data.dataset.staleness import config_of, differences
from eva_data.hub.publish import MAX_FILES, Published, Step
from eva_data.hub.pull import Pulled


def published_text(published: Published, iteration: int, *, dry_run: bool) -> str:
    """What was published, or would be: its files with their sizes, and its card."""
    where = f"{published.repo} ({'private' if published.private else 'public'})"
    if not published.steps:
        return f"Iteration {iteration} is in {where} already, just as it is here: {published.url}/tree/{published.tag}"
    lines = [line for step in published.steps for line in _step_lines(step, where, dry_run)]
    if dry_run:
        return "\n".join([*lines, "", _card(published)])
    split = f'split="iter_{iteration}", revision="{published.tag}"'
    load = f'  load_dataset("{published.repo}", "preferences", {split})'
    return "\n".join([*lines, f"{published.url}/tree/{published.tag}", load])


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


def pulled_text(pulled: Pulled, repo: str, settings: Path, config: Config, *, written: bool) -> str:
    """What was pulled, and how to go on. `config` is what `settings` says."""
    last = pulled.iterations[-1]
    which = f"iterations 1 to {last}" if last > 1 else "iteration 1"
    lines = [f"Pulled {which} of {repo} to {pulled.folder}: every file is what its manifest says."]
    other = differences(config, pulled.manifest)
    if config.folder.resolve() != pulled.folder.resolve():
        other.append(f"`folder` is {config.folder}, and the dataset is in {pulled.folder}")
    if written:
        lines.append(f"Wrote {settings}, the settings of iteration {last}: add this machine's devices, servers, keys.")
    elif other:
        lines.append(f"{settings} was there already and is left as it is. To go on, set: {'; '.join(other)}.")
    if code := sorted(_code_named(dump_config(config_of(pulled.manifest)))):
        lines.append(f"Its settings name code that a build runs here: {', '.join(code)}. Look at it before you build.")
    if config.trains and last >= config.first_answered:
        lines.append(
            f"The trained solvers are not in it: the next build trains them anew from the pairs, or name theta_{last} "
            "with `--solver`."
        )
    return "\n".join([*lines, f"Next: eva-data build --iter {last + 1}"])


def _code_named(values: object, key: str = "") -> Iterator[str]:
    """Where plain settings name code that is not of eva-data; whoever published them chose it."""
    if isinstance(values, Mapping):
        for name, value in values.items():
            yield from _code_named(value, f"{key}.{name}".lstrip("."))
    elif isinstance(values, list):
        for place, value in enumerate(values):
            yield from _code_named(value, f"{key}.{place}")
    elif key.endswith("trust_remote_code") and values is True:
        yield f"`{key}`"
    elif key.endswith(".function") and isinstance(values, str) and not values.startswith("eva_data."):
        yield f"`{key}` is {values}"
