"""The digits of least squares in closed form: those that NIST certifies (StRD), LAPACK's, and those of fractions."""

from __future__ import annotations

import json
import warnings
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given, strategies
from numpy.typing import NDArray

import steepest as st
from strategies import Floats, LeastSquares, problems
from tolerance import tolerance

NIST = Path(__file__).parent / "data" / "nist"
CERTIFIED: dict[str, dict[str, Any]] = json.loads((NIST / "certified.json").read_text())
#: Lines of text before the data.
HEADER = 60
#: As many digits as the certified numbers have.
MOST_DIGITS = 15.0
#: Correct digits of the worst coefficient at the least: what was measured, less a few tenths for other processors. The
#: powers of Filip, once they are rounded to floats, have a minimum of which 7.9 digits are those of the certified one.
LEAST_DIGITS = {
    "Filip": 7.8,
    "NoInt1": 14.0,
    "NoInt2": 14.0,
    "Norris": 12.0,
    "Wampler1": 9.0,
    "Wampler2": 12.0,
    "Wampler4": 7.5,
}
PLANS: dict[str, dict[str, Any]] = {"newton": {"method": "newton"}, "auto": {"method": "auto", "tol": 1e-10}}

every_set = pytest.mark.parametrize("name", CERTIFIED)
every_plan = pytest.mark.parametrize("plan", PLANS)


class Reference(NamedTuple):
    """A data set of NIST: X without a column of ones, y, and the certified coefficients, the intercept first."""

    X: Floats
    y: Floats
    coef: Floats
    has_intercept: bool

    @property
    def design(self) -> Floats:
        """X as LAPACK takes it: with ones for the intercept."""
        return np.column_stack([np.ones(len(self.y)), self.X]) if self.has_intercept else self.X


def load(name: str) -> Reference:
    coef = np.array(CERTIFIED[name]["coef"])
    y, x = np.loadtxt(NIST / f"{name}.dat", skiprows=HEADER, unpack=True)
    if name.startswith("NoInt"):
        return Reference(x[:, np.newaxis], y, coef, has_intercept=False)
    powers = np.vander(x, len(coef), increasing=True)
    return Reference(np.ascontiguousarray(powers[:, 1:]), y, coef, has_intercept=True)


def digits(found: NDArray[Any], certified: Floats) -> float:
    """Return how many digits the worst of some numbers has in common with what is certified, none of which is zero."""
    error = float(np.max(np.abs(found - certified) / np.abs(certified)))
    return min(MOST_DIGITS, -float(np.log10(max(error, np.finfo(np.float64).tiny))))


class Answer(NamedTuple):
    """A fit, its coefficients with the intercept first, and whether it came with a warning."""

    fit: st.Fit
    coef: Floats
    warned: bool


