"""The licences of what is compiled into the extension: ``python docs/make_third_party.py > THIRD-PARTY.md``."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

HEAD = """# What is compiled into the extension

These crates, each under its own licence; where there are several to choose from, under any of them. Sources and texts
of the licences are at <https://crates.io>. Written by `python docs/make_third_party.py > THIRD-PARTY.md`.

| crate | version | licence |
|---|---|---|
"""


def compiled_in(metadata: dict[str, Any]) -> set[str]:
    """Return the ids of the packages that a build needs, beside those that only build or test it."""
    nodes = {node["id"]: node for node in metadata["resolve"]["nodes"]}
    found, ahead = set[str](), [metadata["resolve"]["root"]]
    while ahead:
        package = ahead.pop()
        if package in found:
            continue
        found.add(package)
        dependencies = nodes[package]["deps"]
        ahead += [each["pkg"] for each in dependencies if any(kind["kind"] is None for kind in each["dep_kinds"])]
    return found - {metadata["resolve"]["root"]}


def main() -> None:
    """Ask cargo, and print the table."""
    command = ["cargo", "metadata", "--format-version", "1", "--locked", "--features", "python"]
    metadata = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)  # noqa: S603
    ids = compiled_in(metadata)
    rows = {(each["name"], each["version"], each["license"]) for each in metadata["packages"] if each["id"] in ids}
    sys.stdout.write(HEAD)
    sys.stdout.writelines(f"| {name} | {version} | {licence} |\n" for name, version, licence in sorted(rows))


if __name__ == "__main__":
    main()
