"""Publishing to a local Hub with the real clients, in processes of their own. Every failure is provoked."""

from __future__ import annotations

import json
import random
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest
from hub_server import OTHER, READ, WRITE, Files, Hub, Repo
from sandbox_runs import error_of, tables
from tiny import save_model

from eva_data.dataset.store import Store
from eva_data.files import write_json

pytestmark = pytest.mark.slow

REPO = "alice/game"


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    with Hub(tmp_path / "hub") as hub:
        yield hub


@pytest.fixture
def folder(built: Path, tmp_path: Path) -> Path:
    """A user's own dataset of two built iterations."""
    return Path(shutil.copytree(built, tmp_path / "sandbox", ignore=shutil.ignore_patterns(".eva", "evaluations*")))


def publish(
    hub: Hub, folder: Path, iteration: int, *options: str, token: str | None = WRITE
) -> subprocess.CompletedProcess[str]:
    where = ("--repo", REPO, "--set", f"folder={folder}")
    return hub.run(folder.parent, "publish", "--iter", str(iteration), *where, *options, token=token)


def other_content(folder: Path, iteration: int) -> None:
    """Change an iteration as a build with other settings would change it."""
    path = Store(folder).manifest_path(iteration)
    manifest = json.loads(path.read_text())
    write_json(path, manifest | {"notes": ["another run", *manifest["notes"]]})


@pytest.fixture(scope="module")
def published(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Hub, str, str]]:
    """Iterations 1 and 2, published one after the other, and what was printed."""
    root = tmp_path_factory.mktemp("published")
    folder = Path(shutil.copytree(built, root / "sandbox", ignore=shutil.ignore_patterns(".eva", "evaluations*")))
    with Hub(root / "hub") as hub:
        printed = [publish(hub, folder, iteration) for iteration in (1, 2)]
        assert [done.returncode for done in printed] == [0, 0], printed
        yield hub, printed[0].stdout, printed[1].stdout


def test_an_iteration_is_one_commit_and_one_tag_of_a_private_repo(published: tuple[Hub, str, str], built: Path) -> None:
    hub, first, second = published
    repo = hub.repos[REPO]
    assert repo.private
    _, one, two = repo.commits
    assert repo.tags == {"iter-1": one.sha, "iter-2": two.sha}
    for commit, iterations in ((one, {1}), (two, {1, 2})):
        names = {name for number in iterations for name in Store(built).manifest(number).files}
        names |= {f"manifests/iter_{number}.json" for number in iterations}
        plots = {name for name in commit.files if name.startswith("plots/")}
        assert plots
        assert set(commit.files) == names | plots | {"README.md", ".gitattributes"}
        assert all(commit.files[name] == (built / name).read_bytes() for name in names)
    counts = Store(built).manifest(2).counts
    assert two.message == f"Iteration 2: {counts.prompts} prompts, {counts.pairs} pairs"
    assert f"Published iteration 1 to {REPO} (private): a commit of {len(one.files) - 1} files" in first
    assert f"{hub.url}/datasets/{REPO}/tree/iter-2" in second
    assert not any(
        "PUT /lfs/" in call for call in hub.calls[hub.calls.index(f"POST /api/datasets/{REPO}/tag/{two.sha}") :]
    )


LOAD = """
import sys
from datasets import load_dataset
repo = sys.argv[1]
both = load_dataset(repo, "preferences", split="iter_1+iter_2", revision="iter-2")
print(len(both), set(both["iteration"]), both[0]["chosen"][0]["role"])
print(load_dataset(repo, split="iter_2").to_list() == both.filter(lambda row: row["iteration"] == 2).to_list())
first = load_dataset(repo, "preferences", revision="iter-1")
print(list(first), first["iter_1"].to_list() == both.filter(lambda row: row["iteration"] == 1).to_list())
for name in sys.argv[2:]:
    print(name, len(load_dataset(repo, name, split="iter_2", revision="iter-2")))
try:
    load_dataset(repo, "preferences", split="iter_2", revision="iter-1")
except ValueError as error:
    print(error)
"""


