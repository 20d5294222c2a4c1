"""Rewards by a served model: the scores of the classifier backend, each asked once, with any fault of the server."""

from __future__ import annotations

import asyncio
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from scoring_server import Reply, ScoringServer
from tiny import reward_job, save_model, save_reward_model

from eva_data.config import RewardServer
from eva_data.errors import EndpointError, ModelError
from eva_data.jobs.job import Job
from eva_data.ledger import Score
from eva_data.models.remote.endpoints import Pool
from eva_data.models.remote.faults import Refused, Throttled, Transient
from eva_data.models.remote.retries import ATTEMPTS, ChainPlace, Retries
from eva_data.rewards import score_rows
from eva_data.rewards.backends.server import read_score

pytestmark = pytest.mark.slow

Rows = list[dict[str, Any]]

BUSY: Reply = (503, {"error": {"message": "overloaded"}})
BROKEN: Reply = (500, {"error": {"message": "internal error"}})


def prompt(text: str, *responses: str) -> dict[str, Any]:
    return {
        "prompt_id": text[:8],
        "prompt": [{"role": "user", "content": text}],
        "response_idx": [*range(len(responses))],
        "responses": [*responses],
    }


def server_job(folder: Path, model: Path | None, *servers: ScoringServer, **settings: Any) -> Job:
    """A job with servers that were started here, or without `model` with a server that runs elsewhere."""
    folder.mkdir(exist_ok=True)
    elsewhere: dict[str, Any] = {}
    if model is None:
        elsewhere = {"base_url": servers[0].url, "tokenizer": str(servers[0].folder)}
    name = "org/rm" if model is not None else servers[0].model
    block = RewardServer(backend="server", model=name, max_in_flight=4, **elsewhere)
    return Job(
        folder,
        "reward",
        block.model_copy(update=settings),
        connection={"urls": [server.url for server in servers]},
        ledger=folder / "ledger.sqlite",
        scorer="tiny@0",
        scorer_path=model,
    )


def test_scores_are_those_of_the_classifier_for_whatever_text(tmp_path: Path) -> None:
    model = save_reward_model(tmp_path / "model")
    rows: Rows = [
        prompt("What is 2 + 2?", "It is 4.", "", "It is 5. " * 20),
        prompt(
            "Grüße an die Welt 🌍", "Hallo!\r\n\tWelt\u200b", "<|im_end|>\n<|im_start|>user\n", "Hallo!\r\n\tWelt\u200b"
        ),
        {
            "prompt_id": "turns",
            "prompt": [
                {"role": "system", "content": "Be brief."},
                {"role": "user", "content": "Hello"},
                {"role": "assistant", "content": "Hi"},
                {"role": "user", "content": "And now?"},
            ],
            "response_idx": [0],
            "responses": ["Bye"],
        },
    ]
    expected = score_rows(reward_job(tmp_path / "classifier", "classifier", model), rows)
    with ScoringServer(model) as server:
        found = score_rows(server_job(tmp_path / "server", model, server), rows)
        # One of the seven responses is there twice.
        assert len(server.asked) == 6
    assert [[score.reason for score in scores] for scores in found] == [[None] * 3, [None] * 3, [None]]
    for scores, others in zip(found, expected, strict=True):
        for score, other in zip(scores, others, strict=True):
            assert score.reward == pytest.approx(other.reward, abs=1e-5)


def test_what_cannot_be_scored_says_why_and_is_not_asked(tmp_path: Path) -> None:
    model = save_reward_model(tmp_path / "model", "gemma2")
    rows = [prompt("Hi", "x" * 90, "half \ud83d of a pair", "fine"), prompt("y" * 90, "fine")]
    refused: Rows = [
        {**rows[0], "prompt": [{"role": "user", "content": "a"}, {"role": "system", "content": "b"}]},
    ]
    with ScoringServer(model) as server:
        job = server_job(tmp_path / "job", model, server, max_tokens=100)
        (long, half, fine), (other,) = score_rows(job, rows)
        assert (long, half, other) == (Score(None, "too_long"), Score(None, "not_unicode"), Score(None, "too_long"))
        assert fine.reason is None
        assert len(server.asked) == 1
        ((score, *_),) = score_rows(server_job(tmp_path / "refused", model, server), refused)
    assert score == Score(None, "chat_template_refuses: System role not supported")


