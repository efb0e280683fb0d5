"""The whole benchmark: every library on every case in fresh processes; writes docs/benchmarks.md and its pictures.

Usage: python benches/run.py [--quick] [--only SECTION …]
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import machine
from cases import CASES
from curves import draw
from literal import CONTESTS
from solvers import SOLVERS
from worker import GOAL

HERE = Path(__file__).parent
DOCS = HERE.parent / "docs"
THREADS = "2"
#: Seconds for one solver on one case, all its tolerances; and beyond which it is killed.
LIMIT, KILL = 60, 90
ENVIRONMENT = (
    os.environ
    | {
        f"{library}_NUM_THREADS": THREADS
        for library in ("OMP", "OPENBLAS", "MKL", "NUMBA", "STEEPEST", "VECLIB_MAXIMUM")
    }
    | {"XLA_FLAGS": f"--xla_cpu_multi_thread_eigen=true intra_op_parallelism_threads={THREADS}"}
)
#: The library that must be ahead.
OURS = "steepest"
Lines = list[str]


def lines_of(script: str, *arguments: object) -> list[dict[str, Any]]:
    """Run a script in a fresh process; return what it printed, line by line, and how it ended if it did badly."""
    command = [sys.executable, str(HERE / script), *map(str, arguments)]
    process = subprocess.Popen(  # noqa: S603
        command, env=ENVIRONMENT, cwd=HERE, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    try:
        out, trouble = process.communicate(timeout=KILL)
    except subprocess.TimeoutExpired:
        process.kill()
        out, _ = process.communicate()
        trouble = f"killed after {KILL} s"
    found = [json.loads(line) for line in out.splitlines() if line.startswith("{")]
    if process.returncode:
        last = trouble.strip().splitlines()[-1:] or [f"exit status {process.returncode}"]
        found.append({"note": f"failed: {last[0][:90]}"})
    return found


def race(case: str, shrink: int) -> tuple[str, dict[str, list[dict[str, Any]]]]:
    """Run every solver on a case; return its title, and what each one said."""
    (exact,) = (line for line in lines_of("worker.py", case, "exact", shrink) if "best" in line)
    results = {}
    for name in SOLVERS:
        results[name] = lines_of("worker.py", case, name, shrink, LIMIT, exact["best"])
        print(f"{case:>9} {name:<25} {summary(results[name])}", flush=True)
    return exact["title"], results


def arrival(lines: list[dict[str, Any]]) -> dict[str, Any] | None:
    """Return the loosest tolerance that reached the goal."""
    return next((line for line in lines if line.get("gap", 1) <= GOAL), None)


def summary(lines: list[dict[str, Any]]) -> str:
    """Return in a few words how a solver did."""
    there = arrival(lines)
    if there:
        return f"{readable(there['seconds'])}, gap {there['gap']:.0e} at tol {there['tolerance']:.0e}"
    tried = [line for line in lines if "gap" in line]
    notes = "; ".join(line["note"] for line in lines if "note" in line)
    if not tried:
        return notes or "said nothing"
    nearest = min(tried, key=lambda line: line["gap"])
    return f"never: gap {nearest['gap']:.0e} after {readable(nearest['seconds'])}" + (f"; {notes}" if notes else "")


def readable(seconds: float) -> str:
    """Return seconds in a unit that leaves few zeros."""
    for unit, size in (("s", 1.0), ("ms", 1e-3)):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds * 1e6:.3g} µs"


GAP_WORDS = (
    f"Seconds until the relative gap (F − F*)/F* is at most {GOAL:.0e}, best of three, with two threads and a fresh "
    "process for each library; data in memory, import and first call not counted. Each gets the loosest of the "
    "tolerances 1e-2, 1e-3, … that brings it there. F is the average loss plus ½ α ‖w‖², for `lasso` λ ‖w‖₁, the "
    "intercept not penalised; "
    "one function in float64 judges all answers. F* is the lowest value that two libraries find in float64 at "
    'tolerance 1e-10. `steepest` is `st.descend(X, y, loss=…, alpha=…, method="auto", tol=…)`.'
)


def gap_section(shrink: int) -> Lines:
    """Return the section on problems to be solved."""
    text = ["## To the optimum", "", GAP_WORDS, ""]
    head: Lines = ["| case | steepest | fastest other | ratio |", "|---|---|---|---|"]
    details: Lines = []
    for case in CASES:
        title, results = race(case, shrink)
        arrived = {name: there["seconds"] for name, lines in results.items() if (there := arrival(lines))}
        others = {name: seconds for name, seconds in arrived.items() if name != OURS}
        fastest = min(others, key=lambda name: others[name], default="")
        ours = arrived.get(OURS)
        ratio = f"{others[fastest] / ours:.1f}×" if fastest and ours else "—"
        other = f"{fastest} {readable(others[fastest])}" if fastest else "none arrives"
        head.append(f"| `{case}`: {title} | {readable(ours) if ours else 'never'} | {other} | {ratio} |")
        draw(DOCS / "images" / f"bench-{case}.png", f"{case}: {title}", results)
        details += ["", f"### {case}", "", f"![Gap against seconds, one line a library](images/bench-{case}.png)", ""]
        details += ["| library | how | seconds to the gap |", "|---|---|---|"]
        for name, lines in results.items():
            how = (SOLVERS[name].__doc__ or "").strip().removesuffix(".")
            details.append(f"| {name} | `{how}` | {summary(lines)} |")
    return text + head + details


CONTEST_TITLES = {
    "seed": "1000 steps on 100 points (float32), with the loss of every step",
    "steps": "100 literal steps of size 0.1 on 1,000,000×64 float32",
    "epoch": "Mini-batches: log_loss on 1,000,000×64 float32",
}


def literal_section(shrink: int) -> Lines:
    """Return the section on steps that everybody makes alike."""
    text = ["## The same steps", "", "Best of several rounds; compile time apart, under *first call*.", ""]
    for contest, contestants in CONTESTS.items():
        text += [f"### {CONTEST_TITLES[contest]}", "", "| | how | seconds | ratio | first call | result |"]
        text.append("|---|---|---|---|---|---|")
        results = {name: lines_of("literal.py", contest, name, shrink)[-1] for name in contestants}
        ours = results[next(iter(contestants))].get("seconds")
        for name, line in results.items():
            print(f"{contest:>9} {name:<25} {line}", flush=True)
            if "seconds" not in line:
                text.append(f"| {name} | | {line.get('note')} | | | |")
                continue
            ratio = f"{line['seconds'] / ours:.2f}×" if ours else "—"
            text.append(
                f"| {name} | {line['how']} | {readable(line['seconds'])} | {ratio} | {readable(line['first'])} "
                f"| {line['number']:.6g} |"
            )
        text.append("")
    return text


def printed_section(script: str, shrink: int) -> Lines:
    """Return what a script prints, which is Markdown."""
    command = [sys.executable, str(HERE / script), *(["--quick"] if shrink > 1 else [])]
    done = subprocess.run(command, env=ENVIRONMENT, cwd=HERE, text=True, capture_output=True, check=False)  # noqa: S603
    print(done.stdout, done.stderr, flush=True)
    return done.stdout.splitlines() if not done.returncode else [f"`{script}` failed: {done.stderr[-300:]}"]


SECTIONS = {
    "gap": gap_section,
    "literal": literal_section,
    "pass": lambda shrink: printed_section("pass.py", shrink),
    "scaling": lambda shrink: printed_section("scaling.py", shrink),
    "memory": lambda shrink: printed_section("memory.py", shrink),
}


def main() -> None:
    """Run the sections and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a tenth of the rows: to try the benchmark, not to quote")
    parser.add_argument("--only", nargs="+", choices=SECTIONS, help="print some sections instead of writing the page")
    arguments = parser.parse_args()
    shrink = 10 if arguments.quick else 1
    (DOCS / "images").mkdir(parents=True, exist_ok=True)
    text = machine.introduction(quick=arguments.quick)
    for name in arguments.only or SECTIONS:
        text += ["", *SECTIONS[name](shrink)]
    page = "\n".join(text) + "\n"
    if arguments.only or arguments.quick:
        print(page)
    else:
        (DOCS / "benchmarks.md").write_text(page, encoding="utf-8")
        print(f"wrote {DOCS / 'benchmarks.md'}")


if __name__ == "__main__":
    main()
