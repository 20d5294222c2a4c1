"""Publishes iterations: each is one commit to a dataset repo on the Hub, with a tag `iter-1`, `iter-2`, ...

A revision by people's verdicts is published in the same way, with a tag `iter-2.r1`, ...

Published files are never overwritten. A publish that was cut off at any point can be repeated: files that the repo has
are not sent again, and only a commit that holds the whole iteration gets a tag.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path, PurePosixPath
from typing import Any

from eva_data.dataset.boundary import refuse_links_out
from eva_data.dataset.evaluations import RECORD, read_record, read_rows
from eva_data.dataset.records.licences import LicenceRecord, LicenceRow, record_name
from eva_data.dataset.records.prompt_scores import RECORD as SCORE_RECORD
from eva_data.dataset.records.prompt_scores import read_score_record, read_scores
from eva_data.dataset.store import Store, stem_of
from eva_data.errors import ConfigError, DataError, HubError, MissingExtraError
from eva_data.files import write_text
from eva_data.hub.beside import Beside, NewFiles
from eva_data.hub.evaluated import EVALUATED
from eva_data.hub.licences import licence_rows, record_of, refuse_licence, write_record
from eva_data.hub.rated import RATED
from eva_data.hub.repo import HubRepo, Snapshot
from eva_data.hub.scan import look_through, look_through_evaluations, look_through_ratings, refuse_without_packages
from eva_data.iteration.run import Run
from eva_data.iteration.stale import changed_inputs, refuse_torn
from eva_data.report.card import dataset_card
from eva_data.report.plots import write_plots
from eva_data.review.answers import is_single
from eva_data.tables.schemas import TABLES

MAX_FILES = 100
"""Files in one commit, as the Hub recommends. A larger iteration takes several commits; the last makes it visible."""

_MANIFEST = re.compile(r"manifests/iter_[1-9]\d*\.json")

Files = dict[str, Path]


@dataclass(frozen=True)
class Step:
    """The remaining work to publish one iteration or revision."""

    iteration: int
    revision: int
    files: Files
    """Files to upload, by their names in the repo; empty if only the tag is missing."""
    sizes: Mapping[str, int]
    """Sizes of these files, in bytes."""
    card: str
    """The README of the commit."""
    licence: LicenceRecord | None = None
    """What its commit records of the licence; None in a private repo, and if only the tag is missing."""

    @property
    def tag(self) -> str:
        return tag_of(self.iteration, self.revision)


@dataclass(frozen=True)
class Published:
    """What `publish` did, or would do."""

    repo: str
    url: str
    private: bool
    tag: str
    """The tag of the newest revision of the given iteration."""
    beside: Mapping[str, NewFiles]
    """What lies beside the iterations and the repo did not hold, by its name in a sentence."""
    steps: tuple[Step, ...]
    """One step per iteration or revision that was not yet published and tagged."""


def tag_of(iteration: int, revision: int = 0) -> str:
    """The tag of an iteration's build (revision 0) or of a later revision."""
    return f"iter-{iteration}.r{revision}" if revision else f"iter-{iteration}"


def target(run: Run, repo: str | None = None, private: bool | None = None) -> HubRepo:
    """The repo to publish to. Arguments that are None are taken from the settings.

    Raise ConfigError if no repo is named, or if a public repo would have no licence.
    """
    settings = run.config.publish
    name = repo or settings.repo
    if name is None:
        raise ConfigError("no repo is named: say which with `--repo owner/name`, or as `publish.repo` in eva.yaml")
    if not _is_private(run, private) and settings.licence is None:
        raise ConfigError(
            "`publish.licence` is not set, and what is public needs one: choose it, for example with "
            "`--set publish.licence=cc-by-4.0`, or publish with `--private`"
        )
    return HubRepo(name)


def refuse_unready(run: Run, repo: str | None = None, private: bool | None = None) -> None:
    """Raise the errors of `publish` that need no look at the Hub, so that they come before a build is paid for."""
    target(run, repo, private).refuse_without_login()
    if find_spec("matplotlib") is None:
        raise MissingExtraError.of("matplotlib", "publish")
    refuse_without_packages()


def _is_private(run: Run, private: bool | None) -> bool:
    return run.config.publish.private if private is None else private


