"""Threads: who says how many, fits at the same time, what shares the cores, and where threads cannot be had."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import threadpoolctl  # type: ignore[import-untyped]

import steepest as st
from children import run
from steepest.estimators import GDRegressor

PROC = Path("/proc/self/task")
needs_proc = pytest.mark.skipif(not PROC.exists(), reason="counts threads in /proc, which only Linux has")

X = np.random.default_rng(0).normal(size=(40_000, 10))
Y = X @ np.arange(10.0) + 1.0

PROGRAM = """
import os, sys, time
import numpy as np
import steepest as st

x = np.random.default_rng(0).normal(size=(40_000, 10))
y = x @ np.arange(10.0) + 1

def fit(n_threads=None):
    return st.descend(x, y, learning_rate=0.1, n_steps=5, n_threads=n_threads, strategy="stream").coef.tobytes()

def name_of(task):
    try:
        return open(f"/proc/self/task/{task}/comm").read()
    except OSError:
        return ""

def pool_threads(expected):
    # Those that are about to end may still be there.
    for _ in range(200):
        found = sum(name_of(task).startswith("steepest-") for task in os.listdir("/proc/self/task"))
        if found == expected:
            break
        time.sleep(0.01)
    return found
"""
UNSET = {"STEEPEST_NUM_THREADS": "", "OMP_NUM_THREADS": ""}


@pytest.fixture(autouse=True)
def _as_it_was(monkeypatch: pytest.MonkeyPatch) -> object:
    for name, nothing in UNSET.items():
        monkeypatch.setenv(name, nothing)
    yield
    st.set_num_threads(None)


def fit(**options: object) -> bytes:
    found = st.descend(X, Y, learning_rate=0.1, n_steps=5, strategy="stream", **options)  # type: ignore[arg-type]
    coef: bytes = found.coef.tobytes()
    return coef


def test_eight_fits_at_once() -> None:
    """Each on a pool, with a callback that runs Python; none waits for another, all have the same bits."""
    alone, found, n_calls = fit(n_threads=1), [b""] * 8, [0] * 8

    def work(i: int) -> None:
        def callback(_: st.StepInfo) -> bool:
            n_calls[i] += 1
            return False

        for n_threads in (2, 3, i + 1):
            found[i] = fit(n_threads=n_threads, callback=callback)
            if found[i] != alone:
                return

    threads = [threading.Thread(target=work, args=(i,), daemon=True) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert not any(thread.is_alive() for thread in threads)
    assert found == [alone] * 8
    assert n_calls == [15] * 8


def test_who_says_how_many(monkeypatch: pytest.MonkeyPatch) -> None:
    """An argument, what was set, our variable, that of OpenMP, the cores: each before the next."""
    cores = st.get_num_threads()
    assert 1 <= cores <= (os.cpu_count() or 1)
    for variable, n_threads in (("OMP_NUM_THREADS", 5), ("STEEPEST_NUM_THREADS", 6)):
        monkeypatch.setenv(variable, str(n_threads))
        assert st.get_num_threads() == n_threads
    st.set_num_threads(7)
    assert st.get_num_threads() == 7
    assert fit() == fit(n_threads=8)
    st.set_num_threads(None)
    assert st.get_num_threads() == 6
    monkeypatch.setenv("STEEPEST_NUM_THREADS", "")
    for theirs, n_threads in (("5", 5), ("4,2", 4), (" 3 , 2", 3), ("", cores), ("0", cores), ("many,2", cores)):
        monkeypatch.setenv("OMP_NUM_THREADS", theirs)
        assert st.get_num_threads() == n_threads
    with pytest.raises(st.InputError, match="n_threads"):
        st.set_num_threads(0)


@pytest.mark.parametrize("nonsense", ["0", "-1", "many", "2.0", "4,2", "1" * 20])
def test_our_variable_is_a_number_or_an_error_that_says_so(monkeypatch: pytest.MonkeyPatch, nonsense: str) -> None:
    """As an argument would be; what was said otherwise needs none of it."""
    monkeypatch.setenv("STEEPEST_NUM_THREADS", nonsense)
    for ask in (st.get_num_threads, fit):
        with pytest.raises(st.InputError, match=r"^STEEPEST_NUM_THREADS: expected an integer ≥ 1"):
            ask()
    assert fit(n_threads=2)
    st.set_num_threads(3)
    assert st.get_num_threads() == 3
    assert fit()


@needs_proc
def test_as_many_threads_as_were_said() -> None:
    program = PROGRAM + "st.set_num_threads(3); fit(); print(pool_threads(3)); fit(2); print(pool_threads(2))"
    assert run(program).split() == ["3", "2"]
    assert run(PROGRAM + "fit(); print(pool_threads(4))", environment={"STEEPEST_NUM_THREADS": "4"}).split() == ["4"]
    assert run(
        PROGRAM + "fit(); print(pool_threads(0))", environment={"STEEPEST_NUM_THREADS": "", "OMP_NUM_THREADS": "1"}
    ).split() == ["0"]


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system has no affinity to set")
def test_the_affinity_is_honoured() -> None:
    program = PROGRAM + "os.sched_setaffinity(0, {min(os.sched_getaffinity(0))}); print(st.get_num_threads())"
    assert run(program, environment=UNSET) == "1\n"


#: A control group of each version, and what limits it to the time of one core.
GROUPS = {
    Path("/sys/fs/cgroup/cpu"): {"cpu.cfs_period_us": "100000", "cpu.cfs_quota_us": "100000"},
    Path("/sys/fs/cgroup"): {"cpu.max": "100000 100000"},
}


@pytest.fixture
def group_of_one_core() -> Iterator[Path]:
    """A control group, as containers have them, in which there is one core's worth of time."""
    for parent, limits in GROUPS.items():
        group = parent / f"steepest-test-{os.getpid()}"
        if all((parent / name).exists() for name in ("cgroup.procs", *(limits if parent.name == "cpu" else ()))):
            try:
                group.mkdir()
            except OSError:
                continue
            try:
                for name, limit in limits.items():
                    (group / name).write_text(limit)
                yield group
            except OSError:
                continue
            finally:
                group.rmdir()
            return
    pytest.skip("needs to make a control group: root, outside of a container")


