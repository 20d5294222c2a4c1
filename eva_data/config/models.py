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
    """Sampling temperature; 0 takes the likeliest token."""
    top_p: float = Field(0.9, gt=0, le=1)
    """Probability mass from which a token is sampled."""
    max_tokens: int = Field(1024, gt=0)
    """Longest response, in tokens. A response that was cut there is never chosen."""
    max_prompt_tokens: int = Field(1024, gt=0)
    """Longest prompt, in tokens. Longer prompts go to `rejects` before anyone pays for them."""
    system: Literal["keep", "merge_into_user", "reject"] = "keep"
    """What happens to a system message if the model's chat template has no such role."""

    @property
    def together(self) -> int:
        """Samples that a model in this process computes together."""
        return 1


class TransformersModel(Generation):
    """A model folder or Hub id, run in this machine's memory by transformers."""

    backend: Literal["transformers"] = "transformers"
    model: str
    """A folder, a Hub id, or `sandbox`, `sandbox-steps` or `sandbox-both` for a model that comes with eva-data."""
    revision: str | None = None
    """Commit, tag or branch of a Hub id."""
    dtype: Literal["float32", "bfloat16", "float16", "auto"] = "float32"
    """Number format of the weights."""
    device: str = Field("cpu", json_schema_extra=Execution)
    """Where the model runs and is trained, such as `cpu` or `cuda`."""
    batch_size: int = Field(64, gt=0)
    """Samples computed together. This is data, because logits differ in the last bits with the rest of the batch."""
    threads: int | None = Field(None, gt=0)
    """Processor threads; null takes all. This is data, because sums in another order differ in the last bits."""
    trust_remote_code: bool = False
    """Whether code that comes with the model may run."""

    @property
    def together(self) -> int:
        return self.batch_size


class Prices(Settings):
    """What a provider bills, in dollars per million tokens."""

    input: float = Field(ge=0)
    """Dollars per million tokens of the prompt."""
    output: float = Field(ge=0)
    """Dollars per million tokens of the response."""


class Endpoint(Settings):
    """What the blocks of servers share: where the server is, and how many requests it gets at once."""

    base_url: str | tuple[str, ...] | None = Field(None, json_schema_extra=Execution)
    """URL of the server up to and with `/v1`; a list of replicas shares the requests by load."""
    api_key_env: str | None = Field(None, json_schema_extra=Execution)
    """Environment variable that holds the key; the key itself is never in a file."""
    max_in_flight: int | Literal["auto"] = Field(64, json_schema_extra=Execution)
    """Requests at once per URL. The number shrinks if the server says 429 or 503. `auto` begins at 8 and grows while
    the server gets faster by it."""
    timeout_seconds: float = Field(600, gt=0, json_schema_extra=Execution)
    """Seconds after which a request is given up and made again."""
    give_up_minutes: float = Field(10, gt=0, json_schema_extra=Execution)
    """Minutes for which a server may only fail. Then the build stops and keeps everything finished."""

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
        """The servers, without a slash at the end; empty if `base_url` is not set."""
        given = (self.base_url,) if isinstance(self.base_url, str) else self.base_url or ()
        return tuple(url.rstrip("/") for url in given)


class ApiModel(Generation, Endpoint):
    """A model behind an API: any OpenAI-compatible server by `base_url`, else a provider that litellm knows."""

    backend: Literal["api"]
    model: str
    """The model's name at the server; without `base_url`, its name in litellm, such as `gemini/gemini-2.5-flash`."""
    revision: str | None = None
    """Your own name for the state of the served model. Change it when the model behind the name changes."""
    tokenizer: str | None = None
    """Folder or Hub id whose tokenizer counts prompts against `max_prompt_tokens`; null counts 4 characters a token."""
    extra_body: dict[str, Any] = Field(default_factory=dict)
    """Further fields of each request's body, such as `{chat_template_kwargs: {enable_thinking: false}}`; null leaves a
    field out."""
    options: dict[str, Any] = Field(default_factory=dict)
    """Keyword arguments of litellm that change an answer, as in `{reasoning_effort: low}`; only without `base_url`."""
    fields: dict[str, str | None] = Field(default_factory=dict)
    """Other names of fields at this server, such as `{max_tokens: max_completion_tokens}`; null leaves a field out.
    Most names need no entry, because the server's refusal tells them."""
    canary: bool = Field(True, json_schema_extra=Execution)
    """Whether three short greedy answers are compared at every start with the answers of the first start."""
    prices: Prices | None = Field(None, json_schema_extra=Execution)
    """What the model costs; null takes the price from litellm's table, which knows most providers."""

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

    def _data(self, *, whole: bool) -> dict[str, Any]:
        """As in Settings, but in the form that older versions wrote, so that their datasets do not become stale."""
        values = super()._data(whole=whole)
        values["extra_body"] = values["extra_body"] | values.pop("options", {})
        if not values.get("fields"):
            values.pop("fields", None)
        return values


