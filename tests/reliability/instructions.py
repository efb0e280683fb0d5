"""Which functions of the library have instructions that not every x86-64 has: none but those chosen as it runs.

cargo rustc --release --lib --features python --crate-type cdylib --config profile.release.strip=false
python tests/reliability/instructions.py target/release/libsteepest.so
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections import Counter

#: Who asks the processor before it calls these, by what their names have.
CHOSEN = {
    "ours, by pulp's dispatch": re.compile(r"vectorize"),
    "pulp's loads and stores of a part of a register": re.compile(r"^libpulp_\w+_(ld|st)_b"),
    "faer's products of matrices": re.compile(r"gemm"),
    "the standard library's": re.compile(r"^(core|std|memchr|std_detect)::"),
}
WIDE = re.compile(r"%[yz]mm")


def wide_functions(library: str) -> set[str]:
    """Return the names of the functions with registers of 256 or 512 bits."""
    command = ["objdump", "--disassemble", "--demangle", "--no-show-raw-insn", library]
    found, name = set(), ""
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as program:
        for line in program.stdout or ():
            if line.endswith(">:\n"):
                name = line.split(" <", 1)[1][:-3]
            elif WIDE.search(line):
                found.add(name)
    return found


if __name__ == "__main__":
    kinds: Counter[str] = Counter()
    outside = []
    for name in sorted(wide_functions(sys.argv[1])):
        kind = next((kind for kind, pattern in CHOSEN.items() if pattern.search(name)), None)
        if kind is None:
            outside.append(name)
        kinds[kind or "outside"] += 1
    for kind, n in kinds.most_common():
        print(f"{n:6,} {kind}")  # noqa: T201
    # A library without names has one function, or none: nothing was shown.
    sys.exit("\n".join(outside) or (f"{sys.argv[1]} has no names: build it as told above" if len(kinds) < 2 else 0))