def test_datasets_loads_every_table_by_tag_and_by_main(
    published: tuple[Hub, str, str], built: Path, tmp_path: Path
) -> None:
    one, two = tables(built, 1), tables(built, 2)
    # A table without rows has no file, so no split: nothing may have been rejected.
    filled = [name for name, table in two.items() if name != "preferences" and not table.is_empty()]
    done = published[0].python(tmp_path, "-c", LOAD, REPO, *filled)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        f"{one['preferences'].height + two['preferences'].height} {{1, 2}} assistant",
        "True",
        "['iter_1'] True",
        *(f"{name} {two[name].height}" for name in filled),
        "Unknown split \"iter_2\". Should be one of ['iter_1'].",
    ]


def test_a_wrong_token_does_not_load_what_is_private(published: tuple[Hub, str, str], tmp_path: Path) -> None:
    done = published[0].python(tmp_path, "-c", LOAD, REPO, token="hf_wrong")
    assert done.returncode == 1
    assert "401 Unauthorized" in done.stderr


TRAIN = """
import sys
from datasets import load_dataset
from trl import DPOConfig, DPOTrainer
pairs = load_dataset(sys.argv[1], split="iter_1+iter_2", revision="iter-2")
cpu = {"use_cpu": True, "bf16": False, "per_device_train_batch_size": 2}
config = DPOConfig("out", max_steps=2, logging_steps=1, save_strategy="no", report_to=[], **cpu)
trainer = DPOTrainer(sys.argv[2], args=config, train_dataset=pairs)
trainer.train()
print(trainer.state.global_step, all(row["loss"] > 0 for row in trainer.state.log_history if "loss" in row))
"""


def test_trl_trains_from_the_published_repo_with_no_column_mapping(
    published: tuple[Hub, str, str], tmp_path: Path
) -> None:
    model = save_model(tmp_path / "model", "llama")
    done = published[0].python(tmp_path, "-c", TRAIN, REPO, str(model))
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "2 True"


def test_publishing_again_changes_nothing(published: tuple[Hub, str, str], folder: Path) -> None:
    hub = published[0]
    before, calls = len(hub.repos[REPO].commits), len(hub.calls)
    done = publish(hub, folder, 2)
    assert f"Iteration 2 is in {REPO} (private) already, just as it is here" in done.stdout
    assert len(hub.repos[REPO].commits) == before
    assert {call.split()[0] for call in hub.calls[calls:]} == {"GET"}


def test_another_iteration_of_the_same_number_is_refused_with_the_way_out(
    published: tuple[Hub, str, str], folder: Path
) -> None:
    hub = published[0]
    before, tags = list(hub.repos[REPO].commits), dict(hub.repos[REPO].tags)
    other_content(folder, 2)
    assert error_of(publish(hub, folder, 2)) == (
        f"Error: {REPO} holds something else as iteration 2, at iter-2 (manifests/iter_2.json), and what is published "
        "is never overwritten: publish yours to another repo with `--repo`, or go on from that one with `eva-data pull "
        f"{REPO}`"
    )
    assert (hub.repos[REPO].commits, hub.repos[REPO].tags) == (before, tags)


def test_a_dry_run_shows_files_sizes_and_card_and_only_looks(hub: Hub, folder: Path) -> None:
    done = publish(hub, folder, 2, "--dry-run", token=None)
    assert done.returncode == 0, done.stderr
    assert {call.split()[0] for call in hub.calls} == {"GET"}
    assert hub.repos == {}
    out = done.stdout
    for iteration in (1, 2):
        assert f"Would publish iteration {iteration} to {REPO} (private)" in out
        assert f"  manifests/iter_{iteration}.json " in out
    # Pictures that are the same after the second iteration are not sent again.
    assert out.count("  plots/metrics_iter_1.png ") == 1
    size = (folder / "responses" / "iter_2.parquet").stat().st_size
    (line,) = [line for line in out.splitlines() if line.startswith("  responses/iter_2.parquet")]
    assert line.split()[1:] == [f"{size / 1000:.1f}", "kB"]
    assert "config_name: preferences" in out.partition("Its card:")[2]


