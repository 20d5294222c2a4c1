"""Online training whose responses vLLM samples, against a stand-in for its server. No GPU and no vLLM take part.

TRL's own client asks the stand-in over HTTP. Two things of vLLM are replaced: the package, whose absence TRL looks for,
and the channel between GPUs through which weights go, which here notes them.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from random import Random
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch
from online_game import arguments, make_run, recipe
from safetensors.torch import load_file
from tiny import save_model

pytestmark = [
    pytest.mark.slow,
    pytest.mark.usefixtures("one_thread_and_a_cache_of_its_own"),
    pytest.mark.filterwarnings(
        "ignore:.*gradient_checkpointing.*:FutureWarning",
        "ignore:The configuration has `max_new_tokens`",
    ),
]

SYNC = ["start_weight_update", "update_weights", "finish_weight_update", "reset_prefix_cache"]
TOKENS = range(40, 60)


class Server(ThreadingHTTPServer):
    """Answers as `vllm serve` does, with random tokens, and keeps what it is asked."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.weights: list[dict[str, torch.Tensor]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def of(self, what: str) -> list[dict[str, Any]]:
        return [body for name, body in self.asked if name == what]


class _Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        place = self.path.partition("?")[0]
        info = {"vllm_config": {"model_config": {"logprobs_mode": "processed_logprobs"}}}
        known: dict[str, dict[str, Any]] = {"/v1/models": {"data": [{"id": "tiny"}]}, "/server_info": info}
        self.answer(known.get(place, {}))

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"] or 0)) or b"{}")
        name = self.path.rpartition("/")[2]
        self.server.asked.append((name, body))
        if name == "start_weight_update":
            self.server.weights.append({})
        self.answer({"choices": choices(body)} if name == "completions" else {})

    def answer(self, values: dict[str, Any]) -> None:
        content = json.dumps(values).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *arguments: Any) -> None:
        pass


def choices(body: dict[str, Any]) -> list[dict[str, Any]]:
    draw = Random(json.dumps(body))
    found = []
    for prompt in body["prompt"]:
        for _ in range(body["n"]):
            ids = draw.choices(TOKENS, k=8)
            names = [f"token_id:{each}" for each in ids]
            told = {"tokens": names, "token_logprobs": [-1.0] * 8, "top_logprobs": [{each: -1.0} for each in names]}
            echoed = prompt if isinstance(prompt, list) else [1]
            logprobs = None if body["logprobs"] is None else told
            found.append({"prompt_token_ids": echoed, "token_ids": ids, "logprobs": logprobs})
    return found


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """A running stand-in, with TRL's client that takes vLLM for installed."""
    from trl.experimental.online_dpo import online_dpo_trainer
    from trl.generation import vllm_client, vllm_generation

    with Server() as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()

        def send(iterator: Iterator[tuple[str, torch.Tensor]], trainer_args: Any) -> None:
            running.weights[-1].update({name: weights.clone() for name, weights in iterator})

        def join(self: Any, device: Any = 0) -> None:
            running.asked.append(("init_communicator", {"group_port": self.group_port}))
            self.communicator = "joined"

        for module in (vllm_client, vllm_generation, online_dpo_trainer):
            monkeypatch.setattr(module, "is_vllm_available", lambda *_, **__: True)
        monkeypatch.setattr(vllm_client, "_HAS_STATEFUL_TRAINER_ENGINE", False)
        engine = SimpleNamespace(trainer_send_weights=send)
        monkeypatch.setattr(vllm_client, "NCCLWeightTransferEngine", engine, raising=False)
        monkeypatch.setattr(vllm_client, "NCCLTrainerSendWeightsArgs", lambda **given: given, raising=False)
        monkeypatch.setattr(online_dpo_trainer, "SamplingParams", SimpleNamespace, raising=False)
        monkeypatch.setattr(vllm_client.VLLMClient, "init_communicator", join)
        monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda *_, **__: torch.device("cpu"))
        monkeypatch.setattr("vllm_beside.find_spec", lambda name: object())
        yield running
        running.shutdown()
        thread.join()


