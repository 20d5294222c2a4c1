"""All faults of a long run, for real: RemoteLLM with a server that misbehaves on request."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
import remote_asking
from misbehaving import Misbehaving, Seen
from odd_server import Answer, Asked, OddServer, said
from remote_asking import ask, errors, remote, texts

from eva_data.calls import Chain, Request
from eva_data.errors import BudgetError, ConfigError, EndpointError, ModelError
from eva_data.ledger import Ledger
from eva_data.models.remote import retries

pytestmark = pytest.mark.slow

KEY_ENV = "EVA_TEST_KEY"


def kept(folder: Path) -> dict[str, int]:
    """The numbers of finished and of repeated generations in the ledger."""
    with Ledger(folder / "ledger.sqlite") as ledger:
        return {name: ledger.totals()[name] for name in ("generations", "repeated")}


def requests(server: Misbehaving) -> list[tuple[str, int]]:
    """(prompt, `n`) of each request, in order of arrival."""
    return [(seen.prompt, seen.body["n"]) for seen in server.seen]


def test_what_passes_is_asked_again_and_takes_nothing_else_with_it(tmp_path: Path) -> None:
    faults = (
        "429", "429 after 0.2", "503", "500", "hang up", "cut length", "cut chunked", "late 3", "invalid json", "html",
        "error inside", "no choices", "null",
    )  # fmt: skip
    troubled, well = [f"[{fault} x1] A" for fault in faults], [f"B{number}" for number in range(30)]
    with Misbehaving() as server:
        answers = ask(remote(tmp_path, server, timeout_seconds=1), [*troubled, *well], n=2)
    assert texts(answers) == [
        *[["v1: A, time 2, choice 0", "v1: A, time 2, choice 1"]] * len(troubled),
        *[[f"v1: {prompt}, time 1, choice 0", f"v1: {prompt}, time 1, choice 1"] for prompt in well],
    ]
    assert Counter(requests(server)) == {(prompt, 2): 2 for prompt in troubled} | {(prompt, 2): 1 for prompt in well}
    assert sorted(server.answered) == sorted([*troubled, *well])
    assert kept(tmp_path) == {"generations": 2 * (13 + 30), "repeated": 0}


def test_a_model_tells_while_it_waits_for_a_server_that_is_busy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retries, "UNTOLD_SECONDS", 0.5)
    told: list[dict[str, object]] = []

    def answer(asked: Asked) -> Answer:
        if asked.time == 1:
            return 503, {"error": {"message": "full\x1b[2J"}}, {"Retry-After": "1.8"}
        told.append(json.loads((tmp_path / "progress.json").read_text()))
        return said(asked)

    with OddServer(answer) as server:
        ask(remote(tmp_path, server.url), ["A"])
    waits = {"waits": r"no answer for 1 s (HTTP 503: full\x1b[2J)"}
    assert told == [{"done": 0, "total": 1, "tokens": 0, "dollars": 0.0} | waits]
    assert json.loads((tmp_path / "progress.json").read_text())["waits"] == ""


@pytest.mark.slow
def test_what_does_not_pass_is_given_up_after_three_rounds_and_asked_again_by_a_rerun(tmp_path: Path) -> None:
    prompts = ["[500] A", "[null] B", "[cut length] C", "D"]
    with Misbehaving() as server:
        first = ask(remote(tmp_path, server), prompts)
        assert errors(first) == [
            ["gave_up: HTTP 500: internal error"],
            ["gave_up: the reply has no choice with a text"],
            ["gave_up: the reply was cut: ClientPayloadError"],
            [None],
        ]
        # Four attempts in each round.
        assert Counter(seen.prompt for seen in server.seen) == dict(zip(prompts, (12, 12, 12, 1), strict=True))
        assert kept(tmp_path) == {"generations": 1, "repeated": 0}
        server.seen.clear()
        again = ask(remote(tmp_path, server, further_rounds=()), prompts[2:])
        assert again == first[2:]
        assert Counter(seen.prompt for seen in server.seen) == {"[cut length] C": 4}


def test_work_of_several_steps_goes_on_when_one_needed_a_further_round(tmp_path: Path) -> None:
    def chain(name: str) -> Chain[list[str | None]]:
        (first,) = yield [Request(({"role": "user", "content": f"[500 x5] {name}"},))]
        (second,) = yield [Request(({"role": "user", "content": f"after {name}"},))]
        return [first.text, second.text]

    with Misbehaving() as server:
        llm = remote(tmp_path, server)
        llm.load()
        results = llm.drive([chain(name) for name in "ABC"], 6)
        llm.unload()
    assert results == [[f"v1: {name}, time 6, choice 0", f"v1: after {name}, time 1, choice 0"] for name in "ABC"]
    found = json.loads((tmp_path / "progress.json").read_text())
    assert found == {"done": 6, "total": 6, "tokens": 39, "dollars": 0.0, "waits": ""}


def test_a_prompt_that_no_server_takes_is_refused_at_once_with_its_words(tmp_path: Path) -> None:
    prompts = ["[context openai] A", "[context vllm] B", "[400] C", "D" * 5000, "E"]
    with Misbehaving() as server:
        answers = ask(remote(tmp_path, server, max_in_flight=1), prompts, n=2)
    limit = "This model's maximum context length is 64 tokens. However, your"
    assert errors(answers) == [
        [f"context_length_exceeded: {limit} messages resulted in 80 tokens. Please reduce the length of the messages."]
        * 2,
        [
            f"context_length_exceeded: {limit} prompt contains at least 65 input tokens, which exceeds this limit even "
            "without any output tokens. Please reduce the length of the input prompt."
        ]
        * 2,
        ["bad_request: the request is bad"] * 2,
        ["prompt_too_long"] * 2,
        [None, None],
    ]
    # Only a bad request may be about `n`, and only the first; the others are asked as ever.
    assert Counter(requests(server)) == {
        ("[context openai] A", 2): 1,
        ("[context vllm] B", 2): 1,
        ("[400] C", 2): 1,
        ("[400] C", 1): 1,
        ("E", 2): 1,
    }
    assert kept(tmp_path) == {"generations": 2, "repeated": 0}


def test_a_cut_a_filtered_a_refused_and_an_empty_answer_are_answers(tmp_path: Path) -> None:
    prompts = [f"[{kind}] A" for kind in ("length", "content filter", "refusal", "empty")]
    with Misbehaving() as server:
        answers = ask(remote(tmp_path, server), prompts)
        again = ask(remote(tmp_path, server), prompts)
    assert [(one.text, one.finish_reason, one.completion_tokens) for (one,) in answers] == [
        ("I was cut", "length", 3),
        ("", "content_filter", 0),
        ("I will not.", "stop", 0),
        ("", "stop", 0),
    ]
    assert again == answers
    assert len(server.seen) == 4


def test_a_text_that_is_no_unicode_harms_nobody(tmp_path: Path) -> None:
    with Misbehaving() as server:
        (odd, asked_oddly, well) = ask(remote(tmp_path, server), ["[surrogate] A", "half \ud83d", "B"])
    assert texts([odd, well]) == [["half an emoji: ?"], ["v1: B, time 1, choice 0"]]
    assert asked_oddly[0].text == "v1: half ?, time 1, choice 0"
    assert kept(tmp_path) == {"generations": 3, "repeated": 0}


def test_only_the_missing_choices_are_asked_again(tmp_path: Path) -> None:
    with Misbehaving() as server:
        answers = ask(remote(tmp_path, server), ["[fewer choices x1] A"], n=4)
    assert texts(answers) == [
        ["v1: A, time 1, choice 0", "v1: A, time 1, choice 1", "v1: A, time 1, choice 2", "v1: A, time 2, choice 0"]
    ]
    assert [n for _, n in requests(server)] == [4, 1]


def test_a_server_that_ignores_n_is_soon_asked_for_one_at_a_time(tmp_path: Path) -> None:
    prompts = [f"A{number}" for number in range(40)]
    with Misbehaving(faults=lambda seen: "one choice") as server:
        answers = ask(remote(tmp_path, server, max_in_flight=1), prompts, n=3)
    assert texts(answers) == [[f"v1: {prompt}, time {time}, choice 0" for time in (1, 2, 3)] for prompt in prompts]
    several = [n for _, n in requests(server) if n > 1]
    # Three such replies are enough; requests that waited for their turn by then were made before.
    assert 3 <= len(several) <= 20
    assert len(server.seen) == 120


def test_a_server_that_refuses_n_is_asked_for_one_at_a_time(tmp_path: Path) -> None:
    prompts = [f"A{number}" for number in range(40)]
    with Misbehaving(faults=lambda seen: "refuse n") as server:
        answers = ask(remote(tmp_path, server, max_in_flight=1), prompts, n=2)
    assert errors(answers) == [[None, None]] * 40
    assert Counter(server.answered) == dict.fromkeys(prompts, 2)
    assert len(server.seen) <= 80 + 20
    assert kept(tmp_path) == {"generations": 80, "repeated": 0}


@pytest.mark.parametrize(
    ("system", "expected"),
    [("merge_into_user", "v1: Be brief.\n\nHello, time 1, choice 0"), ("reject", None), ("keep", None)],
)
def test_a_system_message_that_the_server_refuses(tmp_path: Path, system: str, expected: str | None) -> None:
    with Misbehaving(faults=lambda seen: "refuse system") as server:
        llm = remote(tmp_path, server, system=system)
        if system == "keep":
            with pytest.raises(EndpointError, match="System role not supported"):
                ask(llm, ["Hello"], system="Be brief.")
        else:
            ((completion,),) = ask(llm, ["Hello"], system="Be brief.")
            assert (completion.text, completion.error) == (expected, None if expected else "system_role_unsupported")


@pytest.mark.parametrize("how", ["429 after 1.5", "503 after 1.5", "429 date 1.5"])
def test_nothing_is_sent_while_the_server_asked_to_wait(tmp_path: Path, how: str) -> None:
    prompts = [f"A{number}" for number in range(20)]
    faults: list[str | None] = [None] * 6 + [how]
    with Misbehaving(faults=faults, delay=0.01) as server:
        answers = ask(remote(tmp_path, server, max_in_flight=2), prompts)
    assert errors(answers) == [[None]] * 20
    said = server.seen[6].arrived
    # What was sent before the reply came back does not count.
    assert [seen.number for seen in server.seen if said + 0.5 < seen.arrived < said + 1.5] == []
    assert len(server.seen) == 21


def test_fewer_requests_are_sent_at_once_to_a_busy_server(tmp_path: Path) -> None:
    def busy(seen: Seen) -> str | None:
        return "429 after 0.05" if seen.in_flight > 4 else None

    prompts = [f"A{number}" for number in range(150)]
    with Misbehaving(faults=busy, delay=0.03) as server:
        answers = ask(remote(tmp_path, server, max_in_flight=32), prompts)
    assert errors(answers) == [[None]] * 150
    assert server.most_in_flight == 32
    assert max(seen.in_flight for seen in server.seen[64:]) <= 8
    assert Counter(server.answered) == dict.fromkeys(prompts, 1)


@pytest.mark.slow
def test_a_server_that_is_gone_for_a_while_loses_nothing(tmp_path: Path) -> None:
    prompts = [f"A{number}" for number in range(80)]
    with Misbehaving(faults=[None] * 30 + ["stop 5"], delay=0.05) as server:
        answers = ask(remote(tmp_path, server), prompts)
    assert errors(answers) == [[None]] * 80
    assert Counter(server.answered) == dict.fromkeys(prompts, 1)
    # One probe at a time while it was gone, then as many as before.
    assert max(seen.in_flight for seen in server.seen[-20:]) == 8
    assert kept(tmp_path) == {"generations": 80, "repeated": 0}


def test_one_server_of_two_that_is_not_there_costs_nothing_but_its_half(tmp_path: Path) -> None:
    with Misbehaving() as gone:
        pass
    prompts = [f"A{number}" for number in range(60)]
    with Misbehaving(delay=0.02) as server:
        answers = ask(remote(tmp_path, gone, server), prompts)
    assert texts(answers) == [[f"v1: {prompt}, time 1, choice 0"] for prompt in prompts]
    assert len(server.seen) == 60


def test_two_servers_share_the_requests_by_load(tmp_path: Path) -> None:
    prompts = [f"A{number}" for number in range(90)]
    with Misbehaving(delay=0.01) as quick, Misbehaving(delay=0.2) as slow:
        ask(remote(tmp_path, quick, slow, max_in_flight=4), prompts)
    assert (quick.most_in_flight, slow.most_in_flight) == (4, 4)
    assert len(quick.seen) + len(slow.seen) == 90
    assert len(quick.seen) > 2 * len(slow.seen)


def test_a_server_that_only_fails_stops_the_job_and_what_was_finished_is_kept(tmp_path: Path) -> None:
    def fails(seen: Seen) -> str | None:
        return "500" if seen.number >= 10 else None

    prompts = [f"A{number}" for number in range(30)]
    with Misbehaving(faults=fails) as server:
        with pytest.raises(EndpointError, match=r"nothing but fail for \d+ seconds, last with: HTTP 500: internal err"):
            ask(remote(tmp_path, server, give_up_minutes=0.03), prompts)
        assert kept(tmp_path) == {"generations": 10, "repeated": 0}
        server.faults = ()
        assert errors(ask(remote(tmp_path, server), prompts)) == [[None]] * 30
    assert Counter(server.answered) == dict.fromkeys(prompts, 1)
    assert kept(tmp_path) == {"generations": 30, "repeated": 0}


def test_a_wrong_key_stops_the_job_at_once_naming_its_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KEY_ENV, "sk-planted-and-wrong")
    with Misbehaving(key="right") as server:
        with pytest.raises(EndpointError, match=KEY_ENV) as caught:
            ask(remote(tmp_path, server, key_env=KEY_ENV), [f"A{number}" for number in range(50)], n=2)
        # What was in flight, and what took the place of the first that came back.
        assert server.turned_away <= 2 * 8
        assert "sk-planted-and-wrong" not in str(caught.value)
        monkeypatch.setenv(KEY_ENV, "right")
        assert errors(ask(remote(tmp_path, server, key_env=KEY_ENV), ["A"])) == [[None]]
    assert not [file for file in tmp_path.iterdir() if b"sk-planted-and-wrong" in file.read_bytes()]


def test_a_key_that_is_not_set_is_missed_before_any_request(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(KEY_ENV, raising=False)
    with Misbehaving() as server:
        with pytest.raises(ConfigError, match=f"{KEY_ENV}, which holds the key of `tiny`, is not set"):
            ask(remote(tmp_path, server, key_env=KEY_ENV), ["A"])
        assert server.seen == []


def test_a_key_that_is_refused_in_the_middle_stops_the_job_and_what_was_finished_is_kept(tmp_path: Path) -> None:
    prompts = [*(f"A{number}" for number in range(10)), "[401] B", *(f"C{number}" for number in range(50))]
    with Misbehaving(faults=lambda seen: "one choice") as server, pytest.raises(EndpointError, match="refuses the key"):
        ask(remote(tmp_path, server, max_in_flight=2), prompts, n=3)
    assert len(server.seen) < 70
    assert 10 <= kept(tmp_path)["generations"] <= len(server.answered)


def test_a_model_that_is_not_served_stops_the_job_at_once(tmp_path: Path) -> None:
    expected = pytest.raises(EndpointError, match=r"does not know the model `tiny`.*check `model`")
    with Misbehaving(model="small") as server, expected:
        ask(remote(tmp_path, server), [f"A{number}" for number in range(50)])
    assert len(server.seen) <= 2 * 8


def test_a_server_that_answers_nothing_is_no_result(tmp_path: Path) -> None:
    expected = pytest.raises(EndpointError, match=r"not one request to `tiny` was answered.*the request is bad")
    with Misbehaving(faults=lambda seen: "400") as server, expected:
        ask(remote(tmp_path, server), ["A", "B"])


def test_a_rerun_asks_only_what_is_missing(tmp_path: Path) -> None:
    with Misbehaving() as server:
        two = ask(remote(tmp_path, server), ["A", "B"], n=2)
        more = ask(remote(tmp_path, server), ["B", "A", "C"], n=3)
    assert [more[1][:2], more[0][:2]] == two
    assert Counter(requests(server)) == {("A", 2): 1, ("B", 2): 1, ("A", 1): 1, ("B", 1): 1, ("C", 3): 1}
    assert kept(tmp_path) == {"generations": 9, "repeated": 0}


def test_another_model_under_the_same_name_is_noticed(tmp_path: Path) -> None:
    with Misbehaving() as server:
        ask(remote(tmp_path, server, canary=True), ["A"])
        ask(remote(tmp_path, server, canary=True), ["B"])
        server.voice = "v2"
        with pytest.raises(ModelError, match=r"`tiny@1` answers differently than before.*another `revision`"):
            ask(remote(tmp_path, server, canary=True), ["C"])
        assert texts(ask(remote(tmp_path, server, fingerprint="tiny@2", canary=True), ["C"])) == [
            ["v2: C, time 1, choice 0"]
        ]
    assert "C" not in [seen.prompt for seen in server.seen[:-4]]


def test_a_budget_is_never_exceeded_and_what_was_paid_for_is_kept(tmp_path: Path) -> None:
    # A request costs its words: 1 of the prompt at 1000 and 6 of the answer at 2000 dollars per million.
    price, paid = (1000.0, 2000.0), 0.001 + 6 * 0.002
    prompts = [f"A{number}" for number in range(60)]
    with Misbehaving(delay=0.01) as server:
        with pytest.raises(BudgetError, match=r"the budget of \$0\.30 is used up.*higher `--budget`"):
            ask(remote(tmp_path, server, price=price, budget=0.3), prompts)
        with Ledger(tmp_path / "ledger.sqlite") as ledger:
            spent, unknown = ledger.spent()
        assert spent == pytest.approx(paid * len(server.answered))
        assert (spent <= 0.3, unknown) == (True, 0)
        # The dearest outcome of a request is 34 tokens in and 16 out, 0.066 dollars: no more fit for sure.
        assert paid * len(server.answered) > 0.3 - 0.067
        ask(remote(tmp_path, server, price=price, budget=1.0), prompts)
    assert Counter(server.answered) == dict.fromkeys(prompts, 1)


_JOB = """
import sys
from pathlib import Path
from remote_asking import ask, remote
ask(remote(Path(sys.argv[1]), sys.argv[2]), [f"A{number}" for number in range(200)], n=2)
"""


@pytest.mark.slow
def test_a_killed_job_repeats_no_finished_call_and_at_most_what_was_in_flight(tmp_path: Path) -> None:
    job = [sys.executable, "-W", "ignore", "-c", _JOB, str(tmp_path)]
    with Misbehaving(delay=0.1) as server:
        for kill_at in (40, 120):
            child = subprocess.Popen([*job, server.url], cwd=Path(remote_asking.__file__).parent)
            deadline = time.monotonic() + 120
            while len(server.seen) < kill_at and time.monotonic() < deadline:
                time.sleep(0.01)
            child.kill()
            child.wait()
        subprocess.run([*job, server.url], cwd=Path(remote_asking.__file__).parent, check=True)
    answered = Counter(server.answered)
    assert set(answered) == {f"A{number}" for number in range(200)}
    # Eight in flight when it was killed, twice.
    assert answered.total() - 200 <= 2 * 8
    assert len(server.seen) <= 200 + 2 * 8
    assert kept(tmp_path) == {"generations": 400, "repeated": 0}
