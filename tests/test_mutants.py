"""Wrong mathematics, planted on purpose: each must break a law, or the law would be worth nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
from hypothesis import Phase, given, settings, strategies
from hypothesis.strategies import SearchStrategy

import steepest
from properties import (
    Pair,
    Rows,
    curvature_is_the_spectrums,
    descends,
    finite,
    matches_definition,
    parts_make_the_whole,
    penalty_spares_the_intercept,
    portable,
    rows_are_independent,
    same,
    sandwich,
    steps_are_literal,
    weights_are_relative,
    weights_are_repetitions,
)
from steepest.backends import array
from steepest.backends.array import ArrayObjective
from steepest.losses import LogLoss, Mse
from steepest.methods import GradientDescent
from steepest.penalties import L2
from strategies import problems, samples

Law = Callable[[Any], None]
EVALUATE = portable(np)
MSE, LOGISTIC, SOFTMAX = Mse(), LogLoss(2), LogLoss(3)


def scores(shape: Any, largest: float = 50.0) -> SearchStrategy[Any]:
    return hnp.arrays(np.float64, shape, elements=strategies.integers(-8, 8).map(lambda k: k * (largest / 8)))


def pairs(loss: Any) -> SearchStrategy[Pair]:
    targets = strategies.integers(0, 1).map(float)
    return strategies.builds(Pair, strategies.just(loss), targets, scores(loss.width), scores(loss.width))


def rows(loss: Any, largest: float) -> SearchStrategy[Rows]:
    targets = hnp.arrays(np.float64, 3, elements=strategies.integers(0, 1).map(float))
    return strategies.builds(Rows, strategies.just(loss), targets, scores((3, loss.width), largest))


#: The laws: what each is drawn from, and what it asserts of a drawn case.
LAWS: dict[str, tuple[SearchStrategy[Any], Law]] = {
    "sandwich of the squared error": (pairs(MSE), lambda pair: sandwich(EVALUATE, pair)),
    "sandwich of the logistic loss": (pairs(LOGISTIC), lambda pair: sandwich(EVALUATE, pair)),
    "sandwich of the softmax loss": (pairs(SOFTMAX), lambda pair: sandwich(EVALUATE, pair)),
    "finite logistic loss": (rows(LOGISTIC, 1e4), lambda drawn: finite(EVALUATE, drawn)),
    "finite softmax loss": (rows(SOFTMAX, 1e308), lambda drawn: finite(EVALUATE, drawn)),
    "rows are independent": (rows(SOFTMAX, 1e4), lambda drawn: rows_are_independent(EVALUATE, drawn)),
    "definition": (samples(), lambda sample: matches_definition("numpy", sample)),
    "weights are repetitions": (
        samples("mse", exact=True, weighted=True),
        lambda sample: weights_are_repetitions("numpy", sample),
    ),
    "weights are relative": (samples(weighted=True), lambda sample: weights_are_relative("numpy", sample, 4.0)),
    "unit weights are none": (
        samples(weighted=False),
        lambda sample: same("numpy", sample, sample.but(weights=np.ones(len(sample.y))), exact=True),
    ),
    "parts make the whole": (
        samples().filter(lambda sample: len(sample.y) > 1),
        lambda sample: parts_make_the_whole("numpy", sample, 1),
    ),
    "penalty spares the intercept": (samples(exact=True), lambda sample: penalty_spares_the_intercept("numpy", sample)),
    "curvature of the spectrum": (
        problems(max_cond=10),
        lambda problem: curvature_is_the_spectrums("numpy", problem, np.float64, 0.5),
    ),
    "descends": (samples("mse"), lambda sample: descends("numpy", sample)),
    "steps are literal": (samples("mse"), lambda sample: steps_are_literal("numpy", sample)),
}


def wrong_sign(self: Any, xp: Any, targets: Any, scores: Any) -> Any:  # noqa: ARG001
    residual = scores - targets
    return residual**2, -2 * residual


def missing_factor(self: Any, xp: Any, targets: Any, scores: Any) -> Any:  # noqa: ARG001
    residual = scores - targets
    return residual**2, residual


def naive_logistic(self: Any, xp: Any, y: Any, z: Any) -> Any:  # noqa: ARG001
    e = xp.exp(z)
    return xp.log(1 + e) - y * z, e / (1 + e) - y


def swapped_labels(self: Any, xp: Any, y: Any, z: Any) -> Any:
    value, slope = LOGISTIC_FORMULA(self, xp, 1 - y, z)
    return value, -slope


def probability(self: Any, xp: Any, y: Any, z: Any) -> Any:
    value, slope = LOGISTIC_FORMULA(self, xp, y, z)
    return value, slope + y


def softmax_of_squares(self: Any, xp: Any, y: Any, z: Any) -> Any:
    value, slope = SOFTMAX_FORMULA(self, xp, y, z)
    return value, slope * (1 - slope**2)


def softmax_with(highest: Callable[[Any, Any], Any]) -> Any:
    def formula(self: Any, xp: Any, y: Any, z: Any) -> Any:
        chosen = y[:, None] == xp.arange(self.n_classes)[None, :]
        shifted = z - highest(xp, z)
        e = xp.exp(shifted)
        total = xp.sum(e, axis=1, keepdims=True)
        return xp.log(total[:, 0]) - xp.sum(chosen * shifted, axis=1), e / total - chosen

    return formula


def weights_not_normalised(self: ArrayObjective, problem: Any, xp: Any) -> None:
    OBJECTIVE_INIT(self, problem, xp)
    self.total_weight = float(len(problem.design))


def one_weight_less(self: ArrayObjective, problem: Any, xp: Any) -> None:
    OBJECTIVE_INIT(self, problem, xp)
    if self.weights is not None:
        self.total_weight -= 0.5  # Not 1, which would leave nothing of one row.


def weights_of_values_only(self: ArrayObjective, parameters: Any) -> Any:
    value, _ = OBJECTIVE_EVALUATE(self, parameters)
    self.weights = None
    return value, OBJECTIVE_EVALUATE(self, parameters)[1]


def penalty_on_the_intercept(self: ArrayObjective, parameters: Any) -> Any:
    value, gradient = OBJECTIVE_EVALUATE(self, parameters)
    gradient[self.n_coef :] += self.penalty.alpha * parameters[self.n_coef :]
    return value, gradient


def whole_blocks_only(self: ArrayObjective) -> Iterator[slice]:
    n = self.design.shape[0]
    for start in range(0, n - n % 3 if n > 3 else n, 3):
        yield slice(start, min(start + 3, n))


def overlapping_blocks(self: ArrayObjective) -> Iterator[slice]:
    for start in range(0, self.design.shape[0], 3):
        yield slice(start, start + 4)


def twice_the_penalty(self: L2, xp: Any, coef: Any) -> Any:
    return self.alpha * xp.sum(coef * coef), self.alpha * coef


LOGISTIC_FORMULA = LogLoss._logistic
SOFTMAX_FORMULA = LogLoss._softmax
OBJECTIVE_INIT = ArrayObjective.__init__
OBJECTIVE_EVALUATE = ArrayObjective.value_and_gradient

#: What is replaced, by what, and the laws that must notice.
MUTANTS: dict[str, tuple[Any, str, Any, list[str]]] = {
    "sign of a slope": (Mse, "value_and_residual", wrong_sign, ["sandwich of the squared error", "definition"]),
    "missing factor 2": (Mse, "value_and_residual", missing_factor, ["sandwich of the squared error", "definition"]),
    "curvature bound too small": (
        Mse,
        "curvature",
        1.0,
        ["sandwich of the squared error", "curvature of the spectrum"],
    ),
    "overflowing logistic loss": (LogLoss, "_logistic", naive_logistic, ["finite logistic loss"]),
    "swapped labels": (LogLoss, "_logistic", swapped_labels, ["definition"]),
    "probability for a slope": (LogLoss, "_logistic", probability, ["sandwich of the logistic loss", "definition"]),
    "highest score of all rows": (
        LogLoss,
        "_softmax",
        softmax_with(lambda xp, z: xp.max(z)),
        ["rows are independent", "finite softmax loss"],
    ),
    "no highest score": (LogLoss, "_softmax", softmax_with(lambda _, __: 0.0), ["finite softmax loss"]),
    "slope of another loss": (LogLoss, "_softmax", softmax_of_squares, ["sandwich of the softmax loss", "definition"]),
    "weights not normalised": (
        ArrayObjective,
        "__init__",
        weights_not_normalised,
        ["weights are relative", "weights are repetitions", "definition"],
    ),
    "one weight less": (ArrayObjective, "__init__", one_weight_less, ["unit weights are none", "definition"]),
    "weights of values only": (
        ArrayObjective,
        "value_and_gradient",
        weights_of_values_only,
        ["weights are repetitions", "definition"],
    ),
    "penalty on the intercept": (
        ArrayObjective,
        "value_and_gradient",
        penalty_on_the_intercept,
        ["penalty spares the intercept", "definition"],
    ),
    "last block dropped": (ArrayObjective, "_blocks", whole_blocks_only, ["parts make the whole", "definition"]),
    "blocks that overlap": (ArrayObjective, "_blocks", overlapping_blocks, ["parts make the whole", "definition"]),
    "twice the penalty": (L2, "value_and_gradient", twice_the_penalty, ["penalty spares the intercept", "definition"]),
    "curvature without its penalty": (L2, "curvature", 0.0, ["curvature of the spectrum"]),
    "sign of a step": (
        GradientDescent,
        "advance",
        lambda _, point, gradient, step_size: point + step_size * gradient,
        ["descends", "steps are literal"],
    ),
    "step too long": (
        array,
        "step_size_rule",
        lambda _, curvature: lambda: 2.5 / curvature(),
        ["descends", "steps are literal"],
    ),
    "normalised gradient": (
        GradientDescent,
        "advance",
        lambda _, point, gradient, step_size: point - step_size * gradient / max(1e-300, np.linalg.norm(gradient)),
        ["steps are literal"],
    ),
}


def hold(law: str) -> None:
    """Assert a law on examples that are always the same."""
    cases, check = LAWS[law]

    @settings(max_examples=100, database=None, derandomize=True, deadline=None, phases=[Phase.generate])
    @given(cases)
    def run(case: Any) -> None:
        check(case)

    run()


@pytest.mark.parametrize("law", LAWS)
def test_laws_hold(law: str) -> None:
    hold(law)


@pytest.mark.parametrize(
    ("mutant", "law"), [(mutant, law) for mutant, (_, _, _, laws) in MUTANTS.items() for law in laws]
)
def test_mutant_breaks_law(mutant: str, law: str, monkeypatch: pytest.MonkeyPatch) -> None:
    owner, name, replacement, _ = MUTANTS[mutant]
    monkeypatch.setattr(owner, name, replacement)
    with pytest.raises((AssertionError, steepest.SteepestError)):
        hold(law)


def test_every_law_can_be_broken() -> None:
    broken = {law for _, _, _, laws in MUTANTS.values() for law in laws}
    assert broken == set(LAWS)
