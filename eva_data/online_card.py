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
    training = json.loads(path.read_text(encoding="utf-8")) | {"base": base}
    write_json(path, training)
    manifest = store.manifest(ITERATION)
    hub_base = hub_name(base)
    front = {
        "library_name": "transformers",
        "pipeline_tag": "text-generation",
        **({"base_model": hub_base, "base_model_relation": "finetune"} if hub_base else {}),
        "tags": ["eva", training["algorithm"], "trl", "self-play"],
    }
    card = (
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
    write_text(theta / "README.md", card)
