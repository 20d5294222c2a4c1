"""Measures time and memory to make the tables: informativeness, draw, mix and pairs of synthetic prompts.

    python benchmarks/tables.py --prompts 1_000_000

The script writes six scored responses per prompt, the prompts and as many evolutions to a temporary folder; this is not
counted. Then it makes the tables in fresh processes, so that the peak memory is the memory of the work alone. First it
calls the stages that `build` calls, with the default settings. Then it uses pandas for 100 000 of the prompts, and
DuckDB's SQL for all, if DuckDB is installed (`pip install duckdb`). All read parquet files as `build` writes them, and
write lz4-compressed files. The pairs of DuckDB must be those of eva-data, or the script fails. SQL says what the
formulas alone cost: it gives no reason for a prompt without a pair, and nobody can replay its draw.

pandas is used in two ways. `pandas` goes group by group in Python, which is the shortest to write, and the slowest.
`columns` uses pandas as who knows it well does, with its own functions of whole columns. Neither takes texts that
differ in white space for one, nor gives reasons.

Informativeness is computed twice by each, before the draw and for the pairs, as an iteration does. Other work of the
machine changes the wall times, and the processor times much less. pandas uses one core here, so only the wall times of
the others gain from idle cores.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # The parent must stay small: on Linux, a child's peak memory begins with its parent's.
    import pandas as pd
    import polars as pl

RESPONSES_PER_PROMPT = 6
PANDAS_PROMPTS = 100_000
SHARD_PROMPTS = 100_000
SEED = 42
THREADS = 2
"""Threads of DuckDB, whose default is the number of cores."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prompts", type=int, default=1_000_000, help="number of prompts")
    parser.add_argument("--folder", type=Path, help="where the temporary folder is made")
    parser.add_argument("--step", choices=["prepare", "eva", "pandas", "columns", "duckdb"], help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.step == "prepare":
        prepare(arguments.folder, arguments.prompts)
    elif arguments.step == "eva":
        _report(measure_eva(arguments.folder))
    elif arguments.step == "pandas":
        _report(measure_pandas(arguments.folder, min(arguments.prompts, PANDAS_PROMPTS)))
    elif arguments.step == "columns":
        _report(measure_pandas(arguments.folder, min(arguments.prompts, PANDAS_PROMPTS), by_columns=True))
    elif arguments.step == "duckdb":
        _report(measure_duckdb(arguments.folder))
    else:
        with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
            compare(Path(folder), arguments.prompts)


def compare(folder: Path, prompts: int) -> None:
    """Prepare, measure each way in a process of its own, and print the results."""
    run = [sys.executable, __file__, "--prompts", str(prompts), "--folder", str(folder)]
    subprocess.run([*run, "--step", "prepare"], check=True)
    size = sum(file.stat().st_size for file in folder.rglob("*.parquet")) / 2**20
    print(f"{prompts:,} prompts x {RESPONSES_PER_PROMPT} responses, {size:,.0f} MiB of parquet")
    per_prompt = {}
    counts = {"eva": prompts} | dict.fromkeys(("pandas", "columns"), min(prompts, PANDAS_PROMPTS))
    if find_spec("duckdb") is not None:
        counts["duckdb"] = prompts
    for step, count in counts.items():
        done = subprocess.run([*run, "--step", step], check=True, stdout=subprocess.PIPE, text=True)
        found = json.loads(done.stdout)
        wall, processor = (sum(seconds[kind] for seconds in found["stages"].values()) for kind in (0, 1))
        per_prompt[step] = wall / count, processor / count
        print(f"{step}: {count:,} prompts in {wall:,.1f} s ({processor:,.1f} s of processor), ", end="")
        print(f"peak {found['peak_mib']:,.0f} MiB; microseconds per prompt, wall and processor:", flush=True)
        for stage, seconds in found["stages"].items():
            print(f"  {stage:28}{seconds[0] / count * 1e6:10.2f}{seconds[1] / count * 1e6:10.2f}", flush=True)
    if "duckdb" in counts:
        refuse_other_pairs(folder)
    for other in list(counts)[1:]:
        wall, processor = (per_prompt[other][kind] / per_prompt["eva"][kind] for kind in (0, 1))
        print(f"{other} / eva per prompt: {wall:.2g} by wall time, {processor:.2g} by processor time")


def _report(stages: dict[str, tuple[float, float]]) -> None:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"stages": stages, "peak_mib": peak}))