def publish(
    run: Run,
    iteration: int,
    *,
    repo: str | None = None,
    private: bool | None = None,
    dry_run: bool = False,
    accept_findings: bool = False,
) -> Published:
    """Publish an iteration, and before it every earlier iteration that is not published yet.

    Each iteration is a commit and a tag. Revisions are published in the same way, after the iteration that they belong
    to. A revision with single answers is left out unless `review.publish` is full. Before anything is sent, the user is
    told what the texts hold that should not be public (`scan`). `dry_run` only looks.

    Raise ConfigError if a public dataset's licence allows more than a source's. Raise StaleError if an iteration is not
    built, and DataError if its files were changed after the build or, unless
    `accept_findings`, if the scan found something. Raise HubError if the repo holds another iteration of that number,
    if it changed meanwhile, or if the Hub refuses.
    """
    hub, private = target(run, repo, private), _is_private(run, private)
    if not dry_run:
        refuse_unready(run, repo, private)
    # No lock is needed: a finished iteration is never written again, so it can be published during the next build.
    _check_built(run, iteration)
    tag = tag_of(iteration, run.store.revision(iteration))
    with tempfile.TemporaryDirectory() as pages:
        found = hub.look()
        if found is not None and private and not found.private:
            raise HubError(
                f"{hub.name} is public, and `publish.private` is true: publish there with `--public`, name another "
                "repo, or make it private in its settings on the Hub"
            )
        origins: list[LicenceRow] = []
        if not (found.private if found else private):
            origins = licence_rows(run, iteration)
            refuse_licence(run, origins, hub)
        steps = _plan(run, hub, found, iteration, Path(pages), origins)
        tags = hub.tags() if found else []
        hits = _look_through(run, steps, [name for name in BESIDE if BESIDE[name].new(run.store, hub, found, tags)])
        if hits and not (dry_run or accept_findings):
            raise DataError(
                f"the texts hold {hits}, so nothing was published: look at them, and publish all the same with "
                f"`eva-data publish --iter {iteration} --accept-findings`"
            )
        if not dry_run:
            found = found or hub.create(private=private)
            head = found.commit
            for step in steps:
                head = _take(run.store, hub, step, head)
                if step.licence is not None:
                    write_record(run.store.folder, record_name(step.iteration, step.revision), step.licence)
        sent = {name: _with_beside(run, hub, found, name, origins, dry_run=dry_run) for name in BESIDE}
        beside = {name: new for name, new in sent.items() if new is not None}
        return Published(hub.name, hub.url, found.private if found else private, tag, beside, tuple(steps))


BESIDE: Mapping[str, Beside[Any]] = {"evaluations": EVALUATED, "ratings of prompts": RATED}
"""What lies beside the iterations, by its name in a sentence."""


def _with_beside(
    run: Run, hub: HubRepo, found: Snapshot | None, name: str, origins: Sequence[LicenceRow], *, dry_run: bool
) -> NewFiles | None:
    """Commit the files that the repo lacks, with the README that lists them, and give the commit a tag."""
    now = found if dry_run else hub.look()
    new = BESIDE[name].new(run.store, hub, now, hub.tags() if now else [])
    if new is None or dry_run or now is None:
        return new
    with tempfile.TemporaryDirectory() as pages:
        names = now.files.keys() | new.files.keys()
        _, page = _page(run.store, run, hub, names, "main", Path(pages), origins)
        files = new.files | {path: local for path, local in page.items() if not now.holds(path, local)}
        place = {".parquet": 0, ".png": 1, ".md": 2, ".json": 3}
        ordered = sorted(files, key=lambda path: place[PurePosixPath(path).suffix])
        head = hub.commit({path: files[path] for path in ordered}, name.capitalize(), parent=now.commit)
    hub.tag(new.tag, head)
    return new


def _look_through(run: Run, steps: Sequence[Step], beside: Sequence[str]) -> str:
    """Tell the user what the scan found in the new texts of each step, and in what lies beside the iterations.

    Return a summary, empty if nothing was found.
    """
    counts: dict[str, int] = {}
    for step in steps:
        tables = [name for name in TABLES if any(file.startswith(f"{name}/") for file in step.files)]
        for finding in look_through(run.store.at(step.iteration, step.revision), step.iteration, tables):
            run.reporter.note(f"{step.tag} holds {finding.sentence()}")
            counts[finding.kind] = counts.get(finding.kind, 0) + finding.count
    for name in beside:
        rows = read_rows(run.store) if name == "evaluations" else read_scores(run.store)
        for finding in look_through_evaluations(rows) if name == "evaluations" else look_through_ratings(rows):
            run.reporter.note(f"{name} hold {finding.sentence()}")
            counts[finding.kind] = counts.get(finding.kind, 0) + finding.count
    return ", ".join(f"{count} {kind}" for kind, count in counts.items())


