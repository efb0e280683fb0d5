"""A descent with validation data that is written down as it goes: the last point, the best one, and the patience left.

However it ends and wherever it is cut, the same call goes on to the same bits.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_checkpoints import CrashError, crash_at, expect_same

import steepest as st
from steepest import checkpoint
from steepest.checkpoint import read_checkpoint, write_checkpoint
from steepest.methods import METHODS
from steepest.problem import BEST, OF_BEST
from steepest.segments import Course
from steepest.tensor_file import checksum, read_tensors, write_tensors

pytestmark = [
    pytest.mark.filterwarnings("ignore:the loss rose:steepest.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
]

GENERATOR = np.random.default_rng(5)
#: As many columns as rows, nearly, and noise: to go on is no good.
X = GENERATOR.normal(size=(40, 25))
Y = X[:, 0] + GENERATOR.normal(size=40)
HELD_OUT = GENERATOR.normal(size=(200, 25))
HELD_OUT_Y = HELD_OUT[:, 0] + GENERATOR.normal(size=200)
PATIENCE = 4

VARIANTS: dict[str, dict[str, Any]] = {
    "gd": {"method": "gd"},
    "momentum": {"method": "momentum", "learning_rate": 0.02},
    "nesterov": {"method": "nesterov"},
    "adam": {"method": "adam", "learning_rate": 0.05},
    "adam with batches": {"method": "adam", "learning_rate": 0.01, "batch_size": 7},
    "sgd": {"method": "sgd", "learning_rate": 0.01, "batch_size": 7},
    "lbfgs": {"method": "lbfgs"},
    "newton": {"method": "newton", "loss": "poisson"},
    "coordinate": {"method": "coordinate"},
}
KINDS: dict[str, dict[str, Any]] = {
    "eval_set": {"eval_set": (HELD_OUT, HELD_OUT_Y)},
    "validation_fraction": {"validation_fraction": 0.25, "random_state": 2},
}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "run"


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Segments of a step, or of an epoch; nobody will cut the power here."""
    monkeypatch.setattr("os.fsync", lambda _: None)
    monkeypatch.setattr(Course, "_next_length", lambda self, part, took: self.setup.steps_per_epoch)  # noqa: ARG005


def counts(scores: Any) -> Any:
    return np.round(np.exp(np.minimum(scores, 3.0)))


def run(backend: str, variant: str, kind: str = "eval_set", **options: Any) -> st.Fit:
    given: dict[str, Any] = {"n_steps": 600, "patience": PATIENCE, "backend": backend, **KINDS[kind]}
    given |= {**VARIANTS[variant], **options}
    y = Y
    if given.get("loss") == "poisson":
        y = counts(Y)
        given |= {"eval_set": (HELD_OUT, counts(HELD_OUT_Y))} if kind == "eval_set" else {}
    return st.descend(X, y, **given)


def expect_same_with_validation(one: st.Fit, other: st.Fit) -> None:
    expect_same(one, other)
    assert one.history.validation_loss.tobytes() == other.history.validation_loss.tobytes()
    assert one.validation_loss == other.validation_loss
    assert set(one.state) == set(other.state)


def test_every_method_is_here() -> None:
    assert {options["method"] for options in VARIANTS.values()} == set(METHODS)


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("kind", KINDS)
def test_a_descent_that_crashed_goes_on_as_if_it_had_not(backend: str, variant: str, kind: str, path: Path) -> None:
    whole = run(backend, variant, kind)
    losses, steps = whole.history.validation_loss, whole.history.step
    best = int(np.argmin(losses))
    if variant != "coordinate":
        # Patience runs out some evaluations after the best.
        assert (whole.status, len(losses) - best) == ("early_stopped", PATIENCE)
    for cut in sorted({1, best, best + 1, len(losses) - 1} - {0}):
        path.unlink(missing_ok=True)
        with pytest.raises(CrashError):
            run(backend, variant, kind, checkpoint=st.Checkpoint(path, 0.0), callback=crash_at(int(steps[cut])))
        saved = read_checkpoint(path).solution
        assert saved.n_steps == steps[cut]
        assert saved.validation_loss == losses[cut]
        assert saved.state[OF_BEST][2] == losses[: cut + 1].min()
        assert saved.state[OF_BEST][3] == cut - np.argmin(losses[: cut + 1])
        # And once more from its end.
        for _ in range(2):
            expect_same_with_validation(run(backend, variant, kind, checkpoint=path), whole)


