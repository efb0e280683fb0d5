"""A descent that is written down as it goes: however it ends, the same call goes on to the same bits."""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.sparse import csr_array

import steepest as st
from steepest.checkpoint import read_checkpoint
from steepest.methods import METHODS
from steepest.segments import Course
from test_resume import RECIPES, SCORES, TARGETS, VARIANTS, WEIGHTS, N, Recipe, X, end, way

pytestmark = pytest.mark.filterwarnings("ignore:the loss rose:steepest.ConvergenceWarning")

DESIGNS: dict[str, Callable[[NDArray[np.float64]], Any]] = {
    "dense": np.asarray,
    "float32 by columns": lambda values: np.asfortranarray(values.astype(np.float32)),
    "sparse": csr_array,
}
N_STEPS, A_FEW = 21, 5
#: Columns that go with each other, among which coordinate descent is not done at once.
WALKS = np.cumsum(np.random.default_rng(8).normal(size=(N, 25)), axis=1)
#: These are done sooner.
CRASHES = {"newton": (1, 3), "lbfgs": (3, 7), "coordinate": (1, 3)}


CASES = [("dense", False), ("float32 by columns", True), ("sparse", True)]


class CrashError(Exception):
    """What ends a descent in the middle."""


@pytest.fixture(autouse=True)
def no_syncs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody will cut the power here."""
    monkeypatch.setattr(os, "fsync", lambda _: None)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "Ñoño 日本.safetensors"


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Segments of a few steps or of an epoch, instead of a second."""
    monkeypatch.setattr(
        Course,
        "_next_length",
        lambda self, part, took: max(A_FEW, self.setup.steps_per_epoch),  # noqa: ARG005
    )


def run(backend: str, design: str, recipe: Recipe, **options: Any) -> st.Fit:
    given: dict[str, Any] = {"X": X, "loss": "poisson", "n_steps": N_STEPS}
    if VARIANTS[recipe.method].needs_statistics:
        given |= {"X": WALKS, "loss": "mse", "tol": 0.0}
    given |= {"y": TARGETS[given["loss"]], "sample_weight": WEIGHTS, "backend": backend, **recipe.options, **options}
    return st.descend(**given | {"X": DESIGNS[design](given["X"])})


def crash_at(step: int) -> Callable[[st.StepInfo], None]:
    def crash(info: st.StepInfo) -> None:
        if info.step >= step:
            raise CrashError

    return crash


def expect_same(one: st.Fit, other: st.Fit) -> None:
    assert end(one) == end(other)
    assert way(one) == way(other)
    assert np.array_equal(one.history.step, other.history.step)
    assert (one.n_steps, one.status, one.condition) == (other.n_steps, other.status, other.condition)


@pytest.mark.parametrize("recipe", RECIPES, ids="-".join)
@pytest.mark.parametrize(("design", "precondition"), CASES, ids=map(str, CASES))
@pytest.mark.usefixtures("short")
def test_a_descent_that_crashed_goes_on_as_if_it_had_not(
    backend: str, design: str, recipe: Recipe, path: Path, *, precondition: bool
) -> None:
    whole = run(backend, design, recipe, precondition=precondition)
    checkpoint = st.Checkpoint(path, seconds=0.0)
    for step in CRASHES.get(recipe.method, (7, 15)):
        with pytest.raises(CrashError):
            run(backend, design, recipe, precondition=precondition, checkpoint=checkpoint, callback=crash_at(step))
        # Nothing but the steps of the segment that crashed is lost.
        assert read_checkpoint(path).solution.n_steps > step - A_FEW
    again = run(backend, design, recipe, precondition=precondition, checkpoint=checkpoint)
    expect_same(again, whole)
    assert np.all(np.diff(again.history.seconds) >= 0)
    # With more steps, those are made.
    on = run(backend, design, recipe, precondition=precondition, checkpoint=checkpoint, n_steps=N_STEPS + 8)
    assert end(on) == end(run(backend, design, recipe, precondition=precondition, n_steps=N_STEPS + 8))


def test_every_method_is_among_the_recipes() -> None:
    assert {recipe.options["method"].name for recipe in RECIPES} == set(METHODS)


@pytest.mark.parametrize("strategy", ["stream", "gram"])
@pytest.mark.parametrize("method", ["gd", "nesterov", "lbfgs"])
@pytest.mark.usefixtures("short")
def test_the_tolerance_is_that_of_the_whole(backend: str, strategy: str, method: str, path: Path) -> None:
    options: dict[str, Any] = {
        "method": method,
        "strategy": strategy,
        "tol": 1e-3,
        "backend": backend,
        "n_steps": 4000,
        "alpha": 0.01,
    }
    whole = st.descend(X, SCORES, **options)
    assert whole.converged
    with pytest.raises(CrashError):
        st.descend(X, SCORES, checkpoint=st.Checkpoint(path, 0.0), callback=crash_at(3), **options)
    fit = st.descend(X, SCORES, checkpoint=path, **options)
    expect_same(fit, whole)
    expect_same(st.descend(X, SCORES, checkpoint=path, **options), whole)


