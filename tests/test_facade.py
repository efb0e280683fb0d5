"""What the user sees besides numbers: labels, frames, names, pictures, bars, and what an import costs."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import polars as pl
import pytest

import steepest as st
from steepest.backends import BACKENDS, get_backend
from steepest.losses import LOSSES
from steepest.methods import METHODS
from steepest.step_sizes import STEP_SIZES
from steepest.threads import thread_count
from tolerance import tolerance

X = np.arange(24.0).reshape(12, 2) % 7
Y = np.arange(12.0)
#: Whole numbers, in no order: 1 0 2 2 0 1 …
CODES = np.array([1, 0, 2, 2, 0, 1, 1, 2, 0, 0, 1, 2])


def test_backends_are_shown_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    st.show_backends()
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == list(BACKENDS)
    shown = dict(zip(BACKENDS, lines, strict=True))
    assert "ready: steepest core " + st.__version__ in shown["rust"]
    assert f", {thread_count(None)} threads" in shown["rust"]
    assert "ready: NumPy " + np.__version__ in shown["numpy"]
    # Each line says what asking for the backend then does.
    for name, line in shown.items():
        try:
            assert get_backend(name).name == name
        except st.BackendUnavailableError as error:
            assert str(error).removeprefix(f"backend {name!r}: ") in line  # noqa: PT017
            assert "not available" in line
        else:
            assert "ready" in line


def test_auto_is_the_fastest_that_runs_everywhere() -> None:
    assert st.descend(X, Y, n_steps=1).backend == "rust"


def test_fit_says_what_it_is(backend: str) -> None:
    fit = st.descend(X, Y, n_steps=7, backend=backend)
    expected = f"Fit(mse {fit.loss:.6g} after 7 steps of gd: all steps were made; backend {backend})"
    assert repr(fit) == expected
    assert repr(fit.history) == f"History(7 steps, loss {fit.history.loss[0]:.6g} → {fit.history.loss[-1]:.6g})"
    assert repr(st.descend(X, Y, n_steps=0).history) == "History(0 steps)"


@pytest.mark.parametrize(("options", "scale"), [({"tol": 1e-2, "fit_intercept": False}, "linear"), ({}, "log")])
def test_picture_is_the_history(options: dict[str, Any], scale: str) -> None:
    assert mpl.get_backend().lower() == "agg"
    fit = st.descend(X, X @ [1.0, 2.0] + (scale == "linear") * 10 * CODES, n_steps=400, **options)
    spans = fit.history.loss.max() > 20 * fit.loss
    axes = fit.plot()
    try:
        line = axes.lines[0]
        assert np.array_equal(line.get_xdata(), np.arange(fit.n_steps + 1))
        assert np.array_equal(line.get_ydata(), np.append(fit.history.loss, fit.loss))
        assert spans == (scale == "log")
        assert axes.get_yscale() == scale
        assert axes.get_xlabel() == "step"
        assert "squared error" in axes.get_ylabel()
        assert f"{fit.n_steps} steps" in axes.get_title()
    finally:
        plt.close("all")


def test_picture_goes_where_it_is_asked_to() -> None:
    # Other tests may have left theirs open.
    before = plt.get_fignums()
    figure, axes = plt.subplots()
    try:
        assert st.descend(X, Y, n_steps=5).plot(axes) is axes
        assert plt.get_fignums() == [*before, figure.number]
        # A perfect fit has a loss of zero, which has no place on a logarithmic scale; no step has one point.
        perfect = st.descend([0.0, 1.0], [0.0, 0.0], n_steps=0).plot(axes)
        assert perfect.get_yscale() == "linear"
    finally:
        plt.close("all")


#: What an import of the package must not bring along.
HEAVY = ["cupy", "sklearn", "scipy", "matplotlib", "dask", "onnx", "pyarrow", "typer", "rich", "pandas", "polars"]
HEAVY += ["joblib", "narwhals", "safetensors", "skl2onnx", "steepest.estimators"]


def python(code: str, **environment: str) -> str:
    completed = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | environment,
    )
    return completed.stdout


def test_import_is_light() -> None:
    fit = "steepest.descend([0.0, 1.0], [1.0, 2.0], n_steps=2)"
    loaded = python(f"import sys, steepest; {fit}; print(*sys.modules)").split()
    assert "steepest" in loaded
    assert not set(HEAVY) & set(loaded)


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({"STEEPEST_NUM_THREADS": "3", "OMP_NUM_THREADS": "5"}, 3),
        ({"OMP_NUM_THREADS": "5"}, 5),
        ({"STEEPEST_NUM_THREADS": "", "OMP_NUM_THREADS": "5"}, 5),
        ({"OMP_NUM_THREADS": "many"}, None),
        ({}, None),
    ],
)
def test_threads_by_default(monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], expected: int | None) -> None:
    for variable in ("STEEPEST_NUM_THREADS", "OMP_NUM_THREADS"):
        monkeypatch.delenv(variable, raising=False)
    cores = thread_count(None)
    for variable, value in environment.items():
        monkeypatch.setenv(variable, value)
    assert thread_count(None) == (expected or cores)
    assert thread_count(7) == 7
    assert 1 <= cores <= (os.cpu_count() or 1)


def test_threads_that_are_shown_are_those_asked_for() -> None:
    out = python("import steepest; steepest.show_backends()", STEEPEST_NUM_THREADS="3")
    assert ", 3 threads" in out.splitlines()[0]


def test_progress_is_shown_on_standard_error(backend: str, capfd: pytest.CaptureFixture[str]) -> None:
    seen: list[int] = []
    quiet = st.descend(X, Y, n_steps=9, backend=backend)
    assert capfd.readouterr() == ("", "")
    fit = st.descend(X, Y, n_steps=9, backend=backend, progress=True, callback=lambda info: seen.append(info.step))
    out, err = capfd.readouterr()
    assert out == ""
    assert "9/9" in err
    assert f"loss {fit.history.loss[-1]:.6g}" in err
    assert seen == list(range(9))
    assert np.array_equal(fit.coef, quiet.coef)


def test_progress_counts_the_steps_that_were_made(capfd: pytest.CaptureFixture[str]) -> None:
    fit = st.descend(X, Y, n_steps=9, progress=True, callback=lambda info: info.step == 4)
    assert f"{fit.n_steps}/9" in capfd.readouterr().err


def test_progress_hides_no_exception(capfd: pytest.CaptureFixture[str]) -> None:
    def fail(_: st.StepInfo) -> None:
        raise LookupError("mine")

    with pytest.raises(LookupError, match="mine"):
        st.descend(X, Y, progress=True, callback=fail)
    assert "0/1000" in capfd.readouterr().err


LABELS: dict[str, Any] = {
    "strings": ["ant", "bee", "cat"],
    "unicode": ["ß", "äpfel", "日本"],
    "bytes": [b"a", b"b", b"c"],
    "integers": [-5, 0, 70_000],
    "unsigned": np.array([1, 2, 255], dtype=np.uint8),
    "whole floats": [-1.0, 0.0, 2.0],
    "single floats": np.array([1, 2, 3], dtype=np.float32),
    "dates": np.array(["1999-01-01", "2001-02-03", "2020-12-31"], dtype="datetime64[D]"),
    "objects": np.array(["a", "b", "c"], dtype=object),
}


@pytest.mark.parametrize("labels", LABELS.values(), ids=LABELS.keys())
def test_labels_of_every_type(backend: str, labels: Any) -> None:
    """Sorted, they stand for 0, 1, 2, and nothing else about them matters."""
    labels = np.asarray(labels)
    fit = st.descend(X, labels[CODES], loss="log_loss", n_steps=4, backend=backend)
    numbers = st.descend(X, CODES, loss="log_loss", n_steps=4, backend=backend)
    assert fit.classes is not None
    assert np.array_equal(fit.classes, labels)
    assert fit.coef.tobytes() == numbers.coef.tobytes()
    assert fit.intercept.tobytes() == numbers.intercept.tobytes()


@pytest.mark.parametrize("labels", [[False, True], ["no", "yes"], [0, 1], [-1.0, 1.0]])
def test_second_of_two_labels_is_the_one_predicted(backend: str, labels: list[Any]) -> None:
    x = np.linspace(-1, 1, 10)
    fit = st.descend(x, np.asarray(labels)[(x > 0).astype(int)], loss="log_loss", n_steps=50, backend=backend)
    assert fit.classes is not None
    assert fit.classes.tolist() == labels
    assert fit.coef[0] > 1
    assert fit.loss < np.log(2)


def test_classes_set_the_order() -> None:
    y, X_two = np.array(["b", "a", "b", "a"]), X[:4]
    coef = np.array([0.5, -0.25])
    value, slope, intercept_slope = st.loss_and_gradient(X_two, y, coef, 0.1, loss="log_loss")
    other = st.loss_and_gradient(X_two, y, -coef, -0.1, loss="log_loss", classes=["b", "a"])
    assert value == pytest.approx(other[0])
    assert slope == pytest.approx(-other[1])
    assert intercept_slope == pytest.approx(-other[2])


def test_classes_may_be_more_than_the_labels(backend: str) -> None:
    fit = st.descend(X, CODES, loss="log_loss", classes=[0, 1, 2, 3], n_steps=3, backend=backend)
    assert fit.coef.shape == (4, 2)
    assert fit.classes is not None
    assert fit.classes.tolist() == [0, 1, 2, 3]
    value, slope, _ = st.loss_and_gradient(X, CODES, fit.coef, fit.intercept, loss="log_loss", classes=range(4))
    assert value == pytest.approx(fit.loss)
    assert slope.shape == (4, 2)


@pytest.mark.parametrize(("alias", "name"), [("squared_error", "mse"), ("cross_entropy", "log_loss")])
def test_aliases(backend: str, alias: str, name: str) -> None:
    y = CODES if name == "log_loss" else Y
    one, other = (st.descend(X, y, loss=loss, n_steps=3, backend=backend) for loss in (alias, name))
    assert one.coef.tobytes() == other.coef.tobytes()
    assert one.loss_name == other.loss_name == name


@pytest.mark.parametrize(
    ("name", "description"),
    [
        *(({"method": kind.name}, {"method": kind()}) for kind in METHODS.values()),
        *(({"learning_rate": name}, {"learning_rate": kind()}) for name, kind in STEP_SIZES.items()),
        ({"learning_rate": 0.01}, {"learning_rate": st.Constant(0.01)}),
        *(({"loss": name, "y": CODES % 2}, {"loss": kind(), "y": CODES % 2}) for name, kind in LOSSES.items()),
        ({"loss": st.Huber()}, {"loss": st.Huber(delta=1)}),
        ({"method": "sgd", "batch_size": 5}, {"method": st.StochasticGradientDescent(batch_size=5)}),
        ({"method": st.Adam(), "batch_size": 5}, {"method": st.Adam(batch_size=5)}),
    ],
)
def test_names_are_short_for_descriptions(backend: str, name: dict[str, Any], description: dict[str, Any]) -> None:
    one, other = (st.descend(**{"X": X, "y": Y, "n_steps": 3, "backend": backend, **it}) for it in (name, description))
    assert one.parameters.tobytes() == other.parameters.tobytes()
    assert (one.loss_name, one.method) == (other.loss_name, other.method)


def test_fit_says_why_its_method(backend: str) -> None:
    options: dict[str, Any] = {"n_steps": 2, "backend": backend}
    asked = st.descend(X, Y, method="momentum", **options)
    assert (asked.method, asked.reason) == ("momentum", "it was asked for")
    cases: list[tuple[dict[str, Any], str, str]] = [
        ({}, "newton", "3 parameters, 12 rows: newton should take "),
        ({"alpha": 1.0, "l1_ratio": 0.5}, "coordinate", "an ℓ1 penalty on squared errors goes coordinate by"),
        ({"alpha": 1.0, "l1_ratio": 0.5, "strategy": "stream"}, "nesterov", "an ℓ1 penalty needs a proximal method"),
        ({"batch_size": 4}, "sgd", "batch_size asks for mini-batches"),
    ]
    for extra, method, reason in cases:
        fit = st.descend(X, Y, method="auto", **options, **extra)
        assert fit.method == method
        assert fit.reason.startswith(reason)


@pytest.mark.parametrize("method", [*METHODS, "auto"])
def test_iterate_is_descend_step_by_step(backend: str, method: str) -> None:
    options: dict[str, Any] = {"method": method, "alpha": 0.1, "n_steps": 4, "backend": backend}
    if method != "coordinate":
        options["strategy"] = "stream"
    fit, steps = st.descend(X, Y, **options), list(st.iterate(X, Y, **options))
    assert [step.step for step in steps] == list(range(fit.n_steps + 1))
    assert steps[-1].coef.tobytes() == fit.coef.tobytes()
    assert steps[-1].intercept == fit.intercept
    assert [step.loss for step in steps] == [*fit.history.loss, fit.loss]
    assert np.isnan(steps[0].step_size)
    assert [step.step_size for step in steps[1:]] == fit.history.step_size.tolist()


def test_several_scores_have_a_row_of_coefficients_each(backend: str) -> None:
    for y, loss, width in ((np.column_stack([Y, -Y, Y]), "mse", 3), (CODES, "log_loss", 3), (Y, "mse", 0)):
        fit = st.descend(X, y, loss=loss, n_steps=2, backend=backend)
        assert fit.coef.shape == ((width, 2) if width else (2,))
        assert np.shape(fit.intercept) == ((width,) if width else ())
        assert fit.parameters.shape == (3 * max(width, 1),)
    assert st.descend(X, CODES, loss="log_loss", n_steps=2, fit_intercept=False).intercept.tolist() == [0, 0, 0]


def test_validation_loss_is_there_where_there_is_validation_data(backend: str) -> None:
    plain = st.descend(X, Y, n_steps=3, backend=backend)
    assert plain.validation_loss is None
    assert np.isnan(plain.history.validation_loss).all()
    options: dict[str, Any] = {"n_steps": 3, "alpha": 0.5, "backend": backend}
    fit = st.descend(X, Y, eval_set=(X[:5], Y[:5]), **options)
    assert fit.validation_loss is not None
    expected = np.mean((X[:5] @ fit.coef + fit.intercept - Y[:5]) ** 2)
    assert fit.validation_loss == pytest.approx(expected)
    assert np.isfinite(fit.history.validation_loss).all()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_frames_are_matrices(backend: str, dtype: Any) -> None:
    values = X.astype(dtype)
    expected = st.descend(values, Y, sample_weight=Y, n_steps=5, backend=backend)
    frames: list[tuple[Any, Any]] = [
        (pd.DataFrame(values, columns=["a", "b"]), pd.Series(Y)),
        (pl.DataFrame({"a": values[:, 0], "b": values[:, 1]}), pl.Series(Y)),
        (pd.DataFrame(values, index=range(12, 24)), Y.tolist()),
    ]
    for frame, y in frames:
        fit = st.descend(frame, y, sample_weight=y, n_steps=5, backend=backend)
        assert fit.coef.dtype == dtype
        # A frame may be stored by columns, whose sums run in another order; whole numbers make them exact at first.
        assert fit.history.loss[0] == expected.history.loss[0]
        error = np.linalg.norm(fit.coef - expected.coef)
        assert error <= tolerance(dtype, 5 * len(Y)) * np.linalg.norm(expected.coef)


@pytest.mark.parametrize("make", [pd.Series, pl.Series])
def test_labels_from_a_frame(make: Any) -> None:
    words = np.array(["ant", "bee", "cat"])[CODES]
    fit = st.descend(X, make(words), loss="log_loss", n_steps=2)
    assert fit.classes is not None
    assert fit.classes.tolist() == ["ant", "bee", "cat"]


def test_numbers_of_every_type_are_taken(backend: str) -> None:
    fit = st.descend(X, Y, n_steps=3, learning_rate=0.25e-2, alpha=0.5, tol=0.0, backend=backend)
    other = st.descend(
        X,
        Y,
        n_steps=np.int16(3),  # type: ignore[arg-type]  # NumPy's integers come out of every loop over an array.
        learning_rate=np.float64(0.25e-2),
        alpha=np.float32(0.5),  # type: ignore[arg-type]
        tol=0,
        n_threads=np.uint8(1),  # type: ignore[arg-type]
        fit_intercept=np.True_,  # type: ignore[arg-type]
        backend=backend,
    )
    assert fit.coef.tobytes() == other.coef.tobytes()