def test_the_quota_of_a_container_is_honoured(group_of_one_core: Path) -> None:
    if len(os.sched_getaffinity(0)) == 1:
        pytest.skip("there is but one core")
    program = (
        "import os, pathlib, sys; pathlib.Path(sys.argv[1], 'cgroup.procs').write_text(str(os.getpid()))" + PROGRAM
    )
    assert run(program + "print(st.get_num_threads())", group_of_one_core, environment=UNSET) == "1\n"


def test_jobs_are_threads() -> None:
    """As scikit-learn means it: minus one is all cores, minus two all but one."""
    cores = os.cpu_count() or 1
    for n_jobs, expected in ((None, None), (3, 3), (-1, cores), (-2, max(1, cores - 1))):
        assert GDRegressor(n_jobs=n_jobs)._threads() == expected
    with pytest.raises(st.InputError, match="n_jobs"):
        GDRegressor(n_jobs=0).fit(X[:9], Y[:9])


def test_threadpoolctl_limits_and_shows_us() -> None:
    def ours() -> list[int]:
        return [pool["num_threads"] for pool in threadpoolctl.threadpool_info() if pool["user_api"] == "steepest"]

    cores = st.get_num_threads()
    assert ours() == [cores]
    with threadpoolctl.threadpool_limits(1):
        assert (st.get_num_threads(), ours()) == (1, [1])
    assert st.get_num_threads() == cores
    with threadpoolctl.threadpool_limits({"steepest": cores + 1}):
        assert st.get_num_threads() == cores + 1
    assert not st.threads._chosen, "after a limit nothing is set that was not before"


def test_threadpoolctl_finds_us_whichever_was_first() -> None:
    """Imported before steepest, or by the estimators; `import steepest` alone does not import it."""
    show = "print([pool['prefix'] for pool in threadpoolctl.threadpool_info() if pool['user_api'] == 'steepest'])"
    for first in ("import threadpoolctl; import steepest", "from steepest import GDRegressor; import threadpoolctl"):
        assert run(f"{first}; {show}") == "['_steepest']\n"
    assert run("import sys, steepest; print('threadpoolctl' in sys.modules)") == "False\n"