def _check_built(run: Run, iteration: int) -> None:
    """Raise DataError if files were changed after the build. Tell the user which inputs have changed since then."""
    store = run.store
    refuse_links_out(store.folder)
    for number in range(1, iteration + 1):
        if changed := store.changed_files(number):
            raise DataError(
                f"{', '.join(changed)} in {store.folder} was changed or lost since iteration {number} was built, so "
                "it is not published: restore it, or build again in a folder of its own"
            )
        refuse_torn(store, number)
        if since := changed_inputs(run, store.manifest(number)):
            run.note(f"iteration {number} is published as it was built, and since then {'; '.join(since)}")


def _plan(
    run: Run, hub: HubRepo, found: Snapshot | None, iteration: int, pages: Path, origins: Sequence[LicenceRow]
) -> list[Step]:
    """The missing steps, iteration by iteration, each followed by its revisions.

    Raise HubError if the repo has another iteration or revision of the same number.
    """
    tags = hub.tags() if found else []
    main = found or Snapshot("", True, {})
    local: Files = {}
    steps = []
    for number, revision in _in_order(run.store, iteration):
        seen, tag = run.store.at(number, revision), tag_of(number, revision)
        if tag not in tags and _stays(run, number, revision):
            continue
        ours = _files(seen, number)
        tagged = hub.look(tag) if tag in tags else None
        _refuse_other(hub, number, tag, ours, main, tagged)
        local |= ours
        if tagged is not None:
            continue
        new = {name: path for name, path in local.items() if name not in main.files}
        card, licence = "", None
        if _manifest(number, revision) in new and origins:
            licence, name = record_of(run, origins, number, revision), record_name(number, revision)
            new[name] = write_record(pages / tag, name, licence)
        if new:
            card, page = _page(seen, run, hub, main.files.keys() | new, tag, pages / tag, origins)
            new |= {name: path for name, path in page.items() if not main.holds(name, path)}
            main = main.after(new)
        sizes = {name: path.stat().st_size for name, path in new.items()}
        steps.append(Step(number, revision, new, sizes, card, licence))
    return steps


def _in_order(store: Store, iteration: int) -> list[tuple[int, int]]:
    """Pairs (iteration, revision) of everything that is published with an iteration, in order."""
    return [(number, revision) for number in range(1, iteration + 1) for revision in store.revisions(number)]


def _stays(run: Run, number: int, revision: int) -> bool:
    """Whether a revision is left out, because it holds single answers and a newer revision holds their votes.

    Raise ConfigError if it is needed and `review.publish` does not allow single answers to be published.
    """
    store, which = run.store, tag_of(number, revision)
    reviews = store.at(number, revision).scan("reviews", number).collect()
    if run.config.review.publish == "full" or not is_single(reviews):
        return False
    following = store.manifest(number + 1).previous if number + 1 in store.iterations() else None
    consumed = following is not None and following.revision == revision
    if revision < store.revisions(number)[-1] and not consumed:
        run.reporter.note(f"{which} stays here: it holds the answers of single reviewers, and a newer one their votes")
        return True
    make = f"make one of votes with `eva-data review pull --iter {number}`"
    if consumed:
        make = f"build iteration {number + 1} again in a folder of its own from a revision of votes"
    raise ConfigError(
        f"{which} holds {reviews.height} answers of {reviews['reviewer'].n_unique()} reviewers, word for word, and "
        f"`review.publish` is `votes`: {make}, or publish them as they are with `--set review.publish=full`"
    )


def _refuse_other(
    hub: HubRepo, number: int, tag: str, ours: Files, main: Snapshot | None, tagged: Snapshot | None
) -> None:
    other = {name for name, path in ours.items() if main and name in main.files and not main.holds(name, path)}
    where = "main"
    if tagged is not None:
        lacking = {name for name, path in ours.items() if not tagged.holds(name, path)}
        where = tag if lacking else where
        other |= lacking
    if other:
        raise HubError(
            f"{hub.name} holds something else as iteration {number}, at {where} ({', '.join(sorted(other))}), and what "
            "is published is never overwritten: publish yours to another repo with `--repo`, or go on from that one "
            f"with `eva-data pull {hub.name}`"
        )