class Serving(Endpoint):
    """A model that vLLM serves: started here, or running already at `base_url`."""

    python: str | Path | None = Field(None, json_schema_extra=Execution)
    """Python interpreter of the environment that vLLM is installed in, a path or a name on PATH. Null takes the running
    interpreter."""
    tensor_parallel: int = Field(1, ge=1, json_schema_extra=Execution)
    """GPUs that share each layer of the model."""
    data_parallel: int = Field(1, ge=1, json_schema_extra=Execution)
    """Copies of the model that share the requests."""
    quantization: str | None = None
    """vLLM's `--quantization`."""
    max_model_len: int | None = Field(None, gt=0, json_schema_extra=Execution)
    """Longest prompt and response together, in tokens; null leaves it to vLLM."""
    arguments: tuple[str, ...] = Field((), json_schema_extra=Execution)
    """Further flags of `vllm serve` that do not change what the model says, such as
    `--gpu-memory-utilization=0.85`."""
    start_minutes: float = Field(30, gt=0, json_schema_extra=Execution)
    """Minutes that the server may take until it answers."""

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
    """Commit, tag or branch of a Hub id."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """Number format of the weights."""
    device: str = Field("cuda", json_schema_extra=Execution)
    """Where this solver is trained. vLLM itself uses the device that it was built for."""
    max_in_flight: int | Literal["auto"] = Field(256, json_schema_extra=Execution)
    """Requests at once per URL, as in `api`."""
    trust_remote_code: bool = False
    """Whether code that comes with the model may run."""
    canary: bool = Field(True, json_schema_extra=Execution)
    """As in `api`; used only if the server runs already, at `base_url`."""


AnyModel: TypeAlias = TransformersModel | ApiModel | VllmModel
"""Every block of a language model; each has a module of its `backend`'s name in `models/backends`."""
Model: TypeAlias = Annotated[AnyModel, Field(discriminator="backend")]


class TableModel(Settings):
    """Responses that already exist, with their rewards; no model runs."""

    backend: Literal["table"]
    path: Path | None = Field(None, json_schema_extra=Execution)
    """A file, a folder of shards or a glob: parquet, arrow, jsonl, json, csv or tsv."""
    encoding: str | None = Field(None, json_schema_extra=Execution)
    """Encoding of a text file, such as `latin-1`; null takes it from a byte order mark, else UTF-8."""
    dataset: str | None = None
    """A Hub dataset id."""
    shape: Literal["rows", "lists", "completions", "pairs"] | None = None
    """`rows`: one row per response; `lists`: a list of responses and a list of rewards; `completions`: a list of
    objects that hold both; `pairs`: chosen and rejected. Null decides by the columns."""
    config: str | None = None
    """Config name of the Hub dataset."""
    split: str = "train"
    """Split of the Hub dataset."""
    revision: str | None = None
    """Commit, tag or branch of the Hub dataset."""
    prompt: str = "prompt"
    """Column of the prompt: text or messages."""
    input: str | bool | None = None
    """Column of text to put under the prompt. Null takes `input` if the prompt is `instruction`; false takes none."""
    response: str = "response"
    """Column of the response's text, or a field of a list such as `completions[].response`."""
    reward: str = "reward"
    """Column of the response's reward, or a field such as `completions[].overall_score`; higher is better."""
    lower_is_better: bool | None = None
    """Whether a lower number is better. Null means that it is if the column's name says that it holds a rank."""
    model: str | None = None
    """Column that names the model that gave the response, if there is one."""
    responses: int | None = Field(None, ge=2)
    """Responses per prompt to use. Surplus responses are left out by hash; null uses all of them."""
    then: Model | None = None
    """The model that answers from iteration 2 on."""

    @model_validator(mode="after")
    def _one_source(self) -> TableModel:
        if (self.path is None) == (self.dataset is None):
            raise ValueError("`solver` with `backend: table` needs either `path` or `dataset`")
        return self


Solver: TypeAlias = Annotated[AnyModel | TableModel, Field(discriminator="backend")]


class Embedding(Endpoint):
    """Which model turns texts into vectors, by which texts of the same meaning are found. Nothing here changes what is
    built."""

    model: str | None = None
    """`e5` or `minilm`, whose weights come with a package; `words`, which counts words and needs no weights; or a
    folder or Hub id for sentence-transformers. Null takes all of `e5` and `minilm` that are installed, each for the
    languages that it reads, and `words` if none is."""
    api: bool = False
    """Whether `model` is asked behind an API: an OpenAI-compatible server by `base_url`, else a provider that litellm
    knows."""
    revision: str | None = None
    """Commit, tag or branch of a Hub id; with `api`, your own name for the state of the served model."""
    device: str = "cpu"
    """Where a model in this process runs, such as `cpu` or `cuda`."""
    dimensions: int | None = Field(None, gt=0)
    """With `api`, how long a vector is asked for; null takes the model's own length."""
    batch: int = Field(64, gt=0)
    """Texts that are embedded together."""
    similar: float | None = Field(None, gt=0, lt=1)
    """Least cosine of two texts of the same meaning. Null takes what was measured, for this and the next two keys; they
    must be given for a model of your own."""
    margin: float | None = Field(None, gt=0, lt=1)
    """How much more that cosine is, at least, than the mean cosine to the next ten texts."""
    alike: float | None = Field(None, gt=0, le=1)
    """A cosine that is enough by itself."""
    prices: Prices | None = None
    """What a served model costs; null takes the price from litellm's table."""

    @model_validator(mode="after")
    def _served_or_not(self) -> Embedding:
        if self.api and self.model is None:
            raise ValueError("`embedding.api` is true, but no `model` is named: name the model that the server has")
        served = [key for key in ("base_url", "api_key_env", "prices", "dimensions") if getattr(self, key) is not None]
        if served and not self.api:
            raise ValueError(
                f"`embedding.{served[0]}` is about a served model: set `api: true` beside it, or take it out"
            )
        return self
