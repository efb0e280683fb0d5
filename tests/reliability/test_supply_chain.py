"""What others wrote and is shipped or run: pinned, from one place, under licences that were looked at."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent.parent
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.y*ml"))
ROW = re.compile(r"^\| ([\w-]+) \| (\S+) \| (.+) \|$", flags=re.MULTILINE)
CRATES_IO = "registry+https://github.com/rust-lang/crates.io-index"


def read(name: str) -> dict[str, Any]:
    return tomllib.loads((ROOT / name).read_text(encoding="utf-8"))


def third_parties() -> list[tuple[str, str, str]]:
    rows = ROW.findall((ROOT / "THIRD-PARTY.md").read_text(encoding="utf-8"))
    return [row for row in rows if row[0] != "crate"]


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_workflows_may_read_and_their_actions_are_pinned(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert re.search(r"^permissions:\n  contents: read\njobs:", text, flags=re.MULTILINE)
    assert text.count("permissions") == 1, "a job may more"
    assert "pull_request_target" not in text
    used = re.findall(r"\buses:(.*)", text)
    assert used
    for action in used:
        assert re.fullmatch(r" [\w-]+/[\w-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", action), f"by commit:{action}"
    assert text.count("persist-credentials: false") == text.count("actions/checkout@")


@pytest.mark.parametrize("lock", ["Cargo.lock", "fuzz/Cargo.lock"])
def test_every_crate_is_locked_and_from_crates_io(lock: str) -> None:
    packages = read(lock)["package"]
    assert len(packages) > len(read("Cargo.toml")["dependencies"])
    for package in packages:
        if package["name"] not in {"steepest", "steepest-fuzz"}:
            assert package["source"] == CRATES_IO, package["name"]
            assert re.fullmatch("[0-9a-f]{64}", package["checksum"])


def test_what_is_fuzzed_is_what_is_shipped() -> None:
    """Of the crates that the fuzzer builds, those that are compiled into the extension are the same, byte by byte."""
    ours, fuzzed = (
        {(package["name"], package["version"]): package.get("checksum") for package in read(lock)["package"]}
        for lock in ("Cargo.lock", "fuzz/Cargo.lock")
    )
    names = {name for name, _, _ in third_parties()}
    shared = {package: checksum for package, checksum in fuzzed.items() if package[0] in names}
    assert len(shared) > len(read("Cargo.toml")["dependencies"])
    assert shared.items() <= ours.items(), "cargo update --manifest-path fuzz/Cargo.toml NAME --precise VERSION"


def test_the_list_of_third_parties_is_that_of_the_lock() -> None:
    """``python docs/make_third_party.py > THIRD-PARTY.md`` after a change of Cargo.lock."""
    locked = {(package["name"], package["version"]) for package in read("Cargo.lock")["package"]}
    listed = {(name, version) for name, version, _ in third_parties()}
    assert listed <= locked
    cargo = read("Cargo.toml")["dependencies"]
    assert set(cargo) <= {name for name, _ in listed}


def test_the_list_of_third_parties_is_what_cargo_says() -> None:
    if shutil.which("cargo") is None:
        pytest.skip("cargo is not installed: nobody says what is compiled in")
    command = [sys.executable, str(ROOT / "docs" / "make_third_party.py")]
    printed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, encoding="utf-8", check=True).stdout
    assert printed == (ROOT / "THIRD-PARTY.md").read_text(encoding="utf-8")


def test_every_licence_is_one_that_deny_toml_allows() -> None:
    allowed = set(read("deny.toml")["licenses"]["allow"])
    assert allowed
    for name, _, licence in third_parties():
        # All parts of a sum are needed, of alternatives one is enough.
        for part in re.split(r"\s+AND\s+", licence.replace("(", "").replace(")", "")):
            assert set(re.split(r"\s+OR\s+|\s*/\s*", part)) & allowed, f"{name}: {licence}"


def test_versions_agree() -> None:
    version = read("Cargo.toml")["package"]["version"]
    assert f"\nversion: {version}\n" in (ROOT / "CITATION.cff").read_text(encoding="utf-8")
