"""Commands that publish to the Hub and pull from it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from eva_data.calls import StageProgress
from eva_data.cli.options import (
    config_options,
    findings_option,
    iteration_option,
    read_config,
    repo_option,
    reporter,
    start,
    visibility_option,
)
from eva_data.cli.output import report, reports

if TYPE_CHECKING:
    from eva_data.hub.publish import Published


@click.command()
@reports("iteration", "repo", "url", "private", "tag", "tags", "files", "dry_run")
@iteration_option
@repo_option
@visibility_option
@click.option("--dry-run", is_flag=True, help="Print the files, their sizes and the card, and change nothing.")
@findings_option
@click.option(
    "--accept-licence",
    "reason",
    metavar="REASON",
    help="Why a public dataset's licence is allowed although a source's is stricter or unknown; kept at the tag.",
)
@config_options
def publish(
    iteration: int,
    repo: str | None,
    private: bool | None,
    dry_run: bool,
    accept_findings: bool,
    reason: str | None,
    config_path: Path | None,
    overrides: tuple[str, ...],
) -> None:
    """Publish an iteration to the Hub: one commit and the tag `iter-N`.

    \b
    eva-data publish --iter 1 --repo my-org/my-curriculum --dry-run
    eva-data publish --iter 1 --repo my-org/my-curriculum
    eva-data publish --iter 2 --public --set publish.licence=cc-by-4.0

    First, all texts are scanned for e-mail addresses, phone numbers, keys and unsafe prompts. Findings are listed, and
    then nothing is published without --accept-findings. A public dataset is refused if its licence allows more than
    that of its seeds or models, or if one of these is not known: see `publish.source_licences` and --accept-licence.

    Earlier iterations that are not published yet go first, each with its own commit and tag. It is safe to repeat this
    command; published files are never overwritten. Log in with `hf auth login`, or set HF_TOKEN.
    """
    config = read_config(config_path, overrides)
    if reason is not None:
        config = config.model_copy(update={"publish": config.publish.model_copy(update={"licence_reason": reason})})
    run = start(config)
    from eva_data.cli.text.hub import published_text
    from eva_data.hub.publish import publish

    published = publish(run, iteration, repo=repo, private=private, dry_run=dry_run, accept_findings=accept_findings)
    said = published_text(published, iteration, dry_run=dry_run)
    report(said, iteration=iteration, **published_values(published), dry_run=dry_run)


def published_values(published: Published) -> dict[str, Any]:
    """What was published, or would be, for `--json`."""
    return {
        **{name: getattr(published, name) for name in ("repo", "url", "private", "tag")},
        "tags": [step.tag for step in published.steps],
        "files": {name: size for step in published.steps for name, size in step.sizes.items()},
    }


@click.command()
@reports("repo", "folder", "iterations", "files", "bytes", "wrote_settings", "dry_run")
@click.argument("repo", metavar="OWNER/NAME")
@click.option("--revision", help="Tag, branch or commit, such as iter-2. Default: the newest.")
@click.option(
    "--folder", type=click.Path(path_type=Path), help="Where to put it. Default: data/NAME, as a build would."
)
@click.option(
    "--max-gb",
    type=click.FloatRange(min=0, min_open=True),
    default=10.0,
    show_default=True,
    metavar="GB",
    help="The most to download, and the most unpacked. What the dataset claims is compared with it before.",
)
@click.option("--dry-run", is_flag=True, help="Say what would come, and what its settings would do; keep nothing.")
def pull(repo: str, revision: str | None, folder: Path | None, max_gb: float, dry_run: bool) -> None:
    """Bring a published dataset to this machine, to go on with its next iteration.

    \b
    eva-data pull my-org/my-curriculum --revision iter-2 --dry-run
    eva-data pull my-org/my-curriculum --revision iter-2
    eva-data build --iter 3

    Every file is compared with its manifest before any file is moved into the folder. If there is no eva.yaml here, it
    is written with the dataset's settings. Plain values are active. Keys that name code, files, addresses or models are
    commented out until you have looked at them.
    """
    from eva_data.cli.text.hub import pulled_text
    from eva_data.hub.pull import pull

    settings, begun = Path("eva.yaml"), list[StageProgress]()

    def tell(done: int, total: int) -> None:
        # What is wrong with the name or the network is said before a stage begins.
        begun[:] = begun or [reporter().stage("pull", 0)]
        begun[0](done, total)

    pulled = pull(
        repo,
        folder or Path("data") / repo.rpartition("/")[2],
        revision=revision,
        max_gb=max_gb,
        settings=settings,
        dry_run=dry_run,
        on_progress=None if dry_run else tell,
    )
    found = {name: getattr(pulled, name) for name in ("folder", "iterations", "files", "bytes", "wrote_settings")}
    report(pulled_text(pulled, repo, settings, dry_run=dry_run), repo=repo, **found, dry_run=dry_run)
