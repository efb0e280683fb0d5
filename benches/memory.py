"""Memory above the data: the most that a descent takes, by the operating system, each in a fresh process.

Usage: python benches/memory.py [--quick]; prints Markdown.
"""

from __future__ import annotations

import resource
import subprocess
import sys
from typing import Any

import numpy as np

import cases

MEBIBYTE = 1 << 20
#: What is allowed: so much, and this share of X.
ALLOWED_BYTES, ALLOWED_SHARE = 64 * MEBIBYTE, 0.03
RUNS = [
    (case, method, strategy)
    for case, method, strategy in (
        ("ols", "gd", "stream"),
        ("ols", "gd", "gram"),
        ("ols", "newton", "gram"),
        ("logistic", "gd", "stream"),
        ("logistic", "lbfgs", "stream"),
        ("logistic", "newton", "stream"),
        ("logistic", "sgd", "stream"),
        ("sparse", "gd", "stream"),
        ("sparse", "lbfgs", "stream"),
        ("digits", "lbfgs", "stream"),
        ("digits", "newton", "stream"),
    )
]


def size(X: Any) -> int:
    """Return the bytes of a design matrix."""
    return int(X.nbytes if hasattr(X, "nbytes") else X.data.nbytes + X.indices.nbytes + X.indptr.nbytes)


def peak() -> int:
    """Return the most bytes that this process has held."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def measure(case_name: str, method: str, strategy: str, shrink: int) -> None:
    """Print the bytes above the data, and those of X."""
    import steepest as st

    case = cases.CASES[case_name](shrink)
    tiny = slice(0, 200)
    options: dict[str, Any] = {"loss": case.loss, "alpha": case.alpha, "method": method, "strategy": strategy}
    # What is loaded once is not the descent's.
    st.descend(case.X[tiny], case.y[tiny], n_steps=2, n_threads=2, classes=None, **{**options, "strategy": "stream"})
    # Making the data may have taken more than it holds now: fill that up, so that what comes on top is seen.
    ballast = np.ones(max(peak() - resident(), 0), dtype=np.int8)
    before = peak()
    st.descend(case.X, case.y, n_steps=20, n_threads=2, **options)
    print(peak() - before, size(case.X), len(ballast))


def resident() -> int:
    """Return the bytes that this process holds now."""
    with open("/proc/self/statm", encoding="ascii") as file:  # noqa: PTH123
        return int(file.read().split()[1]) * resource.getpagesize()


def main() -> None:
    """Print the table, or measure one run of it."""
    shrink = 10 if "--quick" in sys.argv else 1
    if sys.argv[1:2] == ["one"]:
        measure(*sys.argv[2:5], int(sys.argv[5]))
        return
    print(
        "## Memory",
        "",
        "The most that a descent of 20 steps holds above the data, against 64 MiB + 3 % of X.",
        sep="\n",
    )
    print("", "| case | method | strategy | X | above it | allowed |", "|---|---|---|---|---|---|", sep="\n")
    for case, method, strategy in RUNS:
        command = [sys.executable, __file__, "one", case, method, strategy, str(shrink)]
        done = subprocess.run(command, text=True, capture_output=True, check=False)  # noqa: S603
        if done.returncode:
            print(f"| {case} | {method} | {strategy} | | failed: {done.stderr.strip().splitlines()[-1]} | |")
            continue
        above, of_x, _ = (int(number) for number in done.stdout.split())
        allowed = ALLOWED_BYTES + ALLOWED_SHARE * of_x
        numbers = " | ".join(f"{number / MEBIBYTE:.0f} MiB" for number in (of_x, above, allowed))
        print(f"| {case} | {method} | {strategy} | {numbers} |", flush=True)


if __name__ == "__main__":
    main()
