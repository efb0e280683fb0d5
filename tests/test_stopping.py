"""When a descent stops, where it stops, and what it says of it."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.sparse import csr_array

import steepest as st
from steepest.problem import STATUSES

GENERATOR = np.random.default_rng(5)
N, D = 64, 4
X = GENERATOR.normal(size=(N, D)) * [1.0, 2.0, 0.5, 1.0] + [0.0, 1.0, 0.0, -1.0]
SCORES = X @ [1.0, -0.5, 0.0, 0.0] + 0.5 * GENERATOR.normal(size=N)
LABELS = (SCORES > 0).astype(np.float64)
FULL = ["gd", "momentum", "nesterov", "adam", "lbfgs", "newton"]
EVERY = [*FULL, "sgd"]

every_method = pytest.mark.parametrize("method", EVERY)


def descend(backend: str, **options: Any) -> st.Fit:
    """Descend on a logistic regression."""
    given_all: dict[str, Any] = {"loss": "log_loss", "alpha": 0.02, "backend": backend} | options
    return st.descend(X, LABELS, **given_all)


def log_loss(coef: NDArray[Any], intercept: float, design: Any = X, y: Any = LABELS) -> float:
    scores = design @ coef + intercept
    return float(np.mean(np.logaddexp(0, scores) - y * scores))


def mapping(coef: NDArray[Any], intercept: float, alpha: float, l1_ratio: float) -> float:
    """Return ‖w − prox(w − ∇f(w))‖, by its definition."""
    slopes = 1 / (1 + np.exp(-(X @ coef + intercept))) - LABELS
    gradient = X.T @ slopes / N + alpha * (1 - l1_ratio) * coef
    moved = coef - gradient
    proximal = np.sign(moved) * np.maximum(np.abs(moved) - alpha * l1_ratio, 0)
    return float(np.linalg.norm(np.append(coef - proximal, slopes.mean())))


def assert_ends(fit: st.Fit, status: str) -> None:
    assert fit.status == status
    assert fit.message == STATUSES[status]
    assert fit.converged == (status == "converged")
    assert STATUSES[status] in repr(fit)


# --- tol ---


@pytest.mark.parametrize(("method", "l1_ratio"), [*((name, 0.0) for name in EVERY), *((n, 0.5) for n in FULL[:4])])
@pytest.mark.parametrize("start", [None, ([3.0, -2.0, 1.0, 0.5], 1.0)], ids=["zero", "afar"])
def test_tolerance_is_that_of_the_mapping_at_zero(backend: str, method: str, l1_ratio: float, start: Any) -> None:
    """At the first point that is near enough, wherever the descent began, and not at one before."""
    tol = 0.02 if method in {"sgd", "adam"} else 1e-4
    options: dict[str, Any] = {"alpha": 0.1, "l1_ratio": l1_ratio, "method": method, "start": start}
    if method == "sgd":
        # Noise that falls, so that even mini-batches come near.
        options |= {"batch_size": 16, "learning_rate": st.Exponential(0.1, 0.99)}
    fit = descend(backend, tol=tol, n_steps=5000, **options)
    assert_ends(fit, "converged")
    target = tol * mapping(np.zeros(D), 0.0, 0.1, l1_ratio)
    assert fit.gradient_norm <= target * (1 + 1e-9)
    assert fit.gradient_norm == pytest.approx(mapping(fit.coef, fit.intercept, 0.1, l1_ratio), rel=1e-6, abs=1e-14)
    assert np.all(fit.history.gradient_norm > target * (1 - 1e-9))
    coef, intercept = (np.zeros(D), 0.0) if start is None else (np.asarray(start[0]), start[1])
    assert fit.history.gradient_norm[0] == pytest.approx(mapping(coef, intercept, 0.1, l1_ratio), rel=1e-9)


def test_looser_tolerance_stops_sooner(backend: str) -> None:
    steps = [descend(backend, method="gd", tol=tol, n_steps=5000).n_steps for tol in (0.5, 0.1, 1e-2, 1e-3, 0.99)]
    assert steps[:4] == sorted(set(steps))[-4:]
    assert steps[4] <= steps[0]
    # Zero never stops early, and a gradient of zero is at most any share of itself.
    assert_ends(descend(backend, n_steps=50), "max_steps")
    flat = st.descend(X, np.zeros(N), tol=1e-9, backend=backend)
    assert_ends(flat, "converged")
    assert flat.n_steps == 0


@pytest.mark.parametrize("method", ["gd", "momentum", "nesterov", "lbfgs", "newton"])
def test_as_far_as_rounding_lets_it_go(backend: str, method: str) -> None:
    """A tolerance that no descent can reach ends in a word about it, or with every step made, never with an error."""
    with pytest.warns(st.ConvergenceWarning, match=r"not converged after \d+ steps: .* accept a larger tol"):
        fit = descend(backend, method=method, tol=1e-30, n_steps=3000)
    assert fit.status in {"stalled", "max_steps"}
    assert fit.gradient_norm < 1e-8
    if method == "newton":
        assert_ends(fit, "stalled")
        assert fit.n_steps < 20


# --- n_steps ---


@pytest.mark.parametrize("method", FULL)
def test_steps_are_counted(backend: str, method: str) -> None:
    fit = descend(backend, method=method, n_steps=4)
    assert_ends(fit, "max_steps")
    assert fit.n_steps == len(fit.history) == 4
    assert fit.history.step.tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("method", ["sgd", "adam"])
@pytest.mark.parametrize(
    ("batch_size", "n_steps", "expected"),
    [
        # Four batches an epoch.
        (16, 8, [0, 4]),
        (16, 9, [0, 4, 8]),
        (16, 3, [0]),
        (16, 0, []),
        # Blocks of twelve rows, then a rest of four: six batches.
        (12, 13, [0, 6, 12]),
        # One batch is all there is.
        (64, 3, [0, 1, 2]),
        (1, 65, [0, 64]),
    ],
)
def test_mini_batches_count_batches_and_record_epochs(
    backend: str, method: str, batch_size: int, n_steps: int, expected: list[int]
) -> None:
    seen: list[int] = []
    options: dict[str, Any] = {"learning_rate": 1e-3, "method": method, "batch_size": batch_size}
    fit = descend(backend, n_steps=n_steps, callback=lambda info: seen.append(info.step), **options)
    assert_ends(fit, "max_steps")
    assert fit.n_steps == n_steps
    assert fit.history.step.tolist() == expected == seen
    assert fit.loss == pytest.approx(log_loss(fit.coef, fit.intercept) + 0.01 * float(fit.coef @ fit.coef), rel=1e-12)


# --- max_seconds and target_loss ---


@every_method
def test_time_is_up(backend: str, method: str) -> None:
    began = time.perf_counter()
    fit = descend(backend, method=method, n_steps=10**9, max_seconds=1e-9)
    assert time.perf_counter() - began < 5
    assert_ends(fit, "max_seconds")
    # The first evaluation is later than that.
    assert fit.n_steps == 0
    with pytest.warns(
        st.ConvergenceWarning, match=r"not converged after \d+ steps: the time was up.*raise max_seconds"
    ):
        descend(backend, method=method, n_steps=10**9, max_seconds=1e-9, tol=1e-12)


def test_time_bounds_a_descent_without_end(backend: str) -> None:
    fit = descend(backend, method="gd", learning_rate=1e-9, n_steps=10**9, max_seconds=0.1)
    assert_ends(fit, "max_seconds")
    assert fit.n_steps == len(fit.history) >= 1
    assert fit.history.seconds[-1] < 0.1
    # Enough time is as good as no bound.
    assert_ends(descend(backend, n_steps=3, max_seconds=1000.0), "max_steps")


@every_method
def test_target_is_reached(backend: str, method: str) -> None:
    """The first evaluation at or below the target is the last."""
    free = descend(backend, method=method, n_steps=40)
    target = 0.5 * (free.history.loss[0] + free.loss)
    fit = descend(backend, method=method, n_steps=40, target_loss=target)
    assert_ends(fit, "target_loss")
    assert fit.loss <= target
    assert np.all(fit.history.loss > target)
    # The way there is that of a descent without a target.
    known = len(fit.history)
    assert fit.history.loss.tobytes() == free.history.loss[:known].tobytes()
    assert fit.loss == [*free.history.loss, free.loss][known]
    # A start below it is the end.
    again = descend(backend, method=method, start=fit, target_loss=target)
    assert_ends(again, "target_loss")
    assert again.n_steps == 0
    assert_ends(descend(backend, method=method, n_steps=4, target_loss=0.0), "max_steps")


# --- Validation ---

OTHER = GENERATOR.normal(size=(40, D)) * 2
OTHER_LABELS = (OTHER @ [0.5, -0.5, 0.5, 0.0] + GENERATOR.normal(size=40) > 0).astype(np.float64)
#: More columns than a model needs: it fits the noise in the end.
WIDE = GENERATOR.normal(size=(30, 25))
NOISY = WIDE[:, 0] + GENERATOR.normal(size=30)
HELD_OUT = GENERATOR.normal(size=(200, 25))
HELD_OUT_SCORES = HELD_OUT[:, 0] + GENERATOR.normal(size=200)


def squares(fit: st.Fit, design: Any = HELD_OUT, y: Any = HELD_OUT_SCORES) -> float:
    return float(np.mean((design @ fit.coef + fit.intercept - y) ** 2))


def overfit(backend: str, **options: Any) -> st.Fit:
    """Descend where going on is no good."""
    given_all: dict[str, Any] = {"eval_set": (HELD_OUT, HELD_OUT_SCORES), "n_steps": 400, "backend": backend} | options
    return st.descend(WIDE, NOISY, **given_all)


@pytest.mark.parametrize("method", ["gd", "momentum", "nesterov", "adam", "sgd", "lbfgs"])
@pytest.mark.parametrize("precondition", [False, True])
@pytest.mark.parametrize("patience", [1, 5])
def test_the_best_parameters_are_returned(backend: str, method: str, patience: int, *, precondition: bool) -> None:
    options: dict[str, Any] = {"batch_size": 10, "learning_rate": 0.01} if method == "sgd" else {}
    fit = overfit(backend, method=method, patience=patience, precondition=precondition, **options)
    assert_ends(fit, "early_stopped")
    seen = fit.history.validation_loss
    best = int(np.argmin(seen))
    assert fit.validation_loss == seen[best] == seen.min()
    assert fit.validation_loss == pytest.approx(squares(fit), rel=1e-10)
    # What else is said of the parameters is of the same ones.
    assert fit.loss == fit.history.loss[best] == pytest.approx(squares(fit, WIDE, NOISY), rel=1e-10)
    assert fit.gradient_norm == fit.history.gradient_norm[best]
    # The evaluation that ends it is no step's, so it is not in the history.
    assert len(seen) - best == patience
    assert fit.n_steps > fit.history.step[best]
    # Up to there the descent is the one without validation data.
    plain = overfit(backend, method=method, precondition=precondition, eval_set=None, n_steps=fit.n_steps, **options)
    assert plain.validation_loss is None
    assert np.all(np.isnan(plain.history.validation_loss))
    assert plain.history.loss.tobytes() == fit.history.loss.tobytes()


def test_best_parameters_are_returned_however_it_ends(backend: str) -> None:
    ends: list[tuple[dict[str, Any], str]] = [
        ({"n_steps": 100}, "max_steps"),
        # What the last point reached, the best one did not.
        ({"tol": 1e-3, "n_steps": 5000}, "early_stopped"),
        ({"target_loss": 0.2}, "early_stopped"),
        ({"callback": lambda info: info.step == 50}, "stopped"),
    ]
    for options, status in ends:
        fit = overfit(backend, patience=10**6, **options)
        assert_ends(fit, status)
        assert fit.validation_loss == fit.history.validation_loss.min() == pytest.approx(squares(fit), rel=1e-10)


def test_patience_counts_in_a_row(backend: str) -> None:
    """An evaluation that is better starts the count anew."""
    # Momentum swings about the optimum.
    fit = st.descend(X, SCORES, method="momentum", patience=5, n_steps=400, eval_set=(X, SCORES), backend=backend)
    seen = fit.history.validation_loss
    worse = longest = 0
    lowest = np.inf
    for value in seen:
        worse = 0 if value < lowest else worse + 1
        lowest, longest = min(lowest, value), max(longest, worse)
    assert_ends(fit, "early_stopped")
    assert worse == longest == 4
    # Some before the best were worse than the one before.
    assert np.any(np.diff(seen[: int(np.argmin(seen))]) > 0)


def test_the_callback_sees_the_validation_loss(backend: str) -> None:
    seen: list[float] = []
    fit = overfit(backend, n_steps=5, callback=lambda info: seen.append(info.validation_loss))
    assert seen == fit.history.validation_loss.tolist()
    without: list[float] = []
    descend(backend, n_steps=2, callback=lambda info: without.append(info.validation_loss))
    assert np.all(np.isnan(without))


@pytest.mark.parametrize("form", ["float32", "int", "list", "fortran", "sparse"])
def test_validation_data_is_taken_as_the_design_is(backend: str, form: str) -> None:
    whole = np.round(OTHER * 2)
    forms: dict[str, Any] = {
        "float32": whole.astype(np.float32),
        "int": whole.astype(int),
        "list": whole.tolist(),
        "fortran": np.asfortranarray(whole),
        "sparse": csr_array(whole),
    }
    fit = descend(backend, n_steps=4, eval_set=(forms[form], OTHER_LABELS))
    assert fit.validation_loss == pytest.approx(log_loss(fit.coef, fit.intercept, whole, OTHER_LABELS), rel=1e-10)


def test_validation_labels_are_those_of_the_training(backend: str) -> None:
    """Class numbers go by the labels that were trained on, of which validation data may lack some."""
    names = np.array(["no", "yes"])
    options: dict[str, Any] = {"loss": "log_loss", "n_steps": 3, "backend": backend}
    ones = OTHER_LABELS == 1
    fit = st.descend(
        X, names[LABELS.astype(int)], eval_set=(OTHER[ones], names[OTHER_LABELS.astype(int)][ones]), **options
    )
    assert fit.validation_loss == pytest.approx(log_loss(fit.coef, fit.intercept, OTHER[ones], 1.0), rel=1e-10)
    with pytest.raises(st.InputError, match="eval_set: "):
        st.descend(X, names[LABELS.astype(int)], eval_set=(OTHER, ["maybe"] * 40), **options)


def test_the_penalty_is_no_part_of_the_validation_loss(backend: str) -> None:
    fit = descend(backend, alpha=5.0, n_steps=6, eval_set=(OTHER, OTHER_LABELS))
    assert fit.validation_loss == pytest.approx(log_loss(fit.coef, fit.intercept, OTHER, OTHER_LABELS), rel=1e-10)


@pytest.mark.parametrize("share", [0.25, 0.1, 0.9])
def test_a_share_of_the_rows_is_held_out(backend: str, share: float) -> None:
    """The same rows for the same seed; with them left out by hand the descent is the same, bit for bit."""
    order = np.random.default_rng(9).permutation(N)
    held_out, rest = (np.sort(part) for part in np.split(order, [round(share * N)]))
    fit = descend(backend, validation_fraction=share, random_state=9, n_steps=8)
    by_hand = st.descend(
        X[rest],
        LABELS[rest],
        loss="log_loss",
        alpha=0.02,
        eval_set=(X[held_out], LABELS[held_out]),
        n_steps=8,
        random_state=9,
        backend=backend,
    )
    assert fit.coef.tobytes() == by_hand.coef.tobytes()
    assert fit.history.loss.tobytes() == by_hand.history.loss.tobytes()
    assert fit.history.validation_loss.tobytes() == by_hand.history.validation_loss.tobytes()
    other = descend(backend, validation_fraction=share, random_state=10, n_steps=8)
    assert other.history.loss[-1] != fit.history.loss[-1]


def test_weights_and_offset_go_with_their_rows(backend: str) -> None:
    shares, offset = GENERATOR.uniform(0.5, 2, N), GENERATOR.normal(size=N)
    options: dict[str, Any] = {"n_steps": 5, "patience": 100, "random_state": 2}
    fit = descend(backend, validation_fraction=0.25, sample_weight=shares, offset=offset, **options)
    order = np.random.default_rng(2).permutation(N)
    held_out = order[: N // 4]
    scores = X @ fit.coef + fit.intercept + offset
    losses = np.logaddexp(0, scores) - LABELS * scores
    assert fit.validation_loss == pytest.approx(np.average(losses[held_out], weights=shares[held_out]), rel=1e-10)
    rest = order[N // 4 :]
    training = np.average(losses[rest], weights=shares[rest]) + 0.01 * float(fit.coef @ fit.coef)
    assert fit.loss == pytest.approx(training, rel=1e-10)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"validation_fraction": 0.0}, "validation_fraction: expected a finite number > 0"),
        ({"validation_fraction": 1.0}, "validation_fraction: expected a share of the 64 rows"),
        ({"validation_fraction": 1e-3}, "validation_fraction: expected a share of the 64 rows"),
        ({"validation_fraction": 0.5, "eval_set": (OTHER, OTHER_LABELS)}, "validation_fraction: expected None where"),
        ({"eval_set": OTHER}, r"eval_set: expected a pair \(X, y\)"),
        ({"eval_set": (OTHER[:, :3], OTHER_LABELS)}, "eval_set: X: expected 4 columns; got 3"),
        ({"eval_set": (OTHER, OTHER_LABELS[:-1])}, "eval_set: y"),
        ({"eval_set": (OTHER, OTHER_LABELS), "patience": 0}, "patience"),
        ({"max_seconds": 0.0}, "max_seconds"),
        ({"target_loss": np.nan}, "target_loss"),
        ({"tol": -1e-3}, "tol"),
        ({"n_steps": -1}, "n_steps"),
    ],
)
def test_arguments_are_checked(backend: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(st.InputError, match=message):
        descend(backend, **options)


def test_going_on_from_the_best_parameters_is_a_descent(backend: str) -> None:
    """Momentum of a point far from them would throw them away."""
    first = overfit(backend, method="momentum", n_steps=60, patience=100)
    assert first.validation_loss == first.history.validation_loss.min()
    on = overfit(backend, method="momentum", n_steps=3, patience=100, start=first)
    assert on.history.loss[0] == first.loss
    assert np.all(np.diff(on.history.loss) < 0)


# --- Callbacks ---


@every_method
def test_a_callback_stops(backend: str, method: str) -> None:
    """Before the step that it is asked about; mini-batches ask once an epoch."""
    batch: dict[str, Any] = {"batch_size": 16} if method == "sgd" else {}
    stop = 8 if method == "sgd" else 2
    fit = descend(backend, method=method, n_steps=40, callback=lambda info: info.step >= stop, **batch)
    assert_ends(fit, "stopped")
    assert fit.n_steps == stop
    whole = descend(backend, method=method, n_steps=stop, **batch)
    assert fit.coef.tobytes() == whole.coef.tobytes()
    assert fit.loss == whole.loss


def test_every_status_is_tested_here_or_is_an_error() -> None:
    told = {"converged", "max_steps", "max_seconds", "target_loss", "early_stopped", "stalled", "stopped"}
    assert set(STATUSES) == told | {"diverged"}