def test_a_text_that_only_the_server_finds_too_long_is_too_long(tmp_path: Path) -> None:
    model = save_reward_model(tmp_path / "model")
    with ScoringServer(model) as server:
        ((long, short),) = score_rows(server_job(tmp_path / "job", None, server), [prompt("Hi", "x" * 600, "ok")])
    assert long == Score(None, "too_long")
    assert short.reason is None


def test_what_the_ledger_has_is_not_asked_again_also_after_an_end_in_the_middle(tmp_path: Path) -> None:
    model = save_reward_model(tmp_path / "model")
    rows = [prompt(f"Question {number}", "yes", "no") for number in range(10)]
    with ScoringServer(model) as server:
        server.faults = lambda number: (401, {"error": {"message": "expired"}}) if number >= 8 else None
        job = server_job(tmp_path / "job", model, server, max_in_flight=1)
        with pytest.raises(EndpointError, match=r"refuses the key \(HTTP 401: expired\)"):
            score_rows(job, rows)
        assert len(server.asked) == 9
        server.faults = lambda number: None
        found = score_rows(job, rows)
        assert len(server.asked) == 9 + 12
        assert score_rows(job, rows) == found
        assert len(server.asked) == 9 + 12
    assert (job.folder / "progress.json").read_text() == '{"done": 20, "total": 20}'


def test_no_more_requests_are_in_flight_than_allowed_and_servers_share_them(tmp_path: Path) -> None:
    model = save_reward_model(tmp_path / "model")
    rows = [prompt(f"Question {number}", "yes", "no") for number in range(20)]
    with ScoringServer(model, delay=0.01) as one, ScoringServer(model, delay=0.01) as other:
        score_rows(server_job(tmp_path / "job", model, one, other, max_in_flight=3), rows)
        assert (one.most_in_flight, other.most_in_flight) == (3, 3)
        assert len(one.asked) + len(other.asked) == 40


def test_faults_that_pass_cost_no_score(tmp_path: Path) -> None:
    model = save_reward_model(tmp_path / "model")
    rows = [prompt(f"Question {number}", "yes", "no") for number in range(3)]
    expected = score_rows(reward_job(tmp_path / "classifier", "classifier", model), rows)
    nothing: Reply = (200, {"data": []})
    with ScoringServer(model, faults=lambda number: {0: BROKEN, 1: BUSY, 3: nothing}.get(number)) as server:
        found = score_rows(server_job(tmp_path / "job", model, server), rows)
        assert len(server.asked) == 6 + 3
    assert found == [[pytest.approx(score, abs=1e-5) for score in scores] for scores in expected]


def test_a_stage_in_which_nothing_is_scored_is_an_error(tmp_path: Path) -> None:
    model = save_reward_model(tmp_path / "model")
    with (
        ScoringServer(model, faults=lambda number: (400, {"error": {"message": "Token id 9 is unknown"}})) as server,
        pytest.raises(EndpointError) as raised,
    ):
        score_rows(server_job(tmp_path / "job", model, server), [prompt("Hi", "a", "b")])
    assert str(raised.value) == f"not one response was scored at {server.url}: bad_request: Token id 9 is unknown"


def test_the_key_is_sent_and_a_refused_one_is_named_by_its_variable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = save_reward_model(tmp_path / "model")
    with ScoringServer(model, key="sk-secret-1") as server:
        job = server_job(tmp_path / "job", model, server, api_key_env="RM_KEY")
        monkeypatch.setenv("RM_KEY", "sk-secret-1")
        assert score_rows(job, [prompt("Hi", "a")])[0][0].reason is None
        monkeypatch.setenv("RM_KEY", "sk-secret-2")
        with pytest.raises(EndpointError, match="put a valid one into the environment variable RM_KEY") as raised:
            score_rows(job, [prompt("Hi", "b")])
    assert "sk-secret" not in str(raised.value)


def test_a_model_of_several_labels_is_no_reward_model(tmp_path: Path) -> None:
    model = save_reward_model(tmp_path / "model", labels=2)
    with (
        ScoringServer(model) as server,
        pytest.raises(ModelError, match="the reward model `model` gives 2 numbers for a text: a reward is one number"),
    ):
        score_rows(server_job(tmp_path / "job", model, server), [prompt("Hi", "a", "b")])


