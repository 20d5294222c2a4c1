"""The ten strategies that eva names in its appendix F (arXiv 2411.00062), in our own words.

Each strategy works on a single prompt. `mix` lets the creator choose the second subject, and does not take a second
prompt from the job, so that a chain depends neither on the shards of a job nor on its row order.
"""

from __future__ import annotations

from eva_data.evolve.parse import marked
from eva_data.evolve.strategy import Kind, Method, Strategy

_IN_DEPTH = """\
You rewrite prompts that people send to an AI assistant, so that answering them well takes more skill.

Rewrite the prompt below. What to change:
{how}

Rules:
- Stay with the subject and the purpose of the prompt, and keep its language.
- Keep every table, piece of code, formula, quotation and input text that is still needed, word for word.
- Add as few words as the change needs; harder does not mean longer.
- It must make sense to someone who never saw the prompt below, and an expert must be able to answer it.
- Do not answer the prompt, and do not mention that anything was rewritten.

<prompt>
{prompt}
</prompt>

Write only the new prompt, between <new_prompt> and </new_prompt>."""

_IN_BREADTH = """\
You invent prompts that people could send to an AI assistant, so that a collection of them covers more ground.

Take the prompt below as a starting point and write another one. How it relates to the starting point:
{how}

Rules:
- It is a prompt of its own, not a version of the starting point, and as demanding as that or more so.
- Write it in the language of the starting point, and at about its length.
- It must carry all the data it speaks of, make sense by itself, and an expert must be able to answer it.
- Do not answer either prompt, and do not mention that there was a starting point.

<prompt>
{prompt}
</prompt>

Write only the new prompt, between <new_prompt> and </new_prompt>."""

_BREADTH = {
    "persona": (
        "Someone else asks. Think of a particular person, far in work, age, place or experience from "
        "whoever wrote the starting point, who meets the same kind of need in their own life. Ask what they "
        "would ask: their situation and their limits must change what a good answer says, not only the "
        "words of the question."
    ),
    "shift_in": (
        "Stay in the same field and move within it: choose a neighbouring topic, or another kind of task on "
        "the same topic, that practitioners of the field know and that is asked about less often."
    ),
    "shift_out": (
        "Leave the field and keep the form: pose a task of the same kind, with the same structure and "
        "asking for the same skill, in a field that has nothing to do with the one of the starting point."
    ),
    "mix": (
        "Bring two things together: name to yourself a second subject that is seldom seen beside the one of "
        "the starting point, and pose one task, not two in a row, that can only be done with knowledge of "
        "both."
    ),
    "abstract": (
        "Go one level up: name to yourself the general principle, method or question of which the starting "
        "point is one case, and ask about that, so that whoever answers must reason about cases of more "
        "than one kind."
    ),
}
_DEPTH = {
    "constraints": (
        "Add one requirement that the answer must meet and that can be checked, such as a limit, a format, "
        "an audience, a resource that is missing or a case that must be covered. It must narrow what a good "
        "answer is."
    ),
    "deepening": (
        "Ask for more understanding: go from what to why and how, to causes, limits, exceptions or "
        "consequences, so that an answer that stays on the surface would be visibly incomplete."
    ),
    "concretizing": (
        "Replace what is general with what is particular: a named object, real figures, a place, a date, a "
        "concrete case. The particulars must be consistent with each other and matter for the answer."
    ),
    "reasoning": (
        "Make it take more steps to get to the answer: let a result depend on an intermediate one that has "
        "to be worked out first, or let conditions interact, so that the answer cannot be given in a single "
        "step."
    ),
    "expansion": (
        "Widen what is asked for by one part that belongs to it: a second case to compare with, a related "
        "question that the first answer leads to, or a judgement on the result. The parts must form one "
        "task."
    ),
}
_FORBIDDEN = ("<new_prompt>", "</new_prompt>")


def _strategies(hows: dict[str, str], kind: Kind, frame: str) -> tuple[Strategy, ...]:
    return tuple(
        Strategy(name, kind, frame.replace("{how}", how), "{prompt}", marked, _FORBIDDEN) for name, how in hows.items()
    )


def eva() -> Method:
    """Five strategies in breadth (persona, shift-in, shift-out, mix, abstract) and five in depth."""
    breadth = _strategies(_BREADTH, "in_breadth", _IN_BREADTH)
    return Method("eva", breadth + _strategies(_DEPTH, "in_depth", _IN_DEPTH))