def test_a_publish_that_is_cut_off_anywhere_can_be_repeated(hub: Hub, folder: Path) -> None:
    before_commit = error_of(_cut(hub, folder, "PUT /lfs/", "die"))
    assert f"the Hub at {hub.url} cannot be reached" in before_commit
    assert "repeat the command; what was finished is kept" in before_commit
    repo = hub.repos[REPO]
    assert (len(repo.commits), repo.tags) == (1, {})
    assert "cannot be reached" in error_of(_cut(hub, folder, f"POST /api/datasets/{REPO}/commit", "die after"))
    assert (len(repo.commits), repo.tags) == (2, {})
    assert "cannot be reached" in error_of(_cut(hub, folder, f"POST /api/datasets/{REPO}/tag", "die"))
    assert (len(repo.commits), repo.tags) == (2, {})
    done = publish(hub, folder, 2)
    assert f"Iteration 1 is in {REPO} (private), and only its tag iter-1 was added." in done.stdout
    assert [commit.message.split(":")[0] for commit in repo.commits] == ["initial commit", "Iteration 1", "Iteration 2"]
    assert repo.tags == {"iter-1": repo.commits[1].sha, "iter-2": repo.commits[2].sha}


def _cut(hub: Hub, folder: Path, call: str, how: str) -> subprocess.CompletedProcess[str]:
    hub.fail(call, how)
    done = publish(hub, folder, 1)
    hub.start()
    return done


FEW_FILES = "import sys, eva_data.hub.publish as p; p.MAX_FILES = 8; from eva_data.cli import main; main(sys.argv[1:])"


def test_an_iteration_of_too_many_files_takes_several_commits_and_is_seen_after_the_last(
    hub: Hub, folder: Path
) -> None:
    commit = f"POST /api/datasets/{REPO}/commit"
    publishing = ("-c", FEW_FILES, "publish", "--iter", "1", "--repo", REPO, "--set", f"folder={folder}")
    hub.fail(commit, lambda: hub.fail(commit, 409))  # the second one
    assert "the Hub answered 409" in error_of(hub.python(folder.parent, *publishing))
    repo = hub.repos[REPO]
    assert [each.message.rpartition(" pairs")[2] for each in repo.commits[1:]] == [" (1 of 2)"]
    first = repo.commits[-1].files
    assert (set(Store(folder).manifest(1).files) < set(first), "manifests/iter_1.json" in first) == (True, False)
    assert repo.tags == {}

    again = hub.python(folder.parent, *publishing)
    assert again.returncode == 0, again.stderr
    assert len(repo.commits) == 3
    assert repo.tags == {"iter-1": repo.commits[-1].sha}
    names = {*Store(folder).manifest(1).files, "manifests/iter_1.json", "README.md"}
    assert names < set(repo.commits[-1].files)


def test_a_commit_by_somebody_else_meanwhile_stops_it_unless_it_is_the_same(hub: Hub, folder: Path) -> None:
    files = [*Store(folder).manifest(1).files, "manifests/iter_1.json"]

    def add(message: str, added: Files) -> None:
        repo = hub.repos[REPO]
        repo.add(repo.commits[-1].files | added, message)

    hub.fail(f"POST /api/datasets/{REPO}/commit", lambda: add("somebody else", {"LICENSE": b"mine"}))
    assert error_of(publish(hub, folder, 1)) == (
        f"Error: somebody else committed to {REPO} while iteration 1 was uploaded, so it was not published, and "
        "nothing there was changed: repeat the command, which looks at the repo anew"
    )
    assert hub.repos[REPO].tags == {}
    twin = {name: (folder / name).read_bytes() for name in files}
    hub.fail(f"POST /api/datasets/{REPO}/commit", lambda: add("twin", twin))
    hub.fail(
        f"POST /api/datasets/{REPO}/tag",
        lambda: hub.repos[REPO].tags.update({"iter-1": hub.repos[REPO].commits[-1].sha}),
    )
    assert publish(hub, folder, 1).returncode == 0
    repo = hub.repos[REPO]
    assert [commit.message for commit in repo.commits] == ["initial commit", "somebody else", "twin"]
    assert repo.tags == {"iter-1": repo.commits[-1].sha}