@pytest.mark.usefixtures("short")
def test_a_start_is_where_it_begins_and_so_is_a_fit(backend: str, path: Path, tmp_path: Path) -> None:
    options: dict[str, Any] = {"method": "nesterov", "backend": backend, "tol": 1e-9}
    place = np.ones(3), 2.0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", st.ConvergenceWarning)
        first = st.descend(X, SCORES, start=place, n_steps=5, **options)
        for start, where in ((place, path), (first, tmp_path / "other")):
            with pytest.raises(CrashError):
                st.descend(
                    X, SCORES, start=start, checkpoint=st.Checkpoint(where, 0.0), callback=crash_at(4), **options
                )
            fit = st.descend(X, SCORES, start=start, checkpoint=where, n_steps=9, **options)
            expect_same(fit, st.descend(X, SCORES, start=start, n_steps=9, **options))
        with pytest.raises(st.InputError, match="of a descent that differs in its start"):
            st.descend(X, SCORES, checkpoint=path, n_steps=9, **options)


@pytest.mark.usefixtures("short")
def test_a_callback_sees_every_step_once(backend: str, path: Path) -> None:
    seen: list[st.StepInfo] = []
    fit = st.descend(X, SCORES, checkpoint=path, callback=seen.append, n_steps=12, backend=backend)
    assert [info.step for info in seen] == list(range(12))
    assert [info.loss for info in seen] == fit.history.loss.tolist()
    assert [info.seconds for info in seen] == fit.history.seconds.tolist()
    stopped = st.descend(X, SCORES, checkpoint=path, callback=lambda info: info.step == 15, n_steps=30, backend=backend)
    assert (stopped.status, stopped.n_steps) == ("stopped", 15)
    assert np.all(np.diff(stopped.history.seconds) >= 0)
    # To be asked to stop is no end.
    expect_same(
        st.descend(X, SCORES, checkpoint=path, n_steps=30, backend=backend),
        st.descend(X, SCORES, n_steps=30, backend=backend),
    )


@pytest.mark.usefixtures("short")
def test_limits(backend: str, path: Path) -> None:
    goal = st.descend(X, SCORES, n_steps=20, backend=backend).loss
    options: dict[str, Any] = {"target_loss": goal, "n_steps": 100, "backend": backend}
    expect_same(st.descend(X, SCORES, checkpoint=path, **options), st.descend(X, SCORES, **options))
    path.unlink()
    fit = st.descend(X, SCORES, checkpoint=path, max_seconds=0.05, n_steps=10**9, backend=backend)
    assert fit.status == "max_seconds"
    assert fit.seconds >= 0.05
    # The time is that of a call: the next one has as much again.
    on = st.descend(X, SCORES, checkpoint=path, max_seconds=0.05, n_steps=10**9, backend=backend)
    assert on.n_steps > fit.n_steps
    assert on.seconds >= 0.1


