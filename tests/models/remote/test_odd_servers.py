"""Differences of real servers: ends of answers, forms of content, refused fields, different words."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from odd_server import Answer, Asked, OddServer, refused, said
from remote_asking import ask, errors, remote, texts

from eva_data.config import ApiModel
from eva_data.errors import ConfigError, EndpointError
from eva_data.ledger import Ledger
from eva_data.models.listing import look
from eva_data.models.player import Player, connection
from eva_data.models.remote.faults import Refused, Throttled, Transient, fault_of
from eva_data.models.remote.transport import read_reply
from eva_data.models.way import proxy_of

pytestmark = pytest.mark.slow

NEUTRAL = {"temperature": 1.0, "top_p": 1.0, "max_tokens": 16}


# --- how an answer ends -------------------------------------------------------------------------------------------


TEXT = [{"type": "text", "text": "Yes"}]


def reply(reason: str | None, content: Any = "Half an", **more: Any) -> dict[str, Any]:
    return {"choices": [{"finish_reason": reason, "message": {"content": content, **more}}]}


@pytest.mark.parametrize(
    ("reason", "expected"),
    [
        ("stop", "stop"), ("STOP", "stop"), ("eos_token", "stop"), ("end_turn", "stop"), (None, "stop"),
        ("length", "length"), ("MAX_TOKENS", "length"), ("model_length", "length"), ("max_tokens", "length"),
        ("model_context_window_exceeded", "length"),
        ("content_filter", "content_filter"), ("SAFETY", "content_filter"), ("RECITATION", "content_filter"),
    ],
)  # fmt: skip
def test_known_ends_of_an_answer_are_three(reason: str | None, expected: str) -> None:
    assert read_reply(reply(reason), 1).choices[0].finish_reason == expected


@pytest.mark.parametrize(
    "reason", ["error", "abort", "insufficient_system_resource", "tool_calls", "OTHER", "cancelled"]
)
def test_any_other_end_is_a_failure_with_its_name(reason: str) -> None:
    with pytest.raises(Transient, match=f"broken off with finish_reason `{reason}`"):
        read_reply(reply(reason), 1)


def test_a_choice_with_an_error_of_its_own_is_no_answer_and_the_others_are() -> None:
    choices = [reply("stop", text)["choices"][0] for text in "ab"]
    choices[0]["error"] = {"code": 502, "message": "upstream died"}
    assert [choice.text for choice in read_reply({"choices": choices}, 2).choices] == ["b"]


def test_what_was_broken_off_is_asked_again_and_kept_nowhere(tmp_path: Path) -> None:
    def answer(asked: Asked) -> Answer:
        return said(asked, "PARTIAL", "abort") if asked.time == 1 and asked.prompt == "A" else said(asked)

    with OddServer(answer) as server:
        answers = ask(remote(tmp_path, server.url), ["A", "B"], n=2)
    assert texts(answers) == [[f"to {p}, time {t}, choice {n}" for n in (0, 1)] for p, t in (("A", 2), ("B", 1))]
    assert b"PARTIAL" not in b"".join(file.read_bytes() for file in tmp_path.iterdir())


@pytest.mark.parametrize(
    ("content", "more", "expected"),
    [
        ([{"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}, *TEXT], {}, "Yes"),
        ([{"type": "text", "text": "One "}, {"type": "text", "text": "two"}], {}, "One two"),
        (["One ", {"type": "output_text", "text": "two"}], {}, "One two"),
        ([{"type": "thinking", "thinking": "hm"}], {}, ""),
        ("Yes", {"reasoning_content": "hm"}, "Yes"),
        (None, {"reasoning_content": "hm, let me see"}, ""),
        ("<think>hm, let me see</think>\n", {}, ""),
        ("<think>hm, let me", {}, ""),
        ("[THINK]hm, let me see[/THINK]", {}, ""),
        ("<think>hm</think>Yes", {}, "<think>hm</think>Yes"),
    ],
)  # fmt: skip
def test_chunks_are_joined_and_thoughts_alone_are_an_answer_of_no_words(
    content: Any, more: dict[str, Any], expected: str
) -> None:
    assert read_reply(reply("stop", content, **more), 1).choices[0].text == expected


# --- fields that a server refuses ---------------------------------------------------------------------------------


def reasoning_model(asked: Asked) -> Answer:
    """A server like OpenAI's reasoning models, with other fields and only temperature 1."""
    if "max_tokens" in asked.body:
        return refused(
            "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' "
            "instead.",
            param="max_tokens",
            code="unsupported_parameter",
        )
    if asked.body.get("temperature", 1) != 1:
        return refused(
            "Unsupported value: 'temperature' does not support 0.7 with this model. Only the default (1) value is "
            "supported.",
            param="temperature",
            code="unsupported_value",
        )
    if "top_p" in asked.body:
        return refused("Unsupported parameter: 'top_p' is not supported with this model.", param="top_p")
    return said(asked)


