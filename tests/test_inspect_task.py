"""The task of inspect_ai is a program, and it scores as it says where inspect_ai is installed."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import polars as pl
import pytest

DOCS = Path(__file__).parents[1] / "docs"


def test_the_task_is_a_program() -> None:
    path = DOCS / "inspect_task.py"
    compile(path.read_text(encoding="utf-8"), str(path), "exec")


def test_the_task_of_inspect_ai_compares_in_both_orders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inspect_ai: Any = pytest.importorskip("inspect_ai", reason="inspect_ai is no dependency: install it to run this")
    models: Any = pytest.importorskip("inspect_ai.model")
    monkeypatch.setattr(sys, "path", [str(DOCS), *sys.path])
    import inspect_task  # type: ignore[import-not-found]

    def says(*replies: str) -> Any:
        outputs = [models.ModelOutput.from_content("mockllm/model", reply) for reply in replies]
        for output in outputs:
            # Otherwise it would count tokens, by a file of the network.
            output.usage = models.ModelUsage(input_tokens=1, output_tokens=1, total_tokens=2)
        return models.get_model("mockllm/model", custom_outputs=outputs)

    def scores(table: pl.DataFrame, *verdicts: str, **options: Any) -> list[tuple[str, Any]]:
        table.write_parquet(tmp_path / "table.parquet")
        task = inspect_task.eva_data(str(tmp_path / "table.parquet"), **options)
        model, roles = says(*["mine"] * table.height), {"grader": says(*verdicts)}
        told = {"log_dir": str(tmp_path / "logs"), "display": "none", "max_samples": 1}
        (log,) = inspect_ai.eval(task, model=model, model_roles=roles, **told)
        assert log.status == "success"
        return [(sample.id, sample.scores and sample.scores["preferred"].value) for sample in log.samples]

    asked = [[{"role": "user", "content": text}] for text in ("A?", "B?", "C?")]
    rows = {"prompt_id": ["a", "b", "c"], "prompt": asked, "set": ["s", "s", "t"], "turn": [1, 1, 1]}
    evaluated = pl.DataFrame(rows | {"response": ["kept a", "kept b", "kept c"]})
    # The model stands first, then second: preferred in both, and the first place preferred in both.
    assert scores(evaluated, "[[A]]", "[[B]]", "[[A]]", "[[A]]", set_name="s") == [("a-1", 1.0), ("b-1", 0.5)]
    chosen = [[{"role": "assistant", "content": "chosen"}]]
    preferences = pl.DataFrame({"prompt_id": ["a"], "prompt": asked[:1], "chosen": chosen})
    assert scores(preferences, "[[C]]", "[[A]]? No, [[B]]") == [("a-1", 0.75)]
    assert [name for name, score in scores(preferences.drop("chosen")) if not score] == ["a-1"]
