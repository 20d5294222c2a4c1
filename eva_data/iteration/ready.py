"""Finds errors before any model is asked, in the settings, files and functions that a build will need.

A user's function is tried in a process of its own (`python -m eva_data.iteration.ready`), as it will be called later.
So whatever the function loads, prints or ends does not matter to this process.
"""

from __future__ import annotations

import inspect
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from eva_data.config import Answers, Code, Config, Consensus, OneReward, Several, TableModel, Verifier
from eva_data.dataset.scored_table import some_prompts
from eva_data.dataset.seeds import read_seeds
from eva_data.errors import ConfigError, DataError, EvaError
from eva_data.iteration.run import Run
from eva_data.iteration.stages import uses_topics
from eva_data.iteration.stale import refuse_unreadable
from eva_data.method.topics.words import require_sklearn
from eva_data.rewards.backends.verifier import load_verifier
from eva_data.rewards.equality import refuse_missing
from eva_data.rewards.isolated.runner import refuse_without_isolation
from eva_data.rewards.known import read_answers
from eva_data.tables.reading import open_path
from eva_data.tables.schemas import CARRIED
from eva_data.tables.shapes.values import plain, text

UNEDITED = {"solver.model": "path/or/hub-id", "reward.function": "my_package.my_module:score"}
"""Key -> the text that `eva-data init` writes for the user to replace."""

_OURS = ("manifests", ".eva")
_TRLS = frozenset({"prompts", "completions", "completion_ids", "completions_ids"})
"""Arguments of TRL's reward functions. These functions take whole batches by keyword."""

_PROMPT = "What is 2 + 2?"
_RESPONSES = ("4", "2 + 2 is 4.\n#### 4", '{"answer": 4}')
"""Responses of the trial rows. A function that can score none of them cannot score a model's response."""


def refuse_unready(run: Run, iteration: int, *, download: bool = False) -> None:
    """Raise ConfigError or DataError if anything that the build of iteration t needs is missing or wrong.

    The checks cover the values that `eva-data init` left to fill in, the folder, the files of seeds, responses, answers
    and benchmarks, and the reward functions. Each function is called on a trial row, and on a few more if it fails. No
    model is asked or looked up, and no dataset is downloaded without `download`. If the iteration is built already,
    nothing is checked.
    """
    config, built = run.config, run.store.iterations()
    if iteration in built:
        return
    _refuse_unedited(config)
    _refuse_foreign(config.folder)
    refuse_unreadable(config, iteration, download=download)
    asked = _asked(config, first=1 not in built)
    if iteration > 1 and uses_topics(config):
        require_sklearn()
    if iteration < config.first_answered:
        return
    if config.reward is None:
        raise ConfigError("`reward` is missing: name what scores a response, for example a verifier")
    rewards = config.reward.rewards if isinstance(config.reward, Several) else (config.reward,)
    for reward in rewards:
        _refuse_wrong_function(run, reward, asked)


def _refuse_unedited(config: Config) -> None:
    solver = config.model_solver
    found = {
        "solver.model": solver.model if solver is not None else None,
        "reward.function": config.reward.function if isinstance(config.reward, Verifier) else None,
    }
    unedited = [key for key, value in UNEDITED.items() if found[key] == value]
    if unedited:
        named = " and ".join(f"`{key}` is still `{UNEDITED[key]}`" for key in unedited)
        raise ConfigError(f"{named}, as `eva-data init` wrote it: name your own in eva.yaml")


def _refuse_foreign(folder: Path) -> None:
    """Raise ConfigError if a folder holds files but is not a dataset folder of eva-data."""
    if folder.exists() and not folder.is_dir():
        raise ConfigError(f"`folder` is {folder}, which is a file: name a folder of its own for the dataset")
    if not folder.is_dir() or any((folder / name).exists() for name in _OURS):
        return
    foreign = sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))
    if foreign:
        raise ConfigError(
            f"`folder` is {folder}, which holds files that are not eva-data's ({', '.join(foreign[:3])}"
            f"{', ...' if len(foreign) > 3 else ''}): name a new or an empty folder"
        )


def _asked(config: Config, *, first: bool) -> pl.DataFrame:
    """A few prompts that will be scored, read from this machine: `text`, `answer` and `info`."""
    table = pl.DataFrame(
        {"prompt": []}, schema={"prompt": pl.List(pl.Struct({"role": pl.String, "content": pl.String}))}
    )
    if isinstance(config.solver, TableModel):
        if first and config.solver.path is not None:
            table = some_prompts(config.solver)
    elif config.seeds is not None and config.seeds.dataset is None:
        table = read_seeds(config.seeds, config.seed)[0]
    text = pl.col("prompt").list.last().struct.field("content")
    carried = [pl.col(name) if name in table.columns else pl.lit(None, pl.String).alias(name) for name in CARRIED]
    return table.head(2).select(text.alias("text"), *carried)


def _refuse_wrong_function(run: Run, reward: OneReward, asked: pl.DataFrame) -> None:
    """Raise ConfigError if a verifier's function is missing, takes other arguments or scores no trial row.

    Of a consensus, the known answers must be readable, and the library there by which answers are compared.
    """
    if isinstance(reward, Consensus):
        refuse_missing(reward.equal)
        if reward.answers is not None:
            _first_answer(reward.answers)
        if reward.programs is not None:
            refuse_without_isolation(reward.programs)
            if reward.programs.inputs is not None:
                _first_answer(reward.programs.inputs, "reward.programs.inputs")
    if isinstance(reward, Code):
        refuse_without_isolation(reward)
        _first_answer(reward.answers)
    if not isinstance(reward, Verifier):
        return
    function = load_verifier(reward.function)
    _refuse_other_arguments(reward, function)
    rows = _trial_rows(reward, asked)
    wrong = _try(reward.function, rows, seconds=run.config.stalled_minutes * 60)
    if wrong is not None:
        raise ConfigError(
            f"`reward.function` is `{reward.function}`, which scored none of {len(rows)} trial rows: {wrong}; it is "
            f"called as `{_call(reward)}` and gives a number, or None where a response cannot be scored"
        )


