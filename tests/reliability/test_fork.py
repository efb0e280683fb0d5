"""Forks: a child that inherits a pool without its threads builds one of its own, and its fits have the same bits.

The child of a program whose pool has no such care waits forever for threads that it does not have: a test plants
that, to show that the others would notice. CUDA cannot be started anew in a child: that is an error.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from children import end, run, start
from fake_gpu import COMPILER

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="there are no forks on this system")

PROGRAM = """
import os, sys, threading, time, warnings
import numpy as np
import steepest as st

warnings.simplefilter("ignore")
x = np.random.default_rng(0).normal(size=(40_000, 10))
y = x @ np.arange(10.0) + 1

def fit(_=None, n_threads=3, **options):
    options |= {"learning_rate": 0.1, "n_steps": 5, "n_threads": n_threads, "strategy": "stream"}
    return st.descend(x, y, **options).coef.tobytes()

def pool_threads():
    tasks = os.listdir("/proc/self/task") if os.path.isdir("/proc/self/task") else []
    names = [open(f"/proc/self/task/{task}/comm").read() for task in tasks]
    return sum(name.startswith("steepest-") for name in names)

def in_child(work):
    child = os.fork()
    if child == 0:
        code = 1
        try:
            code = 0 if work() else 2
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

first = fit()
# A thread that has had no work yet may still be without its name.
for _ in range(500):
    if pool_threads() == 3:
        break
    time.sleep(0.01)
assert pool_threads() == (3 if os.path.isdir("/proc/self/task") else 0)
"""
SCENARIOS = {
    "a fit, a fork, a fit": """
assert in_child(lambda: pool_threads() == 0 and fit() == first) == 0
assert fit() == first
""",
    "multiprocessing": """
import multiprocessing
with multiprocessing.get_context("fork").Pool(2) as pool:
    assert set(pool.map(fit, range(4))) == {first}
""",
    "joblib": """
from joblib import Parallel, delayed
assert set(Parallel(n_jobs=2, backend="multiprocessing")(delayed(fit)(i) for i in range(4))) == {first}
""",
    "another thread fits meanwhile": """
stop, wrong = threading.Event(), []
def go_on():
    # A changing number of threads has the pool built anew, so that forks meet its lock.
    n_threads = 2
    while not stop.is_set():
        n_threads = 5 - n_threads
        if fit(n_threads=n_threads) != first:
            wrong.append(n_threads)
thread = threading.Thread(target=go_on)
thread.start()
codes = [in_child(lambda: fit() == first) for _ in range(20)]
stop.set()
thread.join()
assert codes == [0] * 20 and not wrong, (codes, wrong)
""",
    "a grandchild": "assert in_child(lambda: fit() == first and in_child(lambda: fit() == first) == 0) == 0",
    "in the middle of a fit": """
codes = []
def callback(info):
    if info.step == 2:
        child = os.fork()
        if child == 0:
            codes.append("child")
        else:
            codes.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
same = fit(callback=callback) == first
if codes == ["child"]:
    os._exit(0 if same else 1)
assert same and codes == [0]
""",
}


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_fork(scenario: str) -> None:
    assert run(PROGRAM + SCENARIOS[scenario] + "\nprint('same bits')") == "same bits\n"


#: The process that asked first, for ever: what a pool sees that is not keyed by its process.
SAME_PROCESS = """
#include <sys/syscall.h>
#include <unistd.h>
static pid_t first;
pid_t getpid(void) { if (!first) first = (pid_t)syscall(SYS_getpid); return first; }
"""


def test_the_inherited_pool_hangs(tmp_path: Path) -> None:
    """A child that takes itself for its parent uses the parent's pool: the first scenario does not end."""
    compiler = shutil.which("cc")
    if compiler is None or not Path("/proc/self/task").exists():
        pytest.skip("needs a C compiler and Linux")
    (tmp_path / "same.c").write_text(SAME_PROCESS)
    library = tmp_path / "same.so"
    subprocess.run([compiler, "-shared", "-fPIC", "-o", library, tmp_path / "same.c"], check=True)
    program = PROGRAM + "print('fitted', flush=True)" + SCENARIOS["a fit, a fork, a fit"]
    process = start(program, environment={"LD_PRELOAD": str(library)})
    try:
        assert process.stdout is not None
        # Importing may take its time; what hangs comes after.
        assert process.stdout.readline() == "fitted\n"
        with pytest.raises(subprocess.TimeoutExpired):
            process.communicate(timeout=4)
    finally:
        end(process)


#: On an imaginary GPU, in a process whose first descent is there, or is not; then in a child of it.
ON_A_GPU = """
import os, sys, time
from pathlib import Path
import numpy as np

sys.path[:0] = [sys.argv[1]]
from fake_gpu import Array, FakeCupy
import steepest as st
from steepest import setup

sys.modules["cupy"] = FakeCupy(Path(sys.argv[2]))
setup.worth_a_gpu = lambda *_: True
X, y = np.eye(3), np.arange(3.0)

def fit(X=X, y=y, **options):
    began = time.monotonic()
    try:
        return st.descend(X, y, n_steps=2, strategy="stream", **options).backend
    except st.BackendUnavailableError as error:
        assert time.monotonic() - began < 1, "it was waited for"
        return str(error)

def in_child():
    if os.fork():
        assert os.wait()[1] == 0
        return
    print(fit(backend="auto"))
    print(fit(backend="cupy"))
    print(fit(Array(X), Array(y)))
    sys.stdout.flush()
    os._exit(0)
"""


@pytest.mark.skipif(COMPILER is None, reason="g++ is not installed: kernels cannot be compiled for the CPU")
def test_cuda_does_not_outlive_a_fork(shim_folder: Path) -> None:
    """No child of a process that used the GPU can: it is told so at once, and "auto" computes on the CPU."""

    def said(program: str) -> list[str]:
        return run(ON_A_GPU + program, Path(__file__).parent.parent, shim_folder).splitlines()

    parent, *lines = said("print(os.getpid(), fit(backend='auto'), flush=True); in_child(); print(fit(backend='cupy'))")
    number, first = parent.split()
    refused = (
        f'backend="cupy": CUDA was started before the fork, by process {number}, and no child of a fork can use it. '
        'Start processes by "spawn" or "forkserver", as in multiprocessing.get_context("spawn"), or use backend="rust".'
    )
    assert first == "cupy"
    assert lines == ["rust", refused, refused, "cupy"]
    # A child that is the first to use the GPU may.
    assert said("in_child(); in_child()") == ["cupy"] * 6
