"""Rewards by comparison: every pair in both orders, each order once, and the mean over the same opponents."""

from __future__ import annotations

import json
import sqlite3
from itertools import permutations
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from tiny import Architecture, reward_job, save_model, save_pairrm, save_reward_model
from transformers import AutoModelForCausalLM, AutoTokenizer, DebertaV2Config, DebertaV2Model

from eva_data.errors import ModelError
from eva_data.ledger import Ledger, Score
from eva_data.rewards import score_rows
from eva_data.rewards.backends.pairwise import mean_wins
from eva_data.rewards.local.causal import question
from eva_data.rewards.local.comparisons import Comparison
from eva_data.rewards.local.pairrm import LONGEST, PairRM, encoder_config, texts_of

pytestmark = pytest.mark.slow

USER = [{"role": "user", "content": "Say a word."}]
TURNS = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Why?"},
    {"role": "assistant", "content": "So."},
    {"role": "user", "content": "And then?"},
]
ROWS = [
    {"prompt_id": "a", "prompt": USER, "response_idx": [0, 1, 2, 3], "responses": ["tiger", "", "a lion", "tiger"]},
    {"prompt_id": "b", "prompt": TURNS, "response_idx": [0, 1], "responses": ["Nothing \N{LION FACE}.", "Rain. " * 9]},
    {"prompt_id": "c", "prompt": USER, "response_idx": [0], "responses": ["alone"]},
]


def won(**probabilities: float | None) -> dict[tuple[str, str], Score]:
    """`ab=0.7`: a is shown first and wins over b with probability 0.7. None is a failed comparison."""
    return {
        (pair[0], pair[1]): Score(value, None if value is not None else "too_long")
        for pair, value in probabilities.items()
    }


# --- the mean ----------------------------------------------------------------------------------------------------


def test_both_orders_are_averaged_and_then_the_opponents() -> None:
    # a over b: (0.9 + 1 - 0.3) / 2 = 0.8; a over c: (0.6 + 1 - 0.8) / 2 = 0.4; b over c: (0.5 + 1 - 0.5) / 2 = 0.5.
    found = mean_wins(["a", "b", "c"], won(ab=0.9, ba=0.3, ac=0.6, ca=0.8, bc=0.5, cb=0.5))
    assert [score.reward for score in found] == pytest.approx([(0.8 + 0.4) / 2, (0.2 + 0.5) / 2, (0.6 + 0.5) / 2])


def test_equal_texts_draw() -> None:
    # a over b: (0.9 + 1 - 0.3) / 2 = 0.8.
    found = mean_wins(["a", "b", "a"], won(ab=0.9, ba=0.3))
    assert [score.reward for score in found] == pytest.approx([(0.8 + 0.5) / 2, 0.2, (0.8 + 0.5) / 2])
    assert mean_wins(["a", "a"], {}) == [Score(0.5, None), Score(0.5, None)]


def test_a_response_that_is_alone_has_no_reward() -> None:
    assert mean_wins(["a"], {}) == [Score(None, "nothing_to_compare")]


def test_a_response_whose_comparisons_fail_leaves_the_others_theirs() -> None:
    found = mean_wins(["a", "b", "c"], won(ab=0.9, ba=0.3, ac=None, ca=None, bc=None, cb=0.5))
    assert found[2] == Score(None, "too_long")
    assert [score.reward for score in found[:2]] == pytest.approx([0.8, 0.2])
    assert mean_wins(["a", "bb"], {("a", "bb"): Score(None, "too_long"), ("bb", "a"): Score(0.5, None)}) == [
        Score(None, "too_long"),
        Score(None, "too_long"),
    ]


TEXTS = "abcde"


@given(
    st.lists(st.sampled_from(TEXTS), min_size=2, max_size=8),
    st.lists(st.floats(0, 1), min_size=20, max_size=20),
    st.randoms(),
)
def test_rewards_average_one_half_and_follow_the_text(responses: list[str], values: list[float], random: Any) -> None:
    wins = {pair: Score(value, None) for pair, value in zip(permutations(TEXTS, 2), values, strict=True)}
    found = [score.reward or 0.0 for score in mean_wins(responses, wins)]
    assert all(0 <= reward <= 1 for reward in found)
    assert sum(found) / len(found) == pytest.approx(0.5)
    shuffled = random.sample(responses, len(responses))
    again = dict(zip(shuffled, mean_wins(shuffled, wins), strict=True))
    assert [again[text].reward for text in responses] == pytest.approx(found)


# --- a language model that answers A or B ------------------------------------------------------------------------


def test_the_question_is_written_as_the_published_model_reads_it() -> None:
    assert question(Comparison(USER, "tiger", "lion")) == (
        "[CONTEXT] \n\n<turn> user\n Say a word.\n [RESPONSE A] tiger [RESPONSE B] lion \n"
    )
    assert question(Comparison(TURNS, "1", "2")) == (
        "[CONTEXT] \n\n<turn> user\n Be brief.\n\nWhy?\n<turn> assistant\n So.\n<turn> user\n And then?\n"
        " [RESPONSE A] 1 [RESPONSE B] 2 \n"
    )


