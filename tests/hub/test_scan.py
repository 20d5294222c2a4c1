"""Private texts are found before a publish, shown masked, and published only on request."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest
import yaml
from hub_server import WRITE, Hub
from reviewing import NAMED
from small_store import replace_table, small_store

from eva_data.dataset.store import Store
from eva_data.hub.scan import Finding, look_through
from eva_data.review.answers import ANSWERS, as_reviews
from eva_data.review.pull import add_revision, reviewable
from eva_data.tables.schemas import TABLES

pytestmark = pytest.mark.slow

REPO = "alice/game"
LETTERS = "Ab3dEf6hIj9lMn2pQr5tUv8xYz1BcD4fGh7J"
JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9PlFUP0THsR8U"

SECRETS = {
    "an AWS key": "AKIA" + LETTERS[:16].upper(),
    "a GitHub token": "ghp_" + LETTERS[:36],
    "a GitLab token": "glpat-" + LETTERS[:20],
    "a Slack token": "xoxb-123456789012-" + LETTERS[:24],
    "a Stripe key": "sk_live_" + LETTERS[:24],
    "a SendGrid key": f"SG.{LETTERS[:22]}.{(LETTERS + LETTERS)[:43]}",
    "an OpenAI key": f"sk-{LETTERS[:20]}T3BlbkFJ{LETTERS[:20]}",
    "a newer OpenAI key": "sk-proj-" + LETTERS,
    "an Anthropic key": "sk-ant-api03-" + LETTERS,
    "a Hugging Face token": "hf_" + LETTERS[:34],
    "a Google key": "AIza" + (LETTERS + LETTERS)[:35],
    "an npm token": "//registry.npmjs.org/:_authToken=npm_" + LETTERS,
    "a private key": "-----BEGIN RSA PRIVATE KEY-----",
    "a password in a URL": "https://user:hunter2secret@db.acme-corp.com/x",
    "a JWT": JWT,
}


def found(folder: Path, **texts: str) -> dict[str, Finding]:
    store = small_store(folder / "small", **texts)  # type: ignore[arg-type]
    return {finding.kind: finding for finding in look_through(store, 2, list(TABLES))}


@pytest.mark.parametrize("what", SECRETS)
def test_a_key_is_found_by_its_form_and_never_told(tmp_path: Path, what: str) -> None:
    secret = SECRETS[what]
    hits = found(tmp_path, chosen=f"Set it to {secret} and go on.", rejected="bad")
    told = hits["keys or passwords"].sentence()
    assert " in responses 55" in told
    assert secret not in told and secret[8:] not in told


@pytest.mark.parametrize(
    ("text", "kind", "told"),
    [
        ("Write to ann.smith@acme-corp.de, please.", "e-mail addresses", "a...@a....de"),
        ("Call +49 30 901820 today.", "phone numbers", "+49 ...20"),
        ("Call (212) 736-5000 today.", "phone numbers", "(212...00"),
        ("Call 212-736-5000 today.", "phone numbers", "212-...00"),
    ],
)
def test_an_address_and_a_number_are_found_and_masked(tmp_path: Path, text: str, kind: str, told: str) -> None:
    hits = found(tmp_path, evolved=text, chosen="good one", rejected="bad")
    assert hits == {kind: Finding(kind, 1, (f"{told} in prompts 55",))}


@pytest.mark.parametrize(
    "text",
    [
        "Write to ann@example.com or bob@mail.example.org.",
        "The sum of 2127365000 and 3141592653 is 5268957653, on 2024-01-15 at 10:30, by ISBN 978-3-16-148410-0.",
        "ping 192.168.100.200, 3.1415926535, 1,234,567,890, 12 345 678",
        "See https://docs.python.org/3/library/re.html#re.finditer and internationalisation_of_documentation.",
        "my_password = input(); key = secrets.token_hex(16)  # 0123456789abcdef",
    ],
)
def test_what_only_looks_like_it_is_not_found(tmp_path: Path, text: str) -> None:
    assert found(tmp_path, evolved=text, chosen="good one", rejected="bad") == {}


def test_every_text_is_looked_at_once_and_examples_are_few(tmp_path: Path) -> None:
    text = " ".join(f"user{number}@acme-corp.de" for number in range(50))
    hit = found(tmp_path, chosen=text, rejected=text + ".")["e-mail addresses"]
    # The masked addresses of one text are the same.
    assert (hit.count, len(hit.examples)) == (2, 2)


@pytest.mark.slow
def test_unsafe_is_what_a_filter_or_a_reviewer_said(tmp_path: Path) -> None:
    store = small_store(tmp_path / "small")
    known = pl.concat(reviewable(store, 2))
    given = [
        {"pair_id": known["pair_id"][0], "reviewer": "a", "status": "submitted", "order": "chosen_first"}
        | {"verdict": "tie", "prompt_quality": "unsafe"}
    ]
    add_revision(store, 2, as_reviews(pl.DataFrame(given, schema=ANSWERS), known, 2))
    (hit,) = look_through(store, 2, ["reviews"])
    assert hit == Finding("unsafe prompts", 1, ("55 (a reviewer says so)",))
    rows = store.scan("responses", 1).collect().with_columns(finish_reason=pl.lit("content_filter"))
    replace_table(store, "responses", 1, rows)
    (hit,) = look_through(store, 1, ["responses"])
    assert hit.count == 3 and hit.examples[0].endswith("(a content filter stopped the answer)")
    refused = store.scan("rejects", 1).collect().head(1).with_columns(reason=pl.lit("content_filter: not that"))
    replace_table(store, "rejects", 1, refused)
    (hit,) = look_through(store, 1, ["rejects"])
    assert hit.count == 1 and hit.examples[0].endswith("(a content filter refused it)")


def test_a_text_that_is_made_to_be_looked_at_for_hours_is_looked_at_in_seconds(tmp_path: Path) -> None:
    started = time.process_time()
    assert found(tmp_path, chosen="://a" * 50_000 + "@", rejected="a@" * 50_000) == {}
    assert time.process_time() - started < 20


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    with Hub(tmp_path / "hub") as hub:
        yield hub


@pytest.mark.slow
def test_publish_lists_what_it_found_sends_nothing_and_goes_on_when_it_is_accepted(hub: Hub, tmp_path: Path) -> None:
    store = small_store(tmp_path / "small", chosen=f"ann.smith@acme-corp.de has {SECRETS['a GitHub token']}")

    def publish(*more: str) -> tuple[int, str, str]:
        where = ("--repo", REPO, *NAMED, "--set", f"folder={store.folder}")
        done = hub.run(tmp_path, "publish", "--iter", "2", *where, *more, token=WRITE)
        return done.returncode, done.stderr, done.stderr.strip().splitlines()[-1]

    status, told, error = publish()
    assert status == 1
    assert "the texts hold 2 e-mail addresses, 2 keys or passwords, so nothing was published" in error
    assert "eva-data publish --iter 2 --accept-findings" in error
    for tag, row in (("iter-1", "11"), ("iter-2", "55")):
        assert f"Note: {tag} holds 1 e-mail addresses: a...@a....de in responses {row}" in told
        assert f"Note: {tag} holds 1 keys or passwords: ghp_... (40 characters) in responses {row}" in told
    assert SECRETS["a GitHub token"] not in told and "ann.smith" not in told
    assert REPO not in hub.repos
    status, told, _ = publish("--dry-run")
    assert status == 0 and "Note: iter-2 holds" in told and REPO not in hub.repos
    status, told, _ = publish("--accept-findings")
    assert status == 0 and "Note: iter-2 holds" in told
    assert list(hub.repos[REPO].tags) == ["iter-1", "iter-2"]
    status, told, _ = publish()
    assert status == 0 and "Note:" not in told, "what is published already is not looked at again"
    assert Store(store.folder).iterations() == [1, 2]


@pytest.mark.slow
def test_a_build_that_is_to_be_pushed_is_kept_and_stays_here_until_its_findings_are_accepted(
    hub: Hub, tmp_path: Path
) -> None:
    rows = [
        {"prompt": "Who has it?", "response": f"ann.smith@acme-corp.de has {SECRETS['a GitHub token']}", "reward": 1.0},
        {"prompt": "Who has it?", "response": "Nobody.", "reward": 0.0},
    ]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    settings = {"name": "small", "solver": {"backend": "table", "path": "rows.jsonl"}, "publish": {"repo": REPO}}
    (tmp_path / "eva.yaml").write_text(yaml.safe_dump(settings))

    def build(*more: str) -> tuple[int, str]:
        done = hub.run(tmp_path, "build", "--iter", "1", *more, token=WRITE)
        return done.returncode, done.stderr

    status, told = build("--push")
    assert status == 1 and REPO not in hub.repos
    assert "the texts hold 1 e-mail addresses, 1 keys or passwords, so nothing was published" in told
    assert SECRETS["a GitHub token"] not in told and "ann.smith" not in told
    manifest = Store(tmp_path / "data" / "small").manifest_path(1)
    built = manifest.read_bytes()
    status, told = build("--push", "--accept-findings")
    assert status == 0 and "Note: iter-1 holds 1 keys or passwords: ghp_... (40 characters)" in told
    assert list(hub.repos[REPO].tags) == ["iter-1"]
    assert hub.repos[REPO].commits[-1].files["manifests/iter_1.json"] == manifest.read_bytes() == built
    status, told = build("--accept-findings")
    assert status == 2 and "`--accept-findings` is about publishing: give `--push` too" in told