def _timed(stages: dict[str, Callable[[], None]]) -> dict[str, tuple[float, float]]:
    """Wall and processor seconds of each stage."""
    seconds = {}
    for name, stage in stages.items():
        wall, processor = time.perf_counter(), time.process_time()
        stage()
        seconds[name] = time.perf_counter() - wall, time.process_time() - processor
    return seconds


# --- the work --------------------------------------------------------------------------------------------------


def measure_eva(folder: Path) -> dict[str, tuple[float, float]]:
    """Make the tables by the stages of `build`. Large ones lie in files of the folder."""
    import polars as pl

    from eva_data.config.reading import load_config
    from eva_data.iteration.stages import estimate_and_sample, mix_prompts, outcome_parts, outcomes_of

    path = folder / "eva.yaml"
    path.write_text(SETTINGS, encoding="utf-8")
    config = load_config(path)

    def scan(table: str) -> pl.LazyFrame:
        return pl.scan_parquet(folder / table / "*.parquet")

    def write(name: str, table: pl.LazyFrame, *, at_once: bool = False) -> None:
        """Write a table that `build` never holds as a whole, or `at_once` one that it does."""
        (folder / name).mkdir()
        file = folder / name / "0000.parquet"
        if at_once:
            table.collect().write_parquet(file, compression="lz4")
        else:
            table.sink_parquet(file, compression="lz4")

    def pairing() -> None:
        parts = outcome_parts(config, 1, scan("prompts"), scan("responses"), n=RESPONSES_PER_PROMPT, on_policy=True)
        found = outcomes_of(parts, folder / "parts")
        write("respond", found.informativeness)
        write("preferences", found.preferences)
        write("rejects", found.rejects)

    def draw() -> None:
        before, best = scan("prompts").collect(), scan("respond").select("reward_max").collect().to_series()
        drawn = estimate_and_sample(config, 2, before, scan("responses"), RESPONSES_PER_PROMPT, best)
        write("drawn", drawn.informativeness, at_once=True)

    def mixing() -> None:
        before, evolutions = scan("prompts").collect(), scan("evolutions").collect()
        mixed = mix_prompts(config, 2, before, evolutions, scan("drawn").collect(), None)
        write("mixed", mixed.prompts, at_once=True)
        write("judged", mixed.evolutions, at_once=True)

    return _timed({"informativeness and pair": pairing, "informativeness and sample": draw, "mix": mixing})


SETTINGS = f"""\
name: tables
seed: {SEED}
seeds: {{path: prompts.txt}}
solver: {{backend: transformers, model: sandbox}}
reward: {{backend: verifier, function: "eva_data.sandbox.steps:score"}}
"""