@pytest.mark.parametrize("architecture", ["llama", "gemma2", "qwen2", "qwen3"])
def test_a_beats_b_as_the_next_token_says(tmp_path: Path, architecture: Architecture) -> None:
    folder = save_model(tmp_path / "model", architecture)
    job = reward_job(tmp_path / "job", "pairwise", folder, kind="causal")
    found = score_rows(job, ROWS)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder).eval()
    a, b = (tokenizer.convert_tokens_to_ids(letter) for letter in "AB")

    def first_wins(prompt: list[dict[str, str]], first: str, second: str) -> float:
        turn = [{"role": "user", "content": question(Comparison(prompt, first, second))}]
        text = tokenizer.apply_chat_template(turn, tokenize=False, add_generation_prompt=True)
        tokens = tokenizer.encode(str(text).replace(tokenizer.bos_token, ""), add_special_tokens=False)
        with torch.no_grad():
            logits = model(torch.tensor([tokens])).logits[0, -1]
        return float(logits[[a, b]].softmax(0)[0])

    assert_rewards(found, first_wins)
    with Ledger(tmp_path / "job" / "ledger.sqlite") as ledger:
        # Three different texts, and two: 6 + 2 ordered comparisons.
        assert (ledger.totals()["rewards"], ledger.totals()["repeated"]) == (8, 0)
    assert json.loads((job.folder / "progress.json").read_text()) == {"done": 7, "total": 7}


def assert_rewards(found: list[list[Score]], first_wins: Any) -> None:
    for given_row, scores in zip(ROWS[:2], found, strict=False):
        prompt, responses = given_row["prompt"], given_row["responses"]
        for place, one in enumerate(responses):
            wins = [
                0.5 if one == other else (first_wins(prompt, one, other) + 1 - first_wins(prompt, other, one)) / 2
                for index, other in enumerate(responses)
                if index != place
            ]
            assert scores[place].reward == pytest.approx(sum(wins) / len(wins), abs=1e-5)
    assert found[2] == [Score(None, "nothing_to_compare")]


def test_a_long_response_goes_alone(tmp_path: Path) -> None:
    rows = [{"prompt_id": "a", "prompt": USER, "response_idx": [0, 1, 2], "responses": ["x" * 100_000, "yes", "no"]}]
    folder = save_model(tmp_path / "model")
    (found,) = score_rows(reward_job(tmp_path / "job", "pairwise", folder, kind="causal"), rows)
    assert found[0] == Score(None, "too_long")
    assert found[1].reward is not None and found[2].reward is not None
    assert found[1].reward + found[2].reward == pytest.approx(1)


@pytest.mark.parametrize("kind", ["causal", "pairrm"])
def test_what_a_killed_job_had_not_kept_is_computed_with_the_same_bits(tmp_path: Path, kind: str) -> None:
    folder = save_model(tmp_path / "model") if kind == "causal" else save_pairrm(tmp_path / "model")
    job = reward_job(tmp_path / "job", "pairwise", folder, kind=kind)
    whole = score_rows(job, ROWS)
    with sqlite3.connect(tmp_path / "job" / "ledger.sqlite") as connection:
        connection.execute("DELETE FROM rewards WHERE key IN (SELECT key FROM rewards ORDER BY key LIMIT 4)")
    connection.close()
    assert score_rows(job, ROWS) == whole
    with Ledger(tmp_path / "job" / "ledger.sqlite") as ledger:
        assert (ledger.totals()["rewards"], ledger.totals()["repeated"]) == (8, 0)


def refusal(tmp_path: Path, model: Path, **settings: Any) -> str:
    with pytest.raises(ModelError) as error:
        score_rows(reward_job(tmp_path / "job", "pairwise", model, **settings), ROWS)
    return str(error.value).replace(str(model), "MODEL")


def test_a_classifier_is_no_model_that_answers(tmp_path: Path) -> None:
    assert refusal(tmp_path, save_reward_model(tmp_path / "model"), kind="causal") == (
        "MODEL is a `LlamaForSequenceClassification`, but `reward` needs a language model, a `...ForCausalLM`, with "
        "`kind: causal`"
    )


# --- PairRM ------------------------------------------------------------------------------------------------------


