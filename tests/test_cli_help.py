"""`steepest --help`: every command, kind of picture and option, with an example."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

import test_cli

if TYPE_CHECKING:
    from command_line import Steepest

steepest = test_cli.steepest

COMMANDS = ["demo", "fit", "predict", "evaluate", "plot", "export", "backends"]
KINDS = ["loss", "coefficients", "fit", "calibration", "confusion", "surface"]


@pytest.mark.parametrize("columns", ["80", "120"])
def test_help_says_everything(steepest: Steepest, monkeypatch: pytest.MonkeyPatch, columns: str) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    root = steepest("--help").out
    for command in COMMANDS:
        assert re.search(rf"^  {command} +\S.*[^.]\.$", root, flags=re.MULTILINE), f"{command}: the line is cut"
    assert "\n    steepest fit houses.csv --target price --model price.safetensors\n" in root
    assert all(re.search(rf"^ +{code} +\w", root, flags=re.MULTILINE) for code in (0, 1, 2, 130))
    kinds = steepest("plot", "--help").out
    assert all(re.search(rf"^  {kind} +\S.*[^.]\.$", kinds, flags=re.MULTILINE) for kind in KINDS)


@pytest.mark.parametrize(
    "command", [[name] for name in COMMANDS if name != "plot"] + [["plot", kind] for kind in KINDS]
)
def test_every_option_has_an_example(steepest: Steepest, monkeypatch: pytest.MonkeyPatch, command: list[str]) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    text = steepest(*command, "--help").out
    options = [
        option for option in re.split(r"\n  (?=-)", text.partition("\nOptions:")[2])[1:] if "--help" not in option
    ]
    assert options or command == ["backends"]
    for option in options:
        names = re.findall(r"--[\w-]+", option)
        assert any(names.count(name) > 1 for name in names), f"no example: {option}"
