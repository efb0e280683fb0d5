"""Huge shapes under a limit of memory: a MemoryError, or another exception, and never the end of the process.

An allocation of Rust's that fails aborts. So the core asks first for all that the user's numbers decide.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from children import run

pytestmark = pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="limits what Linux counts")

PROGRAM = """
import os, resource, sys, warnings
import numpy as np
from scipy import sparse
import steepest as st
from steepest import _steepest

warnings.simplefilter("ignore")
rng = np.random.default_rng(0)
x, y = rng.normal(size=(40_000, 10)), rng.normal(size=40_000)
before = st.descend(x, y, n_steps=3, strategy="stream", n_threads=2).coef

def limit(megabytes):
    size = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + (megabytes << 20), resource.RLIM_INFINITY))

def attempt(work):
    try:
        work()
    except BaseException as error:
        return type(error).__name__ + ": " + str(error)
    return "nothing"

def one_column(d, n=3):
    return sparse.csr_array((np.ones(n), np.arange(n) * (d // n), np.arange(n + 1)), shape=(n, d))
"""
AFTERWARDS = """
resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
assert (st.descend(x, y, n_steps=3, strategy="stream", n_threads=2).coef == before).all()
print(said)
"""
#: What is done, with how many megabytes to spare, and what must be said.
CASES = {
    "dense, far beyond all memory": (
        512,
        "st.descend(np.broadcast_to(1.0, (10**9, 10**5)), np.zeros(3))",
        "MemoryError",
    ),
    "sparse of ten thousand million columns": (512, "st.descend(one_column(10**10), np.arange(3.0))", "MemoryError"),
    "sparse of a hundred million columns": (
        2048,
        "st.descend(one_column(10**8), np.arange(3.0), method='lbfgs', n_steps=2)",
        "MemoryError",
    ),
    "sufficient statistics of many columns": (
        512,
        "st.descend(one_column(4000), np.arange(3.0), strategy='gram', method='gd', n_steps=1)",
        "MemoryError: sufficient statistics: ",
    ),
    "statistics of a part": (
        512,
        "st.SufficientStatistics().update(one_column(4000), np.arange(3.0))",
        "MemoryError: sufficient statistics: ",
    ),
    "second derivatives": (
        512,
        "st.descend(one_column(8000), [0, 1, 1], loss='log_loss', method='newton')",
        "MemoryError: second derivatives: ",
    ),
    "second derivatives of too many parameters": (
        512,
        "st.descend(one_column(9000), [0, 1, 1], loss='log_loss', method='newton')",
        "InputError: method 'newton': 9001 parameters",
    ),
    "many classes": (
        512,
        "st.descend(rng.normal(size=(3000, 2000)), np.arange(3000), loss='log_loss', n_steps=1)",
        "MemoryError",
    ),
    "scores of many classes, kept for a search": (
        640,
        "st.descend(rng.normal(size=(40_000, 2)), np.arange(40_000) % 2000, loss='log_loss', method='lbfgs')",
        "MemoryError: scores of all rows: ",
    ),
    "a memory of many pairs": (
        256,
        "st.descend(one_column(300_000, 3000), np.arange(3000) % 2, loss='log_loss', method=st.Lbfgs(memory=10**9))",
        "MemoryError: the memory of lbfgs: ",
    ),
    "a history without an end": (
        64,
        "st.descend(x[:2, :1], y[:2], method='gd', learning_rate=1e-9, n_steps=2**62)",
        "MemoryError: the history of the descent: ",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_memory(case: str) -> None:
    megabytes, work, expected = CASES[case]
    said = run(f"{PROGRAM}\nlimit({megabytes})\nsaid = attempt(lambda: {work}){AFTERWARDS}", seconds=60)
    assert said.startswith(expected)


#: Descriptions that the façade would not make, whose sizes overflow.
OVERFLOWS = """
from types import SimpleNamespace
import steepest.problem as problems
made = problems.make_problem(x, y, loss="mse", alpha=0.0, fit_intercept=True)
def problem(**loss):
    fields = {name: getattr(made, name) for name in ("design", "targets", "sample_weight", "offset", "penalty")}
    loss = SimpleNamespace(parameter=1.0, **loss)
    return SimpleNamespace(**fields, loss=loss, fit_intercept=True, precondition=False)
said = []
kernels = ("softmax", 2**61), ("softmax", 2**63), ("mse", 2**60), ("softmax_probabilities", 2**62), ("mse", 0)
for kernel, width in kernels:
    given = problem(kernel=kernel, width=width)
    for call in (_steepest.value_and_gradient, lambda *given: _steepest.curvature(given[0], 2)):
        said.append(attempt(lambda: call(given, np.zeros(11), 2)).split(":")[0])
print(*said)
"""


def test_sizes_that_overflow() -> None:
    said = run(PROGRAM + OVERFLOWS).split()
    assert len(said) == 10
    assert set(said) <= {"MemoryError", "InputError"}
