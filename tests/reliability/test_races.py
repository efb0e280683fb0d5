"""Arrays that another thread writes into during fits: wrong numbers or an error, but never a crash.

Under valgrind, which sees what a process gets away with, a small version of the same, some minutes long. CPython and
the loader have lines of their own in its log; the last command must count none of ours:

    PYTHONMALLOC=malloc valgrind --log-file=races.log python tests/reliability/racing.py 8
    grep -c _steepest races.log
"""

from __future__ import annotations

from pathlib import Path

from children import run

PROGRAM = (Path(__file__).parent / "racing.py").read_text(encoding="utf-8")


def test_data_and_structure_change_during_fits() -> None:
    """Two hundred fits, with freed memory overwritten, so that a read of it shows."""
    outcomes = run(PROGRAM, 200, seconds=60, environment={"MALLOC_PERTURB_": "165"}).split()
    assert sum(int(count) for count in outcomes[1::2]) == 200
    assert set(outcomes[::2]) <= {"fitted", "InputError", "InternalError", "DivergenceError"}
    assert "fitted" in outcomes
