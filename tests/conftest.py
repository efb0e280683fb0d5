"""Profiles of the property tests, and the fixtures that every file shares."""

from __future__ import annotations

import os

import pytest
from hypothesis import settings

from fake_gpu import gpu, shim_folder

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


__all__ = ["gpu", "shim_folder"]
