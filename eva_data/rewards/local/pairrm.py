"""PairRM (LLM-Blender, Jiang et al. 2023, arXiv 2306.02561): a DeBERTa that reads a prompt and two responses.

The package llm-blender does not import under transformers 5 (it needs `TRANSFORMERS_CACHE`). So the published weights,
llm-blender/PairRM or llm-blender/PairRM-hf, are loaded into a model of our own, whose weights have the same names.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any

import torch
from torch import nn
from transformers import DebertaV2Config, DebertaV2Model, DebertaV2PreTrainedModel, PreTrainedTokenizerBase

from eva_data.calls import Message, merge_system
from eva_data.errors import ModelError
from eva_data.rewards.local.batches import Item, padded
from eva_data.rewards.local.comparisons import Comparison, Read
from eva_data.rewards.local.conversation import encodable, fitted
from eva_data.rewards.local.loading import LocalModel, dtype_of, load_model, load_tokenizer, read_config
from eva_data.rewards.local.scoring import Loaded

SOURCE, FIRST, SECOND, EITHER = "<|source|>", "<|candidate1|>", "<|candidate2|>", "<|candidate|>"
"""Added tokens, in the order of their ids. The model's judgement is read at the first three."""
LONGEST = 2048
"""Tokens in PairRM's training: 1224 of the prompt and 412 of each response."""
DEBERTA_V3_LARGE = {
    "hidden_size": 1024,
    "num_hidden_layers": 24,
    "num_attention_heads": 16,
    "intermediate_size": 4096,
    "relative_attention": True,
    "position_buckets": 256,
    "norm_rel_ebd": "layer_norm",
    "share_att_key": True,
    "pos_att_type": ["p2c", "c2p"],
    "position_biased_input": False,
}
"""Settings of the encoder, microsoft/deberta-v3-large, which llm-blender/PairRM leaves out."""


class PairRM(DebertaV2PreTrainedModel):
    """How much better the first response is than the second, of shape (rows,). `marks` are the marks' places."""

    def __init__(self, config: DebertaV2Config) -> None:
        super().__init__(config)
        width = config.hidden_size
        self.pretrained_model = DebertaV2Model(config)
        # The layers have the numbers of the published head, in which 0 and 3 are dropout.
        self.head_layer = nn.Sequential(
            nn.Identity(),
            nn.Linear(2 * width, width),
            nn.Tanh(),
            nn.Identity(),
            nn.Linear(width, config.to_dict().get("n_tasks", 1)),
        )
        self.post_init()  # type: ignore[no-untyped-call]

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor, marks: torch.Tensor) -> torch.Tensor:
        states = self.pretrained_model(input_ids, attention_mask=attention_mask).last_hidden_state
        rows = torch.arange(len(input_ids), device=states.device)[:, None]
        source, first, second = states[rows, marks].unbind(1)
        scores = [self.head_layer(torch.cat([source, response], dim=-1)) for response in (first, second)]
        better: torch.Tensor = (scores[0] - scores[1]).mean(-1)
        return better


class Compare:
    """The probability that the first response wins, for each comparison of a batch, in one forward pass."""

    def __init__(self, model: PairRM, *, begin: int, pad: int) -> None:
        self._model = model
        self._begin = begin
        self._pad = pad

    def __call__(self, batch: Sequence[Item]) -> list[float]:
        ids, mask = padded(batch, self._pad, self._model.device)
        # Each of the three texts begins with this token. It is removed from the texts themselves.
        begins = [[place for place, token in enumerate(item.tokens) if token == self._begin] for item in batch]
        marks = torch.tensor(begins, device=ids.device) + 1
        with torch.inference_mode():
            return self._model(ids, mask, marks).float().sigmoid().tolist()  # type: ignore[no-any-return]


