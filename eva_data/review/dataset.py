"""The Argilla dataset of an iteration: the texts for reviewers, the questions, and the metadata of each record."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from eva_data.config import Config
from eva_data.errors import ReviewError
from eva_data.method.verdicts import QUALITIES, VERDICTS
from eva_data.review.connection import Argilla
from eva_data.tables.schemas import METRICS

FIELDS = {
    "prompt": "Prompt",
    "parent": "Parent prompt",
    "first": "First response",
    "second": "Second response",
}
"""Texts of a record, in the order of the page. Only an evolved prompt has a `parent`."""

_LABELS = {
    "first": "First is better",
    "second": "Second is better",
    "tie": "Equally good",
    "both_bad": "Both bad",
    "good": "Good",
    "unclear": "Unclear",
    "unanswerable": "Cannot be answered",
    "unsafe": "Unsafe",
}

QUESTIONS: dict[str, dict[str, Any]] = {
    "verdict": {"title": "Which response is better?", "required": True, "labels": VERDICTS},
    "prompt_quality": {"title": "Is the prompt good?", "required": False, "labels": QUALITIES},
    "comment": {"title": "Anything else?", "required": False, "labels": None},
}

SHOWN = {"iteration": "integer", "origin": "terms", "mutation": "terms", "depth": "integer"}
"""Metadata, with its type, that reviewers may see and filter by."""

HIDDEN = {
    **dict.fromkeys(METRICS, "float"),
    "score_first": "float",
    "score_second": "float",
    "length_first": "integer",
    "length_second": "integer",
    "order": "terms",
    "content": "terms",
}
"""Metadata that only owners and admins see, because it would tell reviewers which response the reward prefers."""

GUIDELINES = """\
Two responses to the same prompt stand one below the other, in random order. Say which one you would rather have \
received.

- **Which response is better?** Judge what is said, not how long it is: first whether it does what the prompt asks and \
is right, then whether it is clear. *Equally good* is an answer too; *Both bad* means that you would want neither.
- **Is the prompt good?** *Unclear*: one cannot tell what is asked. *Cannot be answered*: it contradicts itself, or \
needs what nobody can know. *Unsafe*: nobody should answer it. You may leave this open.
- The parent prompt is what this prompt was made from. It is there to compare; do not judge it.
- Discard a pair that you cannot judge, for example for want of knowledge of the matter.

Do not paste the texts into a model to decide: people's judgement is what is missing here. \
"""

TOLD = {
    "votes": "Your answers and comments stay with the people who run this review; published is only how many reviewers "
    "gave each answer.\n",
    "full": "Your answers and comments are published with the dataset, without your name.\n",
}
"""`review.publish` -> the text for reviewers on what will be published."""


def dataset_name(config: Config, iteration: int) -> str:
    return f"{config.name.rpartition('/')[2]}-iter-{iteration}"


def find_dataset(argilla: Argilla, name: str) -> dict[str, Any] | None:
    """The published dataset of that name in the workspace; None if there is none."""
    found = argilla.get("me/datasets", workspace_id=argilla.workspace_id, name=name)["items"]
    return next((each for each in found if each["name"] == name and each["status"] == "ready"), None)


def ensure_dataset(argilla: Argilla, name: str, min_submitted: int | None, publish: str) -> dict[str, Any]:
    """Make the dataset of that name unless it exists, and return it.

    If `min_submitted` is None, the dataset keeps its number; a new dataset gets 1. Reviewers are told what is published
    of their answers (TOLD). Raise ReviewError if the existing dataset asks other questions, or if it promised
    reviewers that less would be published.
    """
    found = find_dataset(argilla, name)
    if found is None:
        return _create(argilla, name, min_submitted or 1, publish)
    refuse_other_dataset(argilla, found)
    refuse_broken_word(found, publish)
    if min_submitted is not None and min_submitted != found["distribution"]["min_submitted"]:
        overlap = {"distribution": {"strategy": "overlap", "min_submitted": min_submitted}}
        found = argilla.call("PATCH", f"datasets/{found['id']}", json=overlap)
    return found


