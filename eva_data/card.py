"""The dataset's README: what the Hub shows, and what tells `load_dataset` where the tables are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import yaml
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from eva_data.project import cards_dir
from eva_data.records import TABLES


def dataset_card(manifests: Sequence[dict[str, Any]]) -> str:
    """The README of a dataset from the manifests of its iterations, in order."""
    files = [name for manifest in manifests for name in manifest["files"]]
    configs = [
        {
            "config_name": name,
            **({"default": True} if name == next(iter(TABLES)) else {}),
            "data_files": [
                {"split": path.rpartition("/")[2].removesuffix(".parquet"), "path": path}
                for path in files
                if path.startswith(f"{name}/")
            ],
        }
        for name in TABLES
    ]
    front = {
        "pretty_name": manifests[-1]["config"]["name"],
        "tags": ["eva", "preference", "self-play", "synthetic", "distilabel"],
        "task_categories": ["text-generation"],
        "configs": [config for config in configs if config["data_files"]],
    }
    environment = Environment(
        loader=FileSystemLoader(cards_dir()),
        undefined=StrictUndefined,
        autoescape=False,
        keep_trailing_newline=True,
    )
    return environment.get_template("dataset.md.jinja").render(
        front=yaml.safe_dump(front, sort_keys=False, allow_unicode=True),
        manifests=manifests,
        last=manifests[-1],
    )
