"""Profiles of the property tests, and the fixtures that every file shares."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from cuda_cases import usual_kernels
from fake_gpu import COMPILER, FakeCupy, Reads

#: After which a compiled library is given up.
UNUSED_SECONDS = 7 * 24 * 3600

# Set before anything imports pyplot: the tests run where there is no display.
os.environ["MPLBACKEND"] = "Agg"

settings.register_profile("dev", max_examples=25, deadline=None)
# A failure on a server must be due to the change under test, so the examples are always the same.
settings.register_profile("ci", max_examples=200, deadline=None, derandomize=True, print_blob=True)
settings.register_profile("deep", max_examples=5000, deadline=None, print_blob=True)
settings.load_profile(os.environ.get("STEEPEST_TEST_PROFILE") or ("ci" if os.environ.get("CI") else "dev"))


# One instance a session, because a property test may not take a fixture that is made anew for each of its tests.
@pytest.fixture(scope="session", params=["rust", "numpy"])
def backend(request: pytest.FixtureRequest) -> str:
    """Both backends that run everywhere."""
    name: str = request.param
    return name


@pytest.fixture(scope="session")
def shim_folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where libraries of the shim are kept: for all processes of a session, and for the next one."""
    cache = getattr(request.config, "cache", None)
    folder: Path = tmp_path_factory.mktemp("shim") if cache is None else cache.mkdir("shim")
    for path in folder.glob("*/*"):
        if time.time() - path.stat().st_mtime > UNUSED_SECONDS:
            path.unlink(missing_ok=True)
    return folder


@pytest.fixture
def gpu(shim_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeCupy]:
    """An imaginary GPU, for as long as a test runs."""
    if COMPILER is None:
        pytest.skip("g++ is not installed: kernels cannot be compiled for the CPU")
    fake = FakeCupy(shim_folder)
    fake.bundle = [*usual_kernels()]
    monkeypatch.setitem(sys.modules, "cupy", fake)
    Reads.count, Reads.trapped = 0, False
    yield fake
    Reads.trapped = False
