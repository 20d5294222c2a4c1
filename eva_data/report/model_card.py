"""Writes the card of a trained solver: its origin, its data, its training, and its quality, as far as they are known.

The words are in `cards/model.md.jinja`. The card is `README.md` in theta's folder. It is not part of the fingerprint.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import polars as pl
import yaml

from eva_data.dataset.evaluations import read_record
from eva_data.dataset.records.acceptance import how_far, read_acceptance
from eva_data.dataset.store import Store
from eva_data.files import sha256, write_json, write_text
from eva_data.models.player import Player
from eva_data.models.resolve import folder_fingerprint
from eva_data.report.card import BIBTEX, environment, hub_name
from eva_data.report.measures.evaluated import card_rows, of_theta

_FINAL = {
    "loss": "loss",
    "rewards/accuracies": "share of pairs with the chosen answer ahead",
    "rewards/margins": "margin of the implicit rewards",
}
"""TRL's name -> words for a figure of the last steps."""

_HELDOUT = ("theta", "depth", "prompts", "right")
SHORT = 200
"""The longest prompt for the snippet, in characters."""


def finish_model(
    store: Store,
    iteration: int,
    theta: Path,
    *,
    base: Player,
    dataset: str | None,
    initial: Player | None = None,
) -> None:
    """Write theta's origin and its card into theta's folder.

    `initial` is theta_0 if it was the reference model, else None.
    """
    path = theta / "training.json"
    started: dict[str, Any] = {"base": base.fingerprint, "base_theta": base.theta}
    started |= {"reference_fingerprint": initial.fingerprint} if initial else {}
    write_json(path, json.loads(path.read_text(encoding="utf-8")) | started)
    card = model_card(store, iteration, theta, repo=None, revision=None, dataset=dataset, licence=None)
    write_text(theta / "README.md", card)


def model_card(
    store: Store,
    iteration: int,
    theta: Path,
    *,
    repo: str | None,
    revision: str | None,
    dataset: str | None,
    licence: str | None,
) -> str:
    """The card of theta_t in the folder `theta`. This writes nothing.

    `repo` and `revision` are loaded by the snippet. Without them it loads the folder. `dataset` is the repo of the
    published pairs, or None.
    """
    training = json.loads((theta / "training.json").read_text(encoding="utf-8"))
    manifest = store.manifest(iteration)
    base = training.get("base") or training["model"]["name"]
    is_theta = training["base_theta"] is not None if "base_theta" in training else base.startswith("iter_")
    origin, origin_licence = _origin(store, iteration, None if is_theta else base)
    algorithm = training.get("algorithm", "dpo")
    title = f"theta_{iteration} of {manifest.config['name']}"
    hub_base = hub_name(origin or base)
    front = {
        "library_name": "transformers",
        "pipeline_tag": "text-generation",
        **({"license": licence} if licence else {}),
        **({"base_model": hub_base, "base_model_relation": "finetune"} if hub_base else {}),
        **({"datasets": [dataset]} if dataset else {}),
        "tags": ["eva", algorithm, "trl", "self-play"],
    }
    last = training["history"][-1] if training["history"] else {}
    return (
        environment()
        .get_template("model.md.jinja")
        .render(
            front=yaml.safe_dump(front, sort_keys=False, allow_unicode=True, width=10**6),
            title=title,
            name=manifest.config["name"],
            iteration=iteration,
            base=base,
            origin=origin,
            origin_licence=origin_licence,
            dataset=dataset,
            repo=repo,
            revision=revision,
            source=json.dumps(repo or store.solver_folder(iteration).name, ensure_ascii=False),
            question=json.dumps(_question(store, iteration), ensure_ascii=False),
            algorithm=algorithm,
            split=training["split"],
            replay=training.get("replay"),
            reference=training.get("reference_fingerprint"),
            pairs=training["pairs"],
            reward=manifest.models.reward,
            manifest_sha256=sha256(store.manifest_path(iteration)),
            files=sorted(training["files"].items()),
            training=training,
            final=[(words, last[key]) for key, words in _FINAL.items() if key in last],
            settings=[(key, _shown(value)) for key, value in sorted(training["settings"].items())],
            versions=sorted(training["versions"].items()),
            licence=licence,
            bibtex=BIBTEX,
            evaluations=card_rows(of_theta(read_record(store), iteration)),
            moved=_moved(store, iteration, theta),
            **_heldout(store, iteration),
        )
    )


