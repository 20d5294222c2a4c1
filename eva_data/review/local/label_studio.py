"""The pairs as tasks of Label Studio, and its export back as answers."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from xml.sax.saxutils import quoteattr

import polars as pl

from eva_data.dataset.staleness import config_of
from eva_data.errors import DataError
from eva_data.files import write_text
from eva_data.iteration.run import Run
from eva_data.method.verdicts import QUALITIES, VERDICTS
from eva_data.review.blind import blind_order
from eva_data.review.local.sheets import PairSheet
from eva_data.review.record import Record


def labelling_config() -> str:
    """The labelling interface of a project: the texts, and the questions of the review."""
    verdicts, qualities = (
        "".join(f"<Choice value={quoteattr(name)} alias={quoteattr(name)}/>" for name in names)
        for names in (VERDICTS, QUALITIES)
    )
    return (
        '<View><Header value="Prompt"/><Text name="prompt" value="$prompt"/>'
        '<Header value="First response"/><Text name="first" value="$first"/>'
        '<Header value="Second response"/><Text name="second" value="$second"/>'
        '<Header value="Which response is better?"/>'
        f'<Choices name="verdict" toName="prompt" choice="single" required="true">{verdicts}</Choices>'
        '<Header value="Is the prompt good?"/>'
        f'<Choices name="prompt_quality" toName="prompt" choice="single">{qualities}</Choices>'
        '<TextArea name="comment" toName="prompt" maxSubmissions="1"/></View>\n'
    )


def write_tasks(path: Path, sheets: Sequence[PairSheet]) -> None:
    """Write the pairs as tasks, in a JSON file that Label Studio imports, and the interface beside it, as .xml.

    The tasks do not say in which order the responses stand, since annotators can see a task's data. It follows from the
    pair's id and the dataset's seed.
    """
    tasks = [
        {
            "data": {
                "pair_id": sheet.pair_id,
                "content": sheet.content,
                "prompt": _text(sheet.prompt),
                "first": sheet.first,
                "second": sheet.second,
            }
        }
        for sheet in sheets
    ]
    write_text(path, json.dumps(tasks, ensure_ascii=False, indent=1) + "\n")
    write_text(path.with_suffix(".xml"), labelling_config())


def _text(turns: Sequence[Mapping[str, str]]) -> str:
    if len(turns) == 1:
        return turns[0]["content"]
    return "\n\n".join(f"{turn['role']}: {turn['content']}" for turn in turns)


def recorded_seed(run: Run, iteration: int) -> int:
    """The seed by which an iteration's pairs are shown in blind order."""
    return config_of(run.store.at(iteration, run.store.built(iteration)).manifest(iteration)).seed


def read_export(path: Path, seed: int) -> list[Record]:
    """The answers in a JSON export of Label Studio, as records like those of an Argilla server.

    `seed` is that of `recorded_seed`. Raise DataError if the file is no such export.
    """
    try:
        tasks = json.loads(path.read_bytes())
        pairs = pl.DataFrame({"pair_id": [task["data"]["pair_id"] for task in tasks]}, schema={"pair_id": pl.String})
        orders = pairs.select(blind_order(seed)).to_series()
        return [_record(task, order) for task, order in zip(tasks, orders, strict=True)]
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror}): name the file that Label Studio exported") from None
    except (ValueError, LookupError, TypeError, AttributeError, pl.exceptions.PolarsError) as error:
        raise DataError(
            f"{path} is no JSON export of tasks by `eva-data review export` ({type(error).__name__}: {error}): export "
            "the project as JSON, not as JSON-MIN or CSV"
        ) from None


def _record(task: Mapping[str, Any], order: str) -> Record:
    data = task["data"]
    return {
        "external_id": f"{data['pair_id']}.{data['content']}",
        "metadata": {"content": data["content"], "order": order},
        "responses": [*_responses(task["annotations"])],
    }


def _responses(annotations: Sequence[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
    for annotation in annotations:
        values = {each["from_name"]: {"value": _value(each["value"])} for each in annotation["result"]}
        who = annotation["completed_by"]
        yield {
            "user_id": f"label-studio:{who['id'] if isinstance(who, Mapping) else who}",
            "status": "discarded" if annotation.get("was_cancelled") else "submitted",
            "values": values,
            "updated_at": annotation["updated_at"],
        }


def _value(value: Mapping[str, Any]) -> str:
    return str((value["choices"] if "choices" in value else value["text"])[0])
