"""Rewards by a classification model: the model's own scores, in batches with little waste and no loss."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import time
from array import array
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from tiny import (
    Architecture,
    reward_job,
    save_armorm,
    save_model,
    save_own_code,
    save_pairrm,
    save_reward_model,
)
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from eva_data.errors import ModelError
from eva_data.files import write_parquet
from eva_data.jobs.job import INPUT, OUTPUT, Job
from eva_data.ledger import Ledger, Score
from eva_data.rewards import score_rows
from eva_data.rewards.local.batches import MOST_PADDING, Halving, Item, cut, padded, padding
from eva_data.rewards.local.conversation import write
from eva_data.rewards.local.scoring import Loaded, scores

pytestmark = pytest.mark.slow

TINY = (
    "from transformers import LlamaForSequenceClassification\n\n\nclass TinyReward(LlamaForSequenceClassification):\n"
)
BATCH_MEAN = TINY + (
    "    def forward(self, input_ids, attention_mask=None, **options):\n"
    "        output = super().forward(input_ids=input_ids, attention_mask=attention_mask, **options)\n"
    "        output.logits = output.logits - output.logits.mean()\n"
    "        return output\n"
)
OWN_SCORE = (
    "from dataclasses import dataclass\n"
    "import torch\n"
    "from transformers.utils import ModelOutput\n"
    "from transformers import LlamaForSequenceClassification\n\n\n"
    "@dataclass\n"
    "class Scored(ModelOutput):\n"
    "    score: torch.Tensor | None = None\n"
    "    logits: torch.Tensor | None = None\n\n\n"
    "class TinyReward(LlamaForSequenceClassification):\n"
    "    def forward(self, input_ids, attention_mask=None, **options):\n"
    "        output = super().forward(input_ids=input_ids, attention_mask=attention_mask, **options)\n"
    "        objectives = output.logits.expand(-1, 3)\n"
    "        return Scored(score=objectives.sum(1), logits=objectives)\n"
)
"""As ArmoRM's does: a `score` for each text beside the logits of several objectives."""
NO_MEMORY = TINY + (
    "    rows, tokens, calls = 2, 200, []\n\n"
    "    def forward(self, input_ids, attention_mask=None, **options):\n"
    "        type(self).calls.append(tuple(input_ids.shape))\n"
    "        if len(input_ids) > self.rows or input_ids.shape[1] > self.tokens:\n"
    "            import torch\n\n"
    "            torch.empty(1 << 50, dtype=torch.uint8)\n"
    "        return super().forward(input_ids=input_ids, attention_mask=attention_mask, **options)\n"
)
"""Asks for a petabyte where there are more than two rows or more than 200 tokens."""
NOT_A_NUMBER = TINY + (
    "    def forward(self, input_ids, attention_mask=None, **options):\n"
    "        output = super().forward(input_ids=input_ids, attention_mask=attention_mask, **options)\n"
    "        output.logits[(input_ids == input_ids.new_tensor(ord('?') - 33)).any(1)] = float('nan')\n"
    "        return output\n"
)
"""No number where the text holds a question mark, which is letter 30 of the byte-level alphabet."""
SLOW = TINY + (
    "    def forward(self, input_ids, attention_mask=None, **options):\n"
    "        import time\n\n"
    "        time.sleep(0.03)\n"
    "        return super().forward(input_ids=input_ids, attention_mask=attention_mask, **options)\n"
)


@pytest.fixture(autouse=True)
def _code_of_models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The folder to which transformers copies a model's own code."""
    modules = tmp_path / "modules"
    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(modules))
    monkeypatch.setenv("HF_MODULES_CACHE", str(modules))
    monkeypatch.syspath_prepend(str(modules))
    for name in [name for name in sys.modules if name.startswith("transformers_modules")]:
        monkeypatch.delitem(sys.modules, name)


def row(prompt: str, *responses: str, history: list[dict[str, str]] | None = None) -> dict[str, Any]:
    return {
        "prompt_id": prompt,
        "prompt": [*(history or []), {"role": "user", "content": prompt}],
        "response_idx": [*range(len(responses))],
        "responses": [*responses],
    }


ROWS = [
    row("Say a word.", "tiger", "", "A word: tiger, and many more of them follow here.", "tiger"),
    row("Why?", "Because. " * 12, "Zebras have stripes \N{LION FACE}."),
    row("And then?", "Nothing.", history=[{"role": "user", "content": "A?"}, {"role": "assistant", "content": "B"}]),
]


