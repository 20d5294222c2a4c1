"""Every reason why a row was rejected, eliminated or left without a number, with a sentence for a newcomer.

A reason is a word, or a word with particulars after a colon: `duplicate`, `gave_up: HTTP 500`,
`contamination:gsm8k`. `kind` and `kind_of` take the particulars off, for tables that count reasons.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    # A process that Distilabel will fork reads this module, and must not use polars.
    import polars as pl

CONTAMINATION = "contamination"
DUPLICATE = "duplicate"
NEAR_DUPLICATE = "near_duplicate"
HELD_OUT = "heldout"
MAX_DEPTH = "max_depth"
NO_CONSENSUS = "no_consensus"
NOT_BEST = "not_best"
NOT_FINITE = "not_finite"
TOO_EASY = "too_easy"
TOO_HARD = "too_hard"
TOPIC_CAP = "topic_cap"
PROMPT_TOO_LONG = "prompt_too_long"
UNSCORABLE = "unscorable"
UNSOLVED = "unsolved"
RESPONSE_FAILED = "response_failed: "
"""The beginning of a reason: one completion failed, others of its prompt did not. The completion's error follows."""

REASONS: Mapping[str, str] = {
    # A request to a model.
    "gave_up": "The server failed for reasons that may pass, on all attempts; `build --retry-rejects` asks again.",
    "call_failed": "The model gave no reply; the word behind the colon says why.",
    "bad_request": "The server refused this request, and would refuse it again; its own words follow.",
    "context_length_exceeded": "The server says that the request is longer than its model can read.",
    "content_filter": "The provider's content filter blocked the request or the reply.",
    PROMPT_TOO_LONG: "The prompt has more tokens than `max_prompt_tokens`, or than the model or the training takes.",
    "chat_template_refuses": "The model's chat template cannot write this conversation; its own words follow.",
    "system_role_unsupported": "The prompt has a system message and the model has no such role: see `system` of its "
    "block in the settings.",
    "response_failed": "One of the prompt's responses failed and the others did not; its error follows.",
    # A text that a model wrote.
    "truncated": "The reply was cut at `max_tokens`, so that its end is missing.",
    "unparsable": "The reply is not in the form that was asked for; what is wrong with it follows.",
    "empty": "Nothing is left of the text but blanks, or in an evolved prompt no letter and no digit.",
    "unchanged": "The rewritten text is the text before it again, but for blanks and, in a prompt, case.",
    "copy_of_ancestor": "The evolved prompt is an earlier prompt of its own chain again.",
    "template_words": "The evolved prompt holds words of the rewriting instruction that its parent does not have.",
    "refusal": "The creator declined to write a prompt.",
    "answer": "The creator answered a prompt instead of writing one.",
    "other_language": "The new prompt is in another language than the prompt that it was made from.",
    "too_short": "The evolved prompt has fewer characters than `evolve.min_chars`.",
    "too_long": "The text is too long: an evolved prompt for `evolve.max_chars`, a response with its prompt for what "
    "the reward model reads.",
    "another_length": "The rewritten response is longer or shorter than the chosen one by more than "
    "`pair.rewrite_length`.",
    "checked_no_prompt": "The creator, asked whether its reply is a prompt, said no: see `evolve.self_check`.",
    "unchecked": "The creator, asked whether its reply is a prompt, gave no verdict; why not follows.",
    "no_strategy": "No strategy of the evolving method suits the prompt, so nothing was asked.",
    # A prompt beside other prompts.
    DUPLICATE: "The prompt is there already; `duplicate_of` names it.",
    NEAR_DUPLICATE: "The prompt is almost the one that `duplicate_of` names: see `evolve.near_duplicate`.",
    CONTAMINATION: "The prompt repeats words in a row of the benchmark that follows the colon: see `evolve.ngram`.",
    HELD_OUT: "The prompt repeats, or almost repeats, a prompt that is kept for evaluation; `duplicate_of` names it.",
    NOT_BEST: "Nothing speaks against the candidate, but a better one of the same step went on.",
    TOPIC_CAP: "The prompt would be in the next prompt set, but its topic has its share there: see `mix.topic_cap`.",
    # A row of the input.
    "null": "The prompt is null, or one of its turns has no text.",
    "unknown_role": "A turn of the prompt has another role than system, user or assistant.",
    "does_not_end_in_a_user_turn": "The prompt does not end in a user turn, so there is nothing to answer.",
    "content_part": "A message has a part that is no text, such as a picture; its type follows.",
    "not_a_prompt": "The value is neither a text nor a conversation.",
    "not_a_number": "The reward is a text that is no number.",
    "responses_and_rewards_differ_in_number": "The row has not as many rewards as responses.",
    UNSCORABLE: "The environment's scorer does not take the task's own answer, or the task cannot be kept as text.",
    "null_response": "The table has no text for this response.",
    "null_reward": "The table has no reward for this response.",
    # A reward.
    NOT_FINITE: "The reward is infinite or not a number.",
    "unverifiable": "The verifier cannot tell, or the prompt has no reference answer.",
    "verifier_raised": "The verifier raised an error on this response; the error follows.",
    "not_unicode": "The text holds half a character, which no tokenizer takes.",
    NO_CONSENSUS: "The prompt's responses do not agree on an answer by `reward.min_votes` and "
    "`reward.min_agreement`, or a single vote decides; what is missing follows.",
    "nothing_to_compare": "A reward that compares responses has this one only, or all of them are the same text.",
    "not_compared": "No comparison links the response with the largest group of the prompt's responses.",
    "unscored_by": "One of several rewards could not score the response; which one, and why, follows.",
    "not_scored": "The reward gave neither a number nor a reason.",
    "no_reward": "The response was trained with, but it got no reward.",
    # A comparison of two solvers.
    "no_answer": "A side of the comparison has no answer to the prompt, since the call failed.",
    "empty_answer": "An answer is empty: it loses against any other answer, and nobody is asked.",
    "same_answer": "Both sides gave the same answer: a tie, and nobody is asked.",
    "not_asked": "The judge was not asked, since judging ended early; the same command goes on.",
    # The informativeness of a prompt.
    "no_response": "The prompt has no response at all.",
    "fewer_than_two_complete_responses": "There are two rewards or more, but fewer than two of responses that were not "
    "cut at `max_tokens`: see `estimate.count_truncated`.",
    "fewer_than_two_finite_rewards": "Informativeness compares rewards, and fewer than two are numbers.",
    UNSOLVED: "Too few responses of the prompt reach `estimate.min_best`, so that the differences between its rewards "
    "are noise: it has its metrics, and is not evolved.",
    TOO_EASY: "The solver answers the prompt better than the upper bound of `sample.band` or "
    "`sample.agreement_band`: it has its metrics, and is not evolved.",
    TOO_HARD: "The solver answers the prompt worse than the lower bound of `sample.band` or "
    "`sample.agreement_band`: it has its metrics, and is not evolved.",
    MAX_DEPTH: "The prompt is as deep as `evolve.max_depth` allows: it has its metrics, and is not evolved.",
    # A pair.
    "no_scored_response": "None of the prompt's responses has a reward.",
    "one_distinct_response": "All scored responses of the prompt are the same text.",
    "all_rewards_equal": "All responses of the prompt have the same reward, so that none is better than another.",
    "best_is_truncated_or_empty": "No complete response has more than the lowest reward.",
    "below_margin": "The rewards of the best and the worst response differ by less than `pair.margin`.",
    "best_below_min_chosen": "The reward of the best response is below `pair.min_chosen`.",
    "length_gap": "Every pair that would do has lengths that differ by more than `pair.max_length_gap`.",
    "no_contrast_response": "The model of `contrast` gave no usable response to the prompt.",
    "contrast_not_worse": "No response of the solver has a higher reward than one of the model of `contrast`.",
    "near_identical": "Every pair that would do has two texts that are more similar than `pair.max_similarity`.",
    "fewer_below": "Fewer responses than `pair.below` are worse than the best one.",
    # A review.
    "reviewers_disagree": "As many reviewers say one thing as another; the counts follow.",
    "tie": "Most reviewers find the two responses equally good.",
    "both_bad": "Most reviewers find both responses bad.",
    "prompt_unclear": "Most reviewers find the prompt unclear.",
    "prompt_unanswerable": "Most reviewers say that the prompt cannot be answered.",
    "prompt_unsafe": "Most reviewers find the prompt unsafe.",
}
"""Every kind of reason, with its meaning."""