@pytest.mark.parametrize("variant", ["nesterov", "sgd", "lbfgs"])
def test_a_crash_at_every_evaluation(backend: str, variant: str, path: Path) -> None:
    whole = run(backend, variant, precondition=True)
    for step in whole.history.step[1:]:
        with pytest.raises(CrashError):
            run(backend, variant, precondition=True, checkpoint=path, callback=crash_at(int(step)))
    expect_same_with_validation(run(backend, variant, precondition=True, checkpoint=path), whole)


@pytest.mark.parametrize(
    "options",
    [{"n_steps": 12}, {"target_loss": 0.25}, {"tol": 0.02}, {"patience": 9}],
    ids=["steps", "target", "tolerance", "patience"],
)
def test_however_it_ends(backend: str, options: dict[str, Any], path: Path) -> None:
    options = {"patience": 10**6, **options}
    whole = run(backend, "gd", **options)
    assert whole.validation_loss == whole.history.validation_loss.min()
    with pytest.raises(CrashError):
        run(backend, "gd", **options, checkpoint=path, callback=crash_at(whole.n_steps - 1))
    expect_same_with_validation(run(backend, "gd", **options, checkpoint=path), whole)
    # What was the last point, and not the best one, is where more steps begin.
    more: dict[str, Any] = {"patience": 10**6, "n_steps": 200}
    expect_same_with_validation(run(backend, "gd", **more, checkpoint=path), run(backend, "gd", **more))


def test_a_start_from_the_fit_begins_with_all_its_patience(backend: str, path: Path) -> None:
    fit = run(backend, "gd", checkpoint=path)
    assert set(fit.state) == {"point"}
    again, plain = run(backend, "gd", start=fit), run(backend, "gd", start=run(backend, "gd"))
    expect_same_with_validation(again, plain)
    assert again.n_steps == PATIENCE


CHANGED = {"eval_set": (HELD_OUT + 1, HELD_OUT_Y)}


@pytest.mark.parametrize("first", ["none", *KINDS])
@pytest.mark.parametrize("second", ["none", *KINDS, "changed"])
def test_other_validation_data_are_refused(first: str, second: str, path: Path) -> None:
    kinds = {"none": {}, **KINDS, "changed": CHANGED}
    st.descend(X, Y, n_steps=3, checkpoint=path, **kinds[first])
    before = path.read_bytes()
    if first == second:
        assert st.descend(X, Y, n_steps=3, checkpoint=path, **kinds[second]).n_steps == 3
        return
    with pytest.raises(st.InputError, match="of a descent that differs in its validation data; remove it"):
        st.descend(X, Y, n_steps=3, checkpoint=path, **kinds[second])
    assert path.read_bytes() == before


def test_validation_data_that_differ_where_the_fingerprint_does_not_look(backend: str, path: Path) -> None:
    held_out = np.tile(HELD_OUT, (25, 1))
    y = np.tile(HELD_OUT_Y, 25)
    st.descend(X, Y, n_steps=3, eval_set=(held_out, y), checkpoint=path, backend=backend)
    held_out[1, 0] += 1.0
    with pytest.raises(st.InputError, match="of other validation data: the validation loss where it left off is "):
        st.descend(X, Y, n_steps=9, eval_set=(held_out, y), checkpoint=path, backend=backend)


