"""Programs in processes of their own, each under a hard limit of time: a hang is a failure, not a wait."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Mapping

SECONDS = 30.0


def start(script: str, *arguments: object, environment: Mapping[str, str] | None = None) -> subprocess.Popen[str]:
    """Start a Python program, as the leader of a group of processes; variables that are empty are taken away."""
    return subprocess.Popen(
        [sys.executable, "-c", script, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={name: value for name, value in {**os.environ, **(environment or {})}.items() if value},
        start_new_session=True,
    )


def end(process: subprocess.Popen[str]) -> None:
    """End a program and all that it has started."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


def run(script: str, *arguments: object, seconds: float = SECONDS, environment: Mapping[str, str] | None = None) -> str:
    """Return what a Python program prints; it must end by itself, in time and without an error."""
    process = start(script, *arguments, environment=environment)
    try:
        output, errors = process.communicate(timeout=seconds)
    finally:
        end(process)
    assert process.returncode == 0, f"ended with {process.returncode}: {errors[-2000:]}"
    return output
