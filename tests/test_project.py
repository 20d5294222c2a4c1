"""Scripts and templates are found in a checkout and in a wheel. A wheel holds exactly the files that it needs."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import zipfile
from importlib.metadata import version
from pathlib import Path

import pytest

import eva_data
from eva_data import project
from eva_data.errors import EvaError

CHECKOUT = Path(__file__).parents[1]
FOLDERS = ("pipelines", "train", "cards")


def build_wheel(source: Path, dist: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(dist), str(source)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def copy_of_checkout(folder: Path) -> Path:
    """A copy of the files that a wheel is made of, without other files in the checkout's root."""
    ignored = shutil.ignore_patterns("__pycache__")
    for name in ("eva_data", *FOLDERS):
        shutil.copytree(CHECKOUT / name, folder / name, ignore=ignored)
    for name in ("pyproject.toml", "README.md", "LICENSE", ".gitignore"):
        shutil.copy(CHECKOUT / name, folder / name)
    return folder


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The unpacked wheel. It is built from an sdist of a copy of the checkout."""
    folder = tmp_path_factory.mktemp("wheel")
    built = build_wheel(copy_of_checkout(folder / "a copy"), folder / "dist")
    assert built.returncode == 0, built.stdout + built.stderr
    (archive,) = (folder / "dist").glob("*.whl")
    zipfile.ZipFile(archive).extractall(folder / "site-packages")
    return folder / "site-packages"


def files_below(folder: Path) -> set[str]:
    return {
        str(path.relative_to(folder))
        for path in folder.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


def test_a_checkout_holds_no_bundled_copy_that_would_hide_its_folders() -> None:
    assert not (CHECKOUT / "eva_data" / "_bundled").exists()
    assert project.pipelines_dir() == CHECKOUT / "pipelines"
    assert project.train_dir() == CHECKOUT / "train"
    assert project.cards_dir() == CHECKOUT / "cards"


@pytest.mark.parametrize("name", [*FOLDERS, "tests"])
def test_folders_of_scripts_are_no_import_packages(name: str) -> None:
    assert list((CHECKOUT / name).rglob("__init__.py")) == []


def test_the_installed_version_is_the_one_in_the_package() -> None:
    assert version("eva-data") == eva_data.__version__


@pytest.mark.slow
def test_the_wheel_installs_one_package_and_nothing_of_a_generic_name(wheel: Path) -> None:
    assert {path.name for path in wheel.iterdir()} == {
        "eva_data",
        f"eva_data-{eva_data.__version__}.dist-info",
    }


@pytest.mark.slow
def test_the_wheel_holds_the_whole_package_and_the_three_folders(wheel: Path) -> None:
    bundled = {f"_bundled/{name}/{file}" for name in FOLDERS for file in files_below(CHECKOUT / name)}
    assert files_below(wheel / "eva_data") == files_below(CHECKOUT / "eva_data") | bundled
    assert (wheel / "eva_data" / "py.typed").is_file()
    assert (wheel / "eva_data" / "sandbox" / "words.txt").is_file()


def test_an_installed_wheel_takes_the_folders_that_it_carries(wheel: Path, tmp_path: Path) -> None:
    code = "from eva_data import project as p; print(p.pipelines_dir(), p.train_dir(), p.cards_dir(), sep='\\n')"
    ran = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={"PYTHONPATH": str(wheel), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert ran.stdout.splitlines() == [str(wheel / "eva_data" / "_bundled" / name) for name in FOLDERS]


@pytest.mark.slow
@pytest.mark.parametrize("missing", FOLDERS)
def test_a_wheel_without_one_of_the_folders_is_not_built(missing: str, tmp_path: Path) -> None:
    source = copy_of_checkout(tmp_path / "source")
    shutil.rmtree(source / missing)
    built = build_wheel(source, tmp_path / "dist")
    assert built.returncode != 0
    assert re.search(f"Forced include not found: .*/{missing}$", built.stdout + built.stderr, re.MULTILINE)
    assert list((tmp_path / "dist").glob("*.whl")) == []


def test_every_pipeline_loads_and_builds_something() -> None:
    names = sorted(path.stem for path in project.pipelines_dir().glob("*.py"))
    assert names
    for name in names:
        assert callable(project.load_pipeline(name).build), name


def test_an_unknown_pipeline_is_one_sentence_that_names_the_known_ones() -> None:
    with pytest.raises(EvaError, match=r"there is no pipeline `evolv` in .*pipelines: known are evolve, "):
        project.load_pipeline("evolv")


def test_a_folder_that_is_nowhere_is_one_sentence(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(project, "_PACKAGE", tmp_path / "eva_data")
    with pytest.raises(EvaError, match=r"the folder `cards` is neither in .* this installation is incomplete"):
        project.cards_dir()
