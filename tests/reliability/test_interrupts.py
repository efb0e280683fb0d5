"""Ctrl-C and the end of a program: a long descent ends soon, as Python programs expect, and leaves no trace."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import numpy as np
import pytest

from children import end, run, start

# A second descent afterwards shows that the threads are still there.
SCRIPT = """
import sys
import numpy as np
import steepest as st

n, d = map(int, sys.argv[1:3])
method, n_classes, batch_size = sys.argv[3], int(sys.argv[4]), int(sys.argv[5])
random = np.random.default_rng(0)
x = random.normal(size=(n, d))
y = x[:, 0] > random.normal(size=n) if n_classes <= 2 else np.arange(n) % n_classes
loss = "mse" if n_classes == 1 else "log_loss"
options = {"batch_size": batch_size} if batch_size else {}
options |= {"strategy": "gram"} if n_classes == 1 else {}

def short():
    return st.descend(x[:1000, :10], x[:1000, 0], n_steps=3, n_threads=2).coef

expected = short()
print("ready", flush=True)
try:
    # A search would end at the answer; one that begins anew ends never.
    while True:
        st.descend(x, y, loss=loss, method=method, n_steps=2**40, n_threads=2, **options)
except KeyboardInterrupt:
    print("interrupted", flush=True)
print((short() == expected).all(), flush=True)
"""
ESTIMATOR = """
import numpy as np
from sklearn.exceptions import NotFittedError
from sklearn.utils.validation import check_is_fitted
from steepest import GDClassifier

x = np.random.default_rng(0).normal(size=(200_000, 10))
y = x @ np.arange(10) > 0
model = GDClassifier(solver="gd", max_iter=2**40, tol=0)
print("ready", flush=True)
try:
    model.fit(x, y)
except KeyboardInterrupt:
    print("interrupted", flush=True)
try:
    check_is_fitted(model)
except NotFittedError:
    print(GDClassifier().fit(x[:1000], y[:1000]).score(x, y) > 0.95)
"""
DEEP = os.environ.get("STEEPEST_TEST_PROFILE") == "deep"
#: Not long to wait for at a keyboard: the core looks every 50 ms, at the latest after a block of rows.
SECONDS = 0.2
#: What a machine that others use as well may take once.
MOST_SECONDS = 2.0
ATTEMPTS = 3
needs_signals = pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGINT for another process alone")


def seconds_to_interrupt(script: str, *arguments: object, wait: float = 0.3) -> float:
    """Return how long a program takes to notice; it must then print that all is well."""
    process = start(script, *arguments)
    assert process.stdout is not None
    assert process.stderr is not None
    try:
        assert process.stdout.readline() == "ready\n", process.stderr.read()
        time.sleep(wait)
        assert process.poll() is None
        sent = time.monotonic()
        process.send_signal(signal.SIGINT)
        assert process.stdout.readline() == "interrupted\n", process.stderr.read()
        taken = time.monotonic() - sent
        assert process.stdout.readline() == "True\n", process.stderr.read()
        assert process.wait(timeout=30) == 0
        return taken
    finally:
        end(process)


def assert_soon(*program: object, wait: float = 0.3) -> None:
    taken: list[float] = []
    while not taken or (min(taken) > SECONDS and len(taken) < ATTEMPTS):
        taken.append(seconds_to_interrupt(*program, wait=wait))  # type: ignore[arg-type]
        assert taken[-1] < MOST_SECONDS
    assert min(taken) < SECONDS, taken


@needs_signals
@pytest.mark.parametrize(
    ("n", "d", "method", "n_classes", "batch_size"),
    [
        (100, 2, "gd", 2, 0),
        (200_000, 10, "gd", 2, 0),
        (20_000, 10, "sgd", 2, 0),
        (20_000, 10, "lbfgs", 2, 0),
        (20_000, 60, "newton", 2, 0),
        (1_000_000, 4, "sgd", 2, 1),
        (20_000, 400, "gd", 200, 0),
        (200_000, 150, "newton", 1, 0),
        (1500, 1500, "gd", 1, 0),
        (1500, 1500, "newton", 1, 0),
        (1600, 1500, "newton", 2, 0),
    ],
    ids=[
        "many short steps on one thread",
        "long steps on a pool",
        "mini-batches",
        "searches",
        "Hessians",
        "one long epoch",
        "one long pass",
        "statistics",
        "one long factorisation",
        "factorisations of rows",
        "Hessians of many parameters",
    ],
)
def test_interrupt(n: int, d: int, method: str, n_classes: int, batch_size: int) -> None:
    assert_soon(SCRIPT, n, d, method, n_classes, batch_size, wait=1.2 if d > 1000 else 0.3)


@needs_signals
@pytest.mark.skipif(not DEEP, reason="needs both cores for itself for half a minute: STEEPEST_TEST_PROFILE=deep")
@pytest.mark.parametrize("wait", [0.3, 2.5, 5.0], ids=["moments", "factors", "steps"])
@pytest.mark.parametrize(("n", "method"), [(8000, "gd"), (4000, "newton")], ids=["determined", "factorised by rows"])
def test_interrupt_among_thousands_of_columns(n: int, method: str, wait: float) -> None:
    """Its matrices have 128 MB each; where it stands after a while depends on the machine."""
    assert_soon(SCRIPT, n, 4000, method, 1, 0, wait=wait)


@needs_signals
def test_an_interrupted_estimator_is_not_fitted() -> None:
    assert_soon(ESTIMATOR)


DAEMON = """
import sys, threading, time
import numpy as np
import steepest as st