def test_a_server_that_calls_a_field_otherwise_is_asked_in_its_own_words(tmp_path: Path) -> None:
    with OddServer(reasoning_model) as server:
        answers = ask(remote(tmp_path, server.url, sampling=NEUTRAL, canary=True), ["A", "B"], n=2)
        answered = [asked.body for asked in server.asked if asked.prompt in "AB"]
    assert errors(answers) == [[None, None]] * 2
    assert {key for body in answered[-1:] for key in body} == {
        "model", "temperature", "stream", "messages", "n", "max_completion_tokens",
    }  # fmt: skip
    assert answered[-1]["max_completion_tokens"] == 16
    with Ledger(tmp_path / "ledger.sqlite") as ledger:
        # No temperature 0, so nothing to recognise it by.
        assert ledger.canary("tiny@1") == {}


def test_a_setting_that_a_server_refuses_is_an_error_and_never_dropped(tmp_path: Path) -> None:
    with (
        OddServer(reasoning_model) as server,
        pytest.raises(
            EndpointError, match=r"`temperature: 0.7` .*set `temperature: 1`, or .*`fields: {temperature: null}`"
        ),
    ):
        ask(remote(tmp_path, server.url), ["A"])


def test_fields_can_be_renamed_and_left_out_by_the_settings(tmp_path: Path) -> None:
    renamed = {"max_tokens": "max_completion_tokens", "temperature": None, "top_p": None}
    with OddServer(reasoning_model) as server:
        assert errors(ask(remote(tmp_path, server.url, renamed=renamed), ["A"])) == [[None]]
        extra = {"max_completion_tokens": 512, "max_tokens": None, "temperature": None, "top_p": None}
        assert errors(ask(remote(tmp_path, server.url, extra_body=extra), ["B"])) == [[None]]
        bodies = [asked.body for asked in server.asked]
    assert [sorted(body) for body in bodies] == [["max_completion_tokens", "messages", "model", "n", "stream"]] * 2
    assert [body["max_completion_tokens"] for body in bodies] == [16, 512]


def test_a_vllm_that_knows_no_top_k_0_is_sent_what_means_the_same(tmp_path: Path) -> None:
    def answer(asked: Asked) -> Answer:
        if asked.body.get("top_k") == 0:
            said_so = "top_k must be -1 (disable), or at least 1, got 0."
            return 400, {"object": "error", "message": said_so, "type": "BadRequestError", "param": None, "code": 400}
        if "return_token_ids" in asked.body:
            detail = [
                {
                    "type": "extra_forbidden",
                    "loc": ["body", "return_token_ids"],
                    "msg": "Extra inputs are not permitted",
                }
            ]
            return 400, {"object": "error", "message": str(detail), "type": "BadRequestError", "code": 400}
        return said(asked)

    with OddServer(answer) as server:
        body = {"top_k": 0, "min_p": 0.0, "return_token_ids": True}
        prompts = [f"A{number}" for number in range(12)]
        assert errors(ask(remote(tmp_path, server.url, extra_body=body), prompts)) == [[None]] * 12
        last = server.asked[-1].body
    assert (last["top_k"], last["min_p"], "return_token_ids" in last) == (-1, 0.0, False)


def test_a_refusal_that_is_about_a_prompt_changes_no_field(tmp_path: Path) -> None:
    def answer(asked: Asked) -> Answer:
        return (
            refused("max_tokens and the prompt of 80 tokens do not fit together")
            if asked.prompt == "A"
            else said(asked)
        )

    with OddServer(answer) as server:
        answers = ask(remote(tmp_path, server.url), ["A", "B"])
        assert [sorted(asked.body) for asked in server.asked] == [
            ["max_tokens", "messages", "model", "n", "stream", "temperature", "top_p"]
        ] * 2
    assert errors(answers) == [["bad_request: max_tokens and the prompt of 80 tokens do not fit together"], [None]]


