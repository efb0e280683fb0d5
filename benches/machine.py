"""What the benchmark ran on, in words."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

PACKAGES = ("steepest", "numpy", "scipy", "scikit-learn", "glum", "cyanure", "snapml", "skglm", "jax", "torch")


def introduction(*, quick: bool) -> list[str]:
    """Return the head of the page."""
    words = (
        "`make bench` measures everything on this page in one run and writes it. Absolute times are of one machine on "
        "one day; what may be quoted are the ratios."
    )
    here = (
        f"* {processor()}, {len(os.sched_getaffinity(0))} cores, {memory():.0f} GB, {platform.system()} "
        f"{platform.machine()}, Python {platform.python_version()}, {datetime.now(UTC):%Y-%m-%d}"
    )
    text = [
        "# Benchmarks",
        "",
        words,
        "",
        here,
        f"* {', '.join(versions())}",
        "* two threads for everybody",
    ]
    return [*text, "* **a quick run on a tenth of the rows: not to be quoted**"] if quick else text


def versions() -> list[str]:
    """Return each package with its version, or that it is missing."""
    found = []
    for package in PACKAGES:
        try:
            found.append(f"{package} {importlib.metadata.version(package)}")
        except importlib.metadata.PackageNotFoundError:
            found.append(f"{package} (not installed)")
    return found


def processor() -> str:
    """Return the model of the processor."""
    if sys.platform == "darwin":
        command = ["/usr/sbin/sysctl", "-n", "machdep.cpu.brand_string"]
        return subprocess.run(command, text=True, capture_output=True, check=False).stdout.strip()  # noqa: S603
    described = Path("/proc/cpuinfo")
    lines = described.read_text(encoding="utf-8").splitlines() if described.exists() else []
    facts = dict(line.split(":", 1) for line in lines if ":" in line)
    facts = {name.strip(): value.strip() for name, value in facts.items()}
    family = f" (family {facts['cpu family']}, model {facts['model']})" if "cpu family" in facts else ""
    return facts.get("model name", platform.processor()) + family


def memory() -> float:
    """Return gigabytes of memory."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
