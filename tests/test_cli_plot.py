"""`steepest plot`: every picture from real files, and what cannot be drawn."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from PIL import Image

import command_line
import test_cli

if TYPE_CHECKING:
    from command_line import Steepest

steepest, folder, models = test_cli.steepest, command_line.folder, command_line.models

PICTURES: list[tuple[str, ...]] = [
    ("loss", "gd.csv"),
    ("loss", "gd.csv", "newton.csv", "--gap"),
    ("loss", "gd.csv", "newton.csv", "--against", "seconds"),
    ("coefficients", "price.safetensors"),
    ("coefficients", "price.safetensors", "--data", "test.csv", "--most", "2"),
    ("coefficients", "price.safetensors", "size.safetensors"),
    ("fit", "size.safetensors", "test.csv"),
    ("fit", "kind.safetensors", "test.csv"),
    ("calibration", "sold.safetensors", "test.csv", "--bins", "5"),
    ("confusion", "sold.safetensors", "test.csv"),
    ("confusion", "kind.safetensors", "test.csv", "--normalize", "true"),
    ("surface", "price.safetensors", "train.csv", "--steps", "5"),
    ("surface", "sold.safetensors", "train.csv", "--steps", "5", "--feature", "size", "--feature", "intercept"),
    ("surface", "kind.safetensors", "train.csv", "--steps", "5", "--method", "gd", "--method", "nesterov"),
]


def test_pictures(steepest: Steepest, models: Path) -> None:
    for k, options in enumerate(PICTURES):
        outcome = steepest("plot", *options, "--out", f"{k}.png")
        assert (outcome.code, outcome.out) == (0, f"picture drawn to {k}.png\n"), (options, outcome.err)
        with Image.open(models / f"{k}.png") as picture:
            pixels = np.asarray(picture.convert("L"))
            assert min(pixels.shape) >= 250
            assert np.ptp(pixels) > 100
    assert steepest("plot", *PICTURES[0], "-o", "loss.svg").code == 0
    assert "<svg" in (models / "loss.svg").read_text()
    assert steepest("plot", "surface", "price.safetensors", "train.csv", "--steps", "4", "-o", "d.gif").code == 0
    with Image.open(models / "d.gif") as opened:
        animation: Any = opened
        assert animation.n_frames == 5


WRONG_PICTURES = [
    (("loss", "gd.csv"), 2, "Missing option '--out'"),
    (("lost", "gd.csv", "-o", "x.png"), 2, "No such command 'lost'. Did you mean 'loss'?"),
    (("loss", "gd.csv", "-o", "x.bmp"), 1, "plot: expected a name ending in .jpg, .pdf, .png, .svg; got 'x.bmp'"),
    (("loss", "gd.csv", "-o", "x.gif"), 1, "plot: expected a name ending in .jpg, .pdf, .png, .svg; got 'x.gif'"),
    (("loss", "gd.csv", "-o", "no/x.png"), 1, "the directory no does not exist; create it first"),
    (("loss", "train.csv", "-o", "x.png"), 1, "train.csv, which steepest fit --history should have written: there is"),
    (("loss", "bad.csv", "-o", "x.png"), 1, "bad.csv: column 'loss' is not as steepest fit --history writes it"),
    (("coefficients", "train.csv", "-o", "x.png"), 1, "train.csv"),
    (("coefficients", "price.safetensors", "-o", "x.png", "--most", "0"), 1, "n_most: expected an integer ≥ 1; got 0"),
    (
        ("fit", "price.safetensors", "test.csv", "-o", "x.png"),
        1,
        "model: expected one of one feature; price.safetensors has 4; steepest fit --only COLUMN makes one",
    ),
    (("calibration", "price.safetensors", "test.csv", "-o", "x.png"), 1, "model: expected a classifier; this model"),
    (("calibration", "kind.safetensors", "test.csv", "-o", "x.png"), 1, "models: expected two classes; got 3"),
    (("confusion", "sold.safetensors", "gd.csv", "-o", "x.png"), 1, "gd.csv: there is no column 'size'"),
    (
        ("surface", "price.safetensors", "test.csv", "-o", "x.png", "--feature", "size"),
        1,
        "feature: expected two, such",
    ),
    (
        ("surface", "price.safetensors", "test.csv", "-o", "x.png", "--feature", "sise", "--feature", "age"),
        1,
        "got 'sise'; did you mean 'size'?",
    ),
    (("surface", "price.safetensors", "test.csv", "-o", "x.png", "--method", "netwon"), 1, "did you mean 'newton'?"),
]


def test_pictures_that_cannot_be_drawn(steepest: Steepest, models: Path) -> None:
    broken = pd.read_csv("gd.csv").astype({"loss": object})
    broken.loc[0, "loss"] = "much"
    broken.to_csv("bad.csv", index=False)
    before = sorted(models.iterdir())
    for options, code, message in WRONG_PICTURES:
        outcome = steepest("plot", *options)
        assert (outcome.code, outcome.out) == (code, ""), options
        assert message in outcome.err, options
    assert sorted(models.iterdir()) == before
