"""Writes the sandbox model's card from measurements."""

from collections.abc import Mapping, Sequence
from pathlib import Path

_HEAD = """\
---
license: apache-2.0
library_name: transformers
pipeline_tag: text-generation
language: en
tags:
- llama
- eva-data
- evol-instruct
- sandbox
---

# eva-data sandbox model

A tiny Llama that plays both parts of the creator/solver game of *Evolving Alignment via Asymmetric
Self-Play* ([arXiv 2411.00062](https://arxiv.org/abs/2411.00062)) in the sandbox world of eva-data: it
answers instructions such as "Write the word tiger backwards, then put it in capital letters.", and it
rewrites them when asked through the evol-instruct templates of
[Distilabel](https://github.com/argilla-io/distilabel). It knows nothing else.

It was trained from nothing on generated examples. One word in ten is kept out of them, and the table of
solving uses only those words. The weights are stored in bfloat16; load them with `dtype=torch.float32` on a
CPU, and save what you train from them in float32, because small updates vanish in bfloat16. There is no
system role.
"""


_STEPS_HEAD = """\
---
license: apache-2.0
library_name: transformers
pipeline_tag: text-generation
language: en
tags:
- llama
- eva-data
- sandbox
---

# eva-data sandbox {title}

A tiny Llama that answers the puzzles of eva-data's sandbox, such as "Write the word tiger backwards, then put it in
capital letters.", with all steps: regit>REGIT. What stands after the last step is the answer. It has been shown puzzles
of one and of two operations, and it mostly stops too early when there are three. {creator}

The weights are stored in bfloat16; load them with `dtype=torch.float32` on a CPU, and save what you train from them in
float32, because small updates vanish in bfloat16. There is no system role.
"""

_STEPS = _STEPS_HEAD.format(
    title="solver that shows its steps",
    creator="It cannot rewrite prompts: the\ncreator of its game is the sandbox model, from which it was trained.",
)
_BOTH = _STEPS_HEAD.format(
    title="model that shows its steps and rewrites",
    creator="It also rewrites\npuzzles of any depth, as Distilabel's evol-instruct templates ask, so that creator and "
    "solver can be one model.",
)
_OF_CARELESS = (
    " The second lesson shows it deep prompts too, but of their answers 55 % leave the\n"
    "last operation out: it can then do better than it does, which is what the game is for."
)

_COMMANDS = (
    "python -m eva_data.sandbox.make_model --out FIRST",
    "python -m eva_data.sandbox.make_model --out DIR --start FIRST --lesson careless --steps 500",
    "python -m eva_data.sandbox.make_model --out MORE --start DIR --lesson steps --steps 1000 --batch-size 96",
    "python -m eva_data.sandbox.make_model --out EVEN --start MORE --lesson steps --steps 800 --seed 1",
    "python -m eva_data.sandbox.make_model --out STEPS --start EVEN --lesson numbers --steps 600",
    "python -m eva_data.sandbox.make_model --out BOTH --start STEPS --lesson both --steps 1200",
)
"""One command per lesson, in order."""


def write_sandbox_card(
    folder: Path,
    parameters: int,
    history: Sequence[Mapping[str, object]],
    solved: Sequence[Mapping[str, float]],
    rewritten: Mapping[str, Sequence[Mapping[str, float]]],
) -> str:
    """Write `README.md` into the folder, and return its text. `history` has one entry per lesson.

    `rewritten` is empty for a solver that does not rewrite.
    """
    names = {str(lesson["lesson"]) for lesson in history}
    head = _BOTH if "both" in names else _STEPS if "steps" in names else _HEAD
    lines = [
        head,
        "## How it was made",
        "",
        "```",
        *_COMMANDS[: len(history)],
        "```",
        "",
        f"{parameters:,} parameters." + ("" if "steps" in names else _OF_CARELESS),
        "",
        *_facts(history),
        "",
        *_solving(solved),
        *(_rewriting(rewritten) if rewritten else []),
    ]
    card = "\n".join(lines)
    (folder / "README.md").write_text(card, encoding="utf-8")
    return card


def _facts(history: Sequence[Mapping[str, object]]) -> list[str]:
    facts = [f"| {name} | " + " | ".join(str(lesson[name]) for lesson in history) + " |" for name in history[0]]
    return [facts[0], "|---|" + "---|" * len(history), *facts[1:]]


def _solving(solved: Sequence[Mapping[str, float]]) -> list[str]:
    return [
        "## Solving",
        "",
        "Share of 500 held-out prompts of each depth answered right, greedily and by any of six samples at",
        "temperature 1, and the mean A_min (highest less lowest reward of the six).",
        "",
        "| depth | greedy | any of 6 | A_min |",
        "|---|---|---|---|",
        *(f"| {row['depth']} | {row['greedy']:.1%} | {row['any_of_6']:.1%} | {row['a_min']:.3f} |" for row in solved),
        "",
    ]


def _rewriting(rewritten: Mapping[str, Sequence[Mapping[str, float]]]) -> list[str]:
    cells = {
        mutation: [f"{cell['valid']:.0%} ({cell['new_depth']:.1f})" for cell in cells]
        for mutation, cells in rewritten.items()
    }
    distinct = min(cell["distinct"] for cells in rewritten.values() for cell in cells)
    return [
        "## Rewriting",
        "",
        "Share of 100 rewrites at temperature 1 that are prompts with a known answer, by template and by",
        "depth of the prompt to rewrite; in brackets the mean depth of the new prompts.",
        "",
        "| template | 1 | 2 | 3 | 4 | 5 |",
        "|---|---|---|---|---|---|",
        *(f"| {mutation} | " + " | ".join(shown) + " |" for mutation, shown in cells.items()),
        "",
        f"In every cell at least {distinct:.0%} of the rewrites are new and differ from one another.",
        "",
    ]
