"""Splits a prompt into its preceding messages and the last user turn, which is rewritten."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from eva_data.calls import Message
from eva_data.errors import DataError

_CONTEXT = """\
The prompt to work on is the last user message of a conversation. These are the messages before it; the new \
prompt takes its place and must fit them.

<conversation>
{turns}
</conversation>

"""


@dataclass(frozen=True)
class Conversation:
    """The preceding messages, with the system message, and the text of the last user turn."""

    preceding: tuple[Message, ...]
    last: str

    @property
    def has_history(self) -> bool:
        """Whether there are earlier turns. A system message alone does not count."""
        return any(message["role"] != "system" for message in self.preceding)

    @property
    def context(self) -> str:
        """The text before a rewriting template, which shows the preceding messages; "" if there are none."""
        if not self.preceding:
            return ""
        turns = "\n\n".join(f"[{message['role'].capitalize()}]\n{message['content']}" for message in self.preceding)
        return _CONTEXT.replace("{turns}", turns)

    @property
    def written_out(self) -> str:
        """Every turn under the name of its role. A system message is left out, which a user does not see."""
        turns = [message for message in self.ending_in(self.last) if message["role"] != "system"]
        return "\n\n".join(f"[{message['role'].capitalize()}]\n{message['content']}" for message in turns)

    def answered(self, reply: str) -> tuple[Message, ...]:
        """The whole prompt, and an answer to it."""
        return (*self.ending_in(self.last), {"role": "assistant", "content": reply})

    def ending_in(self, text: str) -> tuple[Message, ...]:
        """The whole prompt with another last user turn. The preceding messages stay verbatim."""
        return (*self.preceding, {"role": "user", "content": text})


def read_conversation(messages: Sequence[Message]) -> Conversation:
    """Split a prompt. Raise DataError unless it ends in a user turn."""
    roles = [message["role"] for message in messages]
    if not roles or roles[-1] != "user":
        raise DataError(
            f"a prompt with the roles {roles} cannot be evolved: it must end in a user turn; "
            "reject such prompts when the seeds are read"
        )
    preceding = tuple({"role": m["role"], "content": m["content"]} for m in messages[:-1])
    return Conversation(preceding, messages[-1]["content"])
