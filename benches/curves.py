"""Pictures of the benchmark."""

from __future__ import annotations

from itertools import cycle
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt

#: Okabe and Ito's colours, told apart by colour-blind eyes too, and three more.
COLOURS = (
    *("#D55E00", "#0072B2", "#56B4E9", "#009E73", "#E69F00", "#CC79A7", "#000000", "#999999", "#F0E442"),
    *("#7F3B08", "#882255", "#117733"),
)
MARKERS = "osD^vPX*hp<>"
NOTHING_LEFT = 1e-12


def draw(path: Path, title: str, results: dict[str, list[dict[str, Any]]]) -> None:
    """Draw gap against seconds, a line for each solver."""
    figure, axes = plt.subplots(figsize=(8, 4.5), layout="constrained")
    for (name, lines), colour, marker in zip(results.items(), cycle(COLOURS), cycle(MARKERS), strict=False):
        points = [(line["seconds"], max(line["gap"], NOTHING_LEFT)) for line in lines if "gap" in line]
        if points:
            width = 2.5 if name == "steepest" else 1.3
            axes.plot(*zip(*points, strict=True), marker=marker, color=colour, linewidth=width, label=name)
    axes.axhline(1e-6, color="#999999", linewidth=0.8, linestyle="--")
    axes.set(xscale="log", yscale="log", xlabel="seconds", ylabel="(F − F*) / F*")
    axes.set_title(title, fontsize=10)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(fontsize=8, frameon=False)
    figure.savefig(path, dpi=110)
    plt.close(figure)
