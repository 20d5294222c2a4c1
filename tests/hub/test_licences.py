"""The licence of a public dataset beside those of what it was made from."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from hub_server import Hub
from small_store import BASE, SETTINGS, small_store

from eva_data.cli.output import Silent
from eva_data.config.reading import parse_config
from eva_data.errors import ConfigError
from eva_data.hub.licences import licence_rows, refuse_licence
from eva_data.hub.repo import HubRepo
from eva_data.iteration.run import Run
from eva_data.models.licences import is_function, strictness


@pytest.mark.parametrize(
    ("licence", "demands"),
    [
        ("cc0-1.0", 0),
        ("mit", 1),
        ("cc-by-4.0", 1),
        ("Apache-2.0", 1),
        ("cc-by-sa-4.0", 2),
        ("gpl-3.0", 2),
        ("llama3.1", 3),
        ("gemma", 3),
        ("openrail++", 3),
        ("cc-by-nc-4.0", 4),
        ("cc-by-nc-sa-4.0", 4),
        ("cc-by-nd-4.0", 5),
        ("cc-by-nc-nd-4.0", 5),
        ("mit, cc-by-nc-4.0", 4),
        ("mit, my-own", None),
        ("my-own", None),
    ],
)
def test_licences_are_ordered_by_what_they_demand(licence: str, demands: int | None) -> None:
    assert strictness(licence) == demands


@pytest.mark.parametrize(
    ("name", "function"),
    [
        ("verifier:exact@1", True),
        ("code:1+answers:2", True),
        ("consensus:number@1", True),
        ("consensus:judge@1(acme/base@2)", False),
        ("tournament:acme/base@1:2", False),
        (BASE, False),
    ],
)
def test_what_is_no_model_needs_no_licence(name: str, function: bool) -> None:
    assert is_function(name) == function


def run_of(folder: Path, **publish: object) -> Run:
    small_store(folder)
    return Run(parse_config(SETTINGS | {"folder": str(folder), "publish": publish}, "the test"), Silent())


SEEDS = {"seeds.jsonl": "cc0-1.0"}
KNOWN = SEEDS | {"acme/base": "apache-2.0"}


def test_every_source_has_a_row_and_what_no_card_states_is_unknown(tmp_path: Path) -> None:
    rows = licence_rows(run_of(tmp_path / "small"), 2)
    assert [(row.role, row.name, row.licence) for row in rows] == [
        ("seeds", "seeds.jsonl", None),
        ("solver", BASE, "apache-2.0"),
    ]
    known = licence_rows(run_of(tmp_path / "known", source_licences=SEEDS | {"acme/base": "mit"}), 2)
    assert [row.licence for row in known] == ["cc0-1.0", "mit"]


@pytest.mark.parametrize(
    ("publish", "says"),
    [
        (
            {"licence": "mit"},
            "the licence of the seeds `seeds.jsonl` is not known, so me/data is not made public: name it in "
            "`publish.source_licences`, say why it is allowed with `--accept-licence REASON`, or publish with "
            "`--private`",
        ),
        (
            {"licence": "mit", "source_licences": SEEDS | {"acme/base": "cc-by-nc-4.0"}},
            f"`publish.licence` is mit, which allows more than cc-by-nc-4.0, that of the solver `{BASE}`, so me/data "
            "is not made public: choose one that demands as much, say why it is allowed with "
            "`--accept-licence REASON`, or publish with `--private`",
        ),
        ({"licence": "cc-by-nc-4.0", "source_licences": SEEDS | {"acme/base": "cc-by-nc-4.0"}}, None),
        ({"licence": "mit", "source_licences": KNOWN}, None),
        ({"licence": "mit", "licence_reason": "it is our own model"}, None),
    ],
)
def test_what_allows_more_than_a_source_is_refused(
    tmp_path: Path, publish: dict[str, object], says: str | None
) -> None:
    run = run_of(tmp_path / "small", **publish)
    if says is None:
        refuse_licence(run, 2, HubRepo("me/data"))
        return
    with pytest.raises(ConfigError) as refused:
        refuse_licence(run, 2, HubRepo("me/data"))
    assert str(refused.value) == says


@pytest.mark.slow
def test_a_reason_goes_with_the_card_and_a_private_repo_needs_none(tmp_path: Path) -> None:
    store = small_store(tmp_path / "small")
    options = ("--repo", "alice/small", "--set", f"folder={store.folder}", "--set", "name=small")
    public = ("publish", "--iter", "1", *options, "--public", "--set", "publish.licence=mit")
    with Hub(tmp_path / "hub") as hub:
        refused = hub.run(tmp_path, *public)
        assert refused.returncode == 1 and "is not made public" in refused.stderr
        assert "alice/small" not in hub.repos
        done = hub.run(tmp_path, *public, "--accept-licence", "acme/base is *our own* model")
        assert done.returncode == 0, done.stderr
        card = hub.repos["alice/small"].commits[-1].files["README.md"].decode()
        said = next(line for line in card.splitlines() if line.startswith("The publisher says why it is allowed: "))
        assert said.endswith("acme/base is &#42;our own&#42; model")
        assert [
            line for line in card.splitlines() if line.startswith(("| `seeds.jsonl`", f"| `{BASE}` | solver | apache"))
        ] == [
            "| `seeds.jsonl` | seeds | not known |",
            f"| `{BASE}` | solver | apache-2.0 |",
        ]
        assert yaml.safe_load(card.split("---\n")[1])["eva_data"] == {
            "license_reason": "acme/base is *our own* model",
            "sources": [
                {"role": "seeds", "name": "seeds.jsonl", "license": None},
                {"role": "solver", "name": BASE, "license": "apache-2.0"},
            ],
        }
