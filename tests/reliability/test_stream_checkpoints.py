"""A descent on data beyond memory that is written down as it goes: killed and run again, it ends at the same bits."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pyarrow import parquet
from test_checkpoints import CrashError, crash_at, expect_same

import steepest as st
from children import end, start
from steepest.checkpoint import read_checkpoint
from steepest.methods import METHODS
from steepest.segments import Course
from steepest.sources import files
from test_streams import FORMS

N, D = 500, 4
#: Method, where it crashes, steps in all.
STREAMED: dict[str, tuple[tuple[int, ...], int, dict[str, Any]]] = {
    "gd": ((4, 11), 16, {}),
    "momentum": ((4, 11), 16, {"learning_rate": 0.02}),
    "nesterov": ((4, 11), 16, {"l1_ratio": 0.5}),
    "lbfgs": ((2, 5), 9, {}),
    "newton": ((1, 3), 5, {}),
    # Of these, segments are epochs, and callbacks are called once an epoch, of some 35 batches.
    "sgd": ((30, 60), 130, {"batch_size": 16}),
    "adam": ((30, 60), 130, {"batch_size": 16}),
    # Of squared errors alone, whose moments are taken in one pass, and at the minimum of these within rounding soon.
    "coordinate": ((1, 5), 9, {"loss": "mse", "l1_ratio": 0.5, "tol": 0.0}),
}


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks of about a hundred rows; segments of three steps, or of an epoch."""
    monkeypatch.setattr(files, "BLOCK_BYTES", 100 * D * 8)
    monkeypatch.setattr(
        Course,
        "_next_length",
        lambda self, part, took: max(3, self.setup.steps_per_epoch),  # noqa: ARG005
    )


def given(form: str, folder: Path, *, of_numbers: bool = False) -> tuple[Any, dict[str, Any]]:
    generator = np.random.default_rng(11)
    X = generator.normal(size=(N, D)) * [1, 30, 1, 0.1] + [0, 0, 100, 0]
    y = X[:, 0] + generator.normal(size=N)
    if of_numbers:
        # Many columns that go with each other, among which coordinate descent is not done at once.
        X = np.cumsum(generator.normal(size=(N, 25)), axis=1)
        y = X[:, -1] + generator.normal(size=N)
    else:
        y = np.where(y > 0, "yes", "no")
    return FORMS[form](folder, X, y, generator.integers(0, 3, size=N).astype(float))


@pytest.mark.filterwarnings("ignore:the loss rose:steepest.ConvergenceWarning")
@pytest.mark.parametrize("method", STREAMED)
@pytest.mark.parametrize("form", ["npy", "parquet files", "iterable"])
def test_a_descent_that_crashed_goes_on_as_if_it_had_not(form: str, method: str, tmp_path: Path) -> None:
    crashes, n_steps, own = STREAMED[method]
    options: dict[str, Any] = {"loss": "log_loss", "alpha": 0.01, "method": method, "precondition": True, **own}
    X, others = given(form, tmp_path, of_numbers=options["loss"] == "mse")
    whole = st.descend(X, **others, n_steps=n_steps, **options)
    checkpoint = st.Checkpoint(tmp_path / "run", seconds=0.0)
    reached = 0
    for step in crashes:
        with pytest.raises(CrashError):
            st.descend(X, **others, n_steps=n_steps, checkpoint=checkpoint, callback=crash_at(step), **options)
        before, reached = reached, read_checkpoint(checkpoint.path).solution.n_steps
        assert before < reached < n_steps
    again = st.descend(X, **others, n_steps=n_steps, checkpoint=checkpoint, **options)
    expect_same(again, whole)


def test_every_method_is_streamed() -> None:
    assert set(STREAMED) == set(METHODS)


def test_statistics_are_found_again(tmp_path: Path) -> None:
    X, others = given("parquet", tmp_path)
    path = tmp_path / "numbers.parquet"
    parquet.write_table(parquet.read_table(X).drop_columns("label"), path, row_group_size=130)
    options: dict[str, Any] = {"sample_weight": others["sample_weight"], "alpha": 0.1, "n_steps": 20}
    whole = st.descend(path, "c1", **options)
    assert whole.strategy == "gram"
    checkpoint = st.Checkpoint(tmp_path / "run", seconds=0.0)
    with pytest.raises(CrashError):
        st.descend(path, "c1", **options, checkpoint=checkpoint, callback=crash_at(8))
    expect_same(st.descend(path, "c1", **options, checkpoint=checkpoint), whole)


def test_a_file_that_was_changed_between_two_calls_is_refused(tmp_path: Path) -> None:
    X, others = given("npy", tmp_path)
    options: dict[str, Any] = {**others, "loss": "log_loss", "checkpoint": tmp_path / "run"}
    st.descend(X, n_steps=3, **options)
    before = (tmp_path / "run").read_bytes()
    values = np.load(X)
    values[300, 0] += 1
    np.save(X, values)
    with pytest.raises(st.InputError, match=r"^checkpoint: .* is of a descent that differs in its data"):
        st.descend(X, n_steps=6, **options)
    assert (tmp_path / "run").read_bytes() == before


#: Says when the first checkpoint is there; every step waits a little, so that there is time to be killed.
KILLED = """
import sys, time
import steepest as st
from steepest import segments
from steepest.sources import files

files.BLOCK_BYTES = int(sys.argv[4])
segments.MOST_OVERHEAD = 1e9
st.descend(
    sys.argv[1], sys.argv[2], loss="log_loss", method=sys.argv[5], batch_size=int(sys.argv[6]) or None, n_steps=10**6,
    checkpoint=st.Checkpoint(sys.argv[3], seconds=0.0), callback=lambda info: time.sleep(0.01),
)
"""


@pytest.mark.filterwarnings("ignore:the loss rose:steepest.ConvergenceWarning")
@pytest.mark.parametrize(("method", "batch_size"), [("nesterov", 0), ("sgd", 16)])
def test_kill_9(method: str, batch_size: int, tmp_path: Path) -> None:
    X, _ = given("parquet files", tmp_path)
    path = tmp_path / "run"
    program = start(KILLED, X, "label", path, files.BLOCK_BYTES, method, batch_size)
    try:
        limit = time.monotonic() + 30
        while not path.exists() or read_checkpoint(path).solution.n_steps < 5:
            assert program.poll() is None, program.communicate()
            assert time.monotonic() < limit
            time.sleep(0.01)
    finally:
        end(program)
    n_steps = read_checkpoint(path).solution.n_steps + 100
    options: dict[str, Any] = {"loss": "log_loss", "method": method, "batch_size": batch_size or None}
    expect_same(
        st.descend(X, "label", n_steps=n_steps, checkpoint=path, **options),
        st.descend(X, "label", n_steps=n_steps, **options),
    )