def solve(reference: Reference, **options: Any) -> Answer:
    """Solve by the core; any warning but the one about the data is an error."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("error")
        warnings.simplefilter("always", st.IllConditionedWarning)
        fit = st.descend(reference.X, reference.y, fit_intercept=reference.has_intercept, backend="rust", **options)
    coef = np.append(fit.intercept, fit.coef) if reference.has_intercept else fit.coef
    return Answer(fit, coef, bool(caught))


@every_set
def test_files_are_read_as_they_are_meant(name: str) -> None:
    """The certified coefficients leave the certified residual, as far as rounding of large powers lets it be seen."""
    reference, certified = load(name), CERTIFIED[name]
    assert reference.design.shape == (certified["n"], len(certified["coef"]))
    residual = reference.y - reference.design @ reference.coef
    freedom = np.subtract(*reference.design.shape)
    largest = float((np.abs(reference.design) @ np.abs(reference.coef)).max())
    deviation = np.sqrt(float(residual @ residual) / freedom)
    assert deviation == pytest.approx(certified["residual_sd"], rel=1e-9, abs=1e-12 * largest)


@every_set
@every_plan
def test_digits(name: str, plan: str) -> None:
    reference = load(name)
    answer = solve(reference, **PLANS[plan])
    correct = digits(answer.coef, reference.coef)
    lapack = digits(np.linalg.lstsq(reference.design, reference.y)[0], reference.coef)
    assert answer.warned or correct >= lapack
    assert correct >= LEAST_DIGITS[name]
    assert answer.fit.strategy == "gram"
    assert answer.fit.method == "newton"


@every_set
@every_plan
def test_only_the_worst_warns(name: str, plan: str) -> None:
    answer = solve(load(name), **PLANS[plan])
    assert answer.warned == (name == "Filip")
    assert answer.fit.condition is not None
    assert (answer.fit.condition > 1e14) == (name == "Filip")


@every_set
def test_the_loss_is_the_certified_residual(name: str) -> None:
    """Also where the coefficients are right to eight digits only: about a minimum their errors count squared."""
    reference, certified = load(name), CERTIFIED[name]
    fit = solve(reference, method="newton").fit
    n, p = reference.design.shape
    expected = certified["residual_sd"] ** 2 * (n - p) / n
    # Where nothing is left over, what rounding leaves of the targets.
    nothing = (1e-13 * float(np.abs(reference.y).max())) ** 2
    assert fit.loss == pytest.approx(expected, rel=1e-8, abs=nothing)


# --- LAPACK and fractions ---


def by_fractions(design: Floats, y: list[list[Fraction]], weights: Floats) -> Floats:
    """Return the minimum of least squares of these very numbers, a column a target, rounded once at its end."""
    rows = [[Fraction(x) for x in row] for row in design.tolist()]
    s, p = [Fraction(weight) for weight in weights.tolist()], design.shape[1]
    weighted = [[weight * x for x in row] for weight, row in zip(s, rows, strict=True)]
    sides = [row + targets for row, targets in zip(rows, y, strict=True)]
    columns = range(len(sides[0]))
    equations = [
        [sum((a[i] * b[j] for a, b in zip(weighted, sides, strict=True)), Fraction()) for j in columns]
        for i in range(p)
    ]
    for i in range(p):
        equations[i] = [entry / equations[i][i] for entry in equations[i]]
        for k in set(range(p)) - {i}:
            factor = equations[k][i]
            equations[k] = [entry - factor * own for entry, own in zip(equations[k], equations[i], strict=True)]
    return np.array([[float(entry) for entry in row[p:]] for row in equations])


@pytest.mark.parametrize("n_targets", [1, 2])
def test_what_the_rows_determine_is_found_to_many_digits(n_targets: int) -> None:
    """Where the condition number leaves six of sixteen, whatever the instructions: the last step has twice as many."""
    reference = load("Filip")
    generator = np.random.default_rng(0)
    shape = (len(reference.y), n_targets)
    weights, offset = generator.uniform(0.5, 2.0, size=shape[0]), generator.normal(size=shape)
    y = reference.y[:, np.newaxis] + generator.normal(size=shape) * (np.arange(n_targets) > 0)
    left = [
        [Fraction(a) - Fraction(b) for a, b in zip(*pair, strict=True)]
        for pair in zip(y.tolist(), offset.tolist(), strict=True)
    ]
    expected = by_fractions(reference.design, left, weights)
    given = (y, offset) if n_targets > 1 else (y[:, 0], offset[:, 0])
    answer = solve(reference._replace(y=given[0]), method="newton", sample_weight=weights, offset=given[1])
    assert answer.warned
    found = np.vstack([np.atleast_1d(answer.fit.intercept), np.atleast_2d(answer.fit.coef).T])
    assert digits(found, expected) >= 11.0
    # Far from the minimum, terms of the loss are 10¹⁶ times what they add up to.
    at_zero = weights @ np.array([[float(entry) ** 2 for entry in row] for row in left]).mean(axis=1) / weights.sum()
    assert answer.fit.history.loss[0] == pytest.approx(at_zero, rel=1e-6)


def by_lapack(problem: LeastSquares, alpha: float, *, fit_intercept: bool) -> Floats:
    """Return coefficients and intercept: by centring, and ridge by rows of its own."""
    X, y, _ = problem
    n, d = X.shape
    mean, target_mean = (X.mean(axis=0), y.mean()) if fit_intercept else (np.zeros(d), 0.0)
    tall = np.vstack([X - mean, np.sqrt(n * alpha / 2) * np.eye(d)])
    coef = np.linalg.lstsq(tall, np.append(y - target_mean, np.zeros(d)))[0]
    return np.append(coef, target_mean - mean @ coef)


@given(
    problem=problems(max_rows=40, max_cond=30, centred=True),
    alpha=strategies.sampled_from([0.0, 1e-3, 1.0]),
    shift=strategies.sampled_from([0.0, 1.0, -100.0]),
    fit_intercept=strategies.booleans(),
)
def test_newton_is_the_closed_form(
    backend: str, problem: LeastSquares, alpha: float, shift: float, *, fit_intercept: bool
) -> None:
    """And the loss there is the sum of squares, taken apart from all this."""
    # Without an intercept a shift would add a direction of its own to the condition number.
    X = problem.X + shift * fit_intercept
    problem, n = problem._replace(X=X), len(X)
    options: dict[str, Any] = {"alpha": alpha, "fit_intercept": fit_intercept, "backend": backend}
    fit = st.descend(X, problem.y, method="newton", strategy="gram", **options)
    found, expected = fit.parameters, by_lapack(problem, alpha, fit_intercept=fit_intercept)[: len(fit.parameters)]
    condition = (1 + abs(shift)) * (problem.singular_values[0] / problem.singular_values[-1]) ** 2
    # A column's deviation is one at the least, so the coefficients are of the size of the targets.
    reach = (1 + abs(shift)) * float(np.linalg.norm(problem.y)) / np.sqrt(n)
    assert np.abs(found - expected).max() <= tolerance(np.float64, sum(X.shape), condition) * reach
    coef, intercept = expected[: X.shape[1]], float(expected[-1]) if fit_intercept else 0.0
    squares = exact_loss(X, problem.y, coef, intercept) + alpha / 2 * float(coef @ coef)
    assert fit.loss == pytest.approx(squares, rel=1e-10, abs=tolerance(np.float64, sum(X.shape)) * reach**2)


def exact_loss(X: Floats, y: Floats, coef: Floats, intercept: float) -> float:
    """Return the average squared error without a rounding: of floats as the fractions they are."""
    weights = [Fraction(w) for w in coef.tolist()]
    residuals = [
        sum((Fraction(x) * w for x, w in zip(row, weights, strict=True)), Fraction(intercept)) - Fraction(target)
        for row, target in zip(X.tolist(), y.tolist(), strict=True)
    ]
    return float(sum(residual**2 for residual in residuals) / len(residuals))


def all_but_linear(mean: float, noise: float) -> tuple[Floats, Floats]:
    """Return three columns of this mean and deviation one, and targets with this deviation from a plane."""
    generator = np.random.default_rng(5)
    X = generator.normal(size=(200, 3)) + mean
    return X, X @ [1.0, -2.0, 0.5] + 3 + noise * generator.normal(size=200)


@pytest.mark.parametrize(
    ("mean", "noise", "error"), [(0.0, 1e-7, 1e-6), (1e6, 1e-1, 1e-6), (1e6, 1.0, 1e-6), (1e6, 1e-7, 1e-3)]
)
@pytest.mark.parametrize("method", ["newton", "lbfgs", "gd"])
def test_nothing_cancels(backend: str, method: str, mean: float, noise: float, error: float) -> None:
    """The loss where a descent ends is right to six digits, though its moments are of far larger numbers.

    To three where residuals have no more: scores of a million round to 1e-10.
    """
    X, y = all_but_linear(mean, noise)
    fit = st.descend(X, y, method=method, n_steps=60, precondition=True, backend=backend, strategy="gram")
    coef, intercept = fit.parameters[:3], float(fit.parameters[3])
    assert fit.loss == pytest.approx(exact_loss(X, y, coef, intercept), rel=error)
    assert fit.loss == pytest.approx(noise**2, rel=0.3)
    assert fit.history.loss.min() >= 0


@pytest.mark.parametrize("precondition", [False, True])
@pytest.mark.parametrize(("mean", "noise"), [(0.0, 0.0), (0.0, 1e-7), (1e6, 1e-7), (1e6, 1.0)])
def test_a_safe_descent_never_rises(backend: str, mean: float, noise: float, *, precondition: bool) -> None:
    X, y = all_but_linear(mean, noise)
    fit = st.descend(
        X, y, learning_rate="auto", precondition=precondition, n_steps=300, backend=backend, strategy="gram"
    )
    losses = np.append(fit.history.loss, fit.loss)
    # What rounding of the parameters does to the score of the mean row, squared.
    least = (tolerance(np.float64, 4) * (abs(float(fit.intercept)) + mean * float(np.abs(fit.coef).sum()))) ** 2
    assert losses.min() >= 0
    assert np.all(np.diff(losses) <= tolerance(np.float64, 4) * losses[:-1] + least)