def test_only_what_is_set_enters_the_ledgers_key_and_what_counts() -> None:
    from eva_data.models.player import llm_fields

    def engine(**fields: Any) -> Any:
        block = ApiModel(backend="api", model="tiny", **fields)
        return llm_fields(Player(block, "tiny", "tiny@1", None), block, seed=0, stage="respond", iteration=1)["engine"]

    assert engine() == {}
    # As it stood there before `options` was a key of its own.
    assert engine(options={"reasoning_effort": "none"}) == {"reasoning_effort": "none"}
    assert engine(extra_body={"a": 1}, options={"seed": 2}) == {"a": 1, "seed": 2}
    assert engine(fields={"top_p": None}) == {"fields": {"top_p": None}}
    data = ApiModel(backend="api", model="tiny", extra_body={"a": 1}, options={"seed": 2}).data()
    assert (data["extra_body"], data.keys() & {"options", "fields"}) == ({"a": 1, "seed": 2}, set())


def test_log_probabilities_enter_the_ledgers_key_where_they_are_asked_for() -> None:
    from eva_data.models.player import llm_fields

    def fields(likeliest: int) -> dict[str, Any]:
        block = ApiModel(backend="api", model="tiny")
        player = Player(block, "tiny", "tiny@1", None)
        return llm_fields(player, block, seed=0, stage="compare", iteration=0, likeliest=likeliest)

    assert "likeliest" not in fields(0) and fields(0)["engine"] == {}
    assert (fields(5)["likeliest"], fields(5)["engine"]) == (5, {"top_logprobs": 5})


@pytest.mark.parametrize(
    "likelihoods",
    [
        None,
        {"content": None},
        {"content": []},
        {"content": [{"token": "A"}]},
        {"content": [{"top_logprobs": []}]},
        {"content": [{"top_logprobs": [{"token": "A", "logprob": None}, {"token": 1, "logprob": -1}]}]},
        {"content": [{"top_logprobs": [{"token": "A", "logprob": float("-inf")}]}]},
    ],
)
def test_log_probabilities_that_are_none_are_unknown(likelihoods: Any) -> None:
    whole = reply("stop", "A")
    whole["choices"][0]["logprobs"] = likelihoods
    assert read_reply(whole, 1).choices[0].first_token is None


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (403, "You are not allowed to request logprobs from this model."),
        (400, "logprobs is not supported with reasoning models."),
        (400, "Requested sample logprobs of 5, which is greater than max allowed: 0"),
        (422, "Extra inputs are not permitted: top_logprobs"),
    ],
)
def test_a_server_without_log_probabilities_is_asked_without_them(tmp_path: Path, status: int, message: str) -> None:
    def answer(asked: Asked) -> Answer:
        return refused(message, status) if "logprobs" in asked.body else said(asked)

    with OddServer(answer) as server:
        answers = ask(remote(tmp_path, server.url, likeliest=5), ["A"])
        bodies = [asked.body for asked in server.asked]
    assert errors(answers) == [[None]] and answers[0][0].first_token is None
    assert [body.keys() & {"logprobs", "top_logprobs"} for body in bodies] == [{"logprobs", "top_logprobs"}, set()]


def test_a_budget_needs_a_bound_on_answers() -> None:
    def connect(**fields: Any) -> dict[str, Any]:
        block = ApiModel.model_validate(
            {"backend": "api", "model": "m", "base_url": "http://h/v1", "prices": {"input": 1, "output": 1}} | fields
        )
        return connection(Player(block, "m", "m@1", None), served=None, budget=1.0)

    assert connect(extra_body={"max_tokens": None, "max_completion_tokens": 9})["budget"] == 1.0
    for unbounded in ({"extra_body": {"max_tokens": None}}, {"fields": {"max_tokens": None}}):
        with pytest.raises(ConfigError, match="nothing bounds the answers of `m`"):
            connect(**unbounded)


# --- what a status means ------------------------------------------------------------------------------------------


def fault(status: int, body: Any) -> BaseException:
    try:
        return fault_of(status, json.dumps(body), {}, key_name="KEY", model="m", url="http://h/v1")
    except EndpointError as error:
        return error