_METRICS = """
    SELECT prompt_id, count(*) AS n_scored, max(reward) AS reward_max, min(reward) AS reward_min,
      max(reward) - min(reward) AS a_min, max(reward) - avg(reward) AS a_avg,
      max(reward) - max(reward, 2)[2] AS a_dis, var_pop(reward) AS var, avg(reward) AS avg,
      1 / nullif(avg(reward), 0) AS inv_avg, 1 / nullif(max(reward) - min(reward), 0) AS inv_a_min, 1.0 AS uniform
    FROM responses WHERE isfinite(reward) AND finish_reason IS DISTINCT FROM 'length' GROUP BY prompt_id
"""
_PAIRS = """
    WITH answers AS (
      SELECT prompt_id, trim(regexp_replace(response, '\\s+', ' ', 'g')) AS spaced, avg(reward) AS reward,
        arg_min(struct_pack(i := response_idx, t := response), response_idx) AS first,
        bool_and(finish_reason IS NULL OR finish_reason = 'stop') AS complete
      FROM responses WHERE isfinite(reward) AND finish_reason IS DISTINCT FROM 'error' GROUP BY ALL),
    ranked AS (
      SELECT prompt_id, arg_max(first, reward) FILTER (complete) AS chosen, arg_min(first, reward) AS rejected,
        max(reward) FILTER (complete) AS score_chosen, min(reward) AS score_rejected
      FROM answers GROUP BY prompt_id HAVING score_chosen > score_rejected)
    SELECT ranked.prompt_id, prompts.prompt, [{'role': 'assistant', 'content': chosen.t}] AS chosen,
      [{'role': 'assistant', 'content': rejected.t}] AS rejected, score_chosen, score_rejected,
      chosen.i AS chosen_idx, rejected.i AS rejected_idx,
      sha256(concat_ws('|', ranked.prompt_id, least(chosen.t, rejected.t), greatest(chosen.t, rejected.t))) AS pair_id,
      metrics.* EXCLUDE (prompt_id)
    FROM ranked JOIN prompts USING (prompt_id) JOIN metrics USING (prompt_id) ORDER BY ranked.prompt_id
"""
_DRAWN = """
    WITH keyed AS (
      SELECT *, CASE WHEN a_min > 0 THEN -ln((hash(prompt_id, 42) + 1) / 18446744073709551616.0) / a_min END AS draw
      FROM metrics)
    SELECT *, coalesce(row_number() OVER (ORDER BY draw) <= (SELECT count(*) // 4 FROM metrics), false) AS selected
    FROM keyed ORDER BY prompt_id
"""
_MIXED = """
    WITH evolved AS (
      SELECT * FROM evolutions WHERE reason IS NULL ORDER BY hash(prompt_id, 42)
      LIMIT (SELECT count(*) * 8 // 10 FROM prompts)),
    kept AS (SELECT * FROM prompts ORDER BY hash(prompt_id, 43) LIMIT (SELECT count(*) // 4 FROM evolved))
    SELECT prompt_id, prompt, root_id, depth FROM evolved UNION ALL SELECT prompt_id, prompt, root_id, depth FROM kept
    ORDER BY prompt_id
"""


def measure_duckdb(folder: Path) -> dict[str, tuple[float, float]]:
    """Make the same tables by SQL."""
    import duckdb

    base = duckdb.connect()
    base.execute(f"SET threads = {THREADS}; SET temp_directory = '{folder / 'spilled'}'")
    for table in ("responses", "prompts", "evolutions"):
        base.execute(f"CREATE VIEW {table} AS FROM read_parquet('{folder / table}/*.parquet')")

    def write(name: str, query: str) -> None:
        base.execute(f"COPY ({query}) TO '{folder / f'duckdb_{name}.parquet'}' (FORMAT parquet, COMPRESSION lz4)")

    def estimate() -> None:
        base.execute(f"CREATE OR REPLACE TABLE metrics AS {_METRICS}")

    def pairing() -> None:
        estimate()
        write("preferences", _PAIRS)

    def draw() -> None:
        estimate()
        write("drawn", _DRAWN)

    stages = {"informativeness and pair": pairing, "informativeness and sample": draw}
    return _timed(stages | {"mix": lambda: write("mixed", _MIXED)})


def refuse_other_pairs(folder: Path) -> None:
    """Fail if eva-data and DuckDB pair other prompts, or with other rewards."""
    import polars as pl

    keys = "prompt_id", "score_chosen", "score_rejected"
    ours, others = (
        pl.scan_parquet(folder / file).select(keys).sort("prompt_id").collect()
        for file in ("preferences/*.parquet", "duckdb_preferences.parquet")
    )
    if not ours["prompt_id"].equals(others["prompt_id"]):
        raise SystemExit(f"eva-data has {ours.height} pairs, and DuckDB {others.height}, or those of other prompts")
    far = (ours.select(keys[1:]) - others.select(keys[1:])).select(pl.all().abs().max()).row(0)
    if max(far) > 1e-9:
        raise SystemExit(f"the rewards of the pairs differ by up to {max(far)}")


