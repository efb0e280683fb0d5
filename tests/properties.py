"""The laws, as plain functions: a test asserts that they hold, `test_mutants.py` that wrong mathematics breaks them."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import array_api_strict
import numpy as np
from numpy.typing import NDArray

import steepest as st
from samples import Sample, define, engine
from steepest.losses import HIGHEST_EXPONENT, Huber, LogLoss, Loss, Mse, Poisson, SquaredHinge
from strategies import LeastSquares, example
from tolerance import tolerance

Values = NDArray[Any]
#: Losses and slopes of rows, from targets, (n,) or (n, width), and scores (n, width).
Evaluate = Callable[[Loss, Values, Values], tuple[Values, Values]]


def portable(namespace: Any) -> Evaluate:
    """Return the formula of ``losses.py`` on an array namespace."""

    def evaluate(loss: Loss, targets: Values, scores: Values) -> tuple[Values, Values]:
        flat = scores if loss.width > 1 else scores[:, 0]
        with np.errstate(all="ignore"):
            losses, slopes = loss.value_and_residual(namespace, namespace.asarray(targets), namespace.asarray(flat))
        return np.asarray(losses), np.asarray(slopes).reshape(scores.shape)

    return evaluate


def compiled(loss: Loss, targets: Values, scores: Values) -> tuple[Values, Values]:
    """Ask the core for one row at a time: with X = 0 the intercept is the score, and its gradient the slope."""
    rows = [
        st.loss_and_gradient(
            np.zeros((1, 1), dtype=scores.dtype),
            _observed(loss, target),
            np.zeros((loss.width, 1)) if loss.width > 1 else [0.0],
            row,
            loss=loss,
            classes=classes_of(loss),
            backend="rust",
        )
        for target, row in zip(targets, scores, strict=True)
    ]
    losses = np.array([value for value, _, _ in rows])
    return losses, np.array([slope for _, _, slope in rows]).reshape(scores.shape)


def _observed(loss: Loss, target: Any) -> Any:
    """Return the target of one row as the façade takes it."""
    if isinstance(loss, LogLoss) and loss.probabilities and loss.n_classes == 2:
        return np.array([[1 - target, target]])
    return np.array([target])


def classes_of(loss: Loss) -> Any:
    """Return the labels whose numbers are a loss's targets."""
    if isinstance(loss, SquaredHinge):
        return [-1, 1]
    return range(loss.n_classes) if isinstance(loss, LogLoss) else None


EVALUATIONS: dict[str, Evaluate] = {
    "numpy": portable(np),
    "strict": portable(array_api_strict),
    "rust": compiled,
}


class Pair(NamedTuple):
    """A target and two scores of a loss."""

    loss: Loss
    target: Any
    u: Values
    v: Values


def sandwich(evaluate: Evaluate, pair: Pair) -> None:
    """0 ≤ ℓ(u) − ℓ(v) − ⟨ℓ′(v), u − v⟩ ≤ ½ L |u − v|²: value, slope, convexity and curvature at once."""
    loss, target, u, v = pair
    targets = np.array([target, target], dtype=u.dtype)
    (value_u, value_v), (_, slope) = evaluate(loss, targets, np.stack([u, v]))
    move = u.astype(np.float64) - v
    upper = 0.5 * _curvature(loss, pair) * float(move @ move)
    # With several classes a probability near one loses its distance to one, and so does a slope.
    rounded = np.abs(slope) + (1 if isinstance(loss, LogLoss) and loss.n_classes > 2 else 0)
    magnitude = abs(value_u) + abs(value_v) + rounded @ np.abs(move) + upper + (loss.width > 1)
    if isinstance(loss, Poisson):
        # eᶻ and y z may cancel, and the slope is a difference of eᶻ and y; eᶻ is as far off as z is large.
        highest = float(np.abs([u, v]).max())
        magnitude += (float(np.sum(targets)) + _curvature(loss, pair) * (1 + highest)) * (highest + np.abs(move).sum())
    # The core's exponential stops at the smallest normal number.
    vanished = 4 * float(np.finfo(u.dtype).tiny) * (1 + float(np.abs([u, v]).max()))
    slack = tolerance(u.dtype, loss.width) * magnitude + vanished
    gap = float(value_u) - float(value_v) - float(slope @ move)
    assert -slack <= gap <= upper + slack


def _curvature(loss: Loss, pair: Pair) -> float:
    """Return the bound on the second derivative between two scores; it rises with the score where it has no bound."""
    if loss.curvature is not None:
        return loss.curvature
    return float(np.exp(min(max(pair.u.max(), pair.v.max()), HIGHEST_EXPONENT[str(pair.u.dtype)])))


class Rows(NamedTuple):
    """Targets, (n,) or (n, width), and scores (n, width) of a loss."""

    loss: Loss
    targets: Values
    scores: Values


