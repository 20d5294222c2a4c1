"""Blocks that name a language model: in this process, behind an API, served by vLLM, or only its responses."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import Field, field_validator, model_validator

from eva_data.config import bodies
from eva_data.config.base import Execution, Settings

_URL_EXAMPLE = "`http://127.0.0.1:8000/v1`"


class Generation(Settings):
    """What every model block shares: how it samples."""

    responses: int = Field(6, ge=2)
    """Responses per prompt, n. The paper uses 6."""
    temperature: float = Field(0.7, ge=0)
    top_p: float = Field(0.9, gt=0, le=1)
    max_tokens: int = Field(1024, gt=0)
    """Longest response, in tokens; one that was cut there is never chosen."""
    max_prompt_tokens: int = Field(1024, gt=0)
    """Longer prompts go to `rejects` before anyone pays for them."""
    system: Literal["keep", "merge_into_user", "reject"] = "keep"
    """What to do with a system message where the model's chat template has no such role."""


class TransformersModel(Generation):
    """A model folder or Hub id, run in this machine's memory by transformers."""

    backend: Literal["transformers"] = "transformers"
    model: str
    """A local folder, a Hub id, or `sandbox` for the model that comes with eva-data."""
    revision: str | None = None
    """Commit, tag or branch of a Hub id."""
    dtype: Literal["float32", "bfloat16", "float16", "auto"] = "float32"
    device: str = Field("cpu", json_schema_extra=Execution)
    batch_size: int = Field(64, gt=0)
    """Samples computed together. It is data: logits differ in the last bits with the company a row keeps."""
    threads: int | None = Field(None, gt=0)
    """Processor threads; data too, because sums in another order differ in the last bits. All when not given."""
    trust_remote_code: bool = False


class Prices(Settings):
    """What a provider bills, in dollars per million tokens."""

    input: float = Field(ge=0)
    output: float = Field(ge=0)


class Endpoint(Settings):
    """What every block shares that talks to a server: where it is, and how many requests it is sent at once."""

    base_url: str | tuple[str, ...] | None = Field(None, json_schema_extra=Execution)
    """URL of the server up to and with `/v1`; a list of replicas shares the requests by load."""
    api_key_env: str | None = Field(None, json_schema_extra=Execution)
    """Environment variable that holds the key; the key itself is never in a file."""
    max_in_flight: int | Literal["auto"] = Field(64, json_schema_extra=Execution)
    """Requests at once per URL. It shrinks where the server says 429 or 503; `auto` begins at 8 and grows while that
    makes the server faster."""
    timeout_seconds: float = Field(600, gt=0, json_schema_extra=Execution)
    """A request that takes longer is given up and made again."""
    give_up_minutes: float = Field(10, gt=0, json_schema_extra=Execution)
    """A server that only fails for so long stops the build; what was finished is kept."""

    @field_validator("api_key_env")
    @classmethod
    def _a_name(cls, value: str | None) -> str | None:
        bodies.checked_variable(value)
        return value

    @field_validator("max_in_flight")
    @classmethod
    def _some_in_flight(cls, value: int | str) -> int | str:
        if isinstance(value, int) and value < 1:
            raise ValueError(f"`max_in_flight` is {value}: at least one request must be allowed at once, or `auto`")
        return value

    @field_validator("base_url")
    @classmethod
    def _urls(cls, value: str | tuple[str, ...] | None) -> str | tuple[str, ...] | None:
        for url in (value,) if isinstance(value, str) else value or ():
            if not url.startswith(("http://", "https://")):
                raise ValueError(f"`base_url` is `{url}`: it begins with http:// or https://, as in {_URL_EXAMPLE}")
            if "@" in url.partition("://")[2].partition("/")[0]:
                raise ValueError("`base_url` holds a user or password: keep it out, and name `api_key_env` instead")
            bodies.checked_address(url)
        return value

    @property
    def urls(self) -> tuple[str, ...]:
        """The servers, without a slash at the end; none where nothing is said."""
        given = (self.base_url,) if isinstance(self.base_url, str) else self.base_url or ()
        return tuple(url.rstrip("/") for url in given)