def refuse_broken_word(found: Mapping[str, Any], publish: str) -> None:
    """Raise ReviewError if reviewers were told that their answers stay private, and the answers are to be published."""
    if publish == "full" and TOLD["votes"].strip() in (found.get("guidelines") or ""):
        raise ReviewError(
            f"the reviewers of {found['name']} were told that their answers and comments stay with you, and "
            "`review.publish` is `full`: set it to `votes`, or ask them and change the guidelines on the server"
        )


def refuse_other_dataset(argilla: Argilla, found: Mapping[str, Any]) -> None:
    """Raise ReviewError if a dataset has other fields or questions than the datasets of eva-data."""
    path = f"datasets/{found['id']}"
    there = {
        "field": {each["name"]: each["settings"]["type"] for each in argilla.get(f"{path}/fields")["items"]},
        "question": {
            each["name"]: tuple(option["value"] for option in each["settings"].get("options") or ()) or None
            for each in argilla.get(f"{path}/questions")["items"]
        },
        "metadata": {
            each["name"]: each["settings"]["type"] for each in argilla.get(f"me/{path}/metadata-properties")["items"]
        },
    }
    expected = {
        "field": dict.fromkeys(FIELDS, "text"),
        "question": {question: settings["labels"] for question, settings in QUESTIONS.items()},
        "metadata": SHOWN | HIDDEN,
    }
    other = [
        f"{kind} `{name}` is {there[kind].get(name, 'missing')}, expected {expected[kind].get(name, 'none')}"
        for kind in expected
        for name in sorted(there[kind].keys() | expected[kind].keys())
        if there[kind].get(name, "missing") != expected[kind].get(name, "missing")
    ]
    if other:
        raise ReviewError(
            f"the dataset {found['name']} in the workspace {argilla.workspace} has other settings "
            f"({'; '.join(other[:3])}{', ...' if len(other) > 3 else ''}), so it is left as it is: rename or delete it "
            "on the server, or use another `--workspace`"
        )


def _create(argilla: Argilla, name: str, min_submitted: int, publish: str) -> dict[str, Any]:
    """Make and publish the dataset. First delete the unpublished rest of an interrupted push, which has no answers."""
    drafts = argilla.get("me/datasets", workspace_id=argilla.workspace_id, name=name)["items"]
    for draft in (each for each in drafts if each["name"] == name):
        argilla.call("DELETE", f"datasets/{draft['id']}")
    with argilla.client() as client:
        import argilla as rg

        settings = _settings(client, min_submitted, GUIDELINES + TOLD[publish])
        rg.Dataset(name=name, workspace=argilla.workspace, settings=settings, client=client).create()
    made = find_dataset(argilla, name)
    if made is None:
        raise ReviewError(f"the dataset {name} was made, but the server does not show it yet: repeat the command")
    return made


def _settings(client: Any, min_submitted: int, guidelines: str) -> Any:
    import argilla as rg

    kinds = {
        "integer": rg.IntegerMetadataProperty,
        "float": rg.FloatMetadataProperty,
        "terms": rg.TermsMetadataProperty,
    }
    return rg.Settings(
        guidelines=guidelines,
        fields=[
            # Without Markdown, the page would run the HTML in a text as its own.
            rg.TextField(field, title=title, use_markdown=True, required=field != "parent", client=client)
            for field, title in FIELDS.items()
        ],
        questions=[_question(name, asked, client) for name, asked in QUESTIONS.items()],
        metadata=[
            kinds[kind](key, title=key, visible_for_annotators=visible, client=client)
            for properties, visible in ((SHOWN, True), (HIDDEN, False))
            for key, kind in properties.items()
        ],
        distribution=rg.TaskDistribution(min_submitted=min_submitted),
    )


def _question(name: str, asked: Mapping[str, Any], client: Any) -> Any:
    import argilla as rg

    labels, common = asked["labels"], {"title": asked["title"], "required": asked["required"], "client": client}
    if labels is None:
        return rg.TextQuestion(name, use_markdown=False, **common)
    return rg.LabelQuestion(name, {label: _LABELS[label] for label in labels}, visible_labels=len(labels), **common)