def test_a_tag_that_is_taken_is_refused_before_and_while_publishing(hub: Hub, folder: Path) -> None:
    hub.fail(
        f"POST /api/datasets/{REPO}/tag",
        lambda: hub.repos[REPO].tags.update({"iter-1": hub.repos[REPO].commits[0].sha}),
    )
    for _ in range(2):
        assert f"{REPO} holds something else as iteration 1, at iter-1 (" in error_of(publish(hub, folder, 1))
        assert len(hub.repos[REPO].commits) == 2
        assert hub.repos[REPO].tags == {"iter-1": hub.repos[REPO].commits[0].sha}


def test_every_refusal_of_a_login_is_one_sentence_without_the_token(hub: Hub, folder: Path) -> None:
    wrong = "hf_wrongWRONGwrongWRONG"
    said = {
        "wrong": error_of(publish(hub, folder, 1, token=wrong)),
        "none": error_of(publish(hub, folder, 1, token=None)),
        "read": error_of(publish(hub, folder, 1, token=READ)),
        "other": error_of(publish(hub, folder, 1, token=OTHER)),
    }
    assert hub.repos == {}
    repo = hub.repos[REPO] = Repo(private=True)
    repo.add({}, "initial commit")
    said["read existing"] = error_of(publish(hub, folder, 1, token=READ))
    no_right = (
        f"Error: this login may not do that to {REPO} (403: {{}}): use a token that may write there, or name a repo of "
        "your own"
    )
    no_create = no_right.format("You don't have the rights to create a dataset under the namespace alice")
    assert said == {
        "wrong": "Error: the Hub refuses the login (401: Invalid credentials in Authorization header): log in anew "
        "with `hf auth login`, or set HF_TOKEN",
        "none": f"Error: nobody is logged in to the Hub, so {REPO} cannot be written to: log in with `hf auth login`, "
        "or set HF_TOKEN",
        "read": no_create,
        "other": no_create,
        "read existing": no_right.format(f"Bearer *** has no right to write to {REPO}"),
    }
    assert (len(repo.commits), repo.tags) == (1, {})


def test_who_may_see_it_is_never_guessed(hub: Hub, folder: Path) -> None:
    assert "`publish.licence` is not set, and what is public needs one" in error_of(publish(hub, folder, 1, "--public"))
    odd = publish(hub, folder, 1, "--public", "--set", "publish.licence=my-own")
    assert "the Hub refuses the card, so nothing was published" in error_of(odd)
    assert '"license" must be one of' in error_of(odd)
    assert len(hub.repos[REPO].commits) == 1
    done = publish(hub, folder, 1, "--public", "--set", "publish.licence=cc-by-4.0")
    assert f"Published iteration 1 to {REPO} (public)" in done.stdout
    assert b"license: cc-by-4.0" in hub.repos[REPO].commits[-1].files["README.md"]
    refused = error_of(publish(hub, folder, 2))
    assert f"{REPO} is public, and `publish.private` is true: publish there with `--public`" in refused


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (("--repo", "game"), "`game` does not say whose repo it is: write it as owner/game"),
        (("--repo", "alice/a b"), "`alice/a b` cannot be a repo on the Hub: Repo id must use alphanumeric chars"),
        (("--iter", "3"), "has no iteration 3: make it with `eva-data build --iter 3`"),
    ],
)
def test_what_cannot_be_published_is_said_before_the_hub_is_asked(
    hub: Hub, folder: Path, options: tuple[str, ...], sentence: str
) -> None:
    assert sentence in error_of(publish(hub, folder, 1, *options))
    assert hub.calls == []


def test_changed_tables_and_iterations_of_two_builds_are_not_published(hub: Hub, folder: Path) -> None:
    path = Store(folder).manifest_path(1)
    honest = path.read_text()
    path.write_text(honest.replace('"rows": ', '"rows": 1'))
    assert "was not built from the iteration 1 beside it" in error_of(publish(hub, folder, 2))
    path.write_text(honest)
    pl.read_parquet(folder / "prompts" / "iter_1.parquet").head(3).write_parquet(folder / "prompts" / "iter_1.parquet")
    assert "prompts/iter_1.parquet in" in error_of(publish(hub, folder, 2))
    assert hub.calls == []


