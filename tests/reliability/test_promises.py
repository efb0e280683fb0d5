"""The page on reliability and the tests that it names: each command there selects some tests, and not all by chance.

``-k`` looks at the names of files too, so that a word of a file's name selects all that is in it.
"""

from __future__ import annotations

import json
import re
import shlex
from itertools import pairwise
from pathlib import Path

from children import run

TESTS = Path(__file__).parent.parent
PAGE = TESTS.parent / "docs" / "reliability.md"

#: Prints, by file, how many tests it has, and how many of them each expression selects.
COLLECT = """
import json, sys
import pytest
from _pytest.mark import KeywordMatcher
from _pytest.mark.expression import Expression

folder, asked = sys.argv[1], json.loads(sys.argv[2])

class Count:
    def pytest_collection_finish(self, session):
        for name, expressions in asked.items():
            items = [KeywordMatcher.from_item(item) for item in session.items if item.path.as_posix().endswith(name)]
            selected = {each: sum(map(Expression.compile(each).evaluate, items)) for each in expressions}
            print("found", json.dumps([name, len(items), selected]))

paths = [f"{folder}/{name}" for name in asked]
sys.exit(pytest.main(["--collect-only", "-qq", "--no-summary", "-p", "no:cacheprovider", *paths], plugins=[Count()]))
"""


def commands() -> dict[str, set[str]]:
    """Return the files that the tables of the page name, and the expressions that select among their tests."""
    found: dict[str, set[str]] = {}
    rows = [line for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("|")]
    for code in re.findall(r"`([^`]*\btest_\w+\.py[^`]*)`", "\n".join(rows)):
        words = shlex.split(code)
        expressions = {after for word, after in pairwise(words) if word == "-k"}
        for word in words:
            if re.fullmatch(r"test_\w+\.py", Path(word).name):
                found.setdefault(Path(word).name, set()).update(expressions)
    return found


def test_every_row_is_held_to_tests_that_are_there() -> None:
    asked = commands()
    assert len(asked) > 10
    paths = {name: [path.relative_to(TESTS).as_posix() for path in TESTS.rglob(name)] for name in asked}
    assert [name for name, places in paths.items() if len(places) != 1] == []
    given = {places[0]: sorted(asked[name]) for name, places in paths.items()}
    lines = run(COLLECT, TESTS, json.dumps(given), seconds=120).splitlines()
    found = [json.loads(line.partition(" ")[2]) for line in lines if line.startswith("found ")]
    assert len(found) == len(asked)
    wrong = [
        f'{name} -k "{expression}" selects {selected} of {n_tests} tests'
        for name, n_tests, expressions in found
        for expression, selected in expressions.items()
        if not 0 < selected < n_tests
    ]
    assert [name for name, n_tests, _ in found if not n_tests] == []
    assert wrong == []
