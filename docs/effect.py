"""Draw docs/effect.png, the picture of README, from the outcomes of table 5: python docs/effect.py"""

from __future__ import annotations

from pathlib import Path

import matplotlib
import polars as pl

matplotlib.use("agg")
import matplotlib.pyplot as plt

OUTCOMES = Path(__file__).parent / "results" / "table-5" / "outcomes.csv"
ARMS = {
    "static": "the same\nprompts",
    "no-evolve-sample": "only the\ninformative",
    "eva-uniform": "evolved,\ndrawn at random",
    "eva": "evolved, drawn by\ninformativeness",
}


def main() -> None:
    outcomes = pl.read_csv(OUTCOMES)
    start = outcomes.filter(pl.col("theta") == 0).select(pl.col("value").mean() * 100).item()
    figure, axes = plt.subplots(figsize=(7.2, 3.4), dpi=130)
    for place, arm in enumerate(ARMS):
        values = (
            outcomes.filter((pl.col("arm") == arm) & (pl.col("theta") > 0)).sort("seed").get_column("value") * 100
        ).to_list()
        mean = sum(values) / len(values)
        colour = "#2a6f97" if arm.startswith("eva") else "#8d99ae"
        axes.scatter([place] * len(values), values, s=18, color=colour, alpha=0.55, zorder=3)
        axes.hlines(mean, place - 0.25, place + 0.25, color=colour, linewidth=2.5, zorder=4)
        below = 0 < start - mean < 1  # else the line of `start` would run through the figure
        offset, side = (-0.15, "top") if below else (0.15, "bottom")
        axes.annotate(f"{mean:.1f} %", (place + 0.28, mean + offset), va=side, fontsize=9, color=colour)
    axes.axhline(start, color="black", linewidth=0.8, linestyle=(0, (4, 3)))
    axes.annotate(f"before training: {start:.1f} %", (len(ARMS) - 0.45, start), ha="right", va="bottom", fontsize=8)
    axes.set_xticks(range(len(ARMS)), ARMS.values(), fontsize=9)
    axes.set_xlim(-0.5, len(ARMS) - 0.35)
    axes.set_ylabel("puzzles of three operations\nsolved by theta_4, %", fontsize=9)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", alpha=0.25)
    figure.tight_layout()
    figure.savefig(Path(__file__).with_name("effect.png"))


if __name__ == "__main__":
    main()
