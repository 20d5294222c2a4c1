"""The card of a solver that was trained online; the words are in `cards/online.md.jinja`."""

from __future__ import annotations

import json
from pathlib import Path

import yaml

from eva_data.card import BIBTEX, environment, hub_name
from eva_data.files import sha256, write_json, write_text
from eva_data.online_tables import ITERATION
from eva_data.store import Store


def finish_online(store: Store, base: str, theta: Path) -> None:
    """Write into theta's folder what it was trained from (`base`, a fingerprint), and its card."""
    path = theta / "training.json"
    write_json(path, json.loads(path.read_text(encoding="utf-8")) | {"base": base})
    write_text(theta / "README.md", online_card(store, theta, licence=None))


def online_card(store: Store, theta: Path, *, licence: str | None) -> str:
    """The card of the solver in `theta`, finished, whose dataset is `store`; writes nothing."""
    training = json.loads((theta / "training.json").read_text(encoding="utf-8"))
    manifest, base = store.manifest(ITERATION), training["base"]
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
            name=manifest["config"]["name"],
            base=base,
            online=manifest["online"],
            evolved=manifest["counts"]["evolved"],
            prompts=manifest["counts"]["prompts"],
            reward=manifest["models"]["reward"],
            creator=manifest["models"]["creator"],
            manifest_sha256=sha256(store.manifest_path(ITERATION)),
            settings=[(key, json.dumps(value)) for key, value in sorted(training["settings"].items())],
            versions=sorted(training["versions"].items()),
            bibtex=BIBTEX,
        )
    )