def reader(local: LocalModel) -> tuple[Read, Callable[[], Loaded]]:
    """The function that writes comparisons for the model, and the function that loads the model."""
    path = local.path
    config = encoder_config(path, read_config(path))
    tokenizer = load_tokenizer(path, trust_remote_code=False, chat=False)
    tokenizer.add_tokens([SOURCE, FIRST, SECOND, EITHER])
    longest = min(local.block.max_tokens, LONGEST)
    begin, end = _ends(tokenizer, path)

    @lru_cache(maxsize=512)
    def tokens(mark: str, text: str) -> list[int]:
        for special in (*map(str, (tokenizer.cls_token, tokenizer.sep_token)), SOURCE, FIRST, SECOND, EITHER):
            text = text.replace(special, " ")
        found: list[int] = tokenizer(mark + encodable(text), add_special_tokens=False)["input_ids"]
        return [begin, *found, end]

    def read(wanted: Iterable[tuple[bytes, Comparison]]) -> Iterator[Item]:
        for key, (prompt, *responses) in wanted:
            source, answers = texts_of(prompt, responses)
            try:
                parts = [
                    tokens(mark, text) for mark, text in zip((SOURCE, FIRST, SECOND), (source, *answers), strict=True)
                ]
            except UnicodeEncodeError:
                yield Item(key, refused="not_unicode")
            else:
                yield fitted(key, [token for part in parts for token in part], longest)

    def load() -> Loaded:
        # The published folder of llm-blender/PairRM does not state the size of its encoder.
        config.vocab_size = config.vocab_size if "vocab_size" in read_config(path) else len(tokenizer)
        model = load_model(PairRM, local, config=config)
        assert isinstance(model, PairRM)
        return Loaded(Compare(model, begin=begin, pad=tokenizer.pad_token_id or 0), dtype_of(model))

    return read, load


def texts_of(prompt: Sequence[Message], responses: Sequence[str]) -> tuple[str, list[str]]:
    """A prompt and its responses in the form in which llm-blender gives them to PairRM.

    The answers within a conversation of several turns are blanks in the prompt. Each response fills in the blanks.
    """
    if prompt[0]["role"] == "system":
        # The import of its module is slow, because it imports Distilabel.
        prompt = merge_system(prompt)
    asked = [message["content"] for message in prompt if message["role"] == "user"]
    if len(asked) == 1:
        return asked[0], [*responses]
    given = [message["content"] for message in prompt if message["role"] == "assistant"]
    turns = "\n".join(f"USER: {text}\nAssistant: <Response {turn}>" for turn, text in enumerate(asked, 1))
    return f"{_SEVERAL_TURNS}{turns}", [
        "\n".join(f"<Response {turn}>: {text}" for turn, text in enumerate([*given, response], 1))
        for response in responses
    ]


_SEVERAL_TURNS = "Finish the following coversation in each i-th turn by filling in <Response i> with your response."
"""The text before a conversation, with the spelling of llm-blender, in which form PairRM is used."""


def encoder_config(path: str, given: Mapping[str, Any]) -> DebertaV2Config:
    """The encoder's config from a folder's config.json, `given`. Raise ModelError if it is not a PairRM."""
    if given.get("model_type") == "deberta-v2":
        return DebertaV2Config.from_dict(dict(given))
    if given.get("ranker_type") == "pairranker" and str(given.get("model_name")).endswith("deberta-v3-large"):
        return DebertaV2Config.from_dict({**DEBERTA_V3_LARGE, "n_tasks": given.get("n_tasks", 1)})
    raise ModelError(
        f"{path} is no PairRM: `kind: pairrm` needs the folder of llm-blender/PairRM or llm-blender/PairRM-hf, a "
        "DeBERTa-v3-large; a language model that answers A or B is `kind: causal`"
    )


def _ends(tokenizer: PreTrainedTokenizerBase, path: str) -> tuple[int, int]:
    """The tokens at the beginning and the end of a text. Raise ModelError if the tokenizer does not fit the model."""
    begin, end = tokenizer.cls_token_id, tokenizer.sep_token_id
    marks = {"source": SOURCE, "cand1": FIRST, "cand2": SECOND}
    found = {name: tokenizer.convert_tokens_to_ids(mark) for name, mark in marks.items()}
    config = read_config(path)
    expected = {name: config.get(f"{name}_prefix_id", token) for name, token in found.items()}
    if begin is None or end is None or found != expected:
        raise ModelError(
            f"the tokenizer of {path} is not PairRM's: its marks {', '.join(marks.values())} are {[*found.values()]} "
            f"between {begin} and {end}, but the model expects {[*expected.values()]}: take both from one folder"
        )
    return begin, end
