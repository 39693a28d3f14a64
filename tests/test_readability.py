"""Readability of the code: names, docstrings, lengths of functions and files."""

import ast
import re
from collections import Counter
from collections.abc import Iterator, Set
from pathlib import Path

import featx

ROOT = Path(featx.__file__).parent
TESTS = Path(__file__).parent
TREES = {path: ast.parse(path.read_text()) for path in sorted(ROOT.rglob("*.py"))}
VAGUE_WORDS = """
found one said asked told known odd at of every kept now how which less much what where here there those others other
rest some both each many few more most soon near far that this it them so done wanted given gone looked seen made held
stands taken way ways thing things stuff tmp foo res ret obj lot bit
"""
FRAGMENT = re.compile(
    r"(Of|That|What|See|And|Or|But|Whose|With|Without|As|Where|How|Who|Why|Which|From|To|By|In|On|For)\b"
)
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
# Calls that fail where something is wrong, beside the functions of the tests that assert.
ASSERTING_CALLS = re.compile(
    r"pytest\.(raises|warns|fail)|\w*testing\.assert_|estimator_checks|run_state_machine_as_test"
    r"|^expect\(.*\)\.(not_)?to_"
)
MAX_VAGUE_SHARE = 0.005
MAX_FUNCTION_LINES = 40
MAX_FILE_LINES = 400


def local_names(tree: ast.AST) -> Iterator[str]:
    """Yield every parameter and every name that is bound in a function, once for each binding."""
    for function in (node for node in ast.walk(tree) if isinstance(node, FUNCTIONS)):
        arguments = function.args
        yield from (a.arg for a in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs))
        for node in ast.walk(function):
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                yield node.id


def docstrings(tree: ast.AST) -> Iterator[str]:
    """Yield the docstrings of a module, its classes and functions."""
    for node in ast.walk(tree):
        if isinstance(node, (ast.Module, ast.ClassDef, *FUNCTIONS)):
            text = ast.get_docstring(node)
            if text:
                yield text


def body_lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Return the number of lines of a function's body without its docstring."""
    body = function.body[1:] if ast.get_docstring(function) and len(function.body) > 1 else function.body
    return (body[-1].end_lineno or 0) - body[0].lineno + 1


def test_few_local_names_are_vague() -> None:
    counts = Counter(name.lstrip("_") for tree in TREES.values() for name in local_names(tree))
    vague = {name: n for name, n in counts.items() if name in VAGUE_WORDS.split()}
    assert sum(vague.values()) <= MAX_VAGUE_SHARE * counts.total(), sorted(vague.items(), key=lambda item: -item[1])


def test_no_docstring_begins_with_a_fragment() -> None:
    fragments = [
        f"{path.name}: {text[:60]}" for path, tree in TREES.items() for text in docstrings(tree) if FRAGMENT.match(text)
    ]
    assert fragments == []


def test_no_function_is_long() -> None:
    long_functions = [
        f"{path.name}: {node.name} has {body_lines(node)} lines"
        for path, tree in TREES.items()
        for node in ast.walk(tree)
        if isinstance(node, FUNCTIONS) and body_lines(node) > MAX_FUNCTION_LINES
    ]
    assert long_functions == []


def test_no_file_is_long() -> None:
    lengths = {path.name: len(path.read_text().splitlines()) for path in (*TREES, *TESTS.rglob("*.py"))}
    assert {name: n for name, n in lengths.items() if n > MAX_FILE_LINES} == {}


def asserts(function: ast.FunctionDef, asserting_names: Set[str]) -> bool:
    """Whether a function contains an assertion, or calls one of the functions that do."""
    for node in ast.walk(function):
        if isinstance(node, ast.Assert):
            return True
        if isinstance(node, ast.Call):
            call = ast.unparse(node.func)
            if call in asserting_names or ASSERTING_CALLS.search(call) or "check=True" in ast.unparse(node):
                return True
    return False


def test_every_test_asserts_something() -> None:
    trees = [ast.parse(path.read_text()) for path in TESTS.rglob("*.py")]
    functions = [node for tree in trees for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    tests = [function for function in functions if function.name.startswith("test_")]
    helpers = {function.name for function in functions if asserts(function, frozenset())} - {"main"}
    assert len(tests) > 1000
    assert [function.name for function in tests if not asserts(function, helpers)] == []


def test_a_test_without_an_assertion_is_found() -> None:
    (function,) = ast.parse("def test_nothing():\n    value = compute(check=False)\n    value.is_whole()").body
    assert isinstance(function, ast.FunctionDef)
    assert not asserts(function, {"check_error"})


def documented_names(docstring: str, section: str) -> Iterator[str]:
    """Yield the names that a section of a docstring explains."""
    text = re.search(rf"^{section}\n-+\n(.*?)(?=^\w[^\n]*\n---|\Z)", docstring, re.M | re.S)
    for line in text[1].splitlines() if text else ():
        if re.match(r"[\w*, ]+$", line) and not line[0].isspace():
            yield from re.findall(r"\w+", line)


def known_names(node: ast.AST) -> set[str]:
    """Return the names of the arguments, fields, attributes and functions of a function or class."""
    names = set()
    for part in ast.walk(node):
        if isinstance(part, ast.arg):
            names.add(part.arg)
        elif isinstance(part, ast.Name | ast.Attribute):
            names.add(part.id if isinstance(part, ast.Name) else part.attr)
        elif isinstance(part, FUNCTIONS):
            names.add(part.name)
    return names


def test_docstrings_explain_what_exists() -> None:
    n_names, wrong_names = 0, []
    for path, tree in TREES.items():
        for node in ast.walk(tree):
            if not isinstance(node, (ast.ClassDef, *FUNCTIONS)) or not (docstring := ast.get_docstring(node)):
                continue
            names = {*documented_names(docstring, "Parameters"), *documented_names(docstring, "Attributes")}
            n_names += len(names)
            if names:
                wrong_names += [f"{path.name}: {node.name}: {name}" for name in names - known_names(node)]
    assert n_names > 1000
    assert wrong_names == []
