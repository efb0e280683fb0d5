"""Files of former versions: every model predicts what it did, and every descent goes on where it left off.

They were written by `make_golden.py`, on one processor: numbers agree to rounding, since bits depend on instructions.
"""

from __future__ import annotations

import json
import shutil
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

import steepest as st
from make_golden import GOLDEN, N_STEPS
from steepest.checkpoint import read_checkpoint
from steepest.methods import METHODS

VERSIONS = sorted(path.name for path in GOLDEN.iterdir())
MODELS, CHECKPOINTS = (
    sorted(path.relative_to(GOLDEN) for path in GOLDEN.glob(f"*/*.{kind}")) for kind in ("model", "checkpoint")
)


@cache
def expected(version: str) -> Any:
    return json.loads((GOLDEN / version / "expected.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("version", VERSIONS)
def test_none_is_missing(version: str) -> None:
    found = expected(version)
    for files, listed in ((MODELS, found["predictions"]), (CHECKPOINTS, found["descents"])):
        assert {path.stem for path in files if path.parent.name == version} == set(listed)


def test_every_method_is_among_them() -> None:
    described = [each["options"]["method"] for version in VERSIONS for each in expected(version)["descents"].values()]
    assert set(described) == set(METHODS)


@pytest.mark.parametrize("path", MODELS, ids=str)
def test_models(path: Path) -> None:
    found = expected(path.parent.name)
    model = st.load(GOLDEN / path)
    rows = np.array(found["X"]) if model.encoder is None else pa.table(found["table"])
    predicted, as_it_was = model.predict(rows), np.array(found["predictions"][path.stem])
    if predicted.dtype.kind in "US":
        assert predicted.tolist() == as_it_was.tolist()
    else:
        assert np.allclose(predicted, as_it_was, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("path", CHECKPOINTS, ids=str)
@pytest.mark.filterwarnings("ignore:the loss rose:steepest.ConvergenceWarning")
def test_checkpoints(path: Path, tmp_path: Path) -> None:
    found = expected(path.parent.name)
    descent = found["descents"][path.stem]
    copy = shutil.copy(GOLDEN / path, tmp_path)
    saved = read_checkpoint(copy).solution
    assert (saved.n_steps, saved.history["loss"].tolist()) == (descent["written"], descent["history"])
    X, y = np.array(found["X"]), np.array(found["y"][descent["y"]])
    fit = st.descend(X, y, n_steps=N_STEPS, checkpoint=copy, **descent["options"])
    assert fit.n_steps == descent["n_steps"] > descent["written"]
    # It was read, not computed anew, by other instructions maybe.
    assert fit.history.loss[0] == descent["history"][0]
    assert np.allclose(fit.parameters, descent["parameters"], rtol=1e-9, atol=1e-12)
