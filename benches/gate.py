"""A gate against slow kernels: the instructions that each takes, counted by callgrind, against those recorded.

Usage: python benches/gate.py [--record]; needs valgrind. A count does not depend on what else the machine does, but on
the compiler, which is recorded with the counts: another one's are only printed. valgrind has AVX2, not AVX-512.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parent
RECORD = HERE / "instructions.json"
KERNELS = ("pass", "sparse", "gram")
#: By which share a kernel may grow before the gate closes.
SLACK = 0.03
REPETITIONS = (1, 11)


def output(*command: str) -> str:
    """Run a command; return all that it printed."""
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)  # noqa: S603
    return done.stdout + done.stderr


def instructions(kernel: str) -> int:
    """Return the instructions of one repetition: the difference of two runs, so that their beginnings cancel."""
    program = str(ROOT / "target" / "release" / "examples" / "kernels")
    counts = []
    for repetitions in REPETITIONS:
        text = output(
            "valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null", program, kernel, str(repetitions)
        )
        found = re.search(r"Collected : (\d+)", text)
        if found is None:
            sys.exit(f"callgrind printed no count:\n{text}")
        counts.append(int(found[1]))
    return round((counts[1] - counts[0]) / (REPETITIONS[1] - REPETITIONS[0]))


def main() -> None:
    """Compare, or record."""
    if shutil.which("valgrind") is None:
        sys.exit("valgrind is not installed; it counts the instructions: apt install valgrind")
    output("cargo", "build", "--release", "--locked", "--example", "kernels")
    compiler = output("rustc", "--version").strip()
    counts = {kernel: instructions(kernel) for kernel in KERNELS}
    if "--record" in sys.argv:
        RECORD.write_text(json.dumps({"compiler": compiler, "instructions": counts}, indent=2) + "\n")
    record = json.loads(RECORD.read_text())
    worse = []
    for kernel, count in counts.items():
        before = record["instructions"][kernel]
        print(f"{kernel:8} {count:>12,} instructions, {count / before - 1:+.2%} of {before:,}")
        if count > (1 + SLACK) * before:
            worse.append(kernel)
    if record["compiler"] != compiler:
        print(f"recorded with {record['compiler']}, here {compiler}: no verdict")
    elif worse:
        sys.exit(f"{', '.join(worse)}: more than {SLACK:.0%} above the record; if that is worth it, run with --record")


if __name__ == "__main__":
    main()
