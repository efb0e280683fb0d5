"""`steepest export`: what the file computes, and what is refused."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest

import command_line
import steepest as st
import test_cli
from command_line import one_object

if TYPE_CHECKING:
    from command_line import Steepest

steepest, folder, models = test_cli.steepest, command_line.folder, command_line.models


@pytest.mark.parametrize("model", ["price", "sold"])
def test_export(steepest: Steepest, models: Path, model: str) -> None:
    outcome = steepest("export", f"{model}.safetensors", "--onnx", "m.onnx")
    assert outcome.code == 0
    assert outcome.out.startswith("ONNX written to m.onnx: from size, age, colour to ")
    session = pytest.importorskip("onnxruntime").InferenceSession(models / "m.onnx")
    frame = pd.read_csv("test.csv")
    feeds = {
        "size": frame[["size"]].to_numpy(),
        "age": frame[["age"]].to_numpy(),
        "colour": frame[["colour"]].to_numpy(dtype=object),
    }
    (found, *_) = session.run(None, feeds)
    expected = one_object(steepest("predict", f"{model}.safetensors", "test.csv", "--json"))["predictions"]
    assert list(found) == (pytest.approx(expected) if model == "price" else expected)


def test_export_as_bytes_says_what_it_costs(steepest: Steepest, models: Path) -> None:
    outcome = steepest("export", "size.safetensors", "--onnx", "m.onnx", "--int8", "test.csv")
    assert outcome.code == 0
    (before, after) = map(float, re.findall(r"goes from (\S+) to (\S+)\n", outcome.out)[0])
    frame = pd.read_csv("test.csv")
    residual = st.load("size.safetensors").predict(frame) - frame["price"]
    assert before == pytest.approx(float(np.mean(residual**2)), rel=1e-5)
    session = pytest.importorskip("onnxruntime").InferenceSession(models / "m.onnx")
    (found, *_) = session.run(None, {"size": frame[["size"]].to_numpy()})
    assert after == pytest.approx(float(np.mean((found - frame["price"]) ** 2)), rel=1e-5)


def test_export_that_fails_writes_nothing(steepest: Steepest, models: Path) -> None:
    assert "Missing option '--onnx'" in steepest("export", "price.safetensors").err
    for options, message in (
        (("train.csv", "--onnx", "m.onnx"), "train.csv"),
        (("no.safetensors", "--onnx", "m.onnx"), "there is no such model file"),
        (("price.safetensors", "--onnx", "no/m.onnx"), "create it first"),
        (("price.safetensors", "--onnx", "m.onnx", "--int8", "gd.csv"), "there is no column 'size'"),
    ):
        outcome = steepest("export", *options)
        assert (outcome.code, outcome.out) == (1, "")
        assert message in outcome.err
    assert not (models / "m.onnx").exists()