def test_segments_grow_until_beginning_them_costs_little(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first ones show how long a step takes; nobody writes more often than is asked for."""
    lengths: list[int] = []
    times: list[int] = []
    measured, written = Course._next_length, Course._write

    def next_length(self: Course, part: Any, took: float) -> int:
        lengths.append(part.n_steps)
        return measured(self, part, took)

    def write(self: Course) -> None:
        times.append(self.n_made)
        written(self)

    monkeypatch.setattr(Course, "_next_length", next_length)
    monkeypatch.setattr(Course, "_write", write)
    fit = st.descend(X, SCORES, checkpoint=path, n_steps=200_000)
    assert lengths[:3] == [1, 2, 20]
    assert all(after <= 10 * before for before, after in pairwise(lengths) if before > 1)
    assert len(lengths) < 10
    assert times == [1, 200_000]
    assert fit.n_steps == 200_000


def test_a_descent_that_diverges_is_not_written_down(backend: str, path: Path) -> None:
    with pytest.raises(st.DivergenceError, match=r"after step \d+ with step size 10;"):
        st.descend(X, SCORES, learning_rate=10.0, n_steps=10_000, checkpoint=path, backend=backend)
    assert np.isfinite(read_checkpoint(path).solution.loss)


OTHERS: dict[str, dict[str, Any]] = {
    "penalty": {"alpha": 0.3},
    "method": {"method": "momentum"},
    "learning_rate": {"learning_rate": 0.01},
    "precondition": {"precondition": True},
    "random_state": {"random_state": 4},
    "fit_intercept": {"fit_intercept": False},
    "loss": {"loss": "huber"},
    "data": {"y": SCORES + 1},
    "start": {"start": (np.ones(3), 1.0)},
}


@pytest.mark.parametrize("what", OTHERS)
def test_a_file_of_another_descent_is_refused_and_kept(path: Path, what: str) -> None:
    given: dict[str, Any] = {"X": X, "y": SCORES, "n_steps": 5, "checkpoint": path}
    st.descend(**given)
    before = path.read_bytes()
    with pytest.raises(st.InputError, match=f"^checkpoint: .* is of a descent that differs in its {what}; remove it"):
        st.descend(**given | OTHERS[what])
    with pytest.raises(st.InputError, match=r"n_steps: expected at least the 5 steps of the checkpoint .*; got 4"):
        st.descend(**given | {"n_steps": 4})
    assert path.read_bytes() == before


def test_data_that_differs_where_the_fingerprint_does_not_look(backend: str, path: Path) -> None:
    """Of 5000 rows it reads 64; the loss is of all."""
    design = np.random.default_rng(0).normal(size=(5000, 3))
    y = design @ [1.0, 2.0, 3.0]
    st.descend(design, y, n_steps=3, checkpoint=path, backend=backend)
    design[1, 1] += 1e-3
    with pytest.raises(st.InputError, match=r"^checkpoint: .* is of other data: the loss where it left off is .* by"):
        st.descend(design, y, n_steps=9, checkpoint=path, backend=backend)
    design[1, 1] -= 1e-3


@pytest.mark.parametrize("given", [1, True, b"run", ["run"]])
def test_what_is_no_checkpoint(given: Any) -> None:
    with pytest.raises(st.InputError, match="checkpoint: expected a path or a Checkpoint; got "):
        st.descend(X, SCORES, checkpoint=given)
    with pytest.raises(st.InputError, match="seconds: expected a finite number ≥ 0; got -1"):
        st.Checkpoint("run", seconds=-1)


@pytest.mark.parametrize("kind", [st.GDRegressor, st.GDClassifier])
@pytest.mark.parametrize("solver", ["nesterov", "gd", "sgd"])
@pytest.mark.usefixtures("short")
def test_estimators(kind: Any, solver: str, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    y = SCORES if kind is st.GDRegressor else SCORES > 0
    options: dict[str, Any] = {"solver": solver, "max_iter": 30, "tol": 1e-9}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", st.ConvergenceWarning)
        whole = kind(**options).fit(X, y)
        model = kind(**options, checkpoint=st.Checkpoint(path, 0.0))
        # Ctrl-C in the second segment, once.
        segment, calls = Course._segment, [0]

        def interrupted(self: Course) -> Any:
            calls[0] += 1
            if calls[0] == 2:
                raise KeyboardInterrupt
            return segment(self)

        monkeypatch.setattr(Course, "_segment", interrupted)
        with pytest.raises(KeyboardInterrupt):
            model.fit(X, y)
        assert not hasattr(model, "coef_")
        model.fit(X, y)
    expect_same(model.fit_, whole.fit_)
    assert model.n_iter_ == whole.n_iter_
    # Another model has its own file.
    with pytest.raises(st.InputError, match="is of a descent that differs in its penalty"):
        kind(**options, alpha=7.0, checkpoint=path).fit(X, y)


def test_the_file_is_one_that_safetensors_reads(path: Path) -> None:
    safetensors = pytest.importorskip("safetensors.numpy")
    fit = st.descend(X, SCORES, n_steps=4, checkpoint=path)
    tensors = safetensors.load_file(path)
    assert np.array_equal(tensors["parameters"], fit.parameters)
    assert np.array_equal(tensors["history.loss"], fit.history.loss)
    length = int.from_bytes(path.read_bytes()[:8], "little")
    metadata = json.loads(path.read_bytes()[8 : 8 + length])["__metadata__"]
    assert json.loads(metadata["steepest_checkpoint"])["n_steps"] == 4


def test_a_model_file_is_no_checkpoint_and_a_checkpoint_no_model(path: Path, tmp_path: Path) -> None:
    fit = st.descend(X, SCORES, n_steps=4, checkpoint=path)
    with pytest.raises(st.ModelFileError, match="not a steepest model file"):
        st.load(path)
    st.save(fit, tmp_path / "model")
    before = (tmp_path / "model").read_bytes()
    with pytest.raises(st.CheckpointError, match=r"not a checkpoint of steepest .*; remove it to begin anew, or name"):
        st.descend(X, SCORES, checkpoint=tmp_path / "model")
    assert (tmp_path / "model").read_bytes() == before