TOO_LONG: dict[str, tuple[int, Any]] = {
    "llama.cpp": refused(
        "the request exceeds the available context size. try increasing it", type="exceed_context_size_error", code=400
    )[:2],
    "Gemini": (
        400,
        [refused("The input token count (1200000) exceeds the maximum number of tokens allowed (1048576).")[1]],
    ),
    "TGI": (
        422,
        {
            "error": "Input validation error: `inputs` must have less than 4096 tokens. Given: 5000",
            "error_type": "validation",
        },
    ),
    "SGLang": (
        400,
        {
            "object": "error", "type": "BadRequestError", "code": 400,
            "message": "The input (5001 tokens) is longer than the model's context length (4096 tokens).",
        },
    ),
    "NIM": refused("Input length 5000 exceeds maximum allowed token size 4096")[:2],
    "vLLM": (
        400,
        {
            "object": "error", "code": 400,
            "message": "This model's maximum context length is 4096 tokens. However, you requested 4390 tokens.",
        },
    ),
    "OpenAI": refused("Your input exceeds the context window of this model.", code="context_length_exceeded")[:2],
    "Anthropic": refused("prompt is too long: 210000 tokens > 200000 maximum")[:2],
    "Mistral": (400, {"message": "Prompt has 40000 tokens, too large for model with 32768 maximum context length"}),
    "a proxy": (413, {"detail": "Payload Too Large"}),
}  # fmt: skip


@pytest.mark.parametrize("server", TOO_LONG)
def test_every_server_has_its_own_words_for_a_prompt_that_is_too_long(server: str) -> None:
    found = fault(*TOO_LONG[server])
    assert isinstance(found, Refused)
    assert str(found).startswith("context_length_exceeded: ")


@pytest.mark.parametrize("status", [408, 409, 424, 425, 499, 500, 501, 504, 520, 524])
def test_what_says_nothing_against_the_request_is_asked_again(status: int) -> None:
    assert type(fault(status, {"error": "Request failed during generation", "error_type": "generation"})) is Transient


@pytest.mark.parametrize(
    ("status", "message", "code"),
    [
        (400, "Billing hard limit has been reached.", "billing_hard_limit_reached"),
        (400, "Your credit balance is too low to access the API.", None),
        (402, "Insufficient Balance", None),
        (403, "Your account is not active.", "billing_not_active"),
        (429, "You exceeded your current quota, please check your plan and billing details.", "insufficient_quota"),
    ],
)
def test_an_account_without_money_stops_the_stage(status: int, message: str, code: str | None) -> None:
    assert isinstance(fault(status, refused(message, code=code)[1]), EndpointError)


def test_a_busy_minute_is_no_empty_account() -> None:
    busy = {
        "error": {"message": "You exceeded your current quota, please check your plan.", "status": "RESOURCE_EXHAUSTED"}
    }
    assert isinstance(fault(429, busy), Throttled)


def test_the_same_refusal_of_everything_stops_the_stage_and_rejects_no_prompt_for_good(tmp_path: Path) -> None:
    broken = True

    def answer(asked: Asked) -> Answer:
        return refused("The tenant is suspended.") if broken and len(server.asked) > 5 else said(asked)

    prompts = [f"A{number}" for number in range(60)]
    with OddServer(answer) as server:
        with pytest.raises(
            EndpointError, match=r"refused \d+ requests in a row .*The tenant is suspended.*not about their"
        ):
            ask(remote(tmp_path, server.url), prompts)
        assert len(server.asked) < 45
        broken = False
        assert errors(ask(remote(tmp_path, server.url), prompts)) == [[None]] * 60


def test_prompts_that_are_refused_now_and_then_stop_nothing(tmp_path: Path) -> None:
    def answer(asked: Asked) -> Answer:
        return refused("I do not like it.") if int(asked.prompt[1:]) % 2 else said(asked)

    prompts = [f"A{number}" for number in range(60)]
    with OddServer(answer) as server:
        found = errors(ask(remote(tmp_path, server.url, max_in_flight=1), prompts))
    assert found == [[None], ["bad_request: I do not like it."]] * 30


# --- the way to a server ------------------------------------------------------------------------------------------


def test_a_long_header_is_read(tmp_path: Path) -> None:
    def answer(asked: Asked) -> Answer:
        status, body, *_ = said(asked)
        return status, body, {"Set-Cookie": "a=" + "x" * 50_000}

    with OddServer(answer) as server:
        assert errors(ask(remote(tmp_path, server.url), ["A"])) == [[None]]