GROUPS: Mapping[str, str] = {
    "gave_up": "A request to a model",
    "truncated": "A text that a model wrote",
    DUPLICATE: "A prompt beside other prompts",
    "null": "A row of the input",
    NOT_FINITE: "A reward",
    "no_answer": "A comparison of two solvers",
    "no_response": "The informativeness of a prompt",
    "no_scored_response": "A pair",
    "reviewers_disagree": "A review",
}
"""The first reason of each group of REASONS, with what the group is about."""

PAGE = "docs/reasons.md"
"""The page that lists all reasons."""

# After `call_failed:` comes the kind of the error, if it is known. In every other reason a colon ends the kind.
_CALL = r"^(call_failed:[a-z_]+)(?:: |$)"
_WORD = r"^([^:]+)"


def kind(reason: pl.Expr) -> pl.Expr:
    """A reason without its particulars. A failed call keeps the kind of its error, as in `call_failed:gave_up`."""
    return reason.str.extract(_CALL).fill_null(reason.str.extract(_WORD)).fill_null(reason)


def kind_of(reason: str) -> str:
    """What `kind` makes of a single text."""
    found = re.match(_CALL, reason) or re.match(_WORD, reason)
    return found[1] if found else reason


def explained(reason: str) -> list[str]:
    """Sentences on a reason: on its kind, then on the reason in its particulars, if any; empty if it is unknown."""
    return [REASONS[word] for part in reason.split(":") if (word := part.strip()) in REASONS]
