"""Programs in processes of their own, each under a hard limit of time: a hang is a failure, not a wait."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

SECONDS = 30.0


def start(script: str, *arguments: object, **environment: str) -> subprocess.Popen[str]:
    """Start a Python program, as the leader of a group of processes; variables that are empty are taken away."""
    return subprocess.Popen(
        [sys.executable, "-c", script, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={name: value for name, value in (os.environ | environment).items() if value},
        start_new_session=True,
    )


def end(process: subprocess.Popen[str]) -> None:
    """End a program and all that it has started."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    process.communicate()


def run(script: str, *arguments: object, seconds: float = SECONDS, **environment: str) -> str:
    """Return what a Python program prints; it must end by itself, in time and without an error."""
    process = start(script, *arguments, **environment)
    try:
        output, errors = process.communicate(timeout=seconds)
    finally:
        end(process)
    assert process.returncode == 0, f"ended with {process.returncode}: {errors[-2000:]}"
    return output
