"""`steepest fit --config`: a file of options, and what goes before it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import command_line
import test_cli
from command_line import PRICE, one_object

if TYPE_CHECKING:
    from command_line import Steepest

steepest, folder = test_cli.steepest, command_line.folder

CONFIG = """
file = "train.csv"
target = "price"
drop = ["sold", "kind"]
alpha = 0.25
solver = "gd"
learning-rate = 0.01
test_size = 0.1
steps = 20
json = true
"""


def test_configuration_and_what_goes_before_it(steepest: Steepest, folder: Path) -> None:
    (folder / "run.toml").write_text(CONFIG)
    found = one_object(steepest("fit", "--config", "run.toml"))
    assert (found["method"], found["steps"], found["rows"]["test"]) == ("gd", 20, 12)
    by_hand = steepest(
        *PRICE, "--alpha", 0.25, "--method", "gd", "--learning-rate", 0.01, "--test-size", 0.1, "--steps", 20, "--json"
    )
    assert one_object(by_hand)["coefficients"] == found["coefficients"]
    other = one_object(steepest("fit", "--config", "run.toml", "--steps", 3, "--method", "momentum", "--drop", "sold"))
    assert (other["method"], other["steps"]) == ("momentum", 3)
    assert any(name.startswith("kind=") for name in other["coefficients"])


WRONG_CONFIGS = {
    "aplha = 1": (1, "there is no option 'aplha'; did you mean 'alpha'?; options: alpha, backend, categorical"),
    "test-sice = 1": (1, "there is no option 'test-sice'; did you mean 'test-size'?"),
    "config = 'other.toml'": (1, "there is no option 'config'"),
    "[fit]\nalpha = 1": (1, "there is no option 'fit'"),
    "alpha = ": (1, "run.toml: expected TOML; "),
    "alpha = [1]": (1, "run.toml: alpha: expected one value; got [1]"),
    "drop = 3": (1, "run.toml: drop: expected a list of texts; got 3"),
    "drop = [3]": (1, "run.toml: drop: expected a list of texts; got [3]"),
    "method = 'gd'\nsolver = 'gd'": (1, "run.toml: 'solver' says again what another name of it says; keep one"),
    "alpha = 'much'": (2, "Invalid value for '--alpha'"),
    "steps = 1.5": (2, "Invalid value for '--steps'"),
    "steps = true": (2, "Invalid value for '--steps'"),
    "backend = 'gpu'": (2, "Invalid value for '--backend'"),
    "tol = nan": (1, "tol: expected a finite number ≥ 0; got nan"),
}


@pytest.mark.parametrize("text", WRONG_CONFIGS)
def test_wrong_configurations(steepest: Steepest, folder: Path, text: str) -> None:
    (folder / "run.toml").write_text(text)
    outcome = steepest(*PRICE, "--config", "run.toml", "--model", "m.safetensors")
    code, message = WRONG_CONFIGS[text]
    assert (outcome.code, outcome.out) == (code, "")
    assert message in outcome.err
    assert not (folder / "m.safetensors").exists()


@pytest.mark.usefixtures("folder")
def test_configuration_that_is_not_there(steepest: Steepest) -> None:
    outcome = steepest("fit", "--config", "no.toml")
    assert (outcome.code, outcome.err) == (1, "error: no.toml: No such file or directory\n")


def test_a_configuration_without_a_bottom(steepest: Steepest, folder: Path) -> None:
    (folder / "run.toml").write_text("drop = " + "[" * 100_000 + "]" * 100_000)
    outcome = steepest("fit", "--config", "run.toml")
    assert outcome.code == 1
    assert outcome.err.startswith("error: run.toml: expected TOML; ")
    assert outcome.err.count("\n") == 1
