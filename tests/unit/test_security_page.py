"""docs/security.md names the tests that prove it; each of them must be there."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
PAGE = (TESTS.parent / "docs" / "security.md").read_text(encoding="utf-8")
FILE = r"(?:(?:live|unit|firmware|system)/test_\w+|firmware/both/check_\w+)\.py"
NAMED = sorted(set(re.findall(rf"\b({FILE})::(test_\w+)", PAGE)))
ROW = re.compile(r"^\| (?!proved by|role \||-)(.+) \|$", re.MULTILINE)


@cache
def functions(file: str) -> frozenset[str]:
    tree = ast.parse((TESTS / file).read_text(encoding="utf-8"))
    return frozenset(node.name for node in tree.body if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)))


@pytest.mark.parametrize(("file", "name"), NAMED)
def test_a_test_that_is_named_exists(file: str, name: str) -> None:
    assert (TESTS / file).is_file(), f"docs/security.md names {file}, which is not there"
    assert name in functions(file), f"docs/security.md names {file}::{name}, which is not there"


def test_every_line_says_what_proves_it() -> None:
    rows = [row for row in ROW.findall(PAGE) if not row.startswith(("---", "|"))]
    assert len(rows) > 60
    assert [row for row in rows if "::test_" not in row and not row.endswith("not tested")] == []


def test_the_page_is_linked() -> None:
    assert "docs/security.md" in (TESTS.parent / "README.md").read_text(encoding="utf-8")
