"""A bug of ours ends a call, not the program: a panic becomes an exception that says where."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import numpy as np
import pytest

import steepest as st
from children import run
from steepest import _steepest

ROOT = Path(__file__).parent.parent.parent
PLACE = r"please report what led to it: panicked at src/python/process.rs:\d+:\d+:\s+asked for by a test"


@pytest.mark.parametrize("n_threads", [1, 3], ids=["on the calling thread", "in a task of the pool"])
def test_a_panic_is_an_internal_error(n_threads: int) -> None:
    x = np.random.default_rng(0).normal(size=(40_000, 10))
    before = st.descend(x, x[:, 0], n_steps=3, strategy="stream", n_threads=n_threads)
    for _ in range(3):
        with pytest.raises(st.InternalError) as caught:
            _steepest._panic(n_threads)
        assert re.search(PLACE, str(caught.value), flags=re.DOTALL)
        assert isinstance(caught.value, (st.SteepestError, RuntimeError))
    after = st.descend(x, x[:, 0], n_steps=3, strategy="stream", n_threads=n_threads)
    assert after.coef.tobytes() == before.coef.tobytes()


def test_a_panic_is_not_printed_as_well() -> None:
    program = """
import contextlib, os, sys
import steepest as st
os.dup2(1, 2)
if sys.argv[1] == "silently":
    os.environ.pop("RUST_BACKTRACE", None)
with contextlib.suppress(st.InternalError):
    st._steepest._panic(2)
print("caught")
"""
    assert run(program, "silently") == "caught\n"
    assert "panicked at" in run(program, "loudly", environment={"RUST_BACKTRACE": "1"})


def test_panics_unwind() -> None:
    """With panic = "abort" nothing could be caught."""
    cargo = tomllib.loads((ROOT / "Cargo.toml").read_text(encoding="utf-8"))
    assert all("panic" not in profile for profile in cargo["profile"].values())