def _origin(store: Store, iteration: int, base: str | None) -> tuple[str | None, str | None]:
    """The model at the beginning of a chain of thetas, and the licence that its card states.

    `base` is the model at the beginning of this training, or None if it was a theta. Then manifests name the origin.
    """
    manifests = [store.manifest(earlier) for earlier in range(iteration, 0, -1)]
    others = (m.models.solver for m in manifests if m.theta is None and not m.models.solver.startswith("table:"))
    origin = base or next(others, None)
    licences = {name: licence for manifest in manifests for name, licence in manifest.licences.items()}
    return origin, licences.get(origin or "")


def _question(store: Store, iteration: int) -> str:
    """A short prompt of the iteration, for the snippet."""
    turns, text = pl.col("prompt").list, pl.col("prompt").list.first().struct.field("content")
    short = (turns.len() == 1) & (text.str.len_chars() <= SHORT) & text.str.contains(r"^\P{C}+$")
    found = store.scan("preferences", iteration).filter(short).select(text).head(1).collect()
    return "Hello!" if found.is_empty() else str(found.item())


def _moved(store: Store, iteration: int, theta: Path) -> list[str]:
    """How far training moved this theta, in words; empty if it was not measured."""
    kept = read_acceptance(store, iteration)
    if kept is None or kept.fingerprint != folder_fingerprint(theta):
        return []
    return how_far(kept.moved)


def _heldout(store: Store, iteration: int) -> dict[str, Any]:
    """Accuracy of this theta and the thetas before it on the sandbox's held-out prompts, if tested."""
    path = store.state / "heldout.csv"
    table = pl.read_csv(path) if path.exists() else pl.DataFrame(schema=dict.fromkeys(_HELDOUT, pl.Int64))
    if iteration not in table["theta"]:
        return {"heldout": [], "heldout_depths": [], "heldout_prompts": 0}
    rows: dict[int, dict[int, float]] = {}
    for row in table.filter(pl.col("theta") <= iteration).sort("theta", "depth").to_dicts():
        rows.setdefault(row["theta"], {})[row["depth"]] = row["right"] / row["prompts"]
    return {
        "heldout": [{"theta": theta, "right": right} for theta, right in rows.items()],
        "heldout_depths": table["depth"].unique().sort().to_list(),
        "heldout_prompts": table["prompts"].max(),
    }


def _shown(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def finish_online(store: Store, base: str, theta: Path) -> None:
    """Write theta's origin (`base`, a fingerprint) and its card into theta's folder."""
    path = theta / "training.json"
    write_json(path, json.loads(path.read_text(encoding="utf-8")) | {"base": base})
    write_text(theta / "README.md", online_card(store, theta, licence=None))


def online_card(store: Store, theta: Path, *, licence: str | None) -> str:
    """The card of the finished solver in `theta`, with its dataset `store`. This writes nothing."""
    training = json.loads((theta / "training.json").read_text(encoding="utf-8"))
    manifests = (store.manifest(iteration) for iteration in store.iterations())
    manifest = next(manifest for manifest in manifests if manifest.online is not None)
    base = training["base"]
    hub_base = hub_name(base)
    front = {
        "library_name": "transformers",
        "pipeline_tag": "text-generation",
        **({"license": licence} if licence else {}),
        **({"base_model": hub_base, "base_model_relation": "finetune"} if hub_base else {}),
        "tags": ["eva", training["algorithm"], "trl", "self-play"],
    }
    return (
        environment()
        .get_template("online.md.jinja")
        .render(
            front=yaml.safe_dump(front, sort_keys=False, allow_unicode=True, width=10**6),
            name=manifest.config["name"],
            base=base,
            online=manifest.online,
            evolved=manifest.counts.evolved,
            prompts=manifest.counts.prompts,
            reward=manifest.models.reward,
            creator=manifest.models.creator,
            manifest_sha256=sha256(store.manifest_path(manifest.iteration)),
            settings=[(key, json.dumps(value)) for key, value in sorted(training["settings"].items())],
            versions=sorted(training["versions"].items()),
            bibtex=BIBTEX,
        )
    )