def given(tmp_path: Path, algorithm: str, **changes: Any) -> list[str]:
    run = make_run(
        tmp_path / "data",
        str(save_model(tmp_path / "model")),
        reward={"function": "online_game:by_letters"},
        pair={},
        estimate={"count_truncated": True, "min_best": None},
        evolve={"strategies": [{"name": "more", "template": "More: {prompt}"}], "only_own": True, "max_tokens": 24},
    )
    rows = 4 if algorithm == "oaif" else 16
    sizes = {
        "prompts": 4,
        "capacity": 6,
        "per_device_train_batch_size": rows,
        "save_strategy": "no",
        "warmup_steps": 0,
        "learning_rate": 1e-3,
    }
    file = recipe(tmp_path, f"sandbox_{algorithm}", **sizes | {"use_vllm": True} | changes)
    return arguments(tmp_path / "job", run, file, "--max_steps", "2")


@pytest.mark.parametrize("algorithm", ["rloo", "grpo", "oaif"])
def test_a_server_gets_the_weights_of_each_step_once_and_answers_the_creator_too(
    online: ModuleType, server: Server, tmp_path: Path, algorithm: str
) -> None:
    more: dict[str, Any] = {"vllm_mode": "server", "vllm_server_base_url": server.url, "vllm_group_port": 51999}
    if algorithm == "grpo":
        # The stand-in's log-probabilities are not the model's, so that TRL would leave every response out.
        more["vllm_importance_sampling_correction"] = False
    online.main(given(tmp_path, algorithm, **more))
    names = [{1: "rewrites"}.get(body["n"], "responses") if "n" in body else name for name, body in server.asked]
    phases = [name for place, name in enumerate(names) if name == SYNC[-1] or names[place - 1] != name]
    # The creator asks after the step. The next step's responses come from the weights that are there already.
    assert phases == ["init_communicator", *SYNC, "responses", *SYNC, "rewrites", "responses", *SYNC, "rewrites"]
    assert server.asked[0][1] == {"group_port": 51999}
    responses = [body for body in server.of("completions") if body["n"] > 1]
    rewrites = [body for body in server.of("completions") if body["n"] == 1]
    assert len(responses) == 2 and rewrites and len({body["seed"] for body in rewrites}) == len(rewrites)
    assert {body["max_tokens"] for body in responses} == {48}
    announced = [name for body in server.of("update_weights") for name in body["update_info"]["names"]]
    assert len(server.weights) == 3 and announced == [name for weights in server.weights for name in weights]
    # What was sent last is the model that was trained.
    trained = load_file(tmp_path / "job" / "output" / "model.safetensors")
    for name in trained.keys() & server.weights[-1].keys():
        torch.testing.assert_close(server.weights[-1][name].float(), trained[name].float(), rtol=0, atol=1e-6)
    assert any(not torch.equal(server.weights[0][name], server.weights[-1][name]) for name in server.weights[0])
    record = [json.loads(line) for line in (tmp_path / "job" / "record.jsonl").read_text().splitlines()]
    assert [bool(line["evolutions"]) for line in record] == [True, True]
    told = json.loads((tmp_path / "job" / "output" / "training.json").read_text())
    assert told["settings"]["use_vllm"] is True and "vllm_server_base_url" not in told["settings"]


@pytest.mark.parametrize("algorithm", ["rloo", "grpo", "oaif"])
@pytest.mark.usefixtures("server")
def test_what_a_recipe_says_of_vllm_reaches_trls_settings(online: ModuleType, tmp_path: Path, algorithm: str) -> None:
    said = {"vllm_mode": "colocate", "vllm_gpu_memory_utilization": 0.4, "vllm_model_impl": "transformers"}
    _, training, _ = online.parse_arguments(given(tmp_path, algorithm, **said))
    assert {key: getattr(training, key) for key in ("use_vllm", *said)} == {"use_vllm": True, **said}


def test_without_vllm_one_sentence_says_what_is_missing(online: ModuleType, tmp_path: Path) -> None:
    sentence = "`use_vllm` is true, but the package `vllm`, which would sample the responses, is not installed"
    with pytest.raises(SystemExit, match=sentence):
        online.parse_arguments(given(tmp_path, "rloo"))


@pytest.mark.usefixtures("server")
@pytest.mark.parametrize(("key", "value"), [("vllm_tensor_parallel_size", 2), ("vllm_enable_sleep_mode", True)])
def test_an_engine_that_the_creator_cannot_ask_is_refused(
    online: ModuleType, tmp_path: Path, key: str, value: object
) -> None:
    _, training, _ = online.parse_arguments(given(tmp_path, "rloo", **{key: value}))
    import vllm_beside  # type: ignore[import-not-found, unused-ignore]

    with pytest.raises(SystemExit, match=f"`{key}` is {value}, with which"):
        vllm_beside.refuse_divided(training)