def test_a_validation_loss_beyond_all_numbers_is_written_down(backend: str, path: Path) -> None:
    """It overflows where the descent goes, and not where it begins."""
    options: dict[str, Any] = {"eval_set": (1e200 * HELD_OUT, HELD_OUT_Y), "patience": 10, "n_steps": 5}
    whole = st.descend(X, Y, backend=backend, **options)
    assert np.isinf(whole.history.validation_loss[1:]).all()
    for _ in range(2):
        fit = st.descend(X, Y, backend=backend, checkpoint=path, **options)
        expect_same_with_validation(fit, whole)


def test_blocks(backend: str, path: Path) -> None:
    def blocks() -> Any:
        return ((X[i : i + 10], Y[i : i + 10]) for i in range(0, 40, 10))

    def streamed(**options: Any) -> st.Fit:
        given: dict[str, Any] = {"loss": "huber", "patience": PATIENCE, "n_steps": 300, **KINDS["eval_set"]}
        return st.descend(blocks, method="nesterov", backend=backend, **given, **options)

    whole = streamed()
    assert whole.status == "early_stopped"
    with pytest.raises(CrashError):
        streamed(checkpoint=path, callback=crash_at(whole.n_steps - 2))
    expect_same_with_validation(streamed(checkpoint=path), whole)


