"""A saved model is the model; anything else is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from steepest import ModelFileError
from steepest.model import LinearModel
from steepest.model_io import HEADER, load, save
from steepest.preprocessing import Categorical, Encoder, Numeric

ENCODER = Encoder((Numeric("größe"), Categorical("colour", ("red", "blue"))))


def model(classes: list[Any] | None) -> LinearModel:
    width = 3 if classes and len(classes) == 3 else 1
    generator = np.random.default_rng(0)
    return LinearModel(
        loss="log_loss" if classes else "mse",
        target="price",
        classes=classes,
        encoder=ENCODER,
        coef=generator.normal(size=(width, 2)),
        intercept=generator.normal(size=width),
        training={"steps": 10, "loss": 0.5},
    )


@pytest.mark.parametrize("classes", [None, ["no", "yes"], [0, 1], [False, True], [1.5, 2.5, 3.5]])
def test_round_trip(tmp_path: Path, classes: list[Any] | None) -> None:
    saved, path = model(classes), tmp_path / "modèle 1.safetensors"
    save(saved, path)
    loaded = load(path)
    assert np.array_equal(loaded.coef, saved.coef)
    assert np.array_equal(loaded.intercept, saved.intercept)
    assert (loaded.loss, loaded.target, loaded.classes) == (saved.loss, saved.target, saved.classes)
    assert (loaded.encoder, loaded.training) == (saved.encoder, saved.training)
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_cut_anywhere_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    save(model(None), path)
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(ModelFileError, match=r"model\.safetensors"):
            load(path)


def write(path: Path, header: Any, coef: Any, intercept: Any) -> None:
    save_file({"coef": coef, "intercept": intercept}, path, metadata={HEADER: json.dumps(header)})


GOOD = {
    "format_version": 1,
    "loss": "mse",
    "target": "price",
    "classes": None,
    "columns": ENCODER.to_json(),
    "training": {},
}
CLASSIFIER = GOOD | {"loss": "log_loss"}
COEF, INTERCEPT = np.ones((1, 2)), np.ones(1)


@pytest.mark.parametrize(
    ("header", "coef", "intercept", "message"),
    [
        (GOOD | {"format_version": 2}, COEF, INTERCEPT, "format version 2; this steepest reads 1"),
        ([], COEF, INTERCEPT, "format version None"),
        (GOOD | {"loss": "log_loss"}, COEF, INTERCEPT, "classes None do not go with loss 'log_loss'"),
        (GOOD | {"classes": [1, 2]}, COEF, INTERCEPT, r"classes \[1, 2\] do not go with loss 'mse'"),
        (CLASSIFIER | {"classes": ["a"]}, COEF, INTERCEPT, "classes: expected at least 2 different values"),
        (CLASSIFIER | {"classes": []}, COEF, INTERCEPT, "classes: expected at least 2 different values"),
        (CLASSIFIER | {"classes": [[1], [2]]}, COEF, INTERCEPT, "classes: expected at least 2 different values"),
        (CLASSIFIER | {"classes": "ab"}, COEF, INTERCEPT, "classes: expected at least 2 different values"),
        (CLASSIFIER | {"classes": ["a", "a"]}, COEF, INTERCEPT, "classes: expected at least 2 different values"),
        (GOOD | {"columns": [{"name": "a"}, {"name": "a"}]}, COEF, INTERCEPT, "column names: expected at least 1"),
        (GOOD | {"columns": [{"name": "a", "levels": []}]}, COEF, INTERCEPT, "levels of 'a': expected at least 1"),
        (GOOD | {"loss": "magic"}, COEF, INTERCEPT, "unknown loss 'magic'"),
        (GOOD | {"columns": [{"title": "size"}]}, COEF, INTERCEPT, "does not hold together"),
        (GOOD | {"columns": 3}, COEF, INTERCEPT, "does not hold together"),
        ({"format_version": 1}, COEF, INTERCEPT, "does not hold together"),
        (GOOD, np.ones((2, 2)), INTERCEPT, r"coef: expected float64 \(1, 2\); got float64 \(2, 2\)"),
        (GOOD, COEF.astype(np.float32), INTERCEPT, "got float32"),
        (GOOD, COEF * np.nan, INTERCEPT, "coef: not finite"),
        (GOOD, COEF, np.ones(2), "intercept: expected"),
    ],
)
def test_contents_are_checked(tmp_path: Path, header: Any, coef: Any, intercept: Any, message: str) -> None:
    path = tmp_path / "model.safetensors"
    write(path, GOOD, COEF, INTERCEPT)
    load(path)
    write(path, header, coef, intercept)
    with pytest.raises(ModelFileError, match=message):
        load(path)


def test_deep_nesting_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    save_file({"coef": COEF, "intercept": INTERCEPT}, path, metadata={HEADER: "[" * 200_000})
    with pytest.raises(ModelFileError, match="not a steepest model file"):
        load(path)


def test_a_failed_save_keeps_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    save(model(None), path)
    before = path.read_bytes()
    broken = LinearModel("mse", "price", None, ENCODER, COEF, INTERCEPT, {"not json": object()})
    with pytest.raises(TypeError):
        save(broken, path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]