def rewards(scores: list[list[Score]]) -> list[float]:
    assert all(score.reason is None for found in scores for score in found)
    return [score.reward for found in scores for score in found if score.reward is not None]


def own_scores(folder: Path, rows: list[dict[str, Any]]) -> list[float]:
    """The model's own scores, one text at a time, without eva-data."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForSequenceClassification.from_pretrained(folder, trust_remote_code=True).eval()
    found = []
    for given_row in rows:
        for response in given_row["responses"]:
            messages = [*given_row["prompt"], {"role": "assistant", "content": response}]
            tokens = tokenizer(tokenizer.apply_chat_template(messages, tokenize=False), add_special_tokens=False)
            with torch.no_grad():
                output = model(torch.tensor([tokens["input_ids"]]))
            found.append((output["score"] if "score" in output else output["logits"]).item())
    return found


# --- the scores --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("architecture", ["llama", "gemma2", "qwen2", "qwen3"])
@pytest.mark.parametrize("pad", [True, False])
def test_scores_are_the_models_own_of_each_text_alone(tmp_path: Path, architecture: Architecture, pad: bool) -> None:
    model = save_reward_model(tmp_path / "model", architecture, pad=pad)
    found = rewards(score_rows(reward_job(tmp_path / "job", "classifier", model), ROWS))
    assert found == pytest.approx(own_scores(model, ROWS), abs=1e-5)
    assert len({round(value, 3) for value in found}) == 6  # seven responses, two of which are equal


def test_a_model_with_a_score_of_its_own_is_read_by_it(tmp_path: Path) -> None:
    model = save_own_code(tmp_path / "own_score", OWN_SCORE)
    found = rewards(score_rows(reward_job(tmp_path / "job", "classifier", model, trust_remote_code=True), ROWS))
    assert found == pytest.approx(own_scores(model, ROWS), abs=1e-5)


def test_armorm_is_scored_without_the_code_it_brings(tmp_path: Path) -> None:
    model = save_armorm(tmp_path / "armorm")
    found = rewards(score_rows(reward_job(tmp_path / "job", "classifier", model), ROWS))
    # Its published arithmetic, one text at a time, from the weights in the file.
    weights = load_file(model / "model.safetensors")
    backbone = AutoModelForSequenceClassification.from_pretrained(save_reward_model(tmp_path / "any")).model
    backbone.resize_token_embeddings(weights["model.embed_tokens.weight"].shape[0])
    backbone.load_state_dict({name[6:]: value for name, value in weights.items() if name.startswith("model.")})
    tokenizer = AutoTokenizer.from_pretrained(model)
    turn = tokenizer.encode("<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n", add_special_tokens=False)
    expected = []
    for given_row in ROWS:
        for response in given_row["responses"]:
            text = write(tokenizer, [*given_row["prompt"], {"role": "assistant", "content": response}])
            tokens = tokenizer.encode(text, add_special_tokens=False)
            prompt_end = max(at for at in range(len(tokens)) if tokens[at : at + len(turn)] == turn)
            with torch.no_grad():
                states = backbone(torch.tensor([tokens])).last_hidden_state[0]
            objectives = weights["regression_layer.weight"] @ states[-1] @ weights["reward_transform_matrix"]
            hidden = states[prompt_end]
            for layer in (0, 1):
                hidden = (
                    weights[f"gating.layers.{layer}.weight"] @ hidden + weights[f"gating.layers.{layer}.bias"]
                ).relu()
            gate = weights["gating.layers.2.weight"] @ hidden + weights["gating.layers.2.bias"]
            expected.append(((gate / 10).softmax(0) * objectives).sum().item())
    assert found == pytest.approx(expected, abs=1e-5)


def test_half_precision_is_checked_with_its_own_bound(tmp_path: Path) -> None:
    model = save_reward_model(tmp_path / "model")
    found = rewards(score_rows(reward_job(tmp_path / "job", "classifier", model, dtype="bfloat16"), ROWS))
    assert found == pytest.approx(own_scores(model, ROWS), abs=0.1)


def test_the_template_alone_writes_special_tokens_and_a_refused_system_message_is_merged(tmp_path: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(save_reward_model(tmp_path / "model", "gemma2"))
    conversation = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Why?"},
        {"role": "assistant", "content": "So."},
    ]
    assert write(tokenizer, conversation) == (
        "<bos><start_of_turn>user\nBe brief.\n\nWhy?<end_of_turn>\n<start_of_turn>model\nSo.<end_of_turn>\n"
    )
    assert write(tokenizer, conversation[:2], ask=True) == (
        "<bos><start_of_turn>user\nBe brief.\n\nWhy?<end_of_turn>\n<start_of_turn>model\n"
    )


def test_what_cannot_be_scored_says_why_and_takes_nothing_with_it(tmp_path: Path) -> None:
    model = save_reward_model(tmp_path / "model", "gemma2")
    rows = [
        row("Say it.", "yes", "x" * 100_000, "half a \ud83d pair", ""),
        row("Say it.", "no", history=[{"role": "user", "content": "A"}, {"role": "system", "content": "late"}]),
    ]
    job = reward_job(tmp_path / "job", "classifier", model)
    found = score_rows(job, rows)
    assert [score.reason for score in found[0]] == [None, "too_long", "not_unicode", None]
    assert [score.reason for score in found[1]] == ["chat_template_refuses: System role not supported"]
    assert [found[0][0].reward, found[0][3].reward] == pytest.approx(
        own_scores(model, [row("Say it.", "yes", "")]), abs=1e-5
    )
    assert json.loads((job.folder / "progress.json").read_text()) == {"done": 5, "total": 5}


def test_a_score_that_is_no_number_is_kept_as_such(tmp_path: Path) -> None:
    model = save_own_code(tmp_path / "not_a_number", NOT_A_NUMBER)
    rows = [row("Say it.", "yes", "really?", "no", "what?")]
    job = reward_job(tmp_path / "job", "classifier", model, trust_remote_code=True)
    (found,) = score_rows(job, rows)
    assert [score.reason for score in found] == [None, "not_finite", None, "not_finite"]
    plain = own_scores(save_reward_model(tmp_path / "plain"), [row("Say it.", "yes", "no")])
    assert [found[0].reward, found[2].reward] == pytest.approx(plain, abs=1e-5)
    assert score_rows(job, rows) == [found]


# --- batches -----------------------------------------------------------------------------------------------------


@given(st.lists(st.integers(1, 500), max_size=80), st.integers(1, 3000))
def test_batches_hold_each_text_once_within_the_budget_and_with_little_padding(lengths: list[int], budget: int) -> None:
    items = [Item(str(place).encode(), array("i", [7] * length)) for place, length in enumerate(lengths)]
    batches = [*cut(items, budget)]
    assert sorted(item.key for batch in batches for item in batch) == sorted(item.key for item in items)
    for batch in batches:
        assert len(batch) == 1 or len(batch) * max(len(item.tokens) for item in batch) <= budget
        assert padding([batch]) <= MOST_PADDING + 1e-9
    assert [*cut(items[::-1], budget)] == batches


def test_padding_is_on_the_right_and_masked() -> None:
    ids, mask = padded([Item(b"a", array("i", [5, 6, 7])), Item(b"b", array("i", [8]))], 0, torch.device("cpu"))
    assert ids.tolist() == [[5, 6, 7], [8, 0, 0]]
    assert mask.tolist() == [[1, 1, 1], [1, 0, 0]]


def test_a_batch_without_memory_is_halved_until_it_fits(tmp_path: Path) -> None:
    model = save_own_code(tmp_path / "no_memory", NO_MEMORY)
    rows = [row("Say it.", *(f"{number:03}" for number in range(7)), "x" * 400)]
    job = reward_job(tmp_path / "job", "classifier", model, trust_remote_code=True)
    (found,) = score_rows(job, rows)
    assert found[7] == Score(None, "gave_up: no memory for 428 tokens")
    plain = save_reward_model(tmp_path / "plain")
    assert rewards([found[:7]]) == pytest.approx(own_scores(plain, rows)[:7], abs=1e-5)
    with Ledger(tmp_path / "job" / "ledger.sqlite") as ledger:
        assert ledger.totals()["rewards"] == 7  # what may pass is asked again


def test_a_size_that_did_not_fit_is_not_tried_again() -> None:
    tried: list[int] = []

    def compute(batch: Any) -> list[float]:
        tried.append(len(batch))
        if len(batch) > 3:
            torch.empty(1 << 50, dtype=torch.uint8)
        return [float(item.key) for item in batch]

    items = [Item(str(place).encode(), array("i", [1] * 10)) for place in range(12)]
    compute_halving = Halving(compute)
    assert compute_halving(items) == [float(place) for place in range(12)]
    assert compute_halving(items) == [float(place) for place in range(12)]
    assert tried == [12, 6, 3, 3, 3, 3, 3, 3, 3, 3]


def test_texts_that_come_in_several_windows_are_all_scored(tmp_path: Path) -> None:
    lengths = [3, 1, 4, 1, 5, 9, 2, 6]
    items = [Item(str(place).encode(), array("i", [7] * length)) for place, length in enumerate(lengths)]
    batches: list[int] = []

    def compute(batch: Any) -> list[float]:
        batches.append(len(batch))
        return [float(len(item.tokens)) for item in batch]

    def given(*found: Item) -> dict[str, Any]:
        return {"responses": ["" for _ in found], "items": found}

    refused = Item(b"refused", refused="too_long")
    # Two texts are in several rows, far apart. Each is scored once.
    rows = [given(*items[:3]), given(*items[3:], refused), given(), given(refused, items[0], items[7])]
    found = scores(
        reward_job(tmp_path / "job", "classifier", tmp_path, batch_tokens=1),
        rows,
        lambda row: [(item.key, item) for item in row["items"]],
        lambda wanted: (item for _, item in wanted),
        lambda: Loaded(compute, "float32"),
        window_tokens=8,
    )
    by_key = {
        **{item.key: Score(float(len(item.tokens)), None) for item in items},
        b"refused": Score(None, "too_long"),
    }
    assert [*found] == [[by_key[item.key] for item in row["items"]] for row in rows]
    assert batches == [1] * 8
    assert (tmp_path / "job" / "progress.json").read_text() == '{"done": 12, "total": 12}'


def test_other_errors_of_a_model_are_not_taken_for_want_of_memory() -> None:
    def compute(batch: Any) -> list[float]:
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    with pytest.raises(RuntimeError, match="cannot be multiplied"):
        Halving(compute)([Item(b"a", array("i", [1]))])


def test_a_model_beside_which_no_text_fits_is_refused(tmp_path: Path) -> None:
    model = save_own_code(tmp_path / "no_memory_at_all", NO_MEMORY.replace("2, 200", "0, 0"))
    with pytest.raises(ModelError, match=r"not one text fits in memory .* `reward\.device` or `reward\.dtype`"):
        score_rows(reward_job(tmp_path / "job", "classifier", model, trust_remote_code=True), [row("Why?", "So.")])


def test_a_model_whose_score_depends_on_the_batch_is_refused(tmp_path: Path) -> None:
    model = save_own_code(tmp_path / "batch_mean", BATCH_MEAN)
    job = reward_job(tmp_path / "job", "classifier", model, trust_remote_code=True)
    with pytest.raises(ModelError, match=r"gives a text 0\.0 alone and .* may differ by 0\.0001") as error:
        score_rows(job, ROWS)
    assert "set `reward.dtype: float32` or a wider `reward.invariance`, else `reward.batch_tokens: 1`" in str(
        error.value
    )
    with Ledger(tmp_path / "job" / "ledger.sqlite") as ledger:
        assert ledger.totals()["rewards"] == 0
    alone = reward_job(tmp_path / "alone", "classifier", model, trust_remote_code=True, batch_tokens=1)
    assert rewards(score_rows(alone, ROWS)) == [0.0] * 7
    wide = reward_job(tmp_path / "wide", "classifier", model, trust_remote_code=True, invariance=1e6)
    assert len(rewards(score_rows(wide, ROWS))) == 7


# --- models that are not what they should be ---------------------------------------------------------------------


def refusal(tmp_path: Path, model: Path, **settings: Any) -> str:
    with pytest.raises(ModelError) as error:
        score_rows(reward_job(tmp_path / "job", "classifier", model, **settings), ROWS)
    return str(error.value).replace(str(model), "MODEL")


def test_code_of_a_model_runs_only_where_it_was_allowed(tmp_path: Path) -> None:
    code = OWN_SCORE + f"\n\nopen({str(tmp_path / 'ran')!r}, 'w').close()\n"
    model = save_own_code(tmp_path / "own_code", code)
    assert refusal(tmp_path, model) == (
        "the reward model MODEL is a `TinyReward`, which its own code defines: read that code, and set "
        "`reward.trust_remote_code: true` to run it"
    )
    assert not (tmp_path / "ran").exists()
    rewards(score_rows(reward_job(tmp_path / "job", "classifier", model, trust_remote_code=True), ROWS))
    assert (tmp_path / "ran").exists()


def test_code_that_does_not_run_with_this_transformers_says_so(tmp_path: Path) -> None:
    model = save_own_code(tmp_path / "old_code", "from transformers.utils.hub import TRANSFORMERS_CACHE\n" + OWN_SCORE)
    assert "cannot be loaded: cannot import name 'TRANSFORMERS_CACHE'" in refusal(
        tmp_path, model, trust_remote_code=True
    )


def test_a_language_model_is_no_classifier(tmp_path: Path) -> None:
    assert refusal(tmp_path, save_model(tmp_path / "model")) == (
        "MODEL is a `LlamaForCausalLM`, but `reward` needs a model with a reward head, a `...ForSequenceClassification`"
    )


def test_no_weight_of_a_reward_model_is_left_to_chance(tmp_path: Path) -> None:
    model = save_reward_model(tmp_path / "model")
    weights = load_file(model / "model.safetensors")
    del weights["score.weight"]
    save_file(weights, model / "model.safetensors", metadata={"format": "pt"})
    assert refusal(tmp_path, model) == (
        "the reward model MODEL lacks weights of a LlamaForSequenceClassification, or has them in another size, 1 in "
        "all, such as `score.weight`: it is no reward model of this kind"
    )


def test_several_labels_are_no_reward(tmp_path: Path) -> None:
    found = refusal(tmp_path, save_reward_model(tmp_path / "model", labels=2))
    assert found.startswith("the reward model MODEL gives `logits` of shape (1, 2) for 1 texts: a reward is one number")


def test_a_model_without_a_chat_template_and_one_of_another_kind_are_refused(tmp_path: Path) -> None:
    model = save_reward_model(tmp_path / "model")
    (model / "chat_template.jinja").unlink()
    assert refusal(tmp_path, model).startswith("the reward model MODEL has no chat template")
    assert "`PairRM`, which transformers" in refusal(tmp_path, save_chatting_pairrm(tmp_path / "pairrm"))


def save_chatting_pairrm(folder: Path) -> Path:
    save_pairrm(folder)
    (folder / "chat_template.jinja").write_text("{{ messages[-1].content }}")
    return folder


def test_a_device_that_is_not_there_is_named(tmp_path: Path) -> None:
    if torch.cuda.is_available():
        pytest.skip("this machine has one")
    found = refusal(tmp_path, save_reward_model(tmp_path / "model"), device="cuda")
    assert found.startswith("the reward model MODEL cannot be put on `reward.device` = cuda: ")


# --- nothing twice -----------------------------------------------------------------------------------------------

MANY = [row(f"Say {number}.", *(f"{number} " * times for times in range(1, 7))) for number in range(60)]


def test_equal_responses_are_scored_once_and_a_rerun_scores_nothing(tmp_path: Path) -> None:
    model = save_reward_model(tmp_path / "model")
    job = reward_job(tmp_path / "job", "classifier", model)
    first = score_rows(job, ROWS)
    with Ledger(tmp_path / "job" / "ledger.sqlite") as ledger:
        assert (ledger.totals()["rewards"], ledger.totals()["repeated"]) == (6, 0)
    # The weights are gone: nothing can be computed any more.
    (model / "model.safetensors").unlink()
    assert score_rows(job, ROWS) == first


def test_a_killed_job_ends_with_the_same_bits_and_nothing_repeated(tmp_path: Path) -> None:
    model = save_own_code(tmp_path / "slow", SLOW)
    whole = score_rows(reward_job(tmp_path / "whole", "classifier", model, trust_remote_code=True), MANY)
    job = reward_job(tmp_path / "job", "classifier", model, trust_remote_code=True)
    job.save()
    texts = pl.DataFrame({"row": [json.dumps(given_row) for given_row in MANY]})
    write_parquet(job.folder / INPUT, texts.to_arrow())
    command = [sys.executable, "-m", "eva_data.jobs.child", str(job.folder)]
    child = subprocess.Popen(command, env=os.environ | {"PYTHONWARNINGS": "ignore"}, stderr=subprocess.DEVNULL)
    kept = 0
    while kept < 60 and child.poll() is None:
        time.sleep(0.02)
        kept = rewards_in(job)
    child.send_signal(signal.SIGKILL)
    child.wait()
    assert 60 <= rewards_in(job) < 360
    subprocess.run(command, check=True, env=os.environ | {"PYTHONWARNINGS": "ignore"}, stderr=subprocess.DEVNULL)
    results = pl.read_parquet(job.folder / OUTPUT)["result"].to_list()
    assert [[Score(*score) for score in json.loads(result)] for result in results] == whole
    assert all(math.isfinite(score.reward or math.nan) for scores in whole for score in scores)
    with Ledger(tmp_path / "job" / "ledger.sqlite") as ledger:
        assert (ledger.totals()["rewards"], ledger.totals()["repeated"]) == (360, 0)


def rewards_in(job: Job) -> int:
    if not (job.folder / "ledger.sqlite").exists():
        return 0
    with Ledger(job.folder / "ledger.sqlite") as ledger:
        return ledger.totals()["rewards"]
