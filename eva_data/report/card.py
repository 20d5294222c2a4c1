"""Writes the dataset's README. The Hub shows it, and `load_dataset` finds the tables by it.

The words are in `cards/dataset.md.jinja`, and the numbers come from `report`. Every text from the data passes through
`markdown`, so it has no effect but to be read.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import PurePosixPath
from typing import Any

import polars as pl
import yaml
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from eva_data.dataset.evaluations import FOLDER as EVALUATIONS_FOLDER
from eva_data.dataset.evaluations import EvaluationRecord, read_record, splits
from eva_data.dataset.manifest import Manifest
from eva_data.dataset.records.licences import LicenceRow
from eva_data.dataset.records.prompt_scores import FOLDER as SCORES_FOLDER
from eva_data.dataset.records.prompt_scores import ScoreRecord, read_score_record, score_splits
from eva_data.dataset.store import Store
from eva_data.files import write_text
from eva_data.models.licences import is_function, models_in
from eva_data.project import cards_dir
from eva_data.report import markdown, numbers
from eva_data.report.distributions import shift
from eva_data.report.examples import examples
from eva_data.report.figures import dollars, replies
from eva_data.report.measures.consensus import interval, precision_of, span
from eva_data.report.measures.contrast import contrasts
from eva_data.report.measures.evaluated import card_rows
from eva_data.report.measures.languages import languages
from eva_data.report.measures.lengths import length_rows
from eva_data.report.measures.ratings import rating_summary
from eva_data.report.pictures import ROLES
from eva_data.report.plots import plot_names
from eva_data.report.topics.subjects import subjects
from eva_data.secrets import redacted
from eva_data.tables.metrics import column_of, meaning_of
from eva_data.tables.schemas import TABLES

BIBTEX = """\
@article{ye2024evolving,
  title   = {Evolving Alignment via Asymmetric Self-Play},
  author  = {Ye, Ziyu and Agarwal, Rishabh and Liu, Tianqi and Joshi, Rishabh and Velury, Sarmishta and
             Le, Quoc V. and Tan, Qijun and Liu, Yuan},
  journal = {arXiv preprint arXiv:2411.00062},
  year    = {2024}
}"""

_SIZES = ((10**3, "1K"), (10**4, "10K"), (10**5, "100K"), (10**6, "1M"), (10**7, "10M"), (10**8, "100M"))


def write_card(store: Store, licence: str | None = None) -> None:
    """Write the README whose YAML tells `load_dataset` the configs and splits of all finished iterations."""
    text = dataset_card(
        store,
        store.iterations(),
        repo=None,
        revision=None,
        licence=licence,
        evaluations=read_record(store),
        scores=read_score_record(store),
    )
    path = store.folder / "README.md"
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        write_text(path, text)


def dataset_card(
    store: Store,
    iterations: Sequence[int],
    *,
    repo: str | None,
    revision: str | None,
    licence: str | None,
    licence_reason: str | None = None,
    origins: Sequence[LicenceRow] = (),
    evaluations: EvaluationRecord | None = None,
    scores: ScoreRecord | None = None,
) -> str:
    """The README of one or more iterations, which are in order. This writes nothing.

    `repo` and `revision` are loaded by the snippets. Without them the snippets load the folder, and the card has no
    plots, topics and ratings, which need the extra `publish`. `origins` are what the texts and verdicts come from.
    `evaluations` and `scores` are the records of evaluations and of ratings.
    """
    manifests = [store.manifest(iteration) for iteration in iterations]
    overview = numbers.overview(store, iterations)
    with_pairs = overview.filter(pl.col("pairs") > 0)["iteration"].to_list()
    example_of = with_pairs[-1] if with_pairs else None
    metric = manifests[-1].config["estimate"]["metric"]
    return (
        environment()
        .get_template("dataset.md.jinja")
        .render(
            front=yaml.safe_dump(
                _front(store, manifests, overview, licence, evaluations, scores) | _grounds(licence_reason, origins),
                sort_keys=False,
                allow_unicode=True,
                width=10**6,
            ),
            name=manifests[-1].config["name"],
            manifests=manifests,
            last=manifests[-1],
            config=manifests[-1].config,
            overview=overview.to_dicts(),
            total=overview.select("pairs", "rejects").sum().row(0, named=True),
            paid={manifest.iteration: _paid(manifest) for manifest in manifests},
            metric=metric,
            meaning=meaning_of(metric),
            roles=ROLES,
            informativeness=numbers.informativeness_summary(store, iterations, column_of(metric)).to_dicts(),
            consensus=precision_of(store, iterations),
            interval=interval,
            span=span,
            scores=numbers.prompt_scores(store, iterations).to_dicts(),
            ratings=rating_summary(store, iterations).to_dicts() if repo and scores else [],
            rejects=_by_iteration(numbers.rejects_by_reason(store, iterations)),
            contaminated=numbers.contaminated(store, iterations),
            models=_models(manifests),
            sources=numbers.sources(store, iterations),
            adjusted=length_rows(manifests),
            contrasts=contrasts(store, iterations),
            lengths=numbers.lengths(store, example_of) if example_of else None,
            medians={(row["what"], row["iteration"]): row["median"] for row in shift(store, iterations).to_dicts()},
            off_policy=numbers.pairs_where(store, iterations, ~pl.col("on_policy")),
            by_people=numbers.pairs_where(store, iterations, pl.col("verdict_by") == "human"),
            evaluations=card_rows(evaluations.evaluations if evaluations else ()),
            alarms=list(evaluations.alarms) if evaluations else [],
            scored=scores is not None,
            by_topic=any(path.startswith("topics/") for manifest in manifests for path in manifest.files),
            retried=[manifest for manifest in manifests if manifest.retried is not None],
            reviews=[manifest for manifest in manifests if manifest.review is not None],
            example_of=example_of,
            examples=examples(store, example_of) if example_of else [],
            source=json.dumps(repo or store.folder.resolve().name, ensure_ascii=False),
            repo=repo,
            revision=revision,
            starting_model=json.dumps(hub_name(manifests[0].models.solver) or "your/model"),
            plots=plot_names(iterations, evaluations, rated=scores is not None) if repo else [],
            subjects=subjects(store, iterations) if repo else None,
            licence=licence,
            licence_reason=licence_reason,
            origins=origins,
            bibtex=BIBTEX,
        )
    )


@cache
def environment() -> Environment:
    """The environment of the templates of cards. An unknown name in a template is an error."""
    found = Environment(
        loader=FileSystemLoader(cards_dir()),
        undefined=StrictUndefined,
        autoescape=False,
        keep_trailing_newline=True,
        finalize=redacted,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    found.filters |= {
        "prose": markdown.prose,
        "code": markdown.code,
        "model": lambda name: markdown.code(_without_path(name)),
        "count": lambda number: "unknown" if number is None else f"{number:,}",
        "number": _number,
        "percent": lambda share: "unknown" if share is None else f"{100 * share:z.0f} %",
    }
    return found


def _without_path(name: str) -> str:
    """The name of a model or recipe. For a path of this machine it is the last part, as in the fingerprint."""
    return name.rstrip("/").rpartition("/")[2] if name.startswith(("/", ".", "~")) else name


def _number(value: float | None) -> str:
    if value is None:
        return "none"
    return f"{value:z,.0f}" if abs(value) >= 1000 else f"{value:z.4g}"


def _config_beside(name: str, splits: Mapping[str, str]) -> list[dict[str, Any]]:
    """The config of a table beside the iterations, with its splits. Empty without splits."""
    files = [{"split": split, "path": path} for split, path in splits.items()]
    return [{"config_name": name, "data_files": files}] if files else []


def _front(
    store: Store,
    manifests: Sequence[Manifest],
    overview: pl.DataFrame,
    licence: str | None,
    evaluations: EvaluationRecord | None,
    scores: ScoreRecord | None,
) -> dict[str, Any]:
    """The card's metadata: a description for the Hub, and files and columns for `load_dataset`.

    The features of a config are all columns that the table has in any release. So `load_dataset` reads a missing column
    as null, and iterations of different age load together.
    """
    files = [name for manifest in manifests for name in manifest.files]
    tables = [name for name in TABLES if any(path.startswith(f"{name}/") for path in files)]
    pairs = sum(overview["pairs"].to_list())
    spoken, from_hub = languages(store, manifests[-1].iteration), _source_datasets(manifests)
    return {
        "pretty_name": manifests[-1].config["name"],
        **({"license": licence} if licence else {}),
        **({"language": spoken} if spoken else {}),
        **({"source_datasets": from_hub} if from_hub else {}),
        "tags": _tags(manifests),
        "task_categories": ["text-generation"],
        "size_categories": [_size(pairs)],
        "configs": [
            {
                "config_name": name,
                **({"default": True} if name == tables[0] else {}),
                "data_files": _splits([path for path in files if path.startswith(f"{name}/")]),
            }
            for name in tables
        ]
        + _config_beside(EVALUATIONS_FOLDER, splits(evaluations) if evaluations else {})
        + _config_beside(SCORES_FOLDER, score_splits(scores) if scores else {}),
        "dataset_info": [
            {"config_name": name, "features": [_feature(*column) for column in TABLES[name].items()]} for name in tables
        ],
    }


def _tags(manifests: Sequence[Manifest]) -> list[str]:
    """What the Hub finds the dataset by: `rlaif` if a model gave the rewards, `argilla` if people reviewed pairs."""
    tags = ["eva", "preference", "dpo", "trl", "self-play", "synthetic", "distilabel"]
    backends = {block["backend"] for manifest in manifests for block in _rewards(manifest)}
    by_models = bool(backends - {"verifier", "code"})
    reviewed = any(manifest.review is not None for manifest in manifests)
    return [*tags, *(["rlaif"] if by_models else []), *(["argilla"] if reviewed else [])]


def _rewards(manifest: Manifest) -> list[Mapping[str, Any]]:
    """The blocks that scored responses; none if scored responses were given."""
    block = manifest.config.get("reward")
    if block is None:
        return []
    return list(block["rewards"]) if block["backend"] == "several" else [block]


def _source_datasets(manifests: Sequence[Manifest]) -> list[str]:
    """The Hub datasets that seeds were taken from. A dataset of this machine is recorded without its owner."""
    named = ((manifest.config.get("seeds") or {}).get("dataset") for manifest in manifests)
    return sorted({name for name in named if name and re.fullmatch(r"[\w.-]+/[\w.-]+", name) and name[0] != "."})


def _splits(files: Sequence[str]) -> list[dict[str, Any]]:
    """The splits of a table, each with its file or the list of its files."""
    found: dict[str, list[str]] = {}
    for path in files:
        # The revision and the part of a file may follow the iteration.
        found.setdefault(re.split("[.-]", PurePosixPath(path).name, maxsplit=1)[0], []).append(path)
    return [{"split": split, "path": paths if len(paths) > 1 else paths[0]} for split, paths in found.items()]


def _feature(name: str, dtype: pl.DataType) -> dict[str, Any]:
    """A column as `datasets` writes it in a card."""
    if isinstance(dtype, pl.List):
        assert isinstance(dtype.inner, pl.Struct)
        return {"name": name, "list": [_feature(field.name, field.dtype) for field in dtype.inner.fields]}  # type: ignore[arg-type]
    return {"name": name, "dtype": _DTYPES[dtype]}


_DTYPES: dict[Any, str] = {pl.String: "string", pl.Int32: "int32", pl.Float64: "float64", pl.Boolean: "bool"}


def _size(rows: int) -> str:
    """The Hub's name for a number of rows."""
    below = "n"
    for most, name in _SIZES:
        if rows < most:
            return f"{below}<{name}"
        below = f"{name}<n"
    return "n>100M"


