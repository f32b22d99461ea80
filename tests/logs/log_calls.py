"""The log calls of the package, read off its sources."""

from __future__ import annotations

import ast
from pathlib import Path

import veltix_tx

ROOT = Path(veltix_tx.__file__).parent


def _text_of(call: ast.Call, function: ast.AST) -> str:
    """The first constant text among a log call's arguments, or what a name there was given last in the same function."""
    for node in ast.walk(ast.Tuple(call.args, ast.Load())):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            return node.value
    names = {each.id for each in call.args if isinstance(each, ast.Name)}
    for node in ast.walk(function):
        if isinstance(node, ast.Assign) and any(isinstance(each, ast.Name) and each.id in names for each in node.targets):
            return ast.unparse(node.value).strip("'\"")
    return ast.unparse(call)


def log_calls() -> list[tuple[str, bool]]:
    """Each log call of the package: ``module: text``, and whether the limiter is asked before."""
    modules = {path.relative_to(ROOT).as_posix(): path for path in sorted(ROOT.rglob("*.py"))}
    return [
        (f"{module}: {text}", limited)
        for module, path in modules.items()
        if not module.startswith("benchmark/")  # which serves nobody but itself
        for text, limited in _log_calls_of(path)
    ]


def _log_calls_of(path: Path) -> list[tuple[str, bool]]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    parents = {child: parent for parent in ast.walk(tree) for child in ast.iter_child_nodes(parent)}
    found = []
    for call in ast.walk(tree):
        if not (isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute)):
            continue
        if not (isinstance(call.func.value, ast.Name) and call.func.value.id == "_log"):
            continue
        limited, node, function = False, call, None
        while node in parents:
            below, node = node, parents[node]
            if isinstance(node, ast.If) and below is not node.test and _asks(node.test):
                limited = True
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and function is None:
                function = node
                limited = limited or any(_leaves_without(each) for each in node.body if each.lineno < call.lineno)
        found.append((_text_of(call, function or tree), limited))
    return found


def _asks(test: ast.expr) -> bool:
    """Whether a condition asks the limiter."""
    text = ast.unparse(test).replace("may_log)", "may_log(")
    return "may_log(" in text or "log_limiter.allow(" in text


def _leaves_without(statement: ast.stmt) -> bool:
    """Whether a statement ends its function where the limiter says no."""
    return (
        isinstance(statement, ast.If)
        and ast.unparse(statement.test).startswith("not ")
        and _asks(statement.test)
        and isinstance(statement.body[-1], ast.Return)
    )
