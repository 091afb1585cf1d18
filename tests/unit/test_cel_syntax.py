from __future__ import annotations

from edgeagent.cel.syntax import syntax_problem


def test_the_engines_words_in_plain() -> None:
    message = (
        "Failed to parse expression 'a == 1\n  and b': ERROR: <input>:2:3: Syntax error: mismatched input 'and' expecting "
        "{<EOF>, '=='}\n|   and b\n| ..^"
    )
    problem = syntax_problem("a == 1\n  and b", message)
    assert problem.why == "'and' is not expected at character 10"
    assert problem.remedy == "write && for 'and':\n    and b\n    ^"


def test_an_expression_that_quotes_an_error() -> None:
    expression = "'ERROR: <input>:7:7: x' +"
    problem = syntax_problem(
        expression, f"Failed to parse expression '{expression}': ERROR: <input>:1:26: mismatched input '<EOF>'"
    )
    assert problem.why == "it ends too early"


def test_words_that_are_not_understood() -> None:
    assert syntax_problem("a", "Failed to parse").why == "it is not CEL"
    assert "strange at character 1" in syntax_problem("a b", "ERROR: <input>:1:1: strange").why
    assert syntax_problem("a", "ERROR: <input>:9:99: 'x' is odd").remedy.endswith("^")
