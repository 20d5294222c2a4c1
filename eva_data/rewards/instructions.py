"""A ready verifier: whether a response follows the instructions of IFEval (arXiv 2311.07911), which a program checks.

The checks come from the package `if-verifiable`, which holds the benchmark's own checks.
"""

from __future__ import annotations

import json
import logging
import random
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

from eva_data.errors import DataError, MissingExtraError

_NEED_SENTENCES = {"length_constraints:number_sentences", "change_case:capital_word_frequency"}


def follows(prompt: str, response: str, answer: str) -> float | None:
    """The share of a prompt's instructions that a response follows, from 0 to 1, in the benchmark's strict sense.

    `answer` is the JSON of {"instruction_id_list": [...], "kwargs": [{...}, ...]}, as in IFEval's data. The result is
    None if there is no instruction, or if an instruction leaves open what to check, since the benchmark's code would
    then draw it at random. An empty response follows no instruction. Raise DataError for an answer of another form, and
    if an instruction needs NLTK's `punkt_tab`, which eva-data does not download.
    """
    try:
        import langdetect
        from if_verifiable import IFEvalSample, evaluate_output_for_sample
    except ModuleNotFoundError:
        raise MissingExtraError.of("if-verifiable", "ifeval") from None
    names, arguments, is_definite = _instructions(answer)
    if not is_definite:
        return None
    # langdetect draws at random too. Without a seed, it may say English one time and Dutch another time.
    langdetect.DetectorFactory.seed = 0
    sample = IFEvalSample(key=0, prompt=prompt, instruction_id_list=list(names), kwargs=list(arguments))
    with _undisturbed():
        _, scores = evaluate_output_for_sample("ifeval", sample, response)
    return float(scores.partial_strict)


@lru_cache(maxsize=1024)
def _instructions(answer: str) -> tuple[tuple[str, ...], tuple[dict[str, Any], ...], bool]:
    """Names and arguments of the instructions, and whether the arguments are complete."""
    from if_verifiable.ifeval import INSTRUCTION_DICT

    names, arguments = _read(answer)
    for name in names:
        if name not in INSTRUCTION_DICT:
            raise DataError(f"IFEval has no instruction `{name}`, only {', '.join(sorted(INSTRUCTION_DICT))}")
    if not _NEED_SENTENCES.isdisjoint(names):
        _require_sentences()
    with _undisturbed():
        before = random.getstate()
        for name, given in zip(names, arguments, strict=True):
            INSTRUCTION_DICT[name](name).build_description(**given)
        is_definite = bool(names) and random.getstate() == before
    return names, arguments, is_definite


def _read(answer: str) -> tuple[tuple[str, ...], tuple[dict[str, Any], ...]]:
    try:
        found = json.loads(answer)
        names = [str(name) for name in found["instruction_id_list"]]
        # If all instructions have the same columns, an argument that an instruction does not take is None.
        arguments = [
            {key: value for key, value in (given or {}).items() if value is not None} for given in found["kwargs"]
        ]
    except (ValueError, TypeError, KeyError, AttributeError):
        names, arguments = [], [{}]
    if len(names) != len(arguments):
        raise DataError(
            f"the reference answer `{answer[:200]}` says no instructions: "
            'it must be JSON like {"instruction_id_list": ["punctuation:no_comma"], "kwargs": [{}]}'
        )
    return tuple(names), tuple(arguments)


def _require_sentences() -> None:
    import nltk

    try:
        nltk.data.find("tokenizers/punkt_tab")
    except LookupError:
        raise DataError(
            f"{' and '.join(sorted(_NEED_SENTENCES))} need NLTK's `punkt_tab`, which is not on this machine: run "
            "`python -m nltk.downloader punkt_tab` once, or take these prompts out"
        ) from None


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Restore the global random generator afterwards, and keep whole responses out of the log."""
    state, level = random.getstate(), logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        yield
    finally:
        logging.disable(level)
        random.setstate(state)
