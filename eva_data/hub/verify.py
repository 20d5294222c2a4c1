"""Verifies an iteration: its files, its chain back to iteration 1, its tables and its manifest.

Generation cannot be replayed, and need not be, because the models' texts are in the tables. Everything that eva-data
itself decided follows from the tables and the manifest's settings. It is computed again, on any machine and without a
model. All findings are reported: a table that cannot be read ends only the checks that need it.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeAlias

import polars as pl

from eva_data.config.marks import own_functions
from eva_data.dataset.manifest import Manifest
from eva_data.dataset.ordered import height_of
from eva_data.dataset.staleness import config_of, settings_hash
from eva_data.dataset.store import Store
from eva_data.errors import DataError, EvaError, ForeignCodeError, StaleError
from eva_data.hub.checks.as_written import UNREADABLE, Found, read_as_written
from eva_data.hub.checks.evaluations_again import verify_evaluations
from eva_data.hub.checks.ratings_again import verify_ratings
from eva_data.hub.checks.recount import misnamed_prompts, recount, recount_flow, recount_spent
from eva_data.hub.checks.replay import mixed_from_seeds, replay, replay_repetitions, replay_review
from eva_data.hub.checks.rescore import rescore as score_again
from eva_data.hub.checks.topics_again import replay_topics
from eva_data.hub.checks.tournament_again import replay_tournament
from eva_data.hub.checks.trained_on import trained_on
from eva_data.hub.checks.votes_again import replay_votes
from eva_data.hub.licences import verify_records
from eva_data.iteration.build import bills_of
from eva_data.iteration.create import seed_prompts
from eva_data.iteration.run import Run
from eva_data.iteration.stale import changes
from eva_data.models.resolve import folder_fingerprint
from eva_data.own_code import only
from eva_data.tables.rules import REPLAYED
from eva_data.tables.schemas import TABLES


@dataclass
class Verified:
    """The result of verifying an iteration."""

    problems: list[str] = field(default_factory=list)
    """Errors, one sentence each; empty for an honest iteration."""
    unknown: list[str] = field(default_factory=list)
    """Facts that could not be checked, one phrase each."""


def verify_iteration(store: Store, iteration: int, run: Run | None = None, *, rescore: int = 0) -> Verified:
    """Verify an iteration, and report errors and facts that could not be checked.

    All revisions are checked: the build by what it was made from, and a revision by the build and its reviews. `run`
    brings what only the machine of the build has: the ledger, the inputs, the solvers, and the reward. By it, `rescore`
    random responses are scored again.

    Raise StaleError if the iteration is not there.
    """
    with only(own_functions(run.config) if run is not None else ()):
        return _verify_iteration(store, iteration, run, rescore)


def _verify_iteration(store: Store, iteration: int, run: Run | None, rescore: int) -> Verified:
    if iteration not in store.iterations():
        store.manifest(iteration)
    # A changed table is a finding, and its consequences are further findings, so reading must not raise.
    store = replace(store, checks=False)
    found = Verified(unknown=["whether the models named there wrote the texts and gave the rewards"])
    found.problems += _chain(store, iteration)
    try:
        manifest = store.at(iteration, 0).manifest(iteration)
    except DataError as error:
        # Without a manifest, nothing says how the tables were made.
        found.problems.append(str(error))
        return found
    built = read_as_written(store.at(iteration, 0), iteration)
    found.problems += built.problems
    _verify_build(found, store.at(iteration, 0), manifest, built, run)
    base = store.at(iteration, 0), manifest, built
    for revision in store.revisions(iteration)[1:]:
        base = _verify_revision(found, store.at(iteration, revision), revision, base, run)
    found.problems += verify_records(store, iteration)
    for problems, unknown in (verify_evaluations(store), verify_ratings(store)):
        found.problems += problems
        found.unknown += unknown
    if rescore and run is not None:
        _rescore(found, store, iteration, rescore, run)
    # A build and its revisions have the same gaps.
    found.unknown = list(dict.fromkeys(found.unknown))
    return found


Check = Callable[[], list[str]]


def _run(checks: list[Check], written: list[Found], found: Verified, of: str = "") -> Iterator[str]:
    """The problems that the checks find, if all tables can be read. A check that fails to run is a problem too."""
    unread = sorted({name for each in written for name in TABLES if name not in each.tables})
    if unread:
        found.unknown.append(f"{of}what follows from {' and '.join(unread)}, which cannot be read")
        return
    for check in checks:
        try:
            yield from check()
        except ForeignCodeError as error:
            found.unknown.append(f"{of}what follows from a function of others ({error})")
        except (EvaError, AssertionError, LookupError, TypeError, *UNREADABLE) as error:
            said = str(error).strip().partition("\n")[0] or type(error).__name__
            yield f"the tables do not fit together, so that they cannot be computed again: {said}"


_Base: TypeAlias = tuple[Store, Manifest, Found]
"""A build, or a retry: the store that is read there, its manifest and its tables."""


def _verify_revision(found: Verified, store: Store, revision: int, base: _Base, run: Run | None) -> _Base:
    """Check a revision of an iteration: a retry by itself, and one by people by its build and its reviews.

    Return what the next revision is based on.
    """
    of = f"revision {revision}: "
    store_of_build, built, of_build = base
    try:
        manifest = store.manifest(built.iteration)
    except DataError as error:
        found.problems.append(str(error))
        return base
    written = read_as_written(store, built.iteration)
    found.problems += [each for each in written.problems if each not in of_build.problems]
    if manifest.review is None:
        if manifest.retried is None:
            found.problems.append(f"{of}neither people nor a retry made it, by its manifest")
        _verify_build(found, store, manifest, written, run)
        return store, manifest, written
    checks: list[Check] = [
        lambda: replay_review(store_of_build, manifest, of_build.tables, written.tables),
        lambda: recount(manifest, written.tables),
        lambda: _review_flow(manifest, built, written),
    ]
    found.problems += [f"{of}{problem}" for problem in _run(checks, [of_build, written], found, of)]
    return base


def _verify_build(found: Verified, store: Store, manifest: Manifest, written: Found, run: Run | None) -> None:
    tables = written.tables
    checks: list[Check] = [lambda: recount(manifest, tables), lambda: recount_flow(manifest, tables)]
    if manifest.rules in REPLAYED:
        checks.insert(0, lambda: replay(store, manifest, tables, _seeds(found, manifest, run)))
        checks.append(lambda: replay_repetitions(store, manifest, tables, run, found.unknown))
    else:
        known = ", ".join(map(str, sorted(REPLAYED)))
        found.unknown.append(
            f"metrics, draw, repetitions, mix and pairs, which were made by rules {manifest.rules} (this eva-data "
            f"replays {known})"
        )
    checks.append(lambda: misnamed_prompts(tables, found.unknown))
    checks.append(lambda: replay_votes(manifest, tables, found.unknown))
    checks.append(lambda: replay_tournament(manifest, tables))
    checks.append(lambda: replay_topics(store, manifest, tables, found.unknown))
    found.problems += _run(checks, [written], found)
    if manifest.reward_scales:
        found.unknown.append("the constants of the several rewards")
    found.unknown.append("what the manifest says of licences, versions and notes")
    try:
        _verify_here(found, manifest, run)
    except EvaError as error:
        found.problems.append(str(error))


def _rescore(found: Verified, store: Store, iteration: int, count: int, run: Run) -> None:
    try:
        problems, scored = score_again(store, iteration, count, run)
    except EvaError as error:
        found.problems.append(str(error))
        return
    found.problems += problems
    found.unknown[0] = f"whether the models named there wrote the texts, and all rewards but {scored} scored again"


def _seeds(found: Verified, manifest: Manifest, run: Run | None) -> pl.DataFrame | None:
    """PROMPTS of the seeds if X_t took some of them and the same seeds are on this machine, else None."""
    if manifest.iteration == 1 or not mixed_from_seeds(config_of(manifest)):
        return None
    if run is not None:
        try:
            since = changes(run, manifest)
            if not (since.settings or since.inputs or since.unknown):
                return seed_prompts(run, manifest.iteration)
        except EvaError:
            # The seeds cannot be read on this machine.
            pass
    found.unknown.append("the mix, which drew from seeds that are not here")
    return None


def _verify_here(found: Verified, manifest: Manifest, run: Run | None) -> None:
    """Check what only the machine of the build knows."""
    bills = bills_of(run, manifest.iteration) if run is not None else []
    if bills:
        found.problems += recount_spent(manifest, bills)
    elif manifest.spent:
        found.unknown.append("what was spent, of which no ledger here knows")
    recorded = [key for key in manifest.inputs if key != "prompts"]
    if run is None:
        found.unknown += [f"the input `{key}`" for key in recorded]
    else:
        since = changes(run, manifest)
        found.problems += since.inputs
        found.unknown += [f"the input `{key}`, which cannot be read here" for key in since.unknown]
    if manifest.theta is None:
        return
    if run is None or not _is_here(manifest, run):
        found.unknown.append(f"the weights of theta_{manifest.theta}, which are not here")
        return
    found.problems += trained_on(replace(run.store, checks=False), manifest.theta, found.unknown)


def _is_here(manifest: Manifest, run: Run | None) -> bool:
    """Whether the theta that answered is on this machine, according to the hash of its folder."""
    folder = None if run is None or manifest.theta is None else run.store.solver_folder(manifest.theta)
    if folder is None or not (folder / "config.json").exists():
        return False
    return folder_fingerprint(folder) == manifest.models.solver.rpartition("@")[2]


def _review_flow(manifest: Manifest, built: Manifest, written: Found) -> list[str]:
    """The differences between a revision's flow and the build's flow with the review stage after it."""
    rejected = height_of(written.tables["rejects"].filter(pl.col("stage") == "review"))
    pairs = height_of(written.tables["preferences"])
    *before, last = manifest.flow
    said = (last.stage, last.rows_in, last.rows_out, last.rejected)
    if tuple(before) == built.flow and said == ("review", pairs + rejected, pairs, rejected):
        return []
    return ["manifest: `flow` is not that of the build and of its reviews"]


def _chain(store: Store, iteration: int) -> list[str]:
    """How an iteration, or an earlier iteration, was not built from the iteration before it in this folder."""
    problems: list[str] = []
    for number in range(iteration, 1, -1):
        try:
            previous = store.at(number, 0).manifest(number).previous
        except DataError as error:
            # A missing manifest of the iteration itself is told elsewhere.
            return problems if number == iteration else [*problems, str(error)]
        if previous is None:
            return [*problems, f"iteration {number} does not say from which iteration {number - 1} it was built"]
        try:
            earlier = store.at(number - 1, previous.revision).manifest(number - 1)
            changed = [name for name in earlier.files if name in store.changed_files(number - 1, afresh=True)]
        except (DataError, StaleError) as error:
            return [*problems, str(error)]
        if previous.files != earlier.files:
            problems.append(f"iteration {number} was not built from the tables of iteration {number - 1} that are here")
        if previous.settings_hash != settings_hash(earlier):
            problems.append(f"iteration {number} was built from an iteration {number - 1} of other settings or models")
        problems += [f"{name}: it is missing, or not what iteration {number} was built from" for name in changed]
    return problems


def verify_published(
    repo: str, iteration: int, revision: str | None = None, *, run: Run | None = None, rescore: int = 0
) -> Verified:
    """Verify an iteration of a dataset on the Hub, at a revision or else at the iteration's tag. Nothing is kept.

    `run` brings the reward by which `rescore` random responses are scored again.

    Raise the errors of `pull`, which finds damaged files.
    """
    from eva_data.hub.publish import tag_of
    from eva_data.hub.pull import pull

    with tempfile.TemporaryDirectory() as folder:
        pulled = pull(repo, Path(folder), revision=revision or tag_of(iteration))
        store = Store(pulled.folder)
        found = verify_iteration(store, iteration)
        if rescore and run is not None:
            _rescore(found, store, iteration, rescore, run)
        return found