def rows_are_independent(evaluate: Evaluate, rows: Rows) -> None:
    """Each row's loss and slope are those of the row alone."""
    losses, slopes = evaluate(*rows)
    for i in range(len(rows.targets)):
        loss, slope = evaluate(rows.loss, rows.targets[i : i + 1], rows.scores[i : i + 1])
        # Vector code may take another path for the last rows of an array, so a few units are allowed.
        close_rows(loss, losses[i : i + 1], rows.scores.dtype)
        close_rows(slope, slopes[i : i + 1], rows.scores.dtype)


def close_rows(actual: Values, expected: Values, dtype: Any) -> None:
    """Assert that two results of the same formula agree."""
    assert np.all(np.isfinite(expected))
    assert np.all(np.abs(actual - expected) <= tolerance(dtype, 0) * np.maximum(np.abs(expected), np.finfo(dtype).tiny))


def finite(evaluate: Evaluate, rows: Rows) -> None:
    """Loss and slope are finite wherever the loss itself is a number that the type can hold."""
    dtype = rows.scores.dtype
    largest, scores = float(np.finfo(dtype).max), rows.scores.astype(np.longdouble)
    targets = rows.targets.astype(np.longdouble).reshape(len(scores), -1)
    if isinstance(rows.loss, (Mse, Huber)):
        holds = np.all(np.abs(scores - targets) < np.sqrt(largest) / 4, axis=1)
    elif isinstance(rows.loss, SquaredHinge):
        holds = np.abs(scores[:, 0]) < np.sqrt(largest) / 2
    elif isinstance(rows.loss, Poisson):
        cap = HIGHEST_EXPONENT[str(dtype)]
        tangent = np.exp(np.longdouble(cap)) * (1 + np.maximum(scores - cap, 0))
        holds = (tangent + np.abs(targets * scores) < largest / 2)[:, 0]
    else:
        holds = scores.max(axis=1) - scores.min(axis=1) < largest
    if not holds.any():
        return
    losses, slopes = evaluate(rows.loss, rows.targets[holds], rows.scores[holds])
    assert np.all(np.isfinite(losses))
    assert np.all(np.isfinite(slopes))
    assert isinstance(rows.loss, Poisson) or np.all(losses >= 0)


def matches_definition(backend: str, sample: Sample) -> None:
    """Value and gradient are the formula's."""
    expected, actual = define(sample), sample.evaluate(backend)
    slack = tolerance(sample.X.dtype, sample.terms)
    assert abs(actual.value - expected.value) <= slack * expected.value_magnitude
    assert np.all(np.abs(actual.gradient - expected.gradient) <= slack * expected.gradient_magnitude)


def same(backend: str, one: Sample, other: Sample, *, exact: bool = False) -> None:
    """Two samples with one objective: bit for bit if `exact`, else as close as rounding allows."""
    a, b = one.evaluate(backend), other.evaluate(backend)
    if exact:
        assert a.bits() == b.bits()
        return
    expected = define(one)
    slack = 2 * tolerance(one.X.dtype, max(one.terms, other.terms))
    assert abs(a.value - b.value) <= slack * expected.value_magnitude
    assert np.all(np.abs(a.gradient - b.gradient) <= slack * expected.gradient_magnitude)


def weights_are_repetitions(backend: str, sample: Sample) -> None:
    """A row of weight k is the row k times. With whole numbers every sum is exact, and so is the comparison."""
    assert sample.weights is not None
    index = np.repeat(np.arange(len(sample.y)), sample.weights.astype(int))
    repeated = sample.rows(index).but(weights=None)
    same(backend, repeated, sample, exact=sample.is_exact)


def weights_are_relative(backend: str, sample: Sample, factor: float) -> None:
    """All weights times a constant change nothing; not a bit, if it is a power of two."""
    assert sample.weights is not None
    exact = bool(np.frexp(factor)[0] == 0.5)
    same(backend, sample, sample.but(weights=sample.weights * factor), exact=exact)


def parts_make_the_whole(backend: str, sample: Sample, cut: int) -> None:
    """W F(whole) = W₁ F(part 1) + W₂ F(part 2): what streaming and distribution rest on."""
    whole, expected = sample.evaluate(backend), define(sample)
    parts = [sample.rows(slice(None, cut)), sample.rows(slice(cut, None))]
    shares = [part.total_weight / sample.total_weight for part in parts]
    values = [part.evaluate(backend) for part in parts]
    slack = 2 * tolerance(sample.X.dtype, sample.terms)
    value = sum(share * part.value for share, part in zip(shares, values, strict=True))
    gradient = sum(share * part.gradient for share, part in zip(shares, values, strict=True))
    assert abs(value - whole.value) <= slack * expected.value_magnitude
    assert np.all(np.abs(gradient - whole.gradient) <= slack * expected.gradient_magnitude)


