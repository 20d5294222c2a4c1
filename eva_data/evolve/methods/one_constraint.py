"""A method for small creators: the creator writes one more constraint, after examples, and it is put under the prompt.

A model of a few hundred million parameters cannot follow Evol-Instruct's templates: it answers the prompt, repeats the
template or loses half of the prompt. Here it writes one short sentence, in the form of four examples that stand before
it as turns of a conversation (Brown et al. 2020, arXiv 2005.14165), and need not write the prompt again. The kinds of
constraints are those that can be checked (IFEval, Zhou et al. 2023, arXiv 2311.07911), and adding constraints one at a
time is Evol-Instruct's first strategy in depth. The wording is ours.
"""

from __future__ import annotations

from eva_data.calls import Unparsable
from eva_data.evolve.parse import Parser, first_line
from eva_data.evolve.strategy import Method, Strategy

_TEMPLATE = "Task: {prompt}\n\n{question}"
_TASKS = (
    "Write a function that sorts a list of names.",
    "Describe how bees make honey.",
    "Give me ideas for a birthday party.",
    "What are the causes of inflation?",
)
"""A small model copies most from the last example, so the most particular task goes first."""
LONGEST = 160
"""The longest constraint, in characters: what is longer is an answer or a story."""

_KINDS: dict[str, tuple[str, tuple[str, ...], tuple[str, str, str, str]]] = {
    "length": (
        "Say how long the answer may be. Begin with: Use",
        ("Use", "Write at most", "Write no more than", "Write exactly"),
        (
            "Use at most twelve lines of code.",
            "Use at most 60 words.",
            "Use exactly five bullet points.",
            "Use no more than three paragraphs.",
        ),
    ),
    "audience": (
        "Say for whom the answer is. Begin with: Write it for",
        ("Write it for", "Write for", "Explain it to", "Explain it for"),
        (
            "Write it for someone in their first week of programming.",
            "Write it for a child of eight.",
            "Write it for a parent with little money.",
            "Write it for a reader who has never studied economics.",
        ),
    ),
    "exclusion": (
        "Say what the answer must not contain. Begin with: Do not",
        ("Do not", "Don't", "Avoid"),
        (
            "Do not use the built-in sorting function.",
            "Do not use the word sweet.",
            "Do not suggest anything that needs a garden.",
            "Do not mention the name of any country.",
        ),
    ),
    "inclusion": (
        "Say what the answer must also contain. Begin with: Include",
        ("Include", "Also include", "Mention"),
        (
            "Include a test with two equal names.",
            "Include the reason why a hive needs so many bees.",
            "Include one idea for a rainy day.",
            "Include an example from the last century.",
        ),
    ),
}


def one_constraint() -> Method:
    """Four strategies in depth, each of which adds a constraint of its kind.

    Each asks for a constraint with a beginning, which every example has. A reply with another beginning is an answer or
    nonsense more often than a constraint, so it is unparsable. The method imports no Distilabel. Constraints of
    one kind may contradict each other in a chain, so siblings suit it better.
    """
    return Method("one_constraint", tuple(_strategy(name, *kind) for name, kind in _KINDS.items()))


def _strategy(name: str, question: str, openings: tuple[str, ...], constraints: tuple[str, str, str, str]) -> Strategy:
    template = _TEMPLATE.replace("{question}", question)
    shots = tuple(zip(_TASKS, constraints, strict=True))
    return Strategy(
        name, "in_depth", template, "{prompt}", _beginning(openings, constraints), shots=shots, appends=True
    )


def _beginning(openings: tuple[str, ...], constraints: tuple[str, ...]) -> Parser:
    """A parser of the first line, which must have one of these beginnings and be none of the examples."""
    starts = tuple(f"{opening} " for opening in openings)

    def parse(reply: str) -> str | Unparsable:
        line = first_line(reply)
        if isinstance(line, Unparsable):
            return line
        if not line.startswith(starts):
            return Unparsable("the reply does not begin as the examples do")
        if len(line) > LONGEST:
            return Unparsable("the reply is longer than a constraint")
        return Unparsable("the reply is one of the examples") if line in constraints else line

    return parse
