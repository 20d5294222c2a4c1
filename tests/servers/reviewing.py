"""What the tests of the review share: `eva-data review` with a server, answers by the REST API, a store of pairs."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from argilla_server import KEY, ArgillaServer
from sandbox_runs import command
from small_store import BASE, REWARD, SETTINGS, answers, frame, prompt, write

from eva_data.config.reading import parse_config
from eva_data.dataset.store import Store
from eva_data.method.outcome import outcome_of
from eva_data.report.card import write_card
from eva_data.tables.ids import prompt_id_of
from eva_data.tables.schemas import EVOLUTIONS, PROMPTS, RESPONSES, empty

Json = dict[str, Any]

NAMED = ("--set", f"name={SETTINGS['name']}")


def environment(server: ArgillaServer, key: str = KEY) -> dict[str, str]:
    return os.environ | {"ARGILLA_API_URL": server.url, "ARGILLA_API_KEY": key, "COLUMNS": "160"}


def review(
    server: ArgillaServer, folder: Path, *arguments: str, key: str = KEY, settings: Sequence[str] = NAMED
) -> subprocess.CompletedProcess[str]:
    """Run `eva-data review ...` on a dataset folder to its end."""
    return subprocess.run(
        command(folder, "review", *arguments, settings=settings),
        cwd=folder.parent,
        env=environment(server, key),
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )


def dataset(server: ArgillaServer, workspace: str) -> str:
    """The id of the only dataset of a workspace."""
    (place,) = [place["id"] for place in server.call("GET", "me/workspaces")["items"] if place["name"] == workspace]
    (found,) = server.call("GET", f"me/datasets?workspace_id={place}")["items"]
    return str(found["id"])


def records(server: ArgillaServer, workspace: str) -> list[Json]:
    """All records of a workspace's dataset, with all their answers."""
    path = f"datasets/{dataset(server, workspace)}/records?include=responses&limit=1000"
    found: list[Json] = []
    while page := server.call("GET", f"{path}&offset={len(found)}")["items"]:
        found += page
    return found


def answer(server: ArgillaServer, user: str, record: str, status: str = "submitted", **labels: str) -> None:
    """Give a reviewer's answer to a record, by the record's id on the server."""
    values = {question: {"value": label} for question, label in labels.items()}
    server.call("POST", f"records/{record}/responses", user=user, status=status, values=values)


def store_of_pairs(folder: Path, pairs: int) -> Store:
    """One iteration of seeds with two responses each. The response that says `better` has the higher reward."""
    config, store = parse_config(SETTINGS | {"folder": str(folder)}, "the test"), Store(folder)
    names = [f"{number:032x}" for number in range(1, pairs + 1)]
    ids = {name: prompt_id_of([{"role": "user", "content": f"Say {name}."}]) for name in names}
    prompts = frame([prompt(ids[name], f"Say {name}.") for name in names], PROMPTS)
    scored = [
        answers(ids[name], (f"{name} it is, the better one", 1.0), (f"not {name}, the worse one", 0.0))
        for name in names
    ]
    responses = frame([row for rows in scored for row in rows], RESPONSES)
    judged = outcome_of(config, 1, prompts, responses, n=2, on_policy=True)
    assert judged.preferences.height == pairs
    tables = {
        "preferences": judged.preferences,
        "prompts": prompts,
        "evolutions": empty(EVOLUTIONS),
        "informativeness": judged.informativeness,
        "responses": responses,
        "rejects": judged.rejects,
    }
    write(store, config, 1, tables, models={"solver": BASE, "creator": None, "reward": REWARD})
    write_card(store)
    return store
