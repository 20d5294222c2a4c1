"""A real model of 135 million parameters answers, a verifier judges, and no test depends on what the model says.

`make real-model` makes the model; without it the test is skipped.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from sandbox_runs import eva, tables, totals
from smollm2 import real_model

from eva_data.dataset.evaluations import read_record, read_rows
from eva_data.dataset.store import Store

QUESTIONS = {
    "Anna has 3 apples and buys 4 more. How many apples does she have?": 7,
    "A shelf holds 5 rows of 6 books. How many books are on it?": 30,
    "Ben had 15 marbles and lost 6. How many marbles are left?": 9,
    "A ticket costs 8 euros. What do 3 tickets cost, in euros?": 24,
    "24 sweets are shared equally by 4 children. How many does each child get?": 6,
    "A train leaves at 9 o'clock and travels for 5 hours. At what hour does it arrive?": 14,
    "Carla reads 12 pages a day. How many pages does she read in 7 days?": 84,
    "A farmer has 20 hens and sells half of them. How many hens are left?": 10,
    "A rope of 18 metres is cut into pieces of 3 metres. How many pieces are there?": 6,
    "Tom is 11 years old, and his sister is 4 years younger. How old is she?": 7,
    "A box has 2 red, 3 blue and 5 green pens. How many pens are in it?": 10,
    "A cinema sold 40 tickets on Monday and 25 on Tuesday. How many did it sell in all?": 65,
}
HELDOUT = {
    "What is 2 plus 2?": 4,
    "A cat has 4 legs. How many legs do 3 cats have?": 12,
    "Dora had 10 coins and found 5 more. How many coins does she have?": 15,
    "A week has 7 days. How many days are 2 weeks?": 14,
}


def write(path: Path, questions: dict[str, int]) -> None:
    path.write_text("".join(json.dumps({"prompt": q, "answer": str(a)}) + "\n" for q, a in questions.items()))


@pytest.mark.long
def test_a_real_model_plays_and_is_evaluated(tmp_path: Path) -> None:
    model = real_model()
    if not (model / "config.json").exists():
        pytest.skip(f"needs the model in {model}: `make real-model` makes it")
    write(tmp_path / "questions.jsonl", QUESTIONS)
    write(tmp_path / "heldout.jsonl", HELDOUT)
    final_number = "backend: verifier, function: 'eva_data.rewards.answers:final_number'"
    (tmp_path / "eva.yaml").write_text(
        f"name: real\nseeds: {{path: questions.jsonl}}\n"
        f"solver: {{model: '{model}', responses: 2, max_tokens: 48, temperature: 1.0, batch_size: 32}}\n"
        f"reward: {{{final_number}, answers: {{path: questions.jsonl}}}}\n"
        "evaluate:\n  heldout: 0\n  sets:\n  - name: sums\n    rule: verifier\n    path: heldout.jsonl\n"
        f"    function: {{{final_number}, answers: {{path: heldout.jsonl}}}}\n"
    )
    folder = tmp_path / "real"
    done = eva(folder, "build", "--iter", "1", settings=())
    assert done.returncode == 0, done.stderr
    responses = tables(folder, 1)["responses"]
    assert responses.height == 24
    assert responses["reward"].is_in([0.0, 1.0]).all() and responses["reward"].null_count() == 0
    assert responses["completion_tokens"].is_between(1, 48).all()
    assert responses["response"].str.contains(r"\p{L}{2}").sum() > 12  # words, whatever they say
    ended = eva(folder, "evaluate", "--solver", "theta_0", settings=())
    assert ended.returncode == 0, ended.stderr
    store = Store(folder)
    record = read_record(store)
    assert record is not None
    (compared,) = record.evaluations
    assert (compared.set, compared.prompts, compared.partial) == ("sums", 4, None)
    rows = read_rows(store)
    assert rows.height == 4 and rows["score"].is_in([0.0, 1.0]).all()
    # Asked again, the model is asked nothing.
    before = totals(folder)
    again = eva(folder, "evaluate", "--solver", "theta_0", settings=())
    assert again.returncode == 0, again.stderr
    assert totals(folder) == before
    assert rows.equals(read_rows(store))
