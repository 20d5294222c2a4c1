"""Measures time and memory to make the tables: informativeness, draw, mix and pairs of synthetic prompts.

    python benchmarks/tables.py --prompts 1_000_000

The script writes six scored responses per prompt, the prompts and as many evolutions to a temporary folder; this is not
counted. Then it makes the tables in fresh processes, so that the peak memory is the memory of the work alone. First it
uses eva-data, range by range. Then it uses plain pandas, group by group in Python, for 100 000 of the prompts. Both
read parquet files and write lz4-compressed files. Other work of the machine changes the wall times, and the processor
times much less. pandas uses one core here, so only eva-data's wall times gain from idle cores.
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
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # The parent must stay small: on Linux, a child's peak memory begins with its parent's.
    import pandas as pd
    import polars as pl

RESPONSES_PER_PROMPT = 6
PANDAS_PROMPTS = 100_000
SHARD_PROMPTS = 100_000
RANGE_PROMPTS = 500_000
SEED = 42


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prompts", type=int, default=1_000_000, help="number of prompts")
    parser.add_argument("--range", type=int, default=RANGE_PROMPTS, help="prompts that are worked on at a time")
    parser.add_argument("--folder", type=Path, help="where the temporary folder is made")
    parser.add_argument("--step", choices=["prepare", "eva", "pandas"], help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.step == "prepare":
        prepare(arguments.folder, arguments.prompts)
    elif arguments.step == "eva":
        _report(measure_eva(arguments.folder, -(-arguments.prompts // arguments.range)))
    elif arguments.step == "pandas":
        _report(measure_pandas(arguments.folder, min(arguments.prompts, PANDAS_PROMPTS)))
    else:
        with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
            compare(Path(folder), arguments.prompts, arguments.range)


def compare(folder: Path, prompts: int, range_prompts: int) -> None:
    """Prepare, measure both in processes of their own, and print the results."""
    run = [sys.executable, __file__, "--prompts", str(prompts), "--range", str(range_prompts), "--folder", str(folder)]
    subprocess.run([*run, "--step", "prepare"], check=True)
    size = sum(file.stat().st_size for file in folder.rglob("*.parquet")) / 2**20
    print(f"{prompts:,} prompts x {RESPONSES_PER_PROMPT} responses, {size:,.0f} MiB of parquet")
    per_prompt = {}
    for step, count in (("eva", prompts), ("pandas", min(prompts, PANDAS_PROMPTS))):
        done = subprocess.run([*run, "--step", step], check=True, stdout=subprocess.PIPE, text=True)
        found = json.loads(done.stdout)
        wall, processor = (sum(seconds[kind] for seconds in found["stages"].values()) for kind in (0, 1))
        per_prompt[step] = wall / count, processor / count
        print(f"{step}: {count:,} prompts in {wall:,.1f} s ({processor:,.1f} s of processor), ", end="")
        print(f"peak {found['peak_mib']:,.0f} MiB; microseconds per prompt, wall and processor:", flush=True)
        for stage, seconds in found["stages"].items():
            print(f"  {stage:16}{seconds[0] / count * 1e6:10.2f}{seconds[1] / count * 1e6:10.2f}", flush=True)
    wall, processor = (per_prompt["pandas"][kind] / per_prompt["eva"][kind] for kind in (0, 1))
    print(f"pandas / eva per prompt: {wall:.0f} by wall time, {processor:.0f} by processor time")


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


def measure_eva(folder: Path, parts: int) -> dict[str, tuple[float, float]]:
    """Make the tables with eva-data. Each stage reads the files of earlier stages and writes one file per range."""
    import polars as pl

    from eva_data.method.estimate import informativeness
    from eva_data.method.mix import mix
    from eva_data.method.pair import pair
    from eva_data.method.sample import sample
    from eva_data.tables.ranges import id_ranges

    ranges = id_ranges(parts)
    # An evolved prompt may lie in any range, so each range scans all evolutions. A quarter of the ranges is enough.
    wide_ranges = id_ranges(-(-parts // 4))

    def scan(table: str) -> pl.LazyFrame:
        return pl.scan_parquet(folder / table / "*.parquet")

    def write(table: str, pieces: Iterator[pl.LazyFrame]) -> None:
        (folder / table).mkdir()
        for number, piece in enumerate(pieces):
            piece.sink_parquet(folder / table / f"{number:04}.parquet", compression="lz4")

    def estimate() -> None:
        responses, prompts = scan("responses"), scan("prompts")
        pieces = (
            informativeness(
                r.of(responses),
                prompt_ids=r.of(prompts),
                stage="respond",
                iteration=1,
                n=RESPONSES_PER_PROMPT,
                seed=SEED,
            )
            for r in ranges
        )
        write("respond", pieces)

    def draw() -> None:
        estimated = scan("respond").with_columns(stage=pl.lit("estimate"))
        drawn = sample(estimated, metric="a_min", fraction=0.25, seed=SEED, iteration=2)
        write("drawn", (r.of(drawn.informativeness) for r in ranges))

    def mixing() -> None:
        mixed = mix(scan("prompts"), scan("evolutions"), evolved=0.8, seed=SEED, iteration=2)
        write("mixed", (r.of(mixed.prompts) for r in wide_ranges))
        write("judged", (r.of(mixed.evolutions, "chain_id") for r in ranges))

    def pairing() -> None:
        prompts, responses, estimated = scan("prompts"), scan("responses"), scan("respond")
        paired = (
            pair(r.of(prompts), r.of(responses), r.of(estimated), seed=SEED, iteration=1, on_policy=True)
            for r in ranges
        )
        write("preferences", (piece.preferences.lazy() for piece in paired))

    return _timed({"informativeness": estimate, "sample": draw, "mix": mixing, "pair": pairing})


def measure_pandas(folder: Path, prompts: int) -> dict[str, tuple[float, float]]:
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
        metrics = pd.DataFrame(
            {
                "n_scored": rewards.count(),
                "reward_max": rewards.max(),
                "reward_min": rewards.min(),
                "a_min": rewards.apply(lambda r: r.max() - r.min()),
                "a_avg": rewards.apply(lambda r: r.max() - r.mean()),
                "a_dis": rewards.apply(lambda r: r.max() - sorted(r)[-2] if len(r) > 1 else None),
                "var": rewards.apply(lambda r: r.var(ddof=0)),
                "avg": rewards.apply(lambda r: r.mean()),
                "inv_avg": rewards.apply(lambda r: 1 / r.mean()),
                "inv_a_min": rewards.apply(lambda r: 1 / (r.max() - r.min()) if r.max() > r.min() else None),
                "uniform": rewards.apply(lambda r: 1.0),
            }
        )
        tables["metrics"] = metrics.reset_index()

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
        pairs = []
        scored = tables["responses"].dropna(subset=["reward"]).query("finish_reason != 'length'")
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
        joined = pd.DataFrame(pairs).merge(tables["prompts"], on="prompt_id").merge(tables["metrics"], on="prompt_id")
        write("preferences", joined)

    return _timed({"read": read, "informativeness": estimate, "sample": draw, "mix": mixing, "pair": pairing})


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
    for table in ("responses", "prompts", "evolutions"):
        (folder / table).mkdir()
    for number, first in enumerate(range(0, prompts, SHARD_PROMPTS)):
        ids = _ids(first, min(first + SHARD_PROMPTS, prompts), prompts)
        for table, rows in (("responses", _responses), ("prompts", _prompts), ("evolutions", _evolutions)):
            rows(ids, number).write_parquet(folder / table / f"{number:04}.parquet")


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
