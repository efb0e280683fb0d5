"""The functions of the binding, called with what the façade would never let through: an exception, and never a panic.

A hundred thousand calls: STEEPEST_TEST_PROFILE=deep python -m pytest tests/reliability/test_fuzz.py
"""

from __future__ import annotations

import dataclasses
import os
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

import odd
import steepest as st
from odd import Odd
from steepest import _steepest
from steepest.losses import LOSSES, LogLoss
from steepest.methods import METHODS
from steepest.step_sizes import SCHEDULES, SEARCHES, Auto

N_CALLS = {"deep": 100_000, "ci": 20_000}.get(os.environ.get("STEEPEST_TEST_PROFILE", ""), 2_000)


def value_and_gradient(odd: Odd) -> Any:
    problem = odd.problem()
    return _steepest.value_and_gradient(problem, odd.array((odd.n_parameters(problem),), "f8"), odd.one_of((1, 2)))


def minimise(odd: Odd) -> Any:
    problem, validation = odd.problem(), odd.problem() if odd.rarely(0.1) else None
    if odd.rarely(0.1):
        validation = problem
    start = odd.array((odd.n_parameters(problem),), "f8")
    names = ("point", "moves", "changes", "mean", "square", "previous", "n_made", "patience", "other")
    state = {name: odd.array((odd.n_parameters(problem),), "f8") for name in names if odd.rarely(0.1)}
    callback = (lambda *_: odd.rarely()) if odd.rarely(0.3) else None
    return _steepest.minimise(problem, validation, odd.plan(), start, state, callback)


CALLS: dict[str, Callable[[Odd], Any]] = {
    "minimise": minimise,
    "value_and_gradient": value_and_gradient,
    "curvature": lambda odd: _steepest.curvature(odd.problem(), 2),
    "statistics": lambda odd: _steepest.statistics(odd.problem(), 2),
    "merged_statistics": lambda odd: _steepest.merged_statistics(odd.statistics(2), odd.statistics(odd.one_of((2, 3)))),
    "read": lambda odd: _steepest.read(odd.array((3, 4), odd.one_of(("f4", "f8"))), 2),
}
#: Of ten calls six are of the one that does most.
DRAWN = ["minimise"] * 5 + list(CALLS)


def test_every_name_that_the_core_knows_is_drawn() -> None:
    """And one that it does not."""
    softmax = [LogLoss(n_classes=3, probabilities=probabilities).kernel for probabilities in (False, True)]
    rules = (Auto, *SCHEDULES, *SEARCHES)
    assert set(odd.KERNELS) == {"none", *(loss().kernel for loss in LOSSES.values()), *softmax}
    assert set(odd.METHODS) == {"none", *METHODS}
    assert set(odd.STEP_SIZES) == {"none", *(rule.name for rule in rules)}
    kinds = [*METHODS.values(), *rules]
    assert set(odd.SETTINGS) >= {field.name for kind in kinds for field in dataclasses.fields(kind)}


def test_odd_calls() -> None:
    outcomes: Counter[str] = Counter()
    for seed in range(N_CALLS):
        odd = Odd(seed)
        name = odd.one_of(DRAWN)
        try:
            CALLS[name](odd)
        except st.InternalError as error:
            pytest.fail(f"{name}, seed {seed}: {error}")
        except Exception as error:  # noqa: BLE001
            # PanicException is not an Exception, and ends the test.
            outcomes[type(error).__name__] += 1
        else:
            outcomes["answered"] += 1
    assert outcomes["answered"] > N_CALLS / 10
    assert set(outcomes) <= {
        "answered",
        "InputError",
        "MemoryError",
        "TypeError",
        "ValueError",
        "OverflowError",
        "AttributeError",
    }