def penalty_spares_the_intercept(backend: str, sample: Sample) -> None:
    """α adds ½ α ‖W‖² and α W: nothing that depends on the intercept, not a bit."""
    n, sample = sample.coef.size, sample.smooth
    plain, penalised = sample.but(alpha=0.0).evaluate(backend), sample.but(alpha=2.0).evaluate(backend)
    assert penalised.gradient[n:].tobytes() == plain.gradient[n:].tobytes()
    assert penalised.value == plain.value + float(np.sum(sample.coef**2))
    assert np.array_equal(penalised.gradient[:n], plain.gradient[:n] + 2 * sample.coef.ravel())


def curvature_is_the_spectrums(backend: str, problem: LeastSquares, dtype: Any, alpha: float) -> None:
    """L = 2 s₁² / n + α for "mse" without intercept, never less, and more by the allowed gap of 1e-6 at the most."""
    X, y, singular_values = problem
    n, d = X.shape
    sample = Sample("mse", X.astype(dtype), y, np.zeros(d), 0.0, alpha=alpha)
    description = sample.problem()
    object.__setattr__(description, "fit_intercept", False)
    exact = 2 * singular_values[0] ** 2 / n + alpha
    slack = tolerance(dtype, 4 * (n + d)) * exact
    assert exact - slack <= engine(backend).curvature(description, 1) <= exact * (1 + 1e-6) + slack


def penalty_is_a_proximal_map(penalty: Any, w: Values, v: Values, size: float, scale: float) -> None:
    """prox(w) costs no more than any competitor, is firmly non-expansive, and does nothing at size 0."""
    at_w, at_v = penalty.prox(np, w, size, scale), penalty.prox(np, v, size, scale)

    def cost(x: Values) -> Any:
        return 0.5 * np.sum((x - w) ** 2) + size * penalty.rough_value(np, x / scale)

    slack = tolerance(np.float64, len(w)) * (np.sum(w**2) + np.sum(v**2) + cost(v))
    # Far competitors, and near ones: of a convex function, no worse than its neighbours is best.
    for other in (v, w, np.zeros_like(w)):
        assert cost(at_w) <= min(cost(other), cost(at_w + 0.01 * (other - at_w))) + slack
    assert np.sum((at_w - at_v) ** 2) <= float((at_w - at_v) @ (w - v)) + slack
    assert np.array_equal(penalty.prox(np, w, 0.0, scale), w)
    # Moreau: what the map takes away is the projection on the ball of the dual norm.
    assert np.all(np.abs(w - at_w) <= size * penalty.l1 / scale * (1 + 1e-15))
    assert np.array_equal(np.sign(at_w) * np.sign(w), np.abs(np.sign(at_w)))


def descends_with_prox(backend: str, sample: Sample) -> None:
    """A proximal step of 1/L lowers F by ‖move‖² / 2η at least; the move is prox(w − η ∇f(w)) − w."""
    here = sample.evaluate(backend)
    fit = one_step(backend, sample)
    size, n = float(fit.history.step_size[0]), sample.coef.size
    moved = np.append(np.ravel(sample.coef), np.broadcast_to(sample.intercept, sample.width)) - size * here.gradient
    threshold = size * sample.alpha * sample.l1_ratio
    expected = np.append(np.sign(moved[:n]) * np.maximum(np.abs(moved[:n]) - threshold, 0), moved[n:])
    reached = fit.parameters
    reach = np.abs(moved) + threshold
    assert np.all(np.abs(reached - expected) <= tolerance(np.float64, 4) * reach)
    way = reached - np.append(np.ravel(sample.coef), np.broadcast_to(sample.intercept, sample.width))
    slack = 80 * tolerance(sample.X.dtype, sample.terms) * define(sample).value_magnitude
    assert fit.loss <= fit.history.loss[0] - float(way @ way) / (2 * size) + slack


def one_step(backend: str, sample: Sample, **options: Any) -> st.Fit:
    """Make one step from the sample's own point."""
    with warnings.catch_warnings():
        # Whether the loss rose is judged by the laws, with the slack that rounding needs.
        warnings.simplefilter("ignore", st.ConvergenceWarning)
        return st.descend(
            sample.X,
            sample.y,
            loss=sample.loss,
            alpha=sample.alpha,
            l1_ratio=sample.l1_ratio,
            sample_weight=sample.weights,
            offset=sample.offset,
            classes=sample.classes,
            start=(sample.coef, sample.intercept),
            n_steps=1,
            backend=backend,
            **options,
        )


