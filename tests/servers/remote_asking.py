"""A remote model with a ledger of its own, and its completions for prompts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from misbehaving import Misbehaving

from eva_data.calls import Chain, Completion, Request
from eva_data.models.remote.llm import RemoteLLM


def remote(folder: Path, *servers: Misbehaving | str, **fields: Any) -> RemoteLLM:
    """The model of these servers or URLs, with its ledger in `folder`."""
    urls = [server if isinstance(server, str) else server.url for server in servers]
    common: dict[str, Any] = {
        "fingerprint": "tiny@1",
        "engine": {},
        "sampling": {"temperature": 0.7, "top_p": 0.9, "max_tokens": 16},
        "max_prompt_tokens": 1000,
        "system": "keep",
        "seed": 0,
        "stage": "respond",
        "iteration": 1,
        "ledger": str(folder / "ledger.sqlite"),
        "progress": str(folder / "progress.json"),
        "model": "tiny",
        "urls": urls,
        "max_in_flight": 8,
        "canary": False,
        "further_rounds": (0.1, 0.1),
    }
    return RemoteLLM(**common | fields)


def ask(llm: RemoteLLM, prompts: Sequence[str], n: int = 1, system: str | None = None) -> list[list[Completion]]:
    """The n completions of each prompt, in order."""

    def chain(prompt: str) -> Chain[list[Completion]]:
        head = [] if system is None else [{"role": "system", "content": system}]
        messages = (*head, {"role": "user", "content": prompt})
        return (yield [Request(messages, index) for index in range(n)])

    llm.load()
    try:
        return llm.drive([chain(prompt) for prompt in prompts], len(prompts) * n)
    finally:
        llm.unload()


def texts(answers: Sequence[Sequence[Completion]]) -> list[list[str | None]]:
    return [[completion.text for completion in completions] for completions in answers]


def errors(answers: Sequence[Sequence[Completion]]) -> list[list[str | None]]:
    return [[completion.error for completion in completions] for completions in answers]