def _files(store: Store, iteration: int) -> Files:
    """An iteration's tables and manifest, by their names in the repo."""
    manifest = store.manifest_path(iteration)
    names = [*store.manifest(iteration).files, str(manifest.relative_to(store.folder))]
    return {name: store.folder / name for name in names}


def _page(
    store: Store,
    run: Run,
    hub: HubRepo,
    names: Set[str],
    tag: str,
    folder: Path,
    origins: Sequence[LicenceRow],
) -> tuple[str, Files]:
    """Write the README and the plots of a repo that holds files of these `names` to `folder`, and return them.

    Raise HubError if the repo holds an iteration that is not in this folder.
    """
    iterations = [number for number in store.iterations() if _manifest(number, 0) in names]
    held = sum(1 for name in names if _MANIFEST.fullmatch(name))
    if held != len(iterations):
        raise HubError(
            f"{hub.name} holds iterations that {store.folder} does not, so their card cannot be written: get them with "
            f"`eva-data pull {hub.name} --folder {store.folder}`, then repeat the command"
        )
    seen = store
    for number in iterations:
        there = [revision for revision in store.revisions(number) if _manifest(number, revision) in names]
        seen = seen.at(number, there[-1])
    evaluations = read_record(store) if RECORD in names else None
    scores = read_score_record(store) if SCORE_RECORD in names else None
    card = dataset_card(
        seen,
        iterations,
        repo=hub.name,
        revision=tag,
        licence=run.config.publish.licence,
        licence_reason=run.config.publish.licence_reason,
        origins=origins,
        evaluations=evaluations,
        scores=scores,
    )
    write_text(folder / "README.md", card)
    plots = write_plots(seen, iterations, folder, evaluations, rated=scores is not None)
    return card, {name: folder / name for name in ["README.md", *plots]}


def _manifest(iteration: int, revision: int) -> str:
    """The name of a manifest in the repo."""
    return f"manifests/{stem_of(iteration, revision)}.json"


def _take(store: Store, hub: HubRepo, step: Step, head: str) -> str:
    """Take a step and return the head of main after it."""
    # The tables go first. Then comes the README, by which `load_dataset` finds them, and last the manifest, the commit.
    place = {".parquet": 0, ".png": 1, ".md": 2, ".json": 3}
    names = sorted(step.files, key=lambda name: place[PurePosixPath(name).suffix])
    parts = [names[start : start + MAX_FILES] for start in range(0, len(names), MAX_FILES)]
    for number, part in enumerate(parts, 1):
        of = f" ({number} of {len(parts)})" if len(parts) > 1 else ""
        head = _commit(store, hub, step, part, head, of)
    try:
        hub.tag(step.tag, head)
    except HubError as error:
        if error.status != 409:
            raise
        files = _files(store.at(step.iteration, step.revision), step.iteration)
        _refuse_other(hub, step.iteration, step.tag, files, None, hub.look(step.tag))
    return head


def _commit(store: Store, hub: HubRepo, step: Step, part: Sequence[str], head: str, of: str) -> str:
    iteration, store = step.iteration, store.at(step.iteration, step.revision)
    manifest = store.manifest(iteration)
    counts = manifest.counts
    how = "reviewed by people" if manifest.review is not None else "asked again"
    which = f"Iteration {iteration}" + (f", {how} (r{step.revision})" if step.revision else "")
    message = f"{which}: {counts.prompts} prompts, {counts.pairs} pairs{of}"
    try:
        return hub.commit({name: step.files[name] for name in part}, message, parent=head)
    except HubError as error:
        if error.status != 412:
            raise
    now = hub.look()
    ours = _files(store, iteration)
    if now is not None and all(now.holds(name, ours[name]) for name in part if name in ours):
        # Somebody else published the same, or this commit was made and only the answer was lost.
        return now.commit
    raise HubError(
        f"somebody else committed to {hub.name} while iteration {iteration} was uploaded, so it was not "
        "published, and nothing there was changed: repeat the command, which looks at the repo anew",
        412,
    )
