"""The licence of a public dataset beside those of what it was made from."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from hub_server import Hub
from small_store import BASE, SETTINGS, small_store

from eva_data.cli.output import Silent
from eva_data.config.reading import parse_config
from eva_data.dataset.compose import Stated
from eva_data.dataset.records.licences import record_name
from eva_data.dataset.store import Store
from eva_data.errors import ConfigError
from eva_data.files import sha256
from eva_data.hub.licences import licence_rows, record_of, refuse_licence, verify_records, write_record
from eva_data.hub.repo import HubRepo
from eva_data.iteration.build import licences_of
from eva_data.iteration.run import Run
from eva_data.models.licences import is_function, models_in, provider_terms, stated_terms, strictness
from eva_data.models.player import Player


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


@pytest.mark.parametrize(
    ("reward", "models"),
    [
        ("verifier:exact@1+answers:0123456789ab", []),
        ("code:0123abcd+answers:0123456789ab", []),
        ("consensus:number@0123abcd", []),
        ("consensus:judge@0123abcd(openai/gpt@unknown)+answers:0123456789ab", ["openai/gpt@unknown"]),
        ("judge:openai/gpt@unknown:0123abcd", ["openai/gpt@unknown"]),
        ("tournament:openai/gpt@unknown, ollama/qwen:7b@1:0123abcd", ["openai/gpt@unknown", "ollama/qwen:7b@1"]),
        (f"classifier:{BASE}:0123abcd", [BASE]),
        ("server:acme/rm@unknown+0123abcd:0123abcd", ["acme/rm@unknown+0123abcd"]),
        (f"mean(verifier:exact@1, judge:a/b@1:0123abcd, classifier:{BASE}:0123abcd)", ["a/b@1", BASE]),
        ("my reward", ["my reward"]),
    ],
)
def test_a_reward_names_its_models(reward: str, models: list[str]) -> None:
    assert list(models_in(reward)) == models


@pytest.mark.parametrize(
    ("card", "terms"),
    [
        ("license: llama3.1\nlicense_link: https://a.example/terms", "https://a.example/terms"),
        ("license: other\nlicense_link: LICENSE", f"https://huggingface.co/acme/base/blob/{'0' * 40}/LICENSE"),
        ("license: mit", None),
        ("license_link: [a, b]", None),
        ("license_link: see below", None),
        (": no yaml: {", None),
    ],
)
def test_the_link_of_a_cards_licence_is_kept(tmp_path: Path, card: str, terms: str | None) -> None:
    (tmp_path / "README.md").write_text(f"---\n{card}\n---\n")
    assert stated_terms(tmp_path, BASE) == terms
    assert stated_terms(None, BASE) is None


def run_of(folder: Path, **publish: object) -> Run:
    small_store(folder)
    return Run(parse_config(SETTINGS | {"folder": str(folder), "publish": publish}, "the test"), Silent())


SEEDS = {"seeds.jsonl": "cc0-1.0"}
KNOWN = SEEDS | {"acme/base": "apache-2.0"}


def test_each_judge_has_a_row_and_an_unknown_judge_is_not_covered_by_a_known_judge(tmp_path: Path) -> None:
    run = run_of(tmp_path / "small", licence="mit", source_licences=KNOWN)
    path = tmp_path / "small" / "manifests" / "iter_1.json"
    manifest = json.loads(path.read_text())
    manifest["models"]["reward"] = "mean(judge:acme/base@1:0123abcd, judge:gemini/flash@unknown:0123abcd)"
    manifest["terms"] = {"gemini/flash@unknown": "https://ai.google.dev/gemini-api/terms"}
    path.write_text(json.dumps(manifest))
    rows = licence_rows(run, 1)
    assert [(row.role, row.name, row.licence, row.terms) for row in rows] == [
        ("seeds", "seeds.jsonl", "cc0-1.0", None),
        ("solver", BASE, "apache-2.0", None),
        ("judge", "acme/base@1", "apache-2.0", None),
        ("judge", "gemini/flash@unknown", None, "https://ai.google.dev/gemini-api/terms"),
    ]
    with pytest.raises(ConfigError) as refused:
        refuse_licence(run, rows, HubRepo("me/data"))
    assert str(refused.value).startswith(
        "the licence of the judge `gemini/flash@unknown` is not known (its terms: "
        "https://ai.google.dev/gemini-api/terms), so me/data is not made public: name it in"
    )


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
        refuse_licence(run, licence_rows(run, 2), HubRepo("me/data"))
        return
    with pytest.raises(ConfigError) as refused:
        refuse_licence(run, licence_rows(run, 2), HubRepo("me/data"))
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
            "| `seeds.jsonl` | seeds | not known |  |",
            f"| `{BASE}` | solver | apache-2.0 |  |",
        ]
        assert yaml.safe_load(card.split("---\n")[1])["eva_data"] == {
            "license_reason": "acme/base is *our own* model",
            "sources": [
                {"role": "seeds", "name": "seeds.jsonl", "license": None},
                {"role": "solver", "name": BASE, "license": "apache-2.0"},
            ],
        }
        record = json.loads((store.folder / "licences" / "iter_1.json").read_text())
        assert record == {
            "format": 1,
            "manifest": sha256(store.folder / "manifests" / "iter_1.json"),
            "licence": "mit",
            "reason": "acme/base is *our own* model",
            "sources": [
                {"role": "seeds", "name": "seeds.jsonl", "licence": None, "terms": None},
                {"role": "solver", "name": BASE, "licence": "apache-2.0", "terms": None},
            ],
        }
        pulled = hub.run(tmp_path, "pull", "alice/small", "--folder", "again", "--revision", "iter-1")
        assert pulled.returncode == 0, pulled.stderr
        again = tmp_path / "again" / "licences" / "iter_1.json"
        assert json.loads(again.read_text()) == record
        assert verify_records(Store(tmp_path / "again"), 1) == []


def test_a_record_that_does_not_fit_is_found(tmp_path: Path) -> None:
    run = run_of(tmp_path / "small", licence="mit", licence_reason="ours", source_licences=KNOWN)
    store, name = run.store, record_name(1, 0)
    assert verify_records(store, 1) == []
    record = record_of(run, licence_rows(run, 2), 1, 0)
    write_record(store.folder, name, record)
    assert verify_records(store, 1) == []
    strict = record.sources[0].model_copy(update={"licence": "cc-by-nc-4.0"})
    changed = {"manifest": "0" * 64, "reason": None, "sources": (strict,)}
    write_record(store.folder, name, record.model_copy(update=changed))
    assert verify_records(store, 1) == [
        "licences/iter_1.json is about another manifest than iter_1.json",
        f"licences/iter_1.json says nothing of the solver `{BASE}`",
        "licences/iter_1.json gives no reason although `publish.licence` is mit, which allows more than cc-by-nc-4.0, "
        "that of the seeds `seeds.jsonl`",
    ]
    (store.folder / name).write_text("{}")
    assert verify_records(store, 1) == [
        "licences/iter_1.json is no record of a licence (`manifest`: Field required): restore it, or remove it and "
        "publish again"
    ]


@pytest.mark.slow
def test_a_manifest_says_where_the_terms_of_a_provider_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEY", "k-0123456789")
    judge = {"backend": "api", "model": "anthropic/claude-haiku", "api_key_env": "KEY"}
    settings = SETTINGS | {"folder": str(tmp_path / "small"), "reward": {"backend": "judge", "judge": judge}}
    run = Run(parse_config(settings, "the test"), Silent())
    assert run.config.solver.backend == "transformers"
    base = tmp_path / "base"
    base.mkdir()
    (base / "README.md").write_text("---\nlicense: gemma\nlicense_link: https://ai.google.dev/gemma/terms\n---\n")
    assert licences_of(run, Player(run.config.solver, "acme/base", BASE, base)) == Stated(
        {BASE: "gemma"},
        {
            BASE: "https://ai.google.dev/gemma/terms",
            "anthropic/claude-haiku@unknown": "https://www.anthropic.com/legal/commercial-terms",
        },
    )
    assert provider_terms("acme") == "the terms of acme"
