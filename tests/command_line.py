"""What the tests of the command line share: a folder with tables in it, models of them, and how JSON is read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from test_cli import Outcome

    Steepest = Callable[..., Outcome]


def rows(n: int, seed: int) -> pd.DataFrame:
    """Return rows with a number, an unused number, a text, and targets of three kinds."""
    generator = np.random.default_rng(seed)
    size, age = generator.normal(size=n), generator.uniform(0, 100, size=n)
    colour = generator.choice(["blue", "red", "7"], size=n)
    price = 3 * size + (colour == "red") + 0.5 * generator.normal(size=n) + 10
    sold = np.where(price + generator.normal(size=n) > 10, "yes", "no")
    kind = np.array(["a", "b", "c"])[np.digitize(price, [8.0, 12.0])]
    return pd.DataFrame({"size": size, "age": age, "colour": colour, "price": price, "sold": sold, "kind": kind})


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the working directory: a table to train on and another one of the same columns."""
    monkeypatch.chdir(tmp_path)
    rows(120, 0).to_csv("train.csv", index=False)
    rows(50, 1).to_csv("test.csv", index=False)
    return tmp_path


PRICE = ("fit", "train.csv", "--target", "price", "--drop", "sold", "--drop", "kind")
SOLD = ("fit", "train.csv", "--target", "sold", "--drop", "price", "--drop", "kind")


def one_object(outcome: Outcome) -> dict[str, Any]:
    """Return what was printed, which is one JSON object on one line and nothing else."""
    assert outcome.code == 0, outcome.err
    assert outcome.out.count("\n") == 1

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    found: dict[str, Any] = json.loads(outcome.out, parse_constant=refuse)
    return found


@pytest.fixture
def models(steepest: Steepest, folder: Path) -> Path:
    """Return the folder with models of a number, of one feature, and of labels, and two histories."""
    for options in (
        (*PRICE, "--model", "price.safetensors", "--history", "newton.csv"),
        (*PRICE, "--method", "gd", "--steps", "30", "--history", "gd.csv"),
        ("fit", "train.csv", "--target", "price", "--only", "size", "--model", "size.safetensors"),
        (*SOLD, "--model", "sold.safetensors"),
        ("fit", "train.csv", "--target", "kind", "--only", "size", "--model", "kind.safetensors"),
    ):
        assert steepest(*options).code == 0
    return folder
