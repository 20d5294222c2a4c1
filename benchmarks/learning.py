"""Measures the main effect: does the sandbox's solver learn more from prompts that evolve than from the same prompts?

    python benchmarks/learning.py --seeds 8 --jobs 2

The script plays the arms `eva` and `static` of the ready sweep `table-5` (two minutes of a processor per arm and seed),
and prints the share of held-out puzzles of three operations that each arm's last solver solves, and the difference,
paired by seed, with its interval. Repeated with the same `--folder`, it goes on where it was.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import click


@click.command()
@click.option("--seeds", default=8, show_default=True, help="Fewer than 5 give no interval, fewer than 6 no verdict.")
@click.option("--jobs", default=1, show_default=True, help="Arms played at the same time.")
@click.option("--folder", type=click.Path(path_type=Path), help="Where to keep the plays. Default: a temporary folder.")
def main(seeds: int, jobs: int, folder: Path | None) -> None:
    with tempfile.TemporaryDirectory() as temporary:
        place = (folder or Path(temporary) / "table-5").resolve()
        arms = ["--arm", "eva", "--arm", "static"]
        command = ["sweep", "table-5", *arms, "--seeds", str(seeds), "--jobs", str(jobs), "--folder", str(place)]
        said = subprocess.run(
            [sys.executable, "-m", "eva_data.cli", *command, "--json"], stdout=subprocess.PIPE, text=True, check=True
        ).stdout
    found = json.loads(said)
    for arm in found["arms"]:
        if arm["arm"] in ("eva", "static"):
            click.echo(f"{arm['arm']}: {arm['mean']:.1%} over {arm['seeds']} seeds, theta_0 {arm['theta_0']:.1%}")
    [verdict] = [each for each in found["verdicts"] if (each["first"], each["second"]) == ("eva", "static")]
    click.echo(verdict["sentence"])


if __name__ == "__main__":
    main()
