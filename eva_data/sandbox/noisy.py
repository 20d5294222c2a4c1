"""Rewards of the sandbox whose quality is known: right or wrong, and a share of the verdicts is turned around.

Which verdicts are wrong follows from a hash of prompt and response, so a reward errs each time alike, as a reward model
does, and the same on every machine. Of an answer that shows its steps, `regit>REGIT`, the last is judged.
"""

from hashlib import sha256

from eva_data.sandbox.verifier import score


def exact(prompt: str, response: str) -> float | None:
    """1 for the right answer, else 0; None if there is no task."""
    found = score(prompt, response.rpartition(">")[2])
    return None if found is None else float(found == 1.0)


def flips_10(prompt: str, response: str) -> float | None:
    """`exact`, and one verdict of ten is wrong."""
    return flipped(prompt, response, 0.1)


def flips_20(prompt: str, response: str) -> float | None:
    """`exact`, and one verdict of five is wrong."""
    return flipped(prompt, response, 0.2)


def flips_40(prompt: str, response: str) -> float | None:
    """`exact`, and two verdicts of five are wrong; at one of two, nothing could be learnt."""
    return flipped(prompt, response, 0.4)


def flipped(prompt: str, response: str, share: float) -> float | None:
    """`exact`, or its opposite for this `share` of all pairs of prompt and response, in [0, 1].

    White space around the response does not count, and what is wrong at a smaller share is wrong at a larger one too.
    """
    verdict = exact(prompt, response)
    if verdict is None:
        return None
    drawn = sha256(f"flip\x1f{prompt}\x1f{response.strip()}".encode()).digest()
    return 1.0 - verdict if int.from_bytes(drawn[:8]) < share * 2**64 else verdict