def _paid(manifest: Manifest) -> str:
    """The cost of an iteration, as far as prices are known."""
    bills = manifest.spent
    cost, unpriced = sum(bill.cost for bill in bills), sum(bill.unpriced for bill in bills)
    if not unpriced:
        return dollars(cost)
    return f"{dollars(cost)} and {replies(unpriced)} of unknown price"


def _by_iteration(rejects: pl.DataFrame) -> list[dict[str, Any]]:
    """One row per stage and reason, with the `rows` of each iteration."""
    found: dict[tuple[str, str], dict[int, int]] = {}
    for stage, reason, iteration, rows in rejects.iter_rows():
        found.setdefault((stage, reason), {})[iteration] = rows
    return [{"stage": stage, "reason": reason, "rows": rows} for (stage, reason), rows in found.items()]


def _grounds(reason: str | None, origins: Sequence[LicenceRow]) -> dict[str, Any]:
    """Metadata of ours beside the Hub's: what the chosen licence was compared with, and why it is allowed."""
    rows = [
        {"role": row.role, "name": row.name, "license": row.licence} | ({"terms": row.terms} if row.terms else {})
        for row in origins
    ]
    said = ({"license_reason": reason} if reason else {}) | ({"sources": rows} if rows else {})
    return {"eva_data": said} if said else {}


def _models(manifests: Sequence[Manifest]) -> list[dict[str, Any]]:
    """One row per model, with its roles, its iterations, and its known licences."""
    found: dict[str, dict[str, Any]] = {}
    for manifest in manifests:
        for role in ("solver", "creator", "reward", "contrast"):
            name = getattr(manifest.models, role)
            if name is None:
                continue
            # One name may hold several rewards.
            models = models_in(name) if role == "reward" else (name,)
            known = {model: licence for key, licence in manifest.licences.items() for model in (key, *models_in(key))}
            stated = [known.get(model, "not known") for model in models] if known.keys() & set(models) else []
            new: dict[str, list[Any]] = {"roles": [role], "iterations": [manifest.iteration], "licences": stated}
            trained = manifest.theta is not None and name == manifest.models.solver
            row = found.setdefault(name, {"name": name, "trained": trained, "function": is_function(name)})
            for key, values in new.items():
                before = row.get(key, [])
                row[key] = before + [value for value in values if value not in before]
    return list(found.values())


def hub_name(fingerprint: str) -> str | None:
    """The Hub id in a fingerprint. None for a folder or a model behind a URL."""
    name, _, commit = fingerprint.rpartition("@")
    return name if name.count("/") == 1 and len(commit) == 40 else None
