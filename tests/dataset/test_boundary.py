"""No link leads out of a dataset's folder, and its working state is its owner's alone."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from click.testing import CliRunner
from small_store import small_store

from eva_data.cli import main
from eva_data.cli.text.progress import ConsoleReporter
from eva_data.config.reading import load_config
from eva_data.dataset.store import Store
from eva_data.errors import DataError, StaleError
from eva_data.hub.publish import publish
from eva_data.iteration.run import Run


@pytest.mark.parametrize("name", [".eva", ".eva/pull", ".eva/logs", "prompts", "manifests", "README.md", "plots/a.png"])
def test_a_link_that_leads_out_is_not_followed(tmp_path: Path, name: str) -> None:
    (tmp_path / "elsewhere").mkdir()
    folder = tmp_path / "data"
    (folder / name).parent.mkdir(parents=True)
    (folder / name).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(DataError) as error, Store(folder).locked(pulling=True):
        pass
    said = f"{folder / name} is a link that leads out of the dataset's folder, to {tmp_path}"
    assert str(error.value).startswith(said)
    assert list((tmp_path / "elsewhere").iterdir()) == []


LOOKING = {
    "status": ("status",),
    "show": ("show", "--iter", "1"),
    "report": ("report",),
    "verify": ("verify", "--iter", "1"),
    "plan": ("plan", "--iter", "1"),
    "export": ("export", "--set-name", "heldout", "--format", "mt_bench", "--output", "x.jsonl"),
    "score": ("score",),
    "evaluate": ("evaluate", "--dry-run"),
    "review": ("review", "status"),
}


@pytest.mark.parametrize("command", LOOKING)
@pytest.mark.parametrize("name", ["evaluations", "manifests/evaluations.json", ".eva/logs"])
def test_commands_that_only_look_follow_no_link_either(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    store = small_store(tmp_path / "data")
    (tmp_path / "elsewhere").mkdir()
    (store.folder / name).parent.mkdir(exist_ok=True)
    (store.folder / name).symlink_to(tmp_path / "elsewhere")
    done = CliRunner().invoke(main, [*LOOKING[command], "--set", f"folder={store.folder}"])
    assert done.exit_code == 1
    assert f"Error: {store.folder / name} is a link that leads out of the dataset's folder" in done.output
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_links_within_the_folder_and_the_folder_itself_are_fine(tmp_path: Path) -> None:
    store = small_store(tmp_path / "data")
    (store.folder / "latest").symlink_to(store.folder / "prompts" / "iter_2.parquet")
    (tmp_path / "link").symlink_to(store.folder)
    with Store(tmp_path / "link").locked():
        pass


def test_nothing_is_published_through_a_link(tmp_path: Path) -> None:
    store = small_store(tmp_path / "data")
    secret = tmp_path / "secret.parquet"
    (store.folder / "prompts" / "iter_1.parquet").rename(secret)
    (store.folder / "prompts" / "iter_1.parquet").symlink_to(secret)
    run = Run(load_config(None, [f"folder={store.folder}"]), ConsoleReporter())
    with pytest.raises(DataError, match="is a link that leads out"):
        publish(run, 1, repo="alice/x", dry_run=True)


def test_the_working_state_is_readable_by_its_owner_alone(tmp_path: Path) -> None:
    store = Store(tmp_path / "data")
    old = store.state / "jobs" / "old"
    old.parent.mkdir(parents=True)
    old.write_text("")
    old.chmod(0o644)
    store.state.chmod(0o755)
    with store.locked():
        assert (store.state.stat().st_mode & 0o777, old.stat().st_mode & 0o777) == (0o700, 0o600)
        store.log("x").parent.mkdir()
        store.log("x").write_text("")
    modes = {path.stat().st_mode & 0o077 for path in (store.state, *store.state.rglob("*"))}
    assert modes == {0}
    assert os.stat(store.folder).st_mode & 0o055


def test_nothing_begins_in_a_folder_whose_pull_is_not_finished(tmp_path: Path) -> None:
    store = Store(tmp_path / "data")
    store.pull_folder.mkdir(parents=True)
    with pytest.raises(StaleError, match="is not finished: repeat `eva-data pull`, or remove"), store.locked():
        pass
    with store.locked(pulling=True):
        pass
