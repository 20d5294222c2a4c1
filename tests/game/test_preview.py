"""`eva-data preview`: what it asks is what the build would ask, and is asked once."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import polars as pl
import pytest
from misbehaving import Misbehaving, Seen
from sandbox_runs import eva

VERIFIER = """
from hashlib import sha256

def score(prompt: str, response: str) -> float:
    return int(sha256(response.encode()).hexdigest()[:4], 16) / 65536
"""


def requests(seen: list[Seen]) -> Counter[str]:
    return Counter(json.dumps(each.body, sort_keys=True) for each in seen)


@pytest.mark.slow
def test_a_build_asks_nothing_again_that_a_preview_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=":")
    (tmp_path / "scores.py").write_text(VERIFIER)
    rows = [f"Tell me what you know of the number {number}, of its neighbours and its square." for number in range(8)]
    pl.DataFrame({"prompt": rows}).write_parquet(tmp_path / "prompts.parquet")
    with Misbehaving() as server:
        (tmp_path / "eva.yaml").write_text(
            "name: acme/remote\nseeds: {path: prompts.parquet}\n"
            f"solver: {{backend: api, model: tiny, base_url: '{server.url}', responses: 3, canary: false,\n"
            "  prices: {input: 1, output: 2}}\n"
            "reward: {backend: verifier, function: 'scores:score'}\n"
            "evolve: {near_duplicate: null, min_chars: 1}\n"
        )
        folder = tmp_path / "data"

        def run(*words: str) -> dict[str, object]:
            done = eva(folder, *words, "--json", settings=())
            assert done.returncode == 0, done.stderr
            values: dict[str, object] = json.loads(done.stdout)
            return values

        first = run("preview", "--iter=1", "-n", "2")
        assert isinstance(first["responses"], list) and isinstance(first["cost"], float)
        assert (first["evolutions"], len(first["responses"]), len(server.seen), first["kept"]) == ([], 6, 2, True)
        assert first["cost"] > 0
        run("build", "--iter=1")
        assert len(server.seen) == 8

        second = run("preview", "--iter=2", "-n", "1")
        assert isinstance(second["evolutions"], list) and isinstance(second["responses"], list)
        assert len(second["evolutions"]) == 4
        survivors = {row["prompt_id"] for row in second["evolutions"] if row["reason"] is None}
        assert {row["prompt_id"] for row in second["responses"]} == survivors
        previewed = requests(server.seen)
        assert run("preview", "--iter=2", "-n", "1") == second | {"cost": 0.0}
        assert requests(server.seen) == previewed
        run("build", "--iter=2")
        asked = requests(server.seen)
        # Two rewrites of a prompt by the same strategy are the same request; answers to a prompt are asked for once.
        assert max(count for body, count in asked.items() if json.loads(body).get("n") == 3) == 1
        assert asked > previewed
        again = eva(folder, "preview", "--iter=2", settings=())
    assert (again.returncode, again.stderr) == (
        1,
        "Error: iteration 2 is built: look at it with `eva-data show --iter 2`\n",
    )
    missing = eva(folder, "preview", "--iter=4", settings=())
    assert "iteration 4 begins with the prompts of iteration 3, which is not built" in missing.stderr