def measure_pandas(folder: Path, prompts: int, *, by_columns: bool = False) -> dict[str, tuple[float, float]]:
    """Make the same tables of the first `prompts` prompts with pandas, without regard for size."""
    import pandas as pd

    tables: dict[str, pd.DataFrame] = {}

    def write(name: str, table: pd.DataFrame) -> None:
        table.to_parquet(folder / f"pandas_{name}.parquet", compression="lz4")

    def read() -> None:
        tables["responses"] = _head(folder / "responses", prompts * RESPONSES_PER_PROMPT)
        tables["prompts"] = _head(folder / "prompts", prompts)
        tables["evolutions"] = _head(folder / "evolutions", prompts)

    def estimate() -> None:
        complete = tables["responses"].dropna(subset=["reward"]).query("finish_reason != 'length'")
        rewards = complete.groupby("prompt_id")["reward"]
        found = _metrics_by_columns(complete) if by_columns else _metrics_by_groups(rewards)
        basic = {"n_scored": rewards.count(), "reward_max": rewards.max(), "reward_min": rewards.min()}
        tables["metrics"] = pd.DataFrame(basic | found).reset_index()

    def draw() -> None:
        metrics = tables["metrics"]
        drawn = metrics.sample(n=len(metrics) // 4, weights=metrics["a_min"].fillna(0), random_state=SEED)
        write("drawn", metrics.assign(selected=metrics["prompt_id"].isin(drawn["prompt_id"])))

    def mixing() -> None:
        evolutions = tables["evolutions"]
        survivors = evolutions[evolutions["reason"].isna()]
        evolved = survivors.sample(n=min(len(survivors), prompts * 8 // 10), random_state=SEED)
        originals = tables["prompts"].sample(n=len(evolved) // 4, random_state=SEED)
        columns = [column for column in tables["prompts"].columns if column in evolved.columns]
        write("mixed", pd.concat([evolved[columns], originals]).sort_values("prompt_id"))
        write("judged", evolutions.assign(mixed=evolutions["prompt_id"].isin(evolved["prompt_id"])))

    def pairing() -> None:
        scored = tables["responses"].dropna(subset=["reward"]).query("finish_reason != 'length'")
        pairs = _pairs_by_columns(scored) if by_columns else _pairs_by_groups(scored)
        joined = pairs.merge(tables["prompts"], on="prompt_id").merge(tables["metrics"], on="prompt_id")
        write("preferences", joined)

    def estimated(stage: Callable[[], None]) -> Callable[[], None]:
        def work() -> None:
            estimate()
            stage()

        return work

    return _timed(
        {
            "read": read,
            "informativeness and pair": estimated(pairing),
            "informativeness and sample": estimated(draw),
            "mix": mixing,
        }
    )


def _metrics_by_groups(rewards: Any) -> dict[str, pd.Series]:
    """One call of Python for each metric of each prompt; `rewards` are grouped by prompt."""
    return {
        "a_min": rewards.apply(lambda r: r.max() - r.min()),
        "a_avg": rewards.apply(lambda r: r.max() - r.mean()),
        "a_dis": rewards.apply(lambda r: r.max() - sorted(r)[-2] if len(r) > 1 else None),
        "var": rewards.apply(lambda r: r.var(ddof=0)),
        "avg": rewards.apply(lambda r: r.mean()),
        "inv_avg": rewards.apply(lambda r: 1 / r.mean()),
        "inv_a_min": rewards.apply(lambda r: 1 / (r.max() - r.min()) if r.max() > r.min() else None),
        "uniform": rewards.apply(lambda r: 1.0),
    }


def _metrics_by_columns(complete: pd.DataFrame) -> dict[str, pd.Series]:
    """The same by functions that pandas has for whole columns."""
    rewards = complete.groupby("prompt_id")["reward"]
    highest, lowest, mean = rewards.max(), rewards.min(), rewards.mean()
    ordered = complete.sort_values("reward", ascending=False)
    second = ordered[ordered.groupby("prompt_id").cumcount() == 1].set_index("prompt_id")["reward"]
    return {
        "a_min": highest - lowest,
        "a_avg": highest - mean,
        "a_dis": highest - second,
        "var": rewards.var(ddof=0),
        "avg": mean,
        "inv_avg": 1 / mean,
        "inv_a_min": (1 / (highest - lowest)).where(highest > lowest),
        "uniform": mean * 0 + 1,
    }


def _pairs_by_groups(scored: pd.DataFrame) -> pd.DataFrame:
    """The pairs of each prompt by a loop over the prompts."""
    import pandas as pd

    pairs = []
    for prompt_id, group in scored.groupby("prompt_id"):
        chosen, rejected = group.loc[group["reward"].idxmax()], group.loc[group["reward"].idxmin()]
        texts = chosen["response"], rejected["response"]
        if texts[0] != texts[1] and chosen["reward"] > rejected["reward"]:
            pairs.append(
                {
                    "prompt_id": prompt_id,
                    "chosen": [{"role": "assistant", "content": texts[0]}],
                    "rejected": [{"role": "assistant", "content": texts[1]}],
                    "score_chosen": chosen["reward"],
                    "score_rejected": rejected["reward"],
                    "pair_id": hashlib.sha256("".join([str(prompt_id), *sorted(texts)]).encode()).hexdigest(),
                    "chosen_idx": chosen["response_idx"],
                    "rejected_idx": rejected["response_idx"],
                }
            )
    return pd.DataFrame(pairs)


def _pairs_by_columns(scored: pd.DataFrame) -> pd.DataFrame:
    """The same pairs, with Python only for the hashes and the conversations."""
    rewards = scored.reset_index(drop=True).groupby("prompt_id")["reward"]
    sides = [scored.iloc[rows.to_numpy()].reset_index(drop=True) for rows in (rewards.idxmax(), rewards.idxmin())]
    both = sides[0].merge(sides[1], on="prompt_id", suffixes=("_best", "_worst"))
    unequal = both["response_best"] != both["response_worst"]
    both = both[unequal & (both["reward_best"] > both["reward_worst"])].reset_index(drop=True)
    pairs = both[["prompt_id"]].copy()
    texts = both["response_best"].tolist(), both["response_worst"].tolist()
    for name, side in zip(("chosen", "rejected"), texts, strict=True):
        pairs[name] = [[{"role": "assistant", "content": text}] for text in side]
    pairs[["score_chosen", "score_rejected"]] = both[["reward_best", "reward_worst"]]
    pairs["pair_id"] = [
        hashlib.sha256("".join([prompt_id, *sorted(two)]).encode()).hexdigest()
        for prompt_id, *two in zip(both["prompt_id"].tolist(), *texts, strict=True)
    ]
    pairs[["chosen_idx", "rejected_idx"]] = both[["response_idx_best", "response_idx_worst"]]
    return pairs


def _head(table: Path, rows: int) -> pd.DataFrame:
    import pandas as pd

    frames, found = [], 0
    for file in sorted(table.glob("*.parquet")):
        frames.append(pd.read_parquet(file))
        found += len(frames[-1])
        if found >= rows:
            break
    return pd.concat(frames).head(rows)


# --- the inputs --------------------------------------------------------------------------------------------------


def prepare(folder: Path, prompts: int) -> None:
    """Write `responses`, `prompts` and `evolutions`, in canonical order, in shards of SHARD_PROMPTS prompts."""
    from eva_data.files import write_parquet

    for table in ("responses", "prompts", "evolutions"):
        (folder / table).mkdir()
    for number, first in enumerate(range(0, prompts, SHARD_PROMPTS)):
        ids = _ids(first, min(first + SHARD_PROMPTS, prompts), prompts)
        for table, rows in (("responses", _responses), ("prompts", _prompts), ("evolutions", _evolutions)):
            write_parquet(folder / table / f"{number:04}.parquet", rows(ids, number).to_arrow())


def _ids(first: int, end: int, of: int) -> pl.Series:
    """Ascending ids, spread as evenly as hashes: 16 digits of the place and 16 digits of noise."""
    import numpy as np
    import polars as pl

    places = np.arange(first, end, dtype=np.float64) / of * 2.0**52
    noise = np.random.default_rng(first).integers(2**63, size=end - first, dtype=np.uint64)
    digits = np.stack([places.astype(np.uint64) << np.uint64(12), noise], axis=1).astype(">u8").tobytes().hex()
    return pl.Series("prompt_id", [digits[at : at + 32] for at in range(0, len(digits), 32)])


def _responses(ids: pl.Series, number: int) -> pl.DataFrame:
    """Sentences of 60 to 80 characters. Some texts are equal, some are cut, and some have no reward."""
    import numpy as np
    import polars as pl

    from eva_data.tables.schemas import RESPONSES, conform

    random = np.random.default_rng(number)
    n = ids.len() * RESPONSES_PER_PROMPT
    table = ids.to_frame().select(pl.col("prompt_id").repeat_by(RESPONSES_PER_PROMPT).explode())
    idx = pl.int_range(pl.len()) % RESPONSES_PER_PROMPT
    chance, reward = pl.lit(pl.Series(random.random(n))), pl.lit(pl.Series(random.normal(size=n).round(4)))
    spoken = pl.when(chance < 0.03).then(0).otherwise(idx)
    text = pl.format(
        "The answer to {} is number {}, as far as I can tell.", pl.col("prompt_id").str.slice(0, 18), spoken
    )
    columns = table.with_columns(
        response_idx=idx,
        response=text,
        reward=pl.when(chance < 0.99).then(reward),
        reward_model=pl.lit("org/reward-model@0123456789abcdef"),
        finish_reason=pl.when(chance.is_between(0.03, 0.06)).then(pl.lit("length")).otherwise(pl.lit("stop")),
        prompt_tokens=20,
        completion_tokens=16,
        solver=pl.lit("org/solver@0123456789abcdef"),
        stage=pl.lit("respond"),
        reused=False,
        iteration=1,
    )
    return conform(columns, RESPONSES)


def _prompts(ids: pl.Series, number: int) -> pl.DataFrame:
    import polars as pl

    from eva_data.tables.schemas import PROMPTS, conform

    columns = ids.to_frame().with_columns(
        prompt=_ask(pl.col("prompt_id")),
        origin=pl.lit("seed"),
        mix_role=pl.lit("seed"),
        created_iteration=1,
        iteration=1,
        root_id="prompt_id",
        depth=0,
        source=pl.lit("prompts.parquet"),
    )
    return conform(columns, PROMPTS)


def _evolutions(ids: pl.Series, number: int) -> pl.DataFrame:
    """Four attempts from every fourth prompt; one in ten is eliminated."""
    import numpy as np
    import polars as pl

    from eva_data.tables.schemas import EVOLUTIONS, conform

    chains = ids.gather_every(4).to_frame("chain_id").select(pl.col("chain_id").repeat_by(4).explode())
    random = np.random.default_rng(number)
    noise = random.integers(2**63, size=(chains.height, 2), dtype=np.uint64).tobytes().hex()
    new_ids = pl.Series([noise[at : at + 32] for at in range(0, len(noise), 32)], dtype=pl.String)
    eliminated = pl.lit(pl.Series(random.random(chains.height))) < 0.1
    columns = chains.with_columns(
        step=pl.int_range(pl.len()) % 4 + 1,
        prompt_id=new_ids,
        prompt=_ask(pl.lit(new_ids)),
        parent_id="chain_id",
        root_id="chain_id",
        depth=1,
        mutation=pl.lit("deepening"),
        raw=pl.format("Please explain what follows from {}.", pl.lit(new_ids)),
        reason=pl.when(eliminated).then(pl.lit("too_short")),
        status=pl.when(eliminated).then(pl.lit("eliminated")),
        completion_tokens=12,
        creator=pl.lit("org/solver@0123456789abcdef"),
        iteration=2,
    )
    return conform(columns, EVOLUTIONS)


def _ask(id_: pl.Expr) -> pl.Expr:
    import polars as pl

    text = pl.format("Please explain what follows from {}.", id_)
    return pl.concat_list(pl.struct(role=pl.lit("user"), content=text))


if __name__ == "__main__":
    main()