def _trial_rows(reward: Verifier, asked: pl.DataFrame) -> list[tuple[Any, ...]]:
    """The arguments of calls of which a function must score one."""
    prompts = asked["text"].to_list()
    if reward.carried:
        return [(text, response, *carried) for text, *carried in asked.rows() for response in _RESPONSES]
    if reward.reference is None:
        return [(prompt, response) for prompt in (*prompts, _PROMPT) for response in _RESPONSES]
    known, answer = _first_answer(reward.reference)
    more = [(prompt, response, answer) for prompt in (*prompts, _PROMPT) for response in _RESPONSES]
    return [(known, str(answer), answer), *more]


def _first_answer(answers: Answers, key: str = "reward.answers") -> tuple[str, Any]:
    """Prompt and answer of the first reference answer. Raise DataError if there is none."""
    if not answers.path.exists():
        raise DataError(f"`{key}.path` is {answers.path}, and there is no such file")
    read_answers(answers, [], key)
    source = open_path(answers.path, f"{key}.path")
    given = source.map(
        lambda frame, schema: frame.select(
            prompt=text(pl.col(answers.prompt), schema[answers.prompt]), answer=pl.col(answers.answer)
        )
    )
    found = source.collect(given.drop_nulls().head(1))
    found = found.with_columns(plain(found["answer"], untyped=source.untyped))
    if found.is_empty():
        raise DataError(f"{answers.path.name} holds no answer in its column `{answers.answer}`: name another one")
    prompt, answer = found.row(0)
    return prompt, answer


def _refuse_other_arguments(reward: Verifier, function: Any) -> None:
    try:
        signature = inspect.signature(function)
    except ValueError:
        # Some functions of compiled modules do not state their arguments. The trial will show them.
        return
    if trls := sorted(_TRLS & signature.parameters.keys()):
        raise ConfigError(
            f"`reward.function` is `{reward.function}`, which takes {', '.join(f'`{name}`' for name in trls)} as TRL's "
            f"reward functions do; here it is called for one response at a time, as `{_call(reward)}`: wrap it in a "
            "function of these arguments"
        )
    try:
        signature.bind(*_arguments(reward))
    except TypeError as error:
        hint = ""
        if reward.answers is None and len(signature.parameters) == 3:
            hint = ", or name `reward.answers`, which makes the reference answer a third argument"
        raise ConfigError(
            f"`reward.function` is `{reward.function}`, which takes `{signature}`; it is called as "
            f"`{_call(reward)}` ({error}): give it these arguments{hint}"
        ) from None


def _arguments(reward: Verifier) -> tuple[str, ...]:
    answered = ("answer", *(["info"] if reward.carried else [])) if reward.answers is not None else ()
    return ("prompt", "response", *answered)


def _call(reward: Verifier) -> str:
    return f"function({', '.join(_arguments(reward))})"


def _try(function: str, rows: Sequence[tuple[Any, ...]], *, seconds: float) -> str | None:
    """Try a function in a process of its own. Return why it scores none of the rows, or None if it scores one."""
    if function.startswith("eva_data."):
        return trial(function, rows)
    given = json.dumps({"function": function, "rows": rows}, default=str)
    command = [sys.executable, "-m", "eva_data.iteration.ready"]
    try:
        done = subprocess.run(
            command, input=given, capture_output=True, text=True, timeout=seconds, env=_environment(), check=False
        )
    except subprocess.TimeoutExpired:
        return f"it took more than {seconds:.0f} s"
    try:
        said = json.loads(done.stdout.splitlines()[-1])
    except (IndexError, ValueError):
        last = (done.stderr.strip().splitlines() or ["without a word"])[-1]
        return f"its process ended with status {done.returncode} ({last})"
    if said["error"] is not None:
        raise ConfigError(said["error"])
    wrong: str | None = said["wrong"]
    return wrong


def _environment() -> dict[str, str]:
    """The environment in which a child can import the same modules: the same folders, in the same order."""
    return os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}


def trial(function: str, rows: Sequence[Sequence[Any]]) -> str | None:
    """Call a verifier on the rows until it scores one. Return None, or, if it scores none, the first row's error."""
    verify = load_verifier(function)
    problems = list(_until_scored(verify, rows))
    return problems[0] if problems and len(problems) == len(rows) else None


def _until_scored(verify: Any, rows: Sequence[Sequence[Any]]) -> Iterator[str]:
    for row in rows:
        try:
            given = verify(*row)
        except EvaError:
            raise
        except Exception as error:
            # This is the user's own function, which may raise anything.
            yield f"it raised {type(error).__name__}: {error}"
            continue
        if inspect.iscoroutine(given):
            given.close()
        if given is None or _is_number(given):
            return
        yield f"it gave a {type(given).__name__}, which is no number"


def _is_number(given: Any) -> bool:
    try:
        float(given)
    except (TypeError, ValueError, OverflowError, RuntimeError):
        return False
    return True


def _main() -> None:
    # Output of the function must not be taken for the verdict.
    verdict = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    given = json.loads(sys.stdin.read())
    try:
        said = {"wrong": trial(given["function"], given["rows"]), "error": None}
    except EvaError as error:
        said = {"wrong": None, "error": str(error)}
    print(json.dumps(said), file=verdict, flush=True)


if __name__ == "__main__":
    _main()
