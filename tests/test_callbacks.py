"""What is told while an estimator fits: scikit-learn's callbacks, and lines on the terminal."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.datasets import load_breast_cancer, load_diabetes
from sklearn.metrics import r2_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import steepest as st

try:
    from sklearn.callback import ProgressBar, ScoringMonitor
except ImportError:
    ProgressBar = ScoringMonitor = None

needs_callbacks = pytest.mark.skipif(ProgressBar is None, reason="callbacks came with scikit-learn 1.9")


def classification() -> tuple[NDArray[Any], NDArray[Any]]:
    X, y = load_breast_cancer(return_X_y=True)
    return StandardScaler().fit_transform(X), y


class Recorder:
    """Notes every hook; asks to stop after so many steps."""

    def __init__(self, most: int | None = None) -> None:
        self.most = most
        self.noted: list[tuple[Any, ...]] = []

    def setup(self, estimator: Any, context: Any) -> None:  # noqa: ARG002
        self.noted.append(("setup", context.task_name))

    def teardown(self, estimator: Any, context: Any) -> None:  # noqa: ARG002
        self.noted.append(("teardown", context.task_name))

    def on_fit_task_begin(self, estimator: Any, context: Any, *, X: Any, y: Any, metadata: Any) -> None:  # noqa: ARG002
        self.noted.append(("begin", context.task_name, context.task_id, X, y, metadata))

    def on_fit_task_end(self, estimator: Any, context: Any, *, fitted_estimator: Any) -> bool:  # noqa: ARG002
        self.noted.append(("end", context.task_name, context.task_id, fitted_estimator))
        return bool(context.task_name == "step" and context.task_id + 1 == self.most)


@needs_callbacks
def test_steps_are_tasks_of_a_fit() -> None:
    X, y = classification()
    recorder = Recorder()
    model = st.GDClassifier(solver="lbfgs").set_callbacks(recorder).fit(X, y, np.ones(len(y)))
    hooks = [note[:2] for note in recorder.noted]
    assert hooks[:2] == [("setup", "fit"), ("begin", "fit")]
    assert hooks[-2:] == [("end", "fit"), ("teardown", "fit")]
    assert hooks[2:-2] == [("begin", "step"), ("end", "step")] * model.n_iter_
    assert [note[2] for note in recorder.noted if note[:2] == ("end", "step")] == list(range(model.n_iter_))
    begin = recorder.noted[1]
    assert begin[3] is X
    assert begin[4] is y
    assert begin[5]["sample_weight"].tolist() == [1.0] * len(y)
    silent = st.GDClassifier(solver="lbfgs").fit(X, y)
    assert np.array_equal(model.coef_, silent.coef_)


@needs_callbacks
@pytest.mark.parametrize("solver", ["gd", "nesterov", "adam", "sgd", "lbfgs", "newton"])
@pytest.mark.parametrize("backend", ["rust", "numpy"])
@pytest.mark.filterwarnings("ignore::steepest.ConvergenceWarning")
def test_the_estimator_after_each_step_is_that_of_a_fit_that_ends_there(solver: str, backend: str) -> None:
    X, y = classification()
    options: dict[str, Any] = {"solver": solver, "tol": 0, "backend": backend}
    recorder = Recorder()
    st.GDClassifier(max_iter=4, **options).set_callbacks(recorder).fit(X, y)
    after = [note[3] for note in recorder.noted if note[:2] == ("end", "step")]
    assert len(after) == 4
    for k, estimator in enumerate(after, start=1):
        shorter = st.GDClassifier(max_iter=k, **options).fit(X, y)
        assert np.array_equal(estimator.coef_, shorter.coef_)
        assert np.array_equal(estimator.predict_proba(X), shorter.predict_proba(X))


@needs_callbacks
def test_a_callback_can_stop() -> None:
    X, y = classification()
    model = st.GDClassifier(solver="gd").set_callbacks(Recorder(most=3)).fit(X, y)
    assert (model.n_iter_, model.status_) == (3, "stopped")
    assert model.set_params(solver="auto").set_callbacks().fit(X, y).status_ == "converged"


@needs_callbacks
def test_a_fit_that_fails_leaves_nothing_behind() -> None:
    X, y = classification()
    recorder = Recorder()
    model = st.GDRegressor(solver="gd", learning_rate=1e6, precondition=False).set_callbacks(recorder)
    with pytest.raises(st.DivergenceError):
        model.fit(X, y)
    assert recorder.noted[-1][0] == "teardown"
    assert not hasattr(model, "_callback_fit_ctx")


@needs_callbacks
def test_scores_step_by_step() -> None:
    X, y = load_diabetes(return_X_y=True)
    monitor = ScoringMonitor(scoring="r2")
    model = st.GDRegressor(solver="lbfgs", penalty=None).set_callbacks(monitor).fit(X, y)
    last, *scores = [row["r2"] for row in monitor.get_logs().data]
    assert len(scores) == model.n_iter_
    assert scores[-1] == last == r2_score(y, model.predict(X))
    losses = np.append(model.history_.loss[1:], model.fit_.loss)
    assert scores == pytest.approx((1 - losses / y.var()).tolist())


@needs_callbacks
def test_the_progress_bar_shows_the_steps(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("rich")
    X, y = classification()
    model = st.GDClassifier(solver="lbfgs").set_callbacks(ProgressBar()).fit(X, y)
    shown = capsys.readouterr().out
    assert "GDClassifier - fit" in shown
    assert "100%" in shown
    assert model.status_ == "converged"
    make_pipeline(StandardScaler(), st.GDClassifier()).set_callbacks(ProgressBar()).fit(X, y)
    assert "Pipeline - fit" in capsys.readouterr().out


def test_verbose_prints_round_steps(capsys: pytest.CaptureFixture[str]) -> None:
    X, y = classification()
    model = st.GDClassifier(solver="lbfgs", verbose=1).fit(X, y)
    lines = capsys.readouterr().out.splitlines()
    expected = [k for k in (0, 1, 2, 5, 10, 20, 50, 100, 200) if k < model.n_iter_]
    found = [re.fullmatch(r"\[GDClassifier\] step +(\d+)   loss (\S+)   .*", line) for line in lines]
    assert [int(match[1]) for match in found if match] == [*expected, model.n_iter_]
    assert [float(match[2]) for match in found[:-1] if match] == pytest.approx(model.history_.loss[expected], rel=1e-5)
    assert lines[-1].endswith("the gradient norm reached the tolerance")


def test_verbose_prints_every_step_if_told_twice(capsys: pytest.CaptureFixture[str]) -> None:
    X, y = classification()
    model = st.GDClassifier(solver="lbfgs", verbose=2).fit(X[:300], y[:300], eval_set=(X[300:], y[300:]))
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(model.history_) + 1
    assert "validation" in lines[0]


def test_nothing_is_printed_by_default(capsys: pytest.CaptureFixture[str]) -> None:
    st.GDClassifier().fit(*classification())
    assert capsys.readouterr() == ("", "")