@needs_proc
def test_a_limit_leaves_no_thread_but_the_calling_one() -> None:
    program = (
        "import threadpoolctl\n" + PROGRAM + "with threadpoolctl.threadpool_limits(1): fit(); print(pool_threads(0))"
    )
    assert run(program) == "0\n"


SEARCH = (
    PROGRAM
    + """
import threading
from sklearn.model_selection import GridSearchCV
from steepest import GDRegressor

def tasks_of(process):
    try:
        return [open(f"/proc/{process}/task/{task}/comm").read() for task in os.listdir(f"/proc/{process}/task")]
    except OSError:
        return []

def parent_of(process):
    try:
        return open(f"/proc/{process}/stat").read().rpartition(")")[2].split()[1]
    except OSError:
        return ""

def family():
    members, grown = {str(os.getpid())}, True
    processes = [entry for entry in os.listdir("/proc") if entry.isdecimal()]
    parents = {process: parent_of(process) for process in processes}
    while grown:
        more = {process for process, parent in parents.items() if parent in members} - members
        members, grown = members | more, bool(more)
    return members

peak, done = [0], threading.Event()
def watch():
    while not done.wait(0.005):
        peak[0] = max(peak[0], sum(task.startswith("steepest-") for process in family() for task in tasks_of(process)))
watcher = threading.Thread(target=watch)
watcher.start()
# Without the last fit, by this process alone, beside which the pools of the jobs are still there and idle.
candidates = {"alpha": [1e-4, 1e-3, 1e-2, 1e-1]}
search = GridSearchCV(GDRegressor(solver="gd", max_iter=30, tol=0), candidates, cv=2, n_jobs=2, refit=False)
import warnings; warnings.simplefilter("ignore")
search.fit(x, y)
done.set()
watcher.join()
print(peak[0], round(search.best_score_, 3))
"""
)


@needs_proc
def test_a_search_of_two_jobs_does_not_oversubscribe() -> None:
    """The pools of all processes of the search have no more threads than there are cores.

    A control shows that a thread for each core in each of two jobs would be seen: our variable asks for them.
    """
    cores = len(os.sched_getaffinity(0))
    peak, score = run(SEARCH, seconds=120, environment=UNSET).split()
    assert float(score) > 0.99
    assert int(peak) <= cores
    each = max(cores, 2)
    peak, _ = run(SEARCH, seconds=120, environment=UNSET | {"STEEPEST_NUM_THREADS": str(each)}).split()
    assert int(peak) >= 2 * each


NO_ROOM_FOR_THREADS = (
    PROGRAM
    + """
import resource
alone = fit(1)
size = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
# Stacks of four MiB each: a few fit, a hundred do not.
resource.setrlimit(resource.RLIMIT_AS, (size + (100 << 20), resource.RLIM_INFINITY))
assert fit(100) == alone and pool_threads(0) == 0
resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
assert fit(100) == alone and pool_threads(100) == 100
print("same bits")
"""
)


@needs_proc
def test_threads_that_cannot_start() -> None:
    """The calling thread does the work; once there is room again, there are threads again."""
    assert run(NO_ROOM_FOR_THREADS) == "same bits\n"


NO_MORE_PROCESSES = (
    PROGRAM
    + """
import resource
os.setresuid(65534, 65534, 65534)
alone = fit(1)
resource.setrlimit(resource.RLIMIT_NPROC, (1, 1))
print(fit(8) == alone, pool_threads(0))
"""
)


@needs_proc
def test_no_more_processes() -> None:
    if os.geteuid() != 0:
        pytest.skip("only root may become a user who has no other processes")
    assert run(NO_MORE_PROCESSES) == "True 0\n"


def test_tiny_stacks() -> None:
    """Our threads have stacks of their own size, whatever the variable of Rust's library says."""
    assert run(PROGRAM + "print(fit(3) == fit(1))", environment={"RUST_MIN_STACK": "1024"}) == "True\n"