def descends(backend: str, sample: Sample) -> None:
    """A step of 1/L lowers the objective by at least half its length times the squared gradient, but for rounding."""
    sample = sample.smooth
    fit = one_step(backend, sample)
    there = define(sample.but(coef=fit.coef, intercept=fit.intercept))
    slack = 2 * tolerance(sample.X.dtype, sample.terms) * max(define(sample).value_magnitude, there.value_magnitude)
    gain = 0.5 * fit.history.step_size[0] * fit.history.gradient_norm[0] ** 2
    assert fit.loss <= fit.history.loss[0] - gain + slack


def steps_are_literal(backend: str, sample: Sample) -> None:
    """The history has what was before the step; the step is the learning rate times the gradient, bit for bit."""
    sample = sample.smooth
    here, rate, n = sample.evaluate(backend), 0.001, sample.coef.size
    fit = one_step(backend, sample, learning_rate=rate)
    assert fit.history.loss.tolist() == [here.value]
    assert fit.history.step_size.tolist() == [rate]
    assert np.array_equal(np.ravel(fit.coef), np.ravel(sample.coef) - rate * here.gradient[:n])
    assert np.array_equal(np.ravel(fit.intercept), sample.intercept - rate * here.gradient[n:])
    there = sample.but(coef=fit.coef, intercept=fit.intercept).evaluate(backend)
    assert fit.loss == there.value


def accelerated_certificate(backend: str, problem: LeastSquares, method: Any = "nesterov") -> None:
    """F(xₖ) − F* ≤ 2 L ‖w*‖² / (k + 1)² from zero, as long as no restart has happened."""
    X, y, singular_values = problem
    largest = 2 * singular_values[0] ** 2 / len(y)
    optimum = np.linalg.lstsq(X, y)[0]
    lowest = float(np.mean((X @ optimum - y) ** 2))
    options: dict[str, Any] = {"method": method, "fit_intercept": False, "backend": backend}
    slack = tolerance(np.float64, sum(X.shape), singular_values[0] / singular_values[-1]) * (1 + float(np.mean(y**2)))
    before = 1.0
    for k in range(1, 12):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", st.ConvergenceWarning)
            fit = st.descend(X, y, learning_rate=1 / largest, n_steps=k, **options)
        momentum = float(fit.state["t"][0])
        if momentum < before:
            break
        before = momentum
        x = fit.state["previous"]
        bound = 2 * largest * float(optimum @ optimum) / (k + 1) ** 2
        assert float(np.mean((X @ x - y) ** 2)) - lowest <= bound + slack


def backends_agree(kind: str, method: Any, names: tuple[str, str] = ("rust", "numpy"), **options: Any) -> None:
    """Two backends make the same first steps."""
    sample = example(kind)
    arguments: dict[str, Any] = {
        "loss": sample.loss,
        # As strong as the slopes, from near zero: some coefficients are pulled there and held.
        "alpha": 1.0,
        "start": (np.full_like(sample.coef, 0.002), sample.intercept),
        "l1_ratio": 0.5,
        "classes": sample.classes,
        "method": method,
        "learning_rate": 1e-3,
        "n_steps": 12,
        **options,
    }
    with warnings.catch_warnings():
        # A few mini-batches may lift the loss.
        warnings.simplefilter("ignore", st.ConvergenceWarning)
        core, portable = (st.descend(sample.X, sample.y, backend=name, **arguments) for name in names)
    slack = tolerance(np.float64, 1000) * (1 + float(np.abs(core.coef).max()))
    assert np.abs(core.coef - portable.coef).max() <= slack
    assert np.abs(core.intercept - portable.intercept).max() <= slack


def preconditioning_changes_no_optimum(backend: str, sample: Sample) -> None:
    """With and without, a descent ends where the optimality vanishes: at the same objective."""
    arguments: dict[str, Any] = {
        "loss": sample.loss,
        "alpha": 1.0,
        "l1_ratio": sample.l1_ratio,
        "sample_weight": sample.weights,
        "offset": sample.offset,
        "classes": sample.classes,
        "backend": backend,
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", st.ConvergenceWarning)
        fit = st.descend(sample.X, sample.y, method="nesterov", precondition=True, n_steps=400, **arguments)
    end = sample.but(alpha=1.0, coef=fit.coef, intercept=np.atleast_1d(fit.intercept))
    value, gradient = define(end).value, define(end).gradient
    n = sample.coef.size
    moved, threshold = np.ravel(fit.coef) - gradient[:n], sample.l1_ratio
    mapping = np.ravel(fit.coef) - np.sign(moved) * np.maximum(np.abs(moved) - threshold, 0)
    assert abs(fit.loss - value) <= tolerance(np.float64, sample.terms) * define(end).value_magnitude
    steepness = float(np.linalg.norm(np.append(mapping, gradient[n:])))
    assert steepness <= 1e-5 * (1 + float(np.linalg.norm(define(sample.but(coef=0 * sample.coef)).gradient)))
