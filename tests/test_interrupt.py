"""Ctrl-C: a long descent in the core ends soon, with the exception that Python programs expect, and leaves no trace."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

# A second descent afterwards shows that the threads are still there.
SCRIPT = """
import sys
import numpy as np
import steepest as st

n, d = map(int, sys.argv[1:3])
method = sys.argv[3]
x = np.arange(n * d).reshape(n, d) / (n * d)
y = x[:, 0]
print("ready", flush=True)
try:
    # A search would end at the answer; one that begins anew ends never.
    while True:
        st.descend(x, y > y.mean(), loss="log_loss", method=method, n_steps=2**40, n_threads=2)
except KeyboardInterrupt:
    print("interrupted", flush=True)
print(st.descend(x, y, n_steps=3, n_threads=2).n_steps, flush=True)
"""
#: Not long to wait for at a keyboard, and far more than the core takes between two looks at signals.
SECONDS = 2.0


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGINT for another process alone")
@pytest.mark.parametrize(
    ("n", "d", "method"),
    [
        (100, 2, "gd"),
        (200_000, 10, "gd"),
        (20_000, 10, "sgd"),
        (20_000, 10, "lbfgs"),
        (20_000, 60, "newton"),
    ],
    ids=["many short steps on one thread", "long steps on a pool", "mini-batches", "searches", "Hessians"],
)
def test_interrupt(n: int, d: int, method: str) -> None:
    arguments = [sys.executable, "-c", SCRIPT, str(n), str(d), method]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        try:
            assert process.stdout.readline() == "ready\n", process.stderr.read()
            time.sleep(0.3)
            assert process.poll() is None
            sent = time.monotonic()
            process.send_signal(signal.SIGINT)
            assert process.stdout.readline() == "interrupted\n"
            assert time.monotonic() - sent < SECONDS
            assert process.stdout.readline() == "3\n"
            assert process.wait(timeout=30) == 0
        finally:
            process.kill()
