"""Pushes a trained solver to a model repo on the Hub: one commit, and the tag `iter-N` of its last iteration.

One repo may hold theta_1, theta_2, ... one after the other. A tagged model is never overwritten, and a push that was
cut off can be repeated.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

from eva_data.errors import ConfigError, HubError
from eva_data.files import write_text
from eva_data.hub.repo import HubRepo, Snapshot
from eva_data.iteration.run import Run
from eva_data.report.model_card import model_card, online_card

CARD = "README.md"


@dataclass(frozen=True)
class Target:
    """The repo for a model, with its licence."""

    repo: HubRepo
    private: bool
    licence: str | None


@dataclass(frozen=True)
class PushedModel:
    """The result of a push."""

    url: str
    tag: str
    files: int
    """Number of uploaded files; 0 if all were there already."""


def model_target(run: Run, name: str, *, private: bool | None, licence: str | None) -> Target:
    """The target of a push. If `private` is None, the setting decides.

    Raise ConfigError if no repo can have the name, or if a public repo would have no licence. Raise HubError if nobody
    is logged in.
    """
    private = run.config.publish.private if private is None else private
    if not private and licence is None:
        raise ConfigError(
            "what is public needs a licence: choose one that the model it was trained from allows, for example with "
            "`--licence apache-2.0`, or push with `--private`"
        )
    repo = HubRepo(name, kind="model")
    repo.refuse_without_login()
    return Target(repo, private, licence)


def push_model(run: Run, iteration: int, target: Target) -> PushedModel:
    """Push theta_t, which must be trained. Raise HubError if the Hub refuses or has another model with that tag."""
    repo, tag, theta = target.repo, f"iter-{iteration}", run.store.solver_folder(iteration)
    if run.store.manifest(iteration).online is not None:
        card = online_card(run.store, theta, licence=target.licence)
    else:
        card = model_card(
            run.store,
            iteration,
            theta,
            repo=repo.name,
            revision=tag,
            dataset=run.config.publish.repo,
            licence=target.licence,
        )
    with tempfile.TemporaryDirectory() as pages:
        page = Path(pages) / CARD
        write_text(page, card)
        files = {path.name: path for path in theta.iterdir() if path.is_file()} | {CARD: page}
        found = _there(target)
        if tag in repo.tags():
            _refuse_other(repo, tag, files, repo.look(tag))
            return PushedModel(repo.url, tag, 0)
        new = {name: path for name, path in files.items() if not found.holds(name, path)}
        head = _commit(repo, new, f"theta_{iteration}", found.commit) if new else found.commit
    repo.tag(tag, head)
    return PushedModel(repo.url, tag, len(new))


def _there(target: Target) -> Snapshot:
    """The repo. It is created if it does not exist."""
    found = target.repo.look()
    if found is None:
        target.repo.create(private=target.private)
        found = target.repo.look()
    if found is None:
        raise HubError(f"{target.repo.name} was created, but the Hub does not show it yet: repeat the command")
    return found


def _commit(repo: HubRepo, files: dict[str, Path], message: str, parent: str) -> str:
    try:
        return repo.commit(files, message, parent=parent)
    except HubError as error:
        if error.status != 412:
            raise
        raise HubError(
            f"somebody else committed to {repo.name} while {message} was uploaded, so it was not pushed, and nothing "
            "there was changed: repeat the command",
            412,
        ) from None


def _refuse_other(repo: HubRepo, tag: str, files: dict[str, Path], there: Snapshot | None) -> None:
    """Raise HubError if the tag holds another model. The card may differ, since it holds later measurements."""
    other = sorted(name for name, path in files.items() if name != CARD and not (there and there.holds(name, path)))
    if other:
        raise HubError(
            f"{repo.name} holds another model as {tag} ({', '.join(other)} differ), and what is tagged is never "
            "overwritten: push to another repo"
        )