class ApiModel(Generation, Endpoint):
    """A model behind an API: any OpenAI-compatible server by `base_url`, else a provider that litellm knows."""

    backend: Literal["api"]
    model: str
    """As the server calls it; without `base_url` as litellm does, such as `gemini/gemini-2.5-flash`."""
    revision: str | None = None
    """Whatever you call what is served under that name. Change it when the server's model changes."""
    tokenizer: str | None = None
    """Folder or Hub id whose tokenizer counts prompts against `max_prompt_tokens`; 4 characters a token without it."""
    extra_body: dict[str, Any] = Field(default_factory=dict)
    """Further fields of each request's body, such as `{chat_template_kwargs: {enable_thinking: false}}`; null leaves a
    field out."""
    options: dict[str, Any] = Field(default_factory=dict)
    """Keyword arguments of litellm that change an answer, as `{reasoning_effort: low}`; only without `base_url`."""
    fields: dict[str, str | None] = Field(default_factory=dict)
    """Fields that the server calls otherwise or, with null, does not take: `{max_tokens: max_completion_tokens}`. Most
    are found out without it, where the server's refusal names them."""
    canary: bool = Field(True, json_schema_extra=Execution)
    """Whether three short greedy answers are compared with those of the first time, at every start."""
    prices: Prices | None = Field(None, json_schema_extra=Execution)
    """What it costs; litellm's table where a provider is named and nothing is said here."""

    @model_validator(mode="after")
    def _requests(self) -> ApiModel:
        bodies.checked("extra_body", self.extra_body)
        bodies.checked_options(self.options)
        if self.options and self.urls:
            raise ValueError(
                "`options` are keyword arguments of litellm, which `base_url` leaves out: use `extra_body`"
            )
        twice = sorted(self.extra_body.keys() & self.options.keys())
        if twice:
            raise ValueError(f"`{twice[0]}` is in `extra_body` and in `options`: say it once")
        kept = sorted(bodies.OURS & self.fields.keys())
        if kept:
            raise ValueError(
                f"`fields` holds `{kept[0]}`, which every server takes and eva-data counts on: leave it out"
            )
        return self

    def data(self) -> dict[str, Any]:
        """As in Settings; what older versions knew is said as they said it, so that nothing becomes stale."""
        values = super().data()
        values["extra_body"] = values["extra_body"] | values.pop("options")
        if not values["fields"]:
            del values["fields"]
        return values


class Serving(Endpoint):
    """A model that vLLM serves: started here, or running already at `base_url`."""

    python: Path | None = Field(None, json_schema_extra=Execution)
    """Interpreter of the environment that vLLM is installed in; this one when not given."""
    tensor_parallel: int = Field(1, ge=1, json_schema_extra=Execution)
    data_parallel: int = Field(1, ge=1, json_schema_extra=Execution)
    quantization: str | None = None
    """vLLM's `--quantization`."""
    max_model_len: int | None = Field(None, gt=0, json_schema_extra=Execution)
    arguments: tuple[str, ...] = Field((), json_schema_extra=Execution)
    """Further flags of `vllm serve` that do not change what the model says, such as
    `--gpu-memory-utilization=0.85`."""
    start_minutes: float = Field(30, gt=0, json_schema_extra=Execution)
    """How long the server may take until it answers."""

    @field_validator("arguments")
    @classmethod
    def _not_the_model(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        ours = {"--model", "--dtype", "--quantization", "--revision", "--port", "--host"}
        ours |= {"--served-model-name", "--api-key"}
        taken = sorted(ours & {argument.partition("=")[0] for argument in value})
        if taken:
            raise ValueError(f"`arguments` holds {', '.join(taken)}: eva-data sets these itself; use the block's keys")
        return value


class VllmModel(Generation, Serving):
    """A model folder or Hub id that vLLM serves on this machine."""

    backend: Literal["vllm"]
    model: str
    """A local folder, a Hub id, or `sandbox`."""
    revision: str | None = None
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    device: str = Field("cuda", json_schema_extra=Execution)
    """Where this solver is trained; vLLM itself takes what it was built for."""
    max_in_flight: int | Literal["auto"] = Field(256, json_schema_extra=Execution)
    trust_remote_code: bool = False
    canary: bool = Field(True, json_schema_extra=Execution)
    """As in `api`; only where the server runs already, at `base_url`."""


Model: TypeAlias = Annotated[TransformersModel | ApiModel | VllmModel, Field(discriminator="backend")]


class TableModel(Settings):
    """Responses that already exist, with their rewards; no model runs."""

    backend: Literal["table"]
    path: Path | None = Field(None, json_schema_extra=Execution)
    """A parquet, jsonl or csv file with one row per response."""
    dataset: str | None = None
    """A Hub dataset id with one row per response."""
    config: str | None = None
    split: str = "train"
    revision: str | None = None
    prompt: str = "prompt"
    """Column of the prompt: text or messages."""
    response: str = "response"
    """Column of the response's text."""
    reward: str = "reward"
    """Column of its reward; higher is better."""
    model: str | None = None
    """Column that names the model that gave the response, if there is one."""
    responses: int | None = Field(None, ge=2)
    """Responses per prompt to use, drawn by hash where there are more; all of them when not given."""
    then: Model | None = None
    """The model that answers from iteration 2 on."""

    @model_validator(mode="after")
    def _one_source(self) -> TableModel:
        if (self.path is None) == (self.dataset is None):
            raise ValueError("`solver` with `backend: table` needs either `path` or `dataset`")
        return self


Solver: TypeAlias = Annotated[TransformersModel | ApiModel | VllmModel | TableModel, Field(discriminator="backend")]