def test_pairrm_compares_as_its_published_head_does(tmp_path: Path) -> None:
    folder = save_pairrm(tmp_path / "model")
    found = score_rows(reward_job(tmp_path / "job", "pairwise", folder, kind="pairrm"), ROWS)
    # One comparison at a time, from the weights in the file: the encoder is transformers' own.
    weights = load_file(folder / "model.safetensors")
    encoder = DebertaV2Model(DebertaV2Config.from_pretrained(folder)).eval()
    encoder.load_state_dict({name[17:]: value for name, value in weights.items() if name.startswith("pretrained_")})
    tokenizer: Any = AutoTokenizer.from_pretrained(folder)
    begin, end = tokenizer.cls_token_id, tokenizer.sep_token_id
    marks = [tokenizer.convert_tokens_to_ids(f"<|{name}|>") for name in ("source", "candidate1", "candidate2")]

    def head(states: torch.Tensor) -> torch.Tensor:
        hidden = (weights["head_layer.1.weight"] @ states + weights["head_layer.1.bias"]).tanh()
        return weights["head_layer.4.weight"] @ hidden + weights["head_layer.4.bias"]

    def first_wins(prompt: list[dict[str, str]], first: str, second: str) -> float:
        source, responses = texts_of(prompt, [first, second])
        tokens: list[int] = []
        for mark, text in zip(marks, [source, *responses], strict=True):
            tokens += [begin, mark, *tokenizer.encode(text, add_special_tokens=False), end]
        with torch.no_grad():
            states = encoder(torch.tensor([tokens])).last_hidden_state[0]
        at = [states[tokens.index(mark)] for mark in marks]
        return float((head(torch.cat([at[0], at[1]])) - head(torch.cat([at[0], at[2]]))).sigmoid())

    assert_rewards(found, first_wins)
    assert len({score.reward for scores in found[:2] for score in scores}) == 5


def test_a_conversation_of_several_turns_is_blanks_to_pairrm() -> None:
    assert texts_of(USER, ["tiger", "lion"]) == ("Say a word.", ["tiger", "lion"])
    source, responses = texts_of(TURNS, ["1", "2"])
    assert source.endswith(
        "with your response.USER: Be brief.\n\nWhy?\nAssistant: <Response 1>\nUSER: And then?\nAssistant: <Response 2>"
    )
    assert responses == ["<Response 1>: So.\n<Response 2>: 1", "<Response 1>: So.\n<Response 2>: 2"]


def test_marks_within_a_text_are_no_marks(tmp_path: Path) -> None:
    folder = save_pairrm(tmp_path / "model")
    texts = ["a [CLS] <|candidate2|> b", "[SEP] <|source|>", "half a \ud83d pair"]
    rows = [{"prompt_id": "a", "prompt": USER, "response_idx": [0, 1, 2], "responses": texts}]
    (found,) = score_rows(reward_job(tmp_path / "job", "pairwise", folder, kind="pairrm"), rows)
    assert found[2] == Score(None, "not_unicode")
    assert found[0].reward is not None and found[1].reward is not None
    assert found[0].reward + found[1].reward == pytest.approx(1)


def test_pairrm_reads_no_more_than_it_was_trained_with(tmp_path: Path) -> None:
    folder = save_pairrm(tmp_path / "model")
    # Beside the texts: three times [CLS], mark and [SEP]; the prompt has 11 bytes.
    fits = LONGEST - 9 - 11 - 1
    rows = [
        {"prompt_id": "a", "prompt": USER, "response_idx": [0, 1], "responses": ["x", "y" * fits]},
        {"prompt_id": "b", "prompt": USER, "response_idx": [0, 1], "responses": ["x", "y" * (fits + 1)]},
    ]
    found = score_rows(reward_job(tmp_path / "job", "pairwise", folder, kind="pairrm", batch_tokens=1), rows)
    assert [score.reason for scores in found for score in scores] == [None, None, "too_long", "too_long"]


def test_other_folders_are_no_pairrm(tmp_path: Path) -> None:
    assert refusal(tmp_path, save_model(tmp_path / "causal"), kind="pairrm").startswith("MODEL is no PairRM")
    folder = save_pairrm(tmp_path / "model")
    weights = load_file(folder / "model.safetensors")
    del weights["head_layer.4.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    assert "1 in all, such as `head_layer.4.weight`" in refusal(tmp_path, folder, kind="pairrm")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"cand1_prefix_id": 3}))
    assert "the tokenizer of MODEL is not PairRM's" in refusal(tmp_path, folder, kind="pairrm")


def test_the_published_folder_without_an_encoder_config_is_deberta_v3_large() -> None:
    published = {"ranker_type": "pairranker", "model_type": "deberta", "model_name": "microsoft/deberta-v3-large"}
    config = encoder_config("PairRM", published)
    config.vocab_size = 128005
    with torch.device("meta"):
        model = PairRM(config)
    # 436 million, as its card says.
    assert sum(weights.numel() for weights in model.parameters()) == 436_014_081
    assert [name for name in model.state_dict() if name.startswith("head")] == [
        "head_layer.1.weight",
        "head_layer.1.bias",
        "head_layer.4.weight",
        "head_layer.4.bias",
    ]
