"""Interpreters beside the main one: refused by NumPy, before the compiled core arranges anything with them."""

from __future__ import annotations

import importlib.util

import pytest

from children import run

PROGRAM = """
import _xxsubinterpreters as interpreters
import numpy as np
import steepest as st

def fit():
    return st.descend(np.eye(3), [1.0, 2.0, 3.0], n_steps=3).coef.tobytes()

before, other = fit(), interpreters.create(isolated=False)
interpreters.run_string(other, '''
try:
    import steepest
except ImportError:
    print("ImportError", flush=True)
''')
interpreters.destroy(other)
print(fit() == before)
"""


def test_a_second_interpreter_is_refused_and_the_first_goes_on() -> None:
    if importlib.util.find_spec("_xxsubinterpreters") is None:
        pytest.skip("needs _xxsubinterpreters, which Python has up to 3.12")
    assert run(PROGRAM) == "ImportError\nTrue\n"
