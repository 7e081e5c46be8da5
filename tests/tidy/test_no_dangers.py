"""What is dangerous wherever it stands is in no module and no script of ours."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
SRC = ROOT / "src"
_CALLS = {"eval", "exec", "compile", "__import__"}
_METHODS = {"system", "popen", "from_string", "create_subprocess_shell", "getoutput"}
_MODULES = {"pickle", "marshal", "shelve", "dill", "xml", "lxml", "yaml", "ldap3"}
#: What a script can make markup, or code, of.
_SCRIPTS = re.compile(
    r"\b(innerHTML|outerHTML|insertAdjacentHTML|setHTMLUnsafe|document\.write)\b"
    r"|\beval\(|\bnew Function\b|\bset(Timeout|Interval)\(\s*[\"'`]|\b__proto__\b"
)


def _danger(node: ast.AST) -> str:
    """What is dangerous about a node; empty: nothing."""
    match node:
        case ast.Call(func=ast.Name(id=name)) if name in _CALLS:
            return name
        case ast.Call(func=ast.Attribute(attr=name)) if name in _METHODS:
            return name
        case ast.Call(func=ast.Name(id="Markup"), args=[first, *_]) if not isinstance(
            first, ast.Constant | ast.Call
        ):
            return "Markup of what is no text of ours"
        case ast.keyword(arg="shell", value=ast.Constant(value=True)):
            return "shell=True"
        case ast.Import(names=names) if {name.name.split(".")[0] for name in names} & _MODULES:
            return "import"
        case ast.ImportFrom(module=str(name)) if name.split(".")[0] in _MODULES:
            return "import"
    return ""


def test_nothing_runs_what_somebody_wrote() -> None:
    """No text becomes code, a command, a template, or an object of any kind that it likes."""
    found = [
        f"{path.relative_to(ROOT)}:{getattr(node, 'lineno', '')}: {_danger(node)}"
        for path in sorted(SRC.rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text()))
        if _danger(node)
    ]
    assert not found


def test_no_script_of_ours_writes_markup() -> None:
    """A script puts text into a page as text."""
    scripts = sorted(SRC.rglob("*.js"))
    assert len(scripts) >= 5
    found = [
        f"{path.name}: {match[0]}"
        for path in scripts
        for match in _SCRIPTS.finditer(path.read_text())
    ]
    assert not found
