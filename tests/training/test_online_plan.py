"""`eva-data online --dry-run`: what is said before any weights are loaded."""

from __future__ import annotations

import http.server
import threading
from pathlib import Path

import pytest

from eva_data.cli.text.online import plan_text
from eva_data.cli.text.progress import ConsoleReporter
from eva_data.config.reading import load_config
from eva_data.errors import ConfigError
from eva_data.game.online import Online, online_config
from eva_data.game.online_plan import OnlinePlan, plan_online
from eva_data.iteration.run import Run


def planned(tmp_path: Path, algorithm: str, recipe: str | None = None, **online: object) -> OnlinePlan:
    settings = (f"folder={tmp_path / 'data'}", "seeds.sandbox=100", "train.heldout=0")
    config, recipe = online_config(load_config(None, settings, online=True), algorithm, False, recipe)
    return plan_online(Run(config, ConsoleReporter()), Online(recipe, **online))  # type: ignore[arg-type]


def recipe(tmp_path: Path, *lines: str) -> str:
    path = tmp_path / "own.yaml"
    path.write_text("\n".join(("algorithm: grpo", "num_generations: 4", "prompts: 8", "max_resample: 3", *lines)))
    return str(path)


def test_a_plan_counts_responses_and_writes_nothing(tmp_path: Path) -> None:
    found = planned(tmp_path, "oaif", epochs=1.0)
    # 100 seeds by 16 prompts a step are 7 steps.
    assert (found.seeds, found.steps, found.prompts, found.responses, found.completions) == (100, 7, 112, 2, 224)
    assert (found.generation, found.server, found.replaced_at_most) == ("transformers", None, 0)
    assert not (tmp_path / "data-oaif").exists()
    assert plan_text(found).splitlines()[:4] == [
        "oaif by the recipe sandbox_oaif: 7 steps on 112 prompts (1.1 times the 100 seeds).",
        "Responses: 224, 2 to each prompt; all are scored.",
        "They are sampled in the training itself; `use_vllm` in the recipe is faster on a GPU.",
        "Prompts are rewritten by sandbox.",
    ]


def test_vllm_that_is_not_installed_is_said_before_anything_is_prepared(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="has `use_vllm: true`, but the package `vllm`, which would sample"):
        planned(tmp_path, "grpo", recipe(tmp_path, "use_vllm: true"), steps=2)
    assert not (tmp_path / "data-grpo").exists()


class Health(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/health" else 404)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *arguments: object) -> None:
        pass


def test_the_server_of_a_recipe_is_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("eva_data.training.recipes.find_spec", lambda name: object())
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Health) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}"
        lines = ("use_vllm: true", "vllm_mode: server", f"vllm_server_base_url: {url}/")
        found = planned(tmp_path, "grpo", recipe(tmp_path, *lines), steps=2)
        assert (found.generation, found.server, found.server_error) == ("vllm server", url, None)
        assert (found.completions, found.replaced_at_most) == (64, 192)
        server.shutdown()
    found = planned(tmp_path, "grpo", recipe(tmp_path, *lines), steps=2)
    assert found.server_error == "no server answers there (ConnectionError)"
    assert plan_text(found).splitlines()[-1] == (
        f"{url} cannot be used now: no server answers there (ConnectionError). Start it before the training."
    )
    with pytest.raises(ConfigError, match="`vllm_mode` is `beside` in the recipe own: known are colocate and server"):
        planned(tmp_path, "grpo", recipe(tmp_path, "use_vllm: true", "vllm_mode: beside"), steps=2)
