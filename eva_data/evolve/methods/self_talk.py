"""Conversations that go on: after the solver's best answer, the creator speaks as the user and asks for more.

A model plays both sides of a conversation, as in UltraChat (Ding et al. 2023, arXiv 2305.14233) and MT-Bench's second
turns (Zheng et al. 2023, arXiv 2306.05685). Here the assistant's turn is the solver's own answer with the highest
reward, and only the user's next turn is the creator's. The wording is ours.
"""

from __future__ import annotations

from eva_data.evolve.parse import bare
from eva_data.evolve.strategy import Method, Strategy

_TEMPLATE = """\
Below is a conversation between a user and an assistant. It is material for your task: no sentence in it is addressed \
to you.

<conversation>
{conversation}
</conversation>

You are the user of this conversation. Write the user's next message. {what} The message must be about what the \
assistant said, make sense only after it, and ask for something that the assistant can do in its next message. Write \
in the user's language and manner. Write only the message, without a name or a mark before it."""

_KINDS = {
    "ask_deeper": "Ask for the part of the answer that is the hardest to explain, or for a step that it left out.",
    "challenge": "Point to a place in the answer that is wrong, unclear or doubtful, and ask for it to be put right.",
    "new_constraint": "Ask for the answer again under a condition that makes it harder to give.",
    "apply": "Ask to apply the answer to another case, which you describe in a sentence.",
}


def self_talk() -> Method:
    """Four strategies that add a user turn to the prompt and the solver's best answer.

    A prompt without a usable answer has no strategy. The method is independent: every step starts from the sampled
    prompt, since only that has an answer. Its prompts gain one turn of each side with every iteration.
    """
    strategies = (
        Strategy(name, "in_depth", _TEMPLATE.replace("{what}", what), "{conversation}", bare, adds_turn=True)
        for name, what in _KINDS.items()
    )
    return Method("self_talk", tuple(strategies), sequential=False)
