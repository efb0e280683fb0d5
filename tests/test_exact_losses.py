"""Losses and their derivatives against fifty digits, on scores to ±1e4: every loss, in every form that computes it."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import array_api_strict
import mpmath
import numpy as np
import pytest

import steepest
from properties import Rows
from steepest.losses import HIGHEST_EXPONENT, Huber, LogLoss, Loss, Mse, Poisson, SquaredHinge
from test_losses import GRID, every_dtype, every_evaluation, every_variant
from tolerance import tolerance


class Exact(NamedTuple):
    """Value, slopes and second derivatives of a loss in 50 digits, each with the size of the terms that make it up."""

    value: Any
    slopes: list[Any]
    bends: list[list[Any]]


def exact(loss: Loss, y: list[Any], z: list[Any], cut: float) -> Exact:
    """Return pairs of a number and a size, from the formulas of the reference; y has one number a score."""
    match loss:
        case Mse(n_targets=k):
            errors = [a - b for a, b in zip(z, y, strict=True)]
            slopes = [(2 * r / k, 2 * abs(r) / k) for r in errors]
            value = mpmath.fsum(r**2 for r in errors) / k
            return Exact((value, value), slopes, diagonal([2 / mpmath.mpf(k)] * k))
        case LogLoss(n_classes=2):
            p, q = 1 / (1 + mpmath.exp(-z[0])), 1 / (1 + mpmath.exp(z[0]))
            soft = mpmath.log1p(mpmath.exp(z[0]))
            return Exact((soft - y[0] * z[0], soft + y[0] * abs(z[0])), [(p - y[0], p + y[0])], [[(p * q, p * q)]])
        case LogLoss():
            powers = [mpmath.exp(score - max(z)) for score in z]
            p = [power / mpmath.fsum(powers) for power in powers]
            away = mpmath.fsum(b * (max(z) - a) for a, b in zip(z, y, strict=True))
            soft = mpmath.log(mpmath.fsum(powers))
            slopes = [(a - b, 1) for a, b in zip(p, y, strict=True)]
            # The distance from the highest score is rounded, and its exponential off by as much as it is large.
            size = [a * (1 + max(z) - score) for a, score in zip(p, z, strict=True)]
            bends = [
                [(a * ((j == k) - b), size[j] * ((j == k) + size[k])) for k, b in enumerate(p)] for j, a in enumerate(p)
            ]
            return Exact((soft + away, 1 + soft + away), slopes, bends)
        case Huber(delta=delta):
            r = z[0] - y[0]
            near = max(-delta, min(r, mpmath.mpf(delta)))
            size = abs(near) * (abs(r) + abs(near))
            bend = (int(abs(r) <= delta), 1)
            if abs(abs(r) - delta) <= 1e-6 * (delta + y[0]):
                # Where rounding may be on the other side of the kink, either is right.
                bend = (mpmath.mpf(0.5), mpmath.inf)
            return Exact((near * (r - near / 2), size), [(near, abs(near))], [[bend]])
        case Poisson():
            power, beyond = mpmath.exp(min(z[0], cut)), max(z[0] - cut, mpmath.mpf(0))
            size = power * (1 + beyond) + y[0] * abs(z[0])
            return Exact((power * (1 + beyond) - y[0] * z[0], size), [(power - y[0], power + y[0])], diagonal([power]))
        case _:
            miss = max(1 - y[0] * z[0], mpmath.mpf(0))
            return Exact((miss**2, miss**2), [(-2 * y[0] * miss, 2 * miss)], diagonal([2 * (y[0] * z[0] < 1)]))


def diagonal(numbers: list[Any]) -> list[list[Any]]:
    return [[(x, x) if j == k else (0, 0) for k, _ in enumerate(numbers)] for j, x in enumerate(numbers)]


def digits_of(loss: Loss, dtype: Any) -> list[Rows]:
    """Return rows of scores to ±1e4, with one target after another."""
    grid = np.concatenate([-GRID[::-1], GRID]).astype(dtype)
    scores = np.stack([np.roll(grid, 17 * k) if k != 1 else np.zeros_like(grid) for k in range(loss.width)], axis=1)
    targets: list[Any] = [0.0, 1.0, 3.0, 1000.0]
    if isinstance(loss, LogLoss):
        targets = [0.25, 1.0] if loss.probabilities else [*range(loss.n_classes)]
    elif isinstance(loss, SquaredHinge):
        targets = [-1.0, 1.0]
    if loss.width > 1 and not (isinstance(loss, LogLoss) and not loss.probabilities):
        # Probabilities of a row have a sum of one; so may targets.
        targets = [[t, *[(1 - t) / (loss.width - 1)] * (loss.width - 1)] for t in targets]
    return [Rows(loss, np.array([target] * len(grid), dtype), scores) for target in targets]


def in_digits(numbers: Any) -> list[Any]:
    return [mpmath.mpf(float(number)) for number in np.ravel(numbers)]


@every_dtype
@every_variant
@every_evaluation
def test_every_loss_and_its_derivatives_to_fifty_digits(evaluate: Callable[..., Any], loss: Loss, dtype: Any) -> None:
    """Within a few roundings of the terms; an exponential that vanishes may be off by the smallest normal number.

    The exponential of "poisson" is its tangent beyond 600, and 64 in single precision.
    """
    slack, least = tolerance(dtype, loss.width), 2 * float(np.finfo(dtype).tiny)
    cut = HIGHEST_EXPONENT[np.dtype(dtype).name]

    def expect(found: Any, expected: tuple[Any, Any]) -> None:
        assert abs(mpmath.mpf(float(found)) - expected[0]) <= slack * expected[1] + least

    for drawn in digits_of(loss, dtype):
        losses, slopes = evaluate(*drawn)
        labels = isinstance(loss, LogLoss) and loss.width > 1 and not loss.probabilities
        with mpmath.workdps(50):
            for target, row, value, slope in zip(drawn.targets, drawn.scores, losses, slopes, strict=True):
                y = [int(k == target) for k in range(loss.width)] if labels else in_digits(target)
                known = exact(loss, y, in_digits(row), cut)
                expect(value, known.value)
                for found, expected in zip(slope, known.slopes, strict=True):
                    expect(found, expected)


@every_dtype
@every_variant
@pytest.mark.parametrize("namespace", [np, array_api_strict], ids=["numpy", "strict"])
def test_second_derivatives_to_fifty_digits(namespace: Any, loss: Loss, dtype: Any) -> None:
    slack, least = tolerance(dtype, loss.width), 2 * float(np.finfo(dtype).tiny)
    cut = HIGHEST_EXPONENT[np.dtype(dtype).name]
    for drawn in digits_of(loss, dtype):
        flat = drawn.scores if loss.width > 1 else drawn.scores[:, 0]
        found = loss.second_derivative(namespace, namespace.asarray(drawn.targets), namespace.asarray(flat))
        bends = np.asarray(found).reshape(-1, loss.width**2)
        assert bends.dtype == dtype
        with mpmath.workdps(50):
            for target, row, bend in zip(drawn.targets, drawn.scores, bends, strict=True):
                y = in_digits(target) if np.size(target) == loss.width else [0] * loss.width
                expected = [each for line in exact(loss, y, in_digits(row), cut).bends for each in line]
                for one, (number, size) in zip(bend, expected, strict=True):
                    assert abs(mpmath.mpf(float(one)) - number) <= slack * size + least


@pytest.mark.parametrize("loss", [Mse(), LogLoss(2), Huber(250.0), Poisson(), SquaredHinge()], ids=repr)
def test_newtons_step_of_the_core_to_fifty_digits(loss: Loss) -> None:
    """Of one parameter that is the score of one row: the slope by the second derivative, times the step size."""
    slack, least = tolerance(np.float64, 2), 2 * float(np.finfo(np.float64).tiny)
    # A second row has no part in the score; of two labels there must be both.
    X, y = np.array([[1.0], [0.0]]), np.array([-1.0, 1.0] if isinstance(loss, SquaredHinge) else [0.0, 1.0])
    options: dict[str, Any] = {"method": "newton", "strategy": "stream", "alpha": 0.0, "tol": 0.0, "backend": "rust"}
    n_compared = 0
    for z in np.concatenate([-GRID[::-1], GRID]).tolist():
        known = exact(loss, [mpmath.mpf(y[0])], [mpmath.mpf(z)], HIGHEST_EXPONENT["float64"])
        ((slope, slope_size),), (((bend, bend_size),),) = known.slopes, known.bends
        if bend_size == mpmath.inf or abs(slope) <= least or bend <= least:
            continue
        with warnings.catch_warnings():
            # One step is not all that it takes.
            warnings.simplefilter("ignore", steepest.ConvergenceWarning)
            start = np.array([z]), 0.0
            fit = steepest.descend(X, y, loss=loss, start=start, fit_intercept=False, n_steps=1, **options)
        if not fit.n_steps:
            # What a step would gain is less than the loss is rounded by.
            continue
        with mpmath.workdps(50):
            size, there = mpmath.mpf(float(fit.history.step_size[0])), mpmath.mpf(float(fit.coef.ravel()[0]))
            rounded = slack * (slope_size / bend + abs(slope) * bend_size / bend**2 + (abs(z) + abs(there)) / size)
            assert abs((z - there) / size - slope / bend) <= rounded, z
        n_compared += 1
    assert n_compared > len(GRID) / 2