x = np.random.default_rng(0).normal(size=(40_000, 10))
y = x @ np.arange(10.0)
started = threading.Event()

def callback(info):
    started.set()
    return False

watch, n_threads = callback if sys.argv[1] == "watched" else None, int(sys.argv[2])

def work():
    # Also if what ends a fit is caught.
    while True:
        try:
            st.descend(x, y, n_steps=2**40, learning_rate=1e-9, strategy="stream", n_threads=n_threads, callback=watch)
        except BaseException:
            pass

threading.Thread(target=work, daemon=True).start()
if watch:
    started.wait()
time.sleep(0.1)
print("done", time.monotonic(), flush=True)
"""
REPEATS = 3


@pytest.mark.parametrize("n_threads", [1, 3])
@pytest.mark.parametrize("watched", ["watched", "alone"])
def test_a_program_ends_while_a_daemon_fits(watched: str, n_threads: int) -> None:
    for _ in range(REPEATS):
        said, at = run(DAEMON, watched, n_threads).split()
        assert said == "done"
        assert time.monotonic() - float(at) < MOST_SECONDS


STREAMED = """
import sys, threading, time
import numpy as np
import steepest as st
from steepest.sources import files

files.BLOCK_BYTES = 1 << 16
path, y, method, batch_size = sys.argv[1:3] + [sys.argv[3], int(sys.argv[4]) or None]

def ready(info):
    if info.step == 0:
        print("ready", flush=True)

try:
    st.descend(path, y, loss="huber", method=method, batch_size=batch_size, n_steps=2**40, callback=ready)
except KeyboardInterrupt:
    print("interrupted", flush=True)
# The interrupt may have come while the reader was being waited for.
for _ in range(500):
    if threading.active_count() == 1:
        break
    time.sleep(0.01)
print(threading.active_count() == 1, flush=True)
"""


@needs_signals
@pytest.mark.parametrize(("method", "batch_size"), [("gd", 0), ("sgd", 64)])
def test_a_streamed_descent_and_its_reader(method: str, batch_size: int, tmp_path: Path) -> None:
    x = np.random.default_rng(0).normal(size=(50_000, 10))
    np.save(tmp_path / "x.npy", x)
    np.save(tmp_path / "y.npy", x[:, 0])
    assert_soon(STREAMED, tmp_path / "x.npy", tmp_path / "y.npy", method, batch_size)


@needs_signals
def test_ctrl_c_that_nobody_catches_ends_a_streamed_descent(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.ones((50_000, 10)))
    np.save(tmp_path / "y.npy", np.arange(50_000.0))
    script = STREAMED.replace("except KeyboardInterrupt", "except ZeroDivisionError")
    process = start(script, tmp_path / "x.npy", tmp_path / "y.npy", "gd", 0)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=MOST_SECONDS)
        # As shells expect it of a program that was interrupted.
        assert process.returncode == -signal.SIGINT
        assert errors.rstrip().endswith("KeyboardInterrupt")
    finally:
        end(process)
