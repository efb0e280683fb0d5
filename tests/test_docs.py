"""The pages of the documentation: their code runs and gives what they show, and the reference names everything."""

from __future__ import annotations

import doctest
import re
import shlex
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import steepest as st
import test_cli
from printed import expect_shown

if TYPE_CHECKING:
    from collections.abc import Callable

    from test_cli import Outcome

pytest.importorskip("onnxruntime")

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
PAGES = [page for page in sorted(DOCS.rglob("*.md")) if "_build" not in page.parts]
FENCE = re.compile(r"^```.*$", flags=re.MULTILINE)
COMMANDS = re.compile(r"^```console\n(.*?)^```$", flags=re.MULTILINE | re.DOTALL)
FILES = re.compile(r"^```\{code-block\} \w+\n:caption: (\S+)\n\n(.*?)^```$", flags=re.MULTILINE | re.DOTALL)
IN_REFERENCE = re.compile(r"^   (\w+)$", flags=re.MULTILINE)

steepest = test_cli.steepest


def name(page: Path) -> str:
    return page.relative_to(DOCS).as_posix()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the working directory, where pages may write."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("page", [page for page in PAGES if ">>> " in page.read_text(encoding="utf-8")], ids=name)
@pytest.mark.usefixtures("folder")
def test_python(page: Path) -> None:
    # Blank lines in place of fences, so that none ends up in what is expected.
    text = FENCE.sub("", page.read_text(encoding="utf-8"))
    test = doctest.DocTestParser().get_doctest(text, {}, name(page), str(page), 0)
    printed: list[str] = []
    failed, tried = doctest.DocTestRunner().run(test, out=printed.append)
    assert tried
    assert not failed, "".join(printed)


@pytest.mark.parametrize("page", [page for page in PAGES if "$ steepest" in page.read_text(encoding="utf-8")], ids=name)
def test_commands(page: Path, folder: Path, steepest: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    shutil.copytree(ROOT / "examples", folder / "examples")
    text = page.read_text(encoding="utf-8")
    for file, content in FILES.findall(text):
        (folder / file).write_text(content, encoding="utf-8")
    for block in COMMANDS.findall(text):
        first, *commands = block.split("$ ")
        assert not first
        for command in commands:
            line, _, shown = command.partition("\n")
            program, *arguments = shlex.split(line)
            assert program == "steepest"
            outcome = steepest(*arguments)
            assert outcome.code == 0, outcome.err
            expect_shown(shown, outcome.out)


def test_the_reference_names_everything() -> None:
    named = IN_REFERENCE.findall((DOCS / "api" / "index.md").read_text(encoding="utf-8"))
    assert sorted(named) == sorted({*st.__all__, *st.plot.__all__} - {"__version__", "plot"})
