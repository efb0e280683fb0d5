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
    accelerated_certificate,
    backends_agree,
    curvature_is_the_spectrums,
    descends,
    descends_with_prox,
    finite,
    matches_definition,
    parts_make_the_whole,
    penalty_is_a_proximal_map,
    penalty_spares_the_intercept,
    portable,
    preconditioning_changes_no_optimum,
    rows_are_independent,
    same,
    sandwich,
    steps_are_literal,
    weights_are_relative,
    weights_are_repetitions,
)
from steepest import step_sizes
from steepest.backends.objective import ArrayObjective
from steepest.batches import Batches
from steepest.losses import Huber, LogLoss, Mse, Poisson, SquaredHinge
from steepest.penalties import ElasticNet
from steepest.updates import AcceleratedUpdate, AdamUpdate, GradientUpdate, HeavyBallUpdate
from strategies import KINDS, problems, samples

Law = Callable[[Any], None]
EVALUATE = portable(np)
MSE, LOGISTIC, SOFTMAX = Mse(), LogLoss(2), LogLoss(3)
#: Losses at targets that are −1 or 1, or 0 or 1 where they are counts.
SIGNED = [Huber(2.0), SquaredHinge()]


def scores(shape: Any, largest: float = 50.0) -> SearchStrategy[Any]:
    return hnp.arrays(np.float64, shape, elements=strategies.integers(-8, 8).map(lambda k: k * (largest / 8)))


def pairs(loss: Any) -> SearchStrategy[Pair]:
    targets = strategies.integers(0, 1).map(float)
    return strategies.builds(Pair, strategies.just(loss), targets, scores(loss.width), scores(loss.width))


def rows(loss: Any, largest: float) -> SearchStrategy[Rows]:
    targets = hnp.arrays(np.float64, 3, elements=strategies.integers(0, 1).map(float))
    return strategies.builds(Rows, strategies.just(loss), targets, scores((3, loss.width), largest))


