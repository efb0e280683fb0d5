"""Instruction sets: each that this machine has gives the same numbers up to rounding, and passes the core's tests.

STEEPEST_ISA limits our kernels; matrix products, for several scores a row, are a library's, which takes the best.
"""

from __future__ import annotations

import os
import platform
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from children import run

TESTS = Path(__file__).parent.parent
SHOWN = {"baseline": "baseline instructions", "avx2": "AVX2", "avx512": "AVX-512", "neon": "NEON"}
#: What runs under each: every loss by its definition, and the laws that objectives obey.
PART = ["test_objective.py"]

PROGRAM = """
import sys
import numpy as np
from scipy import sparse
import steepest as st

random = np.random.default_rng(0)
found = []
# Short and long rows, narrow and wide, with what remains after whole registers.
for n, d in ((7, 1), (300, 3), (257, 17), (64, 130), (2000, 33), (40, 1025)):
    x = random.normal(size=(n, d)) / np.sqrt(d)
    classes, weights = random.integers(0, 3, size=n), random.uniform(0.5, 2, size=n)
    targets = {
        "mse": random.normal(size=n), "huber": random.normal(size=n), "poisson": classes, "log_loss": classes > 0,
        "squared_hinge": classes > 0,
    }
    for loss, y in targets.items():
        for matrix in (x, np.asfortranarray(x), sparse.csr_array(np.where(np.abs(x) * np.sqrt(d) > 1, x, 0))):
            coef = random.normal(size=d)
            options = {"loss": loss, "sample_weight": weights, "alpha": 0.1, "n_threads": 1}
            value, slope, intercept_slope = st.loss_and_gradient(matrix, y, coef, 0.3, **options)
            found += [[value, intercept_slope], slope]
            options |= {"method": "gd", "learning_rate": 0.05, "n_steps": 4, "strategy": "stream"}
            found += [st.descend(matrix, y, **options).coef]
np.save(sys.argv[1], np.concatenate([np.ravel(part) for part in found]).astype(np.float64))
np.save(sys.argv[2], np.cumsum([np.size(part) for part in found]))
"""


def describe(name: str) -> str:
    """Return what the fast backend says of itself when an instruction set is asked for."""
    shown = run("import steepest as st; st.show_backends()", environment={"STEEPEST_ISA": name})
    return next(line for line in shown.splitlines() if line.startswith("rust"))


def instruction_sets() -> list[str]:
    """Return those of this machine, as the error lists them."""
    program = "import steepest"
    with pytest.raises(AssertionError) as caught:
        run(program, environment={"STEEPEST_ISA": "none"})
    message = str(caught.value)
    (listed,) = re.findall(r'InputError: STEEPEST_ISA: unknown instruction set "none"; this machine has: (.*)', message)
    return [name.strip() for name in listed.removesuffix("\\n").split(",")]


SETS = instruction_sets()
DEEP = os.environ.get("STEEPEST_TEST_PROFILE") == "deep"


def test_an_unknown_one_is_an_error_that_lists_those_there_are() -> None:
    assert SETS[0] == "baseline"
    assert set(SETS) <= set(SHOWN)
    foreign = next(name for name in SHOWN if name not in SETS or name == "neon")
    with pytest.raises(AssertionError, match=f"unknown instruction set.*{foreign}.*this machine has: baseline"):
        run("import steepest", environment={"STEEPEST_ISA": foreign})


@pytest.mark.parametrize("as_script", [False, True])
def test_an_unknown_one_is_an_error_of_one_line_at_the_command_line(tmp_path: Path, *, as_script: bool) -> None:
    """What starts it imports the package before any of it can catch anything."""
    script = tmp_path / "steepest"
    script.write_text("from steepest.cli import main\nmain()\n")
    command = [str(script)] if as_script else ["-m", "steepest"]
    environment = os.environ | {"STEEPEST_ISA": "none", "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, *command, "backends"], capture_output=True, text=True, check=False, env=environment
    )
    assert done.returncode == 1
    assert done.stderr.startswith('error: STEEPEST_ISA: unknown instruction set "none"; this machine has: baseline')
    assert done.stderr.count("\n") == 1


def test_the_best_is_found() -> None:
    """As the system says that the processor has them."""
    flags = Path("/proc/cpuinfo")
    if platform.machine() != "x86_64" or not flags.exists():
        pytest.skip("reads the processor's flags in /proc/cpuinfo, on x86-64")
    has = set(flags.read_text(encoding="utf-8").split())
    assert ("avx2" in SETS) == ({"avx2", "fma"} <= has)
    assert ("avx512" in SETS) == ({"avx512f", "avx512bw", "avx512vl", "avx512dq"} <= has)
    assert f", {SHOWN[SETS[-1]]}, " in describe("")


@pytest.mark.parametrize("name", SETS)
def test_show_backends_names_what_is_used(name: str) -> None:
    assert f", {SHOWN[name]}, as STEEPEST_ISA asks, " in describe(name)


def test_all_give_the_same_numbers(tmp_path: Path) -> None:
    found = {}
    for name in SETS:
        run(PROGRAM, tmp_path / f"{name}.npy", tmp_path / "ends.npy", environment={"STEEPEST_ISA": name})
        found[name] = np.load(tmp_path / f"{name}.npy")
    if len(SETS) == 1:
        pytest.skip("this machine has baseline instructions only")
    ends = np.load(tmp_path / "ends.npy")
    differences = []
    for name in SETS[1:]:
        assert (found[name] != found["baseline"]).any(), f"{name} has the very bits of the baseline: is it in use?"
        for one, other in zip(*(np.split(found[key], ends[:-1]) for key in (name, "baseline")), strict=True):
            differences.append(np.abs(one - other).max() / np.abs(other).max())
    assert max(differences) <= 1e-12


@pytest.mark.parametrize("name", SETS[:-1] if DEEP else SETS[:1])
def test_the_tests_of_the_core_pass(name: str) -> None:
    """Under the narrowest, and on a deep run under all but the best, which every other run of the tests uses."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", "rust", *PART]
    environment = os.environ | {"STEEPEST_ISA": name, "STEEPEST_TEST_PROFILE": "dev"}
    done = subprocess.run(command, cwd=TESTS, env=environment, capture_output=True, text=True, timeout=170, check=False)
    assert done.returncode == 0, done.stdout[-3000:]
    assert int(re.findall(r"(\d+) passed", done.stdout)[-1]) > 10
