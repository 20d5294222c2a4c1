"""How fast the tables are made, and in how much memory: informativeness, draw, mix and pairs of synthetic prompts.

    python benchmarks/tables.py --prompts 1_000_000

Writes six scored responses per prompt, the prompts and as many evolutions to a temporary folder (not counted),
then measures in fresh processes, so that the peak memory is that of the work alone: first eva-data, from files to
files, range by range; then the same by plain pandas, one group at a time, in memory and without writing, for
100 000 of the prompts. The ratio is that of the wall times per prompt.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # the parent stays small: on Linux a child's peak memory begins with its parent's
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
    """Prepare, measure both in processes of their own, and print what came out."""
    run = [sys.executable, __file__, "--prompts", str(prompts), "--range", str(range_prompts), "--folder", str(folder)]
    subprocess.run([*run, "--step", "prepare"], check=True)
    size = sum(file.stat().st_size for file in folder.rglob("*.parquet")) / 2**20
    print(f"{prompts:,} prompts x {RESPONSES_PER_PROMPT} responses, {size:,.0f} MiB of parquet")
    per_prompt = {}
    for step, count in (("eva", prompts), ("pandas", min(prompts, PANDAS_PROMPTS))):
        done = subprocess.run([*run, "--step", step], check=True, stdout=subprocess.PIPE, text=True)
        found = json.loads(done.stdout)
        total = sum(found["seconds"].values())
        per_prompt[step] = total / count
        print(f"{step}: {total:,.1f} s for {count:,} prompts, peak {found['peak_mib']:,.0f} MiB")
        for stage, seconds in found["seconds"].items():
            print(f"  {stage:16}{seconds:10.1f} s {seconds / count * 1e6:10.2f} us per prompt")
    print(f"ratio per prompt: {per_prompt['pandas'] / per_prompt['eva']:.0f}")


def _report(seconds: dict[str, float]) -> None:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"seconds": seconds, "peak_mib": peak}))


def _timed(stages: dict[str, Callable[[], None]]) -> dict[str, float]:
    seconds = {}
    for name, stage in stages.items():
        start = time.perf_counter()
        stage()
        seconds[name] = time.perf_counter() - start
    return seconds


# --- what is measured ------------------------------------------------------------------------------------------


def measure_eva(folder: Path, parts: int) -> dict[str, float]:
    """Seconds per stage; each reads the files of those before it and writes one file per range."""
    import polars as pl

    from eva_data.estimate import informativeness
    from eva_data.mix import mix
    from eva_data.pair import pair
    from eva_data.ranges import id_ranges
    from eva_data.sample import sample

    ranges = id_ranges(parts)

    def scan(table: str) -> pl.LazyFrame:
        return pl.scan_parquet(folder / table / "*.parquet")

    def write(table: str, pieces: Iterator[pl.LazyFrame]) -> None:
        (folder / table).mkdir()
        for number, piece in enumerate(pieces):
            piece.sink_parquet(folder / table / f"{number:04}.parquet")

    def estimate() -> None:
        settings = {"stage": "respond", "iteration": 1, "n": RESPONSES_PER_PROMPT, "seed": SEED}
        responses, prompts = scan("responses"), scan("prompts")
        write("respond", (informativeness(r.of(responses), prompt_ids=r.of(prompts), **settings) for r in ranges))

    def draw() -> None:
        estimated = scan("respond").with_columns(stage=pl.lit("estimate"))
        drawn = sample(estimated, metric="a_min", fraction=0.25, seed=SEED, iteration=2)
        write("drawn", (r.of(drawn.informativeness) for r in ranges))

    def mixing() -> None:
        mixed = mix(scan("prompts"), scan("evolutions"), evolved=0.8, seed=SEED, iteration=2)
        write("mixed", (r.of(mixed.prompts) for r in ranges))
        write("judged", (r.of(mixed.evolutions, "chain_id") for r in ranges))

    def pairing() -> None:
        tables = scan("prompts"), scan("responses"), scan("respond")
        paired = (pair(*map(r.of, tables), seed=SEED, iteration=1, on_policy=True) for r in ranges)
        write("preferences", (piece.preferences.lazy() for piece in paired))

    return _timed({"informativeness": estimate, "sample": draw, "mix": mixing, "pair": pairing})


def measure_pandas(folder: Path, prompts: int) -> dict[str, float]:
    """Seconds per stage for the first `prompts` prompts, as one would write it without thinking of size."""
    import pandas as pd

    tables: dict[str, pd.DataFrame] = {}

    def read() -> None:
        tables["responses"] = _head(folder / "responses", prompts * RESPONSES_PER_PROMPT)
        tables["prompts"] = _head(folder / "prompts", prompts)
        tables["evolutions"] = _head(folder / "evolutions", prompts)

    def estimate() -> None:
        complete = tables["responses"].dropna(subset=["reward"]).query("finish_reason != 'length'")
        rewards = complete.groupby("prompt_id")["reward"]
        tables["metrics"] = pd.DataFrame(
            {
                "a_min": rewards.apply(lambda r: r.max() - r.min()),
                "a_avg": rewards.apply(lambda r: r.max() - r.mean()),
                "a_dis": rewards.apply(lambda r: r.max() - sorted(r)[-2] if len(r) > 1 else None),
                "var": rewards.apply(lambda r: r.var(ddof=0)),
                "avg": rewards.apply(lambda r: r.mean()),
                "inv_avg": rewards.apply(lambda r: 1 / r.mean()),
                "inv_a_min": rewards.apply(lambda r: 1 / (r.max() - r.min())),
                "uniform": rewards.apply(lambda r: 1.0),
            }
        )

    def draw() -> None:
        metrics = tables["metrics"]
        metrics.sample(n=len(metrics) // 4, weights=metrics["a_min"].fillna(0), random_state=SEED)

    def mixing() -> None:
        survivors = tables["evolutions"][tables["evolutions"]["reason"].isna()]
        evolved = survivors.sample(n=min(len(survivors), prompts * 8 // 10), random_state=SEED)
        originals = tables["prompts"].sample(n=len(evolved) // 4, random_state=SEED)
        pd.concat([evolved, originals]).sort_values("prompt_id")

    def pairing() -> None:
        pairs = []
        complete = tables["responses"].dropna(subset=["reward"]).query("finish_reason != 'length'")
        for prompt_id, group in complete.groupby("prompt_id"):
            chosen, rejected = group.loc[group["reward"].idxmax()], group.loc[group["reward"].idxmin()]
            if chosen["response"] != rejected["response"] and chosen["reward"] > rejected["reward"]:
                pairs.append((prompt_id, chosen["response"], rejected["response"], chosen["reward"]))
        pd.DataFrame(pairs, columns=["prompt_id", "chosen", "rejected", "score_chosen"])

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


# --- what it is measured on --------------------------------------------------------------------------------------


def prepare(folder: Path, prompts: int) -> None:
    """Write `responses`, `prompts` and `evolutions`, in canonical order, in shards of SHARD_PROMPTS prompts."""
    for table in ("responses", "prompts", "evolutions"):
        (folder / table).mkdir()
    for number, first in enumerate(range(0, prompts, SHARD_PROMPTS)):
        ids = _ids(first, min(first + SHARD_PROMPTS, prompts), prompts)
        for table, rows in (("responses", _responses), ("prompts", _prompts), ("evolutions", _evolutions)):
            rows(ids, number).write_parquet(folder / table / f"{number:04}.parquet")


def _ids(first: int, end: int, of: int) -> pl.Series:
    """Ascending ids as even as hashes: 16 digits of the place, 16 of noise."""
    import numpy as np
    import polars as pl

    places = np.arange(first, end, dtype=np.float64) / of * 2.0**52
    noise = np.random.default_rng(first).integers(2**63, size=end - first, dtype=np.uint64)
    digits = np.stack([places.astype(np.uint64) << np.uint64(12), noise], axis=1).astype(">u8").tobytes().hex()
    return pl.Series("prompt_id", [digits[at : at + 32] for at in range(0, len(digits), 32)])


def _responses(ids: pl.Series, number: int) -> pl.DataFrame:
    """Some equal texts, some cut, some without a reward; sentences of 60 to 80 characters."""
    import numpy as np
    import polars as pl

    from eva_data.records import RESPONSES, conform

    random = np.random.default_rng(number)
    n = ids.len() * RESPONSES_PER_PROMPT
    table = ids.to_frame().select(pl.col("prompt_id").repeat_by(RESPONSES_PER_PROMPT).explode())
    idx = pl.int_range(pl.len()) % RESPONSES_PER_PROMPT
    chance, reward = pl.lit(pl.Series(random.random(n))), pl.lit(pl.Series(random.normal(size=n).round(4)))
    spoken = pl.when(chance < 0.03).then(0).otherwise(idx)
    text = pl.format("The answer to {} is number {}, as far as I can tell.", pl.col("prompt_id").str.slice(0, 18), spoken)
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

    from eva_data.records import PROMPTS, conform

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

    from eva_data.records import EVOLUTIONS, conform

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