def test_a_byte_order_mark_before_the_reply_is_read(tmp_path: Path) -> None:
    with OddServer(lambda asked: (200, b"\xef\xbb\xbf" + json.dumps(said(asked)[1]).encode())) as server:
        assert errors(ask(remote(tmp_path, server.url), ["A"])) == [[None]]


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_request_stays_a_post_where_the_server_has_moved(tmp_path: Path, status: int) -> None:
    with OddServer() as new:
        with OddServer(lambda asked: (status, b"", {"Location": f"{new.url}/chat/completions"})) as old:
            answers = ask(remote(tmp_path, old.url), ["A", "B"])
        assert texts(answers) == [["to A, time 1, choice 0"], ["to B, time 1, choice 0"]]


def test_no_key_follows_a_server_to_another_host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EVA_TEST_KEY", "sk-planted-0123456789")
    with OddServer() as new:
        elsewhere = new.url.replace("127.0.0.1", "localhost")
        with (
            OddServer(lambda asked: (301, b"", {"Location": f"{elsewhere}/chat/completions"})) as old,
            pytest.raises(EndpointError, match=r"has moved to http://localhost:.*write it in `base_url`"),
        ):
            ask(remote(tmp_path, old.url, key_env="EVA_TEST_KEY"), ["A"])
        assert new.asked == []


def test_neither_netrc_nor_a_proxy_comes_between_a_server_here_and_its_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("default login somebody password something\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    monkeypatch.setenv("EVA_TEST_KEY", "sk-right")
    with OddServer(lambda asked: (403, {"error": {"message": "blocked by the proxy"}})) as proxy, OddServer() as server:
        for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "all_proxy"):
            monkeypatch.setenv(name, proxy.url.removesuffix("/v1"))
        proxy_of.cache_clear()
        look(ApiModel(backend="api", model="tiny", base_url=server.url, api_key_env="EVA_TEST_KEY"))
        assert errors(ask(remote(tmp_path, server.url, key_env="EVA_TEST_KEY"), ["A"])) == [[None]]
        assert (proxy.asked, proxy.looked) == ([], [])
    proxy_of.cache_clear()
    keys = [headers["Authorization"] for headers in (*server.looked, *(asked.headers for asked in server.asked))]
    assert keys == ["Bearer sk-right"] * 2


def test_other_servers_are_reached_by_the_proxy_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setenv("https_proxy", "http://proxy:3128")
    monkeypatch.setenv("no_proxy", "inside.example")
    proxy_of.cache_clear()
    urls = (
        "https://api.example/v1",
        "http://api.example/v1",
        "https://inside.example/v1",
        "https://localhost/v1",
        "https://[::1]/v1",
    )
    assert [proxy_of(url) for url in urls] == ["http://proxy:3128", None, None, None, None]
    proxy_of.cache_clear()