def test_without_a_network_one_sentence_says_so(hub: Hub, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.stop()
    assert f"Error: the Hub at {hub.url} cannot be reached (" in error_of(publish(hub, folder, 1))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert "HF_HUB_OFFLINE is set, so the Hub cannot be asked" in error_of(publish(hub, folder, 1))


def test_build_push_publishes_and_looks_for_a_repo_and_a_login_first(hub: Hub, folder: Path) -> None:
    build = ("build", "--iter", "1", "--push", "--config", str(_config(folder)))
    assert "no repo is named" in error_of(hub.run(folder.parent, *build, "--set", "publish.repo=null"))
    assert "nobody is logged in to the Hub" in error_of(hub.run(folder.parent, *build, token=None))
    assert hub.calls == []
    done = hub.run(folder.parent, *build)
    assert done.returncode == 0, done.stderr
    assert f"Published iteration 1 to {REPO} (private)" in done.stdout
    assert set(hub.repos[REPO].tags) == {"iter-1"}


def _config(folder: Path) -> Path:
    """Write the settings of the dataset to a file of the user."""
    values = Store(folder).manifest(2).config | {"folder": str(folder), "publish": {"repo": REPO}}
    values["train"]["heldout"] = 0
    path = folder.parent / "eva.json"
    path.write_text(json.dumps(values))
    return path


def test_the_token_is_in_no_file_and_no_message(published: tuple[Hub, str, str], tmp_path: Path) -> None:
    hub, *printed = published
    pulled = hub.run(tmp_path, "pull", REPO)
    failed = hub.run(tmp_path, "--debug", "pull", "alice/nothing")
    assert (pulled.returncode, failed.returncode) == (0, 1)
    texts = [text.encode() for text in (*printed, pulled.stdout, pulled.stderr, failed.stdout, failed.stderr)]
    texts += list(hub.repos[REPO].commits[-1].files.values())
    # The Hub's folder holds the client's own, HF_HOME.
    texts += [path.read_bytes() for at in (tmp_path, hub.folder.parent) for path in at.rglob("*") if path.is_file()]
    assert len(texts) > 50
    assert not any(WRITE.encode() in text for text in texts)


def _big(folder: Path, changed: int | None) -> Path:
    """Settings of a dataset of 10,000 responses, of which one has other words."""
    generator = random.Random(1)
    rows = [(f"Question {number // 4}", generator.randbytes(500).hex(), number % 4) for number in range(10_000)]
    if changed is not None:
        rows[changed] = (rows[changed][0], "Quite another answer, and a shorter one.", rows[changed][2])
    folder.mkdir()
    pl.DataFrame(rows, schema=["prompt", "response", "reward"], orient="row").write_parquet(folder / "rows.parquet")
    settings = {"name": "big", "folder": "data", "solver": {"backend": "table", "path": "rows.parquet"}}
    (folder / "eva.yaml").write_text(json.dumps(settings))
    return folder


def test_one_changed_row_uploads_less_than_a_quarter_by_xet(tmp_path: Path) -> None:
    with Hub(tmp_path / "hub", xet=True) as hub:
        sent = []
        for name, changed in (("one", None), ("two", 5003)):
            folder, before = _big(tmp_path / name, changed), hub.stored()
            for command in (["build"], ["publish", "--repo", f"alice/{name}"]):
                done = hub.run(folder, *command, "--iter", "1")
                assert done.returncode == 0, done.stderr
            sent.append(hub.stored() - before)
        one, two = (hub.repos[f"alice/{name}"].commits[-1].files for name in ("one", "two"))
        changed_tables = {name for name in one if one[name] != two[name] and name.endswith(".parquet")}
        assert changed_tables == {"responses/iter_1.parquet", "preferences/iter_1.parquet"}
        assert sum(map(len, one.values())) * 0.8 < sent[0]
        assert sent[1] < sent[0] / 4
