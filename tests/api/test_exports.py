"""The names of `import eva_data as ed`: all there, typed, documented, and cheap to import."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest

import eva_data as ed

CHECKOUT = Path(__file__).parents[2]
NAMES = {
    *("__version__", "EvaDataset", "build", "evolve", "informativeness", "load", "metrics", "mix", "pairs", "rejects"),
    *("sample", "verify"),
}


def test_the_names_are_these() -> None:
    assert set(ed.__all__) == NAMES
    assert set(dir(ed)) >= NAMES
    with pytest.raises(AttributeError, match="no attribute 'sampel'"):
        ed.sampel  # noqa: B018


def test_every_function_has_a_docstring_and_a_type_for_every_argument() -> None:
    functions = [getattr(ed, name) for name in NAMES if inspect.isfunction(getattr(ed, name))]
    functions += [getattr(ed.metrics, name) for name in ed.metrics.__all__]
    assert len(functions) == len(NAMES) - 3 + len(ed.metrics.__all__)
    for function in functions:
        signature = inspect.signature(function)
        assert function.__doc__
        assert signature.return_annotation is not inspect.Signature.empty
        assert all(each.annotation is not inspect.Parameter.empty for each in signature.parameters.values())


def test_every_name_is_in_the_docs() -> None:
    page = (CHECKOUT / "docs" / "python.md").read_text()
    missing = {name for name in NAMES - {"__version__", "EvaDataset"} if f"ed.{name}" not in page}
    assert missing == set()


def test_the_import_loads_no_library_of_tables_or_models() -> None:
    heavy = "('polars', 'pyarrow', 'datasets', 'distilabel', 'torch', 'pydantic', 'pandas', 'numpy')"
    code = f"import sys, eva_data as ed; dir(ed); print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_the_folder_of_the_creator_does_not_hide_the_function_of_its_name() -> None:
    code = (
        "import eva_data.evolve.chain, eva_data as ed; from eva_data.evolve import eliminate; "
        "print(ed.evolve.__module__, eliminate.__name__)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "eva_data.api.evolving eliminate\n"


def test_the_example_of_the_readme_prints_what_it_says(capsys: pytest.CaptureFixture[str]) -> None:
    readme = (CHECKOUT / "README.md").read_text()
    (example,) = [code for code in re.findall(r"```python\n(.*?)```", readme, re.DOTALL) if "import eva_data" in code]
    assert len([line for line in example.splitlines() if line]) <= 5
    exec(compile(example, "README.md", "exec"), {})
    said = re.findall(r"print\(.*?\)  # (.*)", example)
    assert capsys.readouterr().out.splitlines() == [line.partition(":")[0] if line[0] != "[" else line for line in said]


def test_the_first_example_of_the_page_runs() -> None:
    page = (CHECKOUT / "docs" / "python.md").read_text()
    example = next(code for code in re.findall(r"```python\n(.*?)```", page, re.DOTALL) if "pl.DataFrame" in code)
    values: dict[str, object] = {}
    exec(compile(example, "docs/python.md", "exec"), values)
    assert [len(values[name]) for name in ("informative", "drawn", "pairs", "rejects")] == [2, 3, 1, 1]  # type: ignore[arg-type]