def test_a_model_that_is_not_listed_is_a_warning_and_the_first_request_decides(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with OddServer() as server:
        served = look(ApiModel(backend="api", model="tiny:nitro", base_url=server.url, revision="r1"))
    assert served.fingerprint == "tiny:nitro@r1"
    assert "does not list `tiny:nitro`, but tiny; the first request shows" in caplog.text


# --- keys ---------------------------------------------------------------------------------------------------------


PLANTED = {
    "MY_SERVER": "planted-of-the-settings-1",
    "OPENAI_API_KEY": "planted-of-openai",
    "HF_TOKEN": "hf_planted-of-the-hub",
}


def test_a_key_that_a_server_echoes_is_kept_nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in PLANTED.items():
        monkeypatch.setenv(name, value)

    def answer(asked: Asked) -> Answer:
        echo = f"{asked.headers['Authorization']} and {PLANTED['OPENAI_API_KEY']} and {PLANTED['HF_TOKEN']}"
        return refused(echo) if asked.prompt == "B" else said(asked, echo)

    with OddServer(answer) as server:
        ((one,), (other,)) = ask(remote(tmp_path, server.url, key_env="MY_SERVER"), ["A", "B"])
    assert (one.text, other.error) == ("Bearer *** and *** and ***", "bad_request: Bearer *** and *** and ***")
    written = b"".join(file.read_bytes() for file in tmp_path.iterdir())
    assert [value for value in PLANTED.values() if value.encode() in written] == []


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"extra_body": {"api_base": "http://publisher/v1"}}, "`extra_body` holds `api_base`, which would say where"),
        ({"extra_body": {"custom_llm_provider": "openai"}}, "`extra_body` holds `custom_llm_provider`"),
        ({"extra_body": {"extra_headers": {"a": "b"}}}, "`extra_body` holds `extra_headers`"),
        ({"extra_body": {"success_callback": ["x"]}}, "`extra_body` holds `success_callback`"),
        ({"extra_body": {"api_key": "abc"}}, "looks like a key: .*`api_key_env`"),
        ({"extra_body": {"tool": {"Authorization": "anything"}}}, "`tool.Authorization`, which looks like a key"),
        ({"extra_body": {"note": "Bearer abcdefgh12345"}}, "the value of `note` in `extra_body` looks like a key"),
        ({"extra_body": {"note": "planted-of-openai"}}, "the value of `note` in `extra_body` looks like a key"),
        ({"extra_body": {"stream": True}}, "`extra_body` holds `stream`, which eva-data sets itself"),
        ({"extra_body": {"aws_secret_access_key": "abc"}}, "`aws_secret_access_key`, which looks like a key"),
        ({"extra_body": {"metadata": [{"aws_session_token": "abc"}]}}, "`metadata.aws_session_token`, which looks"),
        ({"extra_body": {"vertex_credentials": "abc"}}, "`vertex_credentials`, which looks like a key"),
        ({"extra_body": {"x": {"azure_ad_token": "abc"}}}, "`x.azure_ad_token`, which looks like a key"),
        ({"extra_body": {"Ocp-Apim-Subscription-Key": "abc"}}, "which looks like a key"),
        ({"extra_body": {"fallbacks": ["openai/gpt-4o"]}}, "`extra_body` holds `fallbacks`"),
        ({"options": {"mock_response": "x"}}, "`options` holds `mock_response`, which is not among"),
        ({"options": {"metadata": {"a": "b"}}}, "`options` holds `metadata`, which is not among"),
        ({"options": {"aws_bedrock_runtime_endpoint": "http://publisher"}}, "`aws_bedrock_runtime_endpoint`"),
        ({"options": {"vertex_location": "publisher.com#"}}, "`options` holds `vertex_location`"),
        ({"base_url": "http://h/v1#api_key=abc"}, "`base_url` holds `api_key=`"),
        ({"base_url": "http://h/v1?a=1;token=abc"}, "`base_url` holds `token=`"),
        ({"base_url": "http://h/%73k-abcdefghijkl/v1"}, "the path of `base_url` looks like a key"),
        ({"options": {"api_key": "abc"}}, "`options` holds `api_key`, which looks like a key"),
        ({"options": {"base_url": "http://publisher"}}, "`options` holds `base_url`"),
        ({"options": {"logger_fn": "x"}}, "`options` holds `logger_fn`"),
        ({"options": {"num_retries": 3}}, "`options` holds `num_retries`, which is not among the keyword arguments"),
        ({"options": {"seed": 1}, "base_url": "http://h/v1"}, "which `base_url` leaves out: use `extra_body`"),
        ({"base_url": "http://h/v1?api_key=abc"}, "`base_url` holds `api_key=`, .*`api_key_env`"),
        ({"api_key_env": "sk-planted"}, "`api_key_env` is not the name of an environment variable"),
        ({"api_key_env": "hf_abcdefghijklmnopqrstuvwx"}, "perhaps the key itself"),
        ({"fields": {"messages": "prompt"}}, "`fields` holds `messages`"),
    ],
)  # fmt: skip
def test_no_address_key_or_code_hides_in_a_request(
    fields: dict[str, Any], sentence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", PLANTED["OPENAI_API_KEY"])
    with pytest.raises(ValueError, match=sentence):
        ApiModel.model_validate({"backend": "api", "model": "openai/gpt-4o-mini"} | fields)


@pytest.mark.parametrize("name", ["stop_token", "max_completion_tokens", "prompt_cache_key", "author", "user"])
def test_a_field_that_holds_no_key_is_sent(name: str) -> None:
    block = ApiModel.model_validate({"backend": "api", "model": "m", "extra_body": {name: "abc"}} | ADDRESS)
    assert block.extra_body == {name: "abc"}


ADDRESS = {"base_url": "http://h/v1"}

_LOOKED = """
from eva_data.config import ApiModel
from eva_data.models.listing import look
import sys
look(ApiModel(backend="api", model="tiny:nitro", base_url=sys.argv[1]))
"""


def test_the_warning_reaches_the_terminal() -> None:
    with OddServer() as server:
        command = [sys.executable, "-W", "ignore", "-c", _LOOKED, server.url]
        done = subprocess.run(command, capture_output=True, text=True, check=True, env=dict(os.environ))
    assert "does not list `tiny:nitro`" in done.stderr
