"""How long ``import steepest`` takes beyond NumPy's own, in fresh processes, one after the other in turns.

Usage: python benches/import_time.py [--modules]; fails if it is more than is allowed. With --modules the slowest
modules follow, by ``python -X importtime``.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time

ALLOWED_MILLISECONDS = 120
N_RUNS = 15
N_MODULES = 12


def milliseconds(statement: str) -> float:
    """Return how long a fresh interpreter takes to run a statement and end."""
    begin = time.perf_counter()
    subprocess.run([sys.executable, "-c", statement], check=True)  # noqa: S603
    return (time.perf_counter() - begin) * 1e3


def slowest_modules() -> list[str]:
    """Return the lines of ``-X importtime`` for the modules of this package, by what they take themselves."""
    command = [sys.executable, "-X", "importtime", "-c", "import steepest"]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stderr  # noqa: S603
    rows = [line.removeprefix("import time:").split("|") for line in said.splitlines() if "steepest" in line]
    rows.sort(key=lambda row: -int(row[0]))
    return [f"{int(own) / 1e3:8.1f} ms  {name.strip()}" for own, _, name in rows[:N_MODULES]]


def main() -> int:
    """Measure, print, and return whether it is too long."""
    # The first of each may have to compile or to read from disk.
    for statement in ("import numpy", "import steepest"):
        milliseconds(statement)
    pairs = [(milliseconds("import numpy"), milliseconds("import steepest")) for _ in range(N_RUNS)]
    numpy, steepest = (min(times) for times in zip(*pairs, strict=True))
    middle = statistics.median(ours - theirs for theirs, ours in pairs)
    print(f"import numpy {numpy:.0f} ms, import steepest {steepest:.0f} ms, with the interpreter; least of {N_RUNS}")
    print(f"beyond NumPy: {steepest - numpy:.0f} ms (median {middle:.0f} ms); allowed are {ALLOWED_MILLISECONDS} ms")
    if "--modules" in sys.argv:
        print(*slowest_modules(), sep="\n")
    return int(steepest - numpy > ALLOWED_MILLISECONDS)


if __name__ == "__main__":
    sys.exit(main())
