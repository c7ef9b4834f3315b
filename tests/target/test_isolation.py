"""The target stands apart: a wrong idea of a contract must not hide in code that both sides share."""

import ast

from tests.target.client import ROOT

HARNESS = {"wsoak", "scenarios", "analysis", "locust", "gevent", "pandas", "tests"}


def test_the_target_imports_nothing_of_the_harness() -> None:
    files = list((ROOT / "target").glob("**/*.py"))
    assert files
    for file in files:
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                names = [node.module or ""]
            else:
                continue
            assert not HARNESS & {name.split(".")[0] for name in names}, file