@pytest.mark.parametrize("kind", [st.GDRegressor, st.GDClassifier])
@pytest.mark.parametrize("solver", ["nesterov", "sgd"])
def test_estimators(kind: Any, solver: str, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    y = Y if kind is st.GDRegressor else Y > 0
    options: dict[str, Any] = {
        "solver": solver,
        "max_iter": 300,
        "tol": 0,
        "batch_size": 7 if solver == "sgd" else None,
    }
    options |= {"early_stopping": True, "validation_fraction": 0.3, "n_iter_no_change": PATIENCE}
    whole = kind(**options).fit(X, y)
    assert whole.status_ == "early_stopped"
    model = kind(**options, checkpoint=path)
    # Ctrl-C in the last segment but one.
    segment, calls = Course._segment, [0]

    def interrupted(self: Course) -> Any:
        calls[0] += 1
        if calls[0] == whole.n_iter_ - 1:
            raise KeyboardInterrupt
        return segment(self)

    monkeypatch.setattr(Course, "_segment", interrupted)
    with pytest.raises(KeyboardInterrupt):
        model.fit(X, y)
    assert read_checkpoint(path).solution.n_steps > 0
    model.fit(X, y)
    expect_same_with_validation(model.fit_, whole.fit_)
    assert model.n_iter_ == whole.n_iter_


def test_a_warm_start_has_a_file_of_its_own(path: Path, tmp_path: Path) -> None:
    options: dict[str, Any] = {"solver": "gd", "max_iter": 5, "tol": 0, "warm_start": True}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", st.ConvergenceWarning)
        whole = st.GDRegressor(**options).fit(X, Y).fit(X, Y)
        model = st.GDRegressor(**options, checkpoint=path).fit(X, Y)
        before = path.read_bytes()
        with pytest.raises(
            st.InputError, match=r"differs in its start; .*, as with warm_start=True, has a file of its own"
        ):
            model.fit(X, Y)
        assert path.read_bytes() == before
        for _ in range(2):
            # After a crash the same lines again: each file is of one fit.
            model = st.GDRegressor(**options, checkpoint=path).fit(X, Y)
            model.set_params(checkpoint=tmp_path / "second").fit(X, Y)
            expect_same(model.fit_, whole.fit_)


Change = Callable[[dict[str, Any], dict[str, Any]], object]
#: Descriptions and tensors that go with their checksum, and with nothing else.
FORGED: dict[str, Change] = {
    "a best point of another length": lambda _, tensors: tensors.update({"state.best": np.zeros(3)}),
    "a best point that is not finite": lambda _, tensors: tensors.update({"state.best": np.full(26, np.inf)}),
    "no best point": lambda _, tensors: tensors.pop("state.best"),
    "nothing of the best point": lambda _, tensors: tensors.pop("state.of_best"),
    "neither": lambda _, tensors: [tensors.pop(name) for name in ("state.best", "state.of_best")],
    "less of the best point": lambda _, tensors: tensors.update({"state.of_best": np.zeros(3)}),
    "a loss that is not finite": lambda _, tensors: tensors.update({"state.of_best": np.array([np.nan, 0, 0, 0])}),
    "a negative count": lambda _, tensors: tensors.update({"state.of_best": np.array([0.0, 0, 0, -1])}),
    "half a count": lambda _, tensors: tensors.update({"state.of_best": np.array([0.0, 0, 0, 0.5])}),
    "a count without end": lambda _, tensors: tensors.update({"state.of_best": np.array([0.0, 0, 0, np.inf])}),
    "a count that is no number": lambda _, tensors: tensors.update({"state.of_best": np.array([0.0, 0, 0, np.nan])}),
    "a validation loss that is a number": lambda header, _: header.update(validation_loss=1.0),
    "a validation loss that is text": lambda header, _: header.update(validation_loss="low"),
    "no validation loss": lambda header, _: header.update(validation_loss=None),
    "nothing of a validation loss": lambda header, _: header.pop("validation_loss"),
    "a recipe without validation data": lambda header, _: header["recipe"].pop("validation"),
    "the version before": lambda header, _: header.update(format_version=1),
    "the version before, without a loss": lambda header, _: [
        header.update(format_version=1),
        header.pop("validation_loss"),
    ],
}


def forge(path: Path, change: Change) -> None:
    tensors, metadata = read_tensors(path)
    header = json.loads(metadata[checkpoint.HEADER])
    change(header, tensors)
    text = json.dumps(header)
    tensors = {name: values.copy() for name, values in tensors.items()}
    path.unlink()
    write_tensors(path, tensors, {checkpoint.HEADER: text, checkpoint.CHECKSUM: checksum(text, tensors)})


@pytest.mark.parametrize("kind", FORGED)
def test_forged_checkpoints_are_refused(kind: str, path: Path) -> None:
    run("rust", "gd", checkpoint=path)
    forge(path, lambda *_: None)
    assert read_checkpoint(path).solution.n_steps > PATIENCE
    forge(path, FORGED[kind])
    with pytest.raises(st.CheckpointError, match=path.name):
        read_checkpoint(path)


def test_files_from_before_there_was_validation_are_gone_on_with(backend: str, path: Path) -> None:
    options: dict[str, Any] = {"method": "nesterov", "backend": backend}
    st.descend(X, Y, n_steps=5, checkpoint=path, **options)
    forge(path, FORGED["the version before, without a loss"])
    assert json.loads(read_tensors(path)[1][checkpoint.HEADER])["format_version"] == 1
    on = st.descend(X, Y, n_steps=9, checkpoint=path, **options)
    expect_same(on, st.descend(X, Y, n_steps=9, **options))


@pytest.mark.parametrize("value", [1e300, -1e300, 5e-324, 0.0])
def test_no_best_point_does_harm(backend: str, value: float, path: Path) -> None:
    """A descent that ends with numbers, or an error by name."""
    design, held_out = 1e-10 * X, 1e-10 * HELD_OUT
    options: dict[str, Any] = {"eval_set": (held_out, HELD_OUT_Y), "precondition": True, "backend": backend}
    st.descend(design, Y, n_steps=5, checkpoint=path, **options)
    saved = read_checkpoint(path)
    state = saved.solution.state | {BEST: np.full(26, value), OF_BEST: np.array([0.0, 0.0, -1.0, 2.0])}
    write_checkpoint(path, saved._replace(solution=replace(saved.solution, state=state)))
    if abs(value) > 1:
        with pytest.raises(st.CheckpointError, match="the best point is out of range; remove the file"):
            st.descend(design, Y, n_steps=9, checkpoint=path, **options)
    else:
        fit = st.descend(design, Y, n_steps=9, checkpoint=path, **options)
        assert np.isfinite(fit.coef).all()
        assert fit.validation_loss == -1.0