def test_a_server_that_runs_elsewhere_must_score_as_it_did_the_first_time(tmp_path: Path) -> None:
    first, other = (save_reward_model(tmp_path / name, seed=seed) for seed, name in enumerate(("first", "other")))
    with ScoringServer(first, model="org/rm") as server:
        score_rows(server_job(tmp_path / "job", None, server), [prompt("Hi", "a")])
        assert len(server.asked) == 3 + 1
        score_rows(server_job(tmp_path / "job", None, server), [prompt("Hi", "b")])
    with ScoringServer(other, model="org/rm") as server:
        with pytest.raises(ModelError, match=r"the reward model `org/rm` scores a text with .* that it once scored wi"):
            score_rows(server_job(tmp_path / "job", None, server), [prompt("Hi", "c")])
        score_rows(replace(server_job(tmp_path / "job", None, server), scorer="tiny@1"), [prompt("Hi", "c")])


def test_a_server_that_runs_elsewhere_needs_a_tokenizer_that_can_be_had(tmp_path: Path) -> None:
    model = save_reward_model(tmp_path / "model")
    with ScoringServer(model, model="my reward model") as server:
        job = server_job(tmp_path / "job", None, server, tokenizer=None)
        with pytest.raises(
            ModelError, match=r"the reward model my reward model cannot be loaded.*name the folder .*`reward\.tok"
        ):
            score_rows(job, [prompt("Hi", "a")])


def test_a_model_without_a_chat_template_is_refused(tmp_path: Path) -> None:
    model = save_model(tmp_path / "model")
    (model / "chat_template.jinja").unlink()
    with (
        ScoringServer(save_reward_model(tmp_path / "served")) as server,
        pytest.raises(ModelError, match="no chat tem"),
    ):
        score_rows(server_job(tmp_path / "job", model, server), [prompt("Hi", "a")])


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        ({"data": [{"probs": [-7.99]}]}, Score(-7.99, None)),
        ({"data": [{"probs": [math.nan]}]}, Score(None, "not_finite")),
        ({"data": [{"probs": [math.inf]}]}, Score(None, "not_finite")),
    ],
)
def test_a_reply_is_read(reply: Any, expected: Score) -> None:
    assert read_score(reply, "rm") == expected


@pytest.mark.parametrize(
    "reply", [None, [], {}, {"data": None}, {"data": []}, {"data": [{}]}, {"data": [{"probs": None}]}, {"data": [1, 2]}]
)
def test_a_reply_without_a_score_is_asked_again(reply: Any) -> None:
    with pytest.raises(Transient):
        read_score(reply, "rm")


def ask(faults: list[Exception | None], pauses: tuple[float, ...] = (0.01, 0.01)) -> tuple[int | Exception, int, int]:
    """The end of a request that meets these faults, how often it was made, and how often it stepped aside."""
    calls = 0

    async def once(url: str) -> int:
        nonlocal calls
        calls += 1
        if calls <= len(faults) and (fault := faults[calls - 1]) is not None:
            raise fault
        return calls

    class Counted(ChainPlace):
        left = 0

        def leave(self) -> None:
            self.left += 1
            super().leave()

    async def run() -> int:
        pool = Pool(["http://127.0.0.1:1"], 8, give_up_seconds=3600)
        return await Retries(pool, pauses).ask(once, place)

    place = Counted(asyncio.Semaphore(0))
    try:
        return asyncio.run(run()), calls, place.left
    except (Transient, Refused) as fault:
        return fault, calls, place.left


def test_a_request_that_is_refused_is_not_made_again() -> None:
    fault, calls, aside = ask([Refused("bad_request: no")])
    assert (str(fault), calls, aside) == ("bad_request: no", 1, 0)


def test_a_request_that_fails_steps_aside_and_is_made_again() -> None:
    assert ask([Transient("cut")]) == (2, 2, 1)


def test_a_busy_server_costs_no_attempt() -> None:
    assert ask([Throttled("busy", 0.0)] * (ATTEMPTS + 2)) == (ATTEMPTS + 3, ATTEMPTS + 3, 0)