def signed_pairs(loss: Any) -> SearchStrategy[Pair]:
    targets = strategies.sampled_from([-1.0, 1.0])
    return strategies.builds(Pair, strategies.just(loss), targets, scores(1, 4.0), scores(1, 4.0))


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
    "sandwich of the other losses": (
        strategies.sampled_from(SIGNED).flatmap(signed_pairs) | pairs(Poisson()),
        lambda pair: sandwich(EVALUATE, pair),
    ),
    "proximal map": (
        strategies.tuples(scores(3), scores(3)),
        lambda vectors: penalty_is_a_proximal_map(ElasticNet(0.5, 0.25), vectors[0], vectors[1], 2.0, 4.0),
    ),
    "a step goes through the map": (
        samples("mse").map(lambda sample: sample.but(alpha=0.5, l1_ratio=0.5)),
        lambda sample: descends_with_prox("numpy", sample),
    ),
    "momentum's steps": (
        strategies.sampled_from(sorted(KINDS)),
        lambda kind: backends_agree(kind, steepest.Momentum(0.5)),
    ),
    "accelerated steps": (strategies.sampled_from(sorted(KINDS)), lambda kind: backends_agree(kind, "nesterov")),
    "accelerated rate": (problems(max_cond=100), lambda problem: accelerated_certificate("numpy", problem)),
    "Adam's steps": (strategies.sampled_from(sorted(KINDS)), lambda kind: backends_agree(kind, "adam")),
    "steps of mini-batches": (
        strategies.sampled_from(sorted(KINDS)),
        lambda kind: backends_agree(kind, "sgd", batch_size=8),
    ),
    "preconditioning": (
        samples("mse", max_rows=6),
        lambda sample: preconditioning_changes_no_optimum("numpy", sample),
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
    self.total_weight = float(problem.n_samples)


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
    gradient[self.n_coef :] += self.penalty.l2 * parameters[self.n_coef :]
    return value, gradient


def whole_blocks_only(self: ArrayObjective) -> Iterator[slice]:
    n = self.design.shape[0]
    for start in range(0, n - n % 3 if n > 3 else n, 3):
        yield slice(start, min(start + 3, n))


def overlapping_blocks(self: ArrayObjective) -> Iterator[slice]:
    for start in range(0, self.design.shape[0], 3):
        yield slice(start, start + 4)


def twice_the_penalty(self: ElasticNet, xp: Any, coef: Any) -> Any:
    return self.l2 * xp.sum(coef * coef), self.l2 * coef


def prox_of_everything(self: ArrayObjective, parameters: Any, size: Any) -> Any:
    return self.penalty.prox(self.xp, parameters, size) if self.penalty.l1 else parameters


def prox_without_size(self: ElasticNet, xp: Any, coef: Any, size: Any, scale: Any = 1.0) -> Any:  # noqa: ARG001
    return coef - xp.clip(coef, -self.l1, self.l1)


def hard_threshold(self: ElasticNet, xp: Any, coef: Any, size: Any, scale: Any = 1.0) -> Any:
    return xp.where(xp.abs(coef) > size * self.l1 / scale, coef, 0.0)


def prox_before_the_step(_: Any, xp: Any, point: Any, gradient: Any, size: float, prox: Any) -> Any:  # noqa: ARG001
    return prox(point, size) - size * gradient


def momentum_of_the_start(self: HeavyBallUpdate, point: Any) -> None:
    self.before = point if self.before is None else self.before


def momentum_outside_the_map(self: Any, _: Any, point: Any, gradient: Any, size: float, prox: Any) -> Any:
    before = point if self.before is None else self.before
    return prox(point - size * gradient, size) + self.momentum * (point - before)


def acceleration_off_by_one(self: Any, _: Any, point: Any, gradient: Any, size: float, prox: Any) -> Any:
    x = point if self.x is None else self.x
    new = prox(point - size * gradient, size)
    following = 0.5 * (1.0 + (1.0 + 4.0 * self.t * self.t) ** 0.5)
    self.following = following, new
    return new + self.t / following * (new - x)


def step_from_the_last_answer(self: Any, _: Any, point: Any, gradient: Any, size: float, prox: Any) -> Any:
    x = point if self.x is None else self.x
    new = prox(x - size * gradient, size)
    self.following = 0.5 * (1.0 + (1.0 + 4.0 * self.t * self.t) ** 0.5), new
    return new + (self.t - 1.0) / self.following[0] * (new - x)


def a_tenth_of_the_step(*step: Any) -> Any:
    return ACCELERATED_TARGET(*step[:4], step[4] / 10, step[5])


def moments_without_bias(self: Any, *step: Any) -> Any:
    xp, point, _, size, prox = step
    own_size = size / (xp.sqrt(self.square) + self.adam.epsilon)
    return prox(point - own_size * self.mean, own_size)


def one_row_off(self: Batches, step: int) -> Any:
    return (BATCH_ROWS(self, step) + 1) % self.n_rows


def rows_of_the_next_step(self: Batches, step: int) -> Any:
    return BATCH_ROWS(self, step + 1)


def intercept_not_moved(self: ArrayObjective, parameters: Any, width: Any = None) -> Any:
    coef, intercept = self._split(parameters, width)
    return self._joined(coef / self.scale, intercept)


def penalty_on_scaled_columns(self: ArrayObjective, parameters: Any) -> Any:
    value, gradient = OBJECTIVE_EVALUATE(self, parameters)
    coef = self._split(parameters)[0]
    change = self.penalty.l2 * (coef - coef / self.scale**2)
    return value, gradient + self._joined(change, self.xp.zeros(self.loss.width))


def huber_without_the_half(self: Huber, xp: Any, targets: Any, scores: Any) -> Any:
    residual = scores - targets
    cut = xp.clip(residual, -self.parameter, self.parameter)
    return cut * (residual - 0.25 * cut), cut


def hinge_of_the_wrong_side(self: Any, xp: Any, targets: Any, scores: Any) -> Any:  # noqa: ARG001
    miss = xp.clip(1 + targets * scores, 0.0, None)
    return miss * miss, -2 * targets * miss


def mean_of_counts_as_scores(self: Any, xp: Any, targets: Any, scores: Any) -> Any:  # noqa: ARG001
    e = xp.exp(scores)
    return e - targets * scores, e - scores


LOGISTIC_FORMULA = LogLoss._logistic
SOFTMAX_FORMULA = LogLoss._softmax
OBJECTIVE_INIT = ArrayObjective.__init__
OBJECTIVE_EVALUATE = ArrayObjective.value_and_gradient
BATCH_ROWS = Batches.rows
ACCELERATED_TARGET: Any = AcceleratedUpdate.target

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
    "twice the penalty": (
        ElasticNet,
        "value_and_gradient",
        twice_the_penalty,
        ["penalty spares the intercept", "definition"],
    ),
    "curvature without its penalty": (ElasticNet, "curvature", 0.0, ["curvature of the spectrum"]),
    "prox on the intercept": (ArrayObjective, "prox", prox_of_everything, ["a step goes through the map"]),
    "prox without the step size": (ElasticNet, "prox", prox_without_size, ["proximal map"]),
    "hard threshold": (ElasticNet, "prox", hard_threshold, ["proximal map", "a step goes through the map"]),
    "prox before the step": (GradientUpdate, "target", prox_before_the_step, ["a step goes through the map"]),
    "momentum of the start": (HeavyBallUpdate, "commit", momentum_of_the_start, ["momentum's steps"]),
    "momentum outside the map": (HeavyBallUpdate, "target", momentum_outside_the_map, ["momentum's steps"]),
    "acceleration off by one": (AcceleratedUpdate, "target", acceleration_off_by_one, ["accelerated steps"]),
    "step from the last answer": (
        AcceleratedUpdate,
        "target",
        step_from_the_last_answer,
        ["accelerated steps"],
    ),
    "a tenth of the step": (
        AcceleratedUpdate,
        "target",
        a_tenth_of_the_step,
        ["accelerated steps", "accelerated rate"],
    ),
    "moments without their bias": (AdamUpdate, "target", moments_without_bias, ["Adam's steps"]),
    "batches one row off": (Batches, "rows", one_row_off, ["steps of mini-batches"]),
    "batches one step off": (Batches, "rows", rows_of_the_next_step, ["steps of mini-batches"]),
    "intercept not moved back": (ArrayObjective, "to_original", intercept_not_moved, ["preconditioning"]),
    "penalty on scaled columns": (
        ArrayObjective,
        "value_and_gradient",
        penalty_on_scaled_columns,
        ["preconditioning"],
    ),
    "Huber's half": (Huber, "value_and_residual", huber_without_the_half, ["sandwich of the other losses"]),
    "hinge of the wrong side": (
        SquaredHinge,
        "value_and_residual",
        hinge_of_the_wrong_side,
        ["definition"],
    ),
    "slope of counts": (
        Poisson,
        "value_and_residual",
        mean_of_counts_as_scores,
        ["sandwich of the other losses", "definition"],
    ),
    "sign of a step": (
        GradientUpdate,
        "target",
        lambda *step: step[-1](step[2] + step[4] * step[3], step[4]),
        ["descends", "steps are literal"],
    ),
    "step uphill": (
        step_sizes,
        "_inverse",
        # The test of the step would shorten one that only forgot a factor.
        lambda curvature: -1 / curvature if curvature else 1.0,
        ["descends"],
    ),
    "normalised gradient": (
        GradientUpdate,
        "target",
        lambda *step: step[2] - step[4] * step[3] / max(1e-300, np.linalg.norm(step[3])),
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
