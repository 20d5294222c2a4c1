"""Models of providers, through the real litellm and a local server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from misbehaving import Misbehaving
from odd_server import Answer, Asked, OddServer, refused, said
from remote_asking import ask, errors, remote, texts

from eva_data.config import ApiModel
from eva_data.config.bodies import misplaced
from eva_data.errors import ConfigError, EndpointError
from eva_data.models.player import player_of
from eva_data.models.remote.litellm_provider import key_variable, price_of

KEY = "sk-planted-0123456789"

pytestmark = [
    # litellm 1.106 and the openai client: sessions that only the collector closes, pydantic models of their own.
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore:Pydantic serializer warnings:UserWarning"),
    pytest.mark.filterwarnings("ignore:Item .* on TypedDict class:UserWarning"),
]


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Misbehaving]:
    """A stand-in for OpenAI, which litellm asks for its `openai/` models."""
    # litellm goes by a proxy even to this machine.
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    with Misbehaving(key=KEY) as server:
        monkeypatch.setenv("OPENAI_API_BASE", server.url)
        monkeypatch.setenv("OPENAI_API_KEY", KEY)
        yield server


@pytest.mark.slow
def test_what_passes_is_asked_again(tmp_path: Path, server: Misbehaving) -> None:
    faults = ("429", "429 after 0.2", "503", "500", "hang up", "cut length", "late 3", "invalid json", "null")
    prompts = [f"[{fault} x1] {number}" for number, fault in enumerate(faults)]
    answers = ask(remote(tmp_path, model="openai/tiny", urls=[], timeout_seconds=1), prompts, n=2)
    assert texts(answers) == [
        [f"v1: {number}, time 2, choice 0", f"v1: {number}, time 2, choice 1"] for number in range(len(faults))
    ]


@pytest.mark.slow
def test_a_provider_that_is_not_there_is_waited_for_and_then_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Misbehaving() as gone:
        url = gone.url
    monkeypatch.setenv("OPENAI_API_BASE", url)
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    with pytest.raises(EndpointError, match=r"has done nothing but fail for .*Connection error"):
        ask(remote(tmp_path, model="openai/tiny", urls=[], give_up_minutes=0.1), ["A"])


@pytest.mark.slow
def test_a_wait_that_the_provider_asks_for_is_kept(tmp_path: Path, server: Misbehaving) -> None:
    ask(remote(tmp_path, model="openai/tiny", urls=[]), ["[429 after 2 x1] A"])
    first, second = server.seen
    assert second.arrived - first.arrived >= 2


@pytest.mark.slow
def test_answers_of_all_kinds(tmp_path: Path, server: Misbehaving) -> None:
    prompts = ["A", "[length] B", "[content filter] C", "[refusal] D", "[context openai] E", "[400] F"]
    answers = ask(remote(tmp_path, model="openai/tiny", urls=[]), prompts)
    assert texts(answers) == [["v1: A, time 1, choice 0"], ["I was cut"], [""], ["I will not."], [None], [None]]
    assert [completions[0].finish_reason for completions in answers] == [
        "stop", "length", "content_filter", "stop", "error", "error",
    ]  # fmt: skip
    reasons = [(completions[0] or "").partition(":")[0] for completions in errors(answers)]
    assert reasons == ["", "", "", "", "context_length_exceeded", "bad_request"]


def test_a_wrong_key_and_a_wrong_model_stop_at_once(
    tmp_path: Path, server: Misbehaving, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(EndpointError, match="does not know the model `openai/huge`"):
        ask(remote(tmp_path, model="openai/huge", urls=[]), ["A"])
    monkeypatch.setenv("OPENAI_API_KEY", "sk-wrong-wrong")
    with pytest.raises(EndpointError, match="environment variable OPENAI_API_KEY") as caught:
        ask(remote(tmp_path, model="openai/tiny", urls=[], key_name="OPENAI_API_KEY"), ["A"])
    assert "sk-wrong" not in str(caught.value)


def test_a_provider_or_key_that_is_not_there_is_missed_before_any_request(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("GEMINI_API_KEY", "GOOGLE_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(ConfigError, match="litellm knows no provider of the model `nonsense`"):
        key_variable(ApiModel(backend="api", model="nonsense"))
    with pytest.raises(ConfigError, match="export GOOGLE_API_KEY or GEMINI_API_KEY"):
        key_variable(ApiModel(backend="api", model="gemini/gemini-2.5-flash"))
    monkeypatch.setenv("GEMINI_API_KEY", "anything")
    assert key_variable(ApiModel(backend="api", model="gemini/gemini-2.5-flash")) == "GEMINI_API_KEY"


def test_the_body_and_the_options_of_litellm_are_two_things(tmp_path: Path, server: Misbehaving) -> None:
    body, options = {"chat_template_kwargs": {"enable_thinking": False}, "top_p": None}, {"seed": 7, "stop": ["END"]}
    ask(remote(tmp_path, model="openai/tiny", urls=[], extra_body=body, options=options), ["A"])
    [seen] = server.seen
    assert {key: seen.body[key] for key in ("chat_template_kwargs", "seed", "stop", "max_tokens")} == {
        "chat_template_kwargs": {"enable_thinking": False}, "seed": 7, "stop": ["END"], "max_tokens": 16,
    }  # fmt: skip
    assert "top_p" not in seen.body
    ask(remote(tmp_path, model="openai/tiny", urls=[], renamed={"max_tokens": "max_completion_tokens"}), ["B"])
    assert server.seen[1].body["max_completion_tokens"] == 16
    assert "max_tokens" not in server.seen[1].body


def with_likelihoods(asked: Asked) -> Answer:
    status, content, *_ = said(asked, "M")
    listed = [{"token": "M", "logprob": -0.25, "bytes": [77]}, {"token": "m", "logprob": -1.5, "bytes": [109]}]
    first = {"token": "M", "logprob": -0.25, "bytes": [77], "top_logprobs": listed}
    content["choices"][0]["logprobs"] = {"content": [first], "refusal": None}
    return status, content


def test_log_probabilities_come_through_litellm_where_they_are_asked_for(
    tmp_path: Path, server: Misbehaving, monkeypatch: pytest.MonkeyPatch
) -> None:
    with OddServer(with_likelihoods) as likely:
        monkeypatch.setenv("OPENAI_API_BASE", likely.url)
        [[answer]] = ask(remote(tmp_path, model="openai/tiny", urls=[], likeliest=5), ["A"])
        asked = likely.asked[0].body
    assert answer.first_token == {"M": -0.25, "m": -1.5}
    assert (asked["logprobs"], asked["top_logprobs"]) == (True, 5)


def test_a_key_that_a_provider_echoes_is_neither_kept_nor_logged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    def answer(asked: Asked) -> Answer:
        echo = f"Incorrect API key provided: {asked.headers['Authorization']}"
        if asked.prompt == "B":
            return refused(echo)
        return refused(echo, 500) if asked.prompt == "C" and asked.time == 1 else said(asked, echo)

    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    with OddServer(answer) as server:
        monkeypatch.setenv("OPENAI_API_BASE", server.url)
        monkeypatch.setenv("OPENAI_API_KEY", KEY)
        one, two, three = ask(remote(tmp_path, model="openai/tiny", urls=[]), ["A", "B", "C"])
    assert texts([one, three]) == [["Incorrect API key provided: Bearer ***"]] * 2
    assert "Bearer ***" in str(errors([two]))
    shown = "".join(capfd.readouterr()) + caplog.text
    assert KEY not in shown + str(errors([two]))
    assert [file for file in tmp_path.iterdir() if KEY.encode() in file.read_bytes()] == []


def test_an_option_of_litellm_in_extra_body_is_an_error_with_the_line_to_write(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GEMINI_API_KEY", "anything")
    block = ApiModel(
        backend="api", model="gemini/gemini-2.5-flash", extra_body={"reasoning_effort": "none", "a": {"b": 1}}
    )
    with pytest.raises(ConfigError, match=r"write `options: {reasoning_effort: none}` and `extra_body: {a: {b: 1}}`"):
        player_of(block)
    # It is a field of the body where a server is named.
    assert misplaced({"a": 1}) is None


def test_a_price_is_the_providers_or_the_settings_or_unknown() -> None:
    prices = {"input": 1.5, "output": 6}
    assert price_of(ApiModel(backend="api", model="openai/gpt-4o-mini")) == pytest.approx((0.15, 0.6))
    assert price_of(ApiModel.model_validate({"backend": "api", "model": "openai/gpt-4o-mini", "prices": prices})) == (
        1.5,
        6,
    )
    assert price_of(ApiModel(backend="api", model="openai/no-such-model")) is None
    # A server of one's own may call its model what it likes.
    assert price_of(ApiModel(backend="api", model="gpt-4o-mini", base_url="http://127.0.0.1:8000/v1")) is None
