"""What can be set, typed or answered is documented, and the document says what the code does."""

from __future__ import annotations

import ast
import re
from pathlib import Path

from latchgate import commands
from latchgate.cli import document as cli_document
from latchgate.config import document as config_document
from latchgate.config.settings import ALL
from latchgate.domain import errors
from latchgate.http.admin import ROUTES
from latchgate.observe import metrics

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
ERROR_TYPES = {name for name, value in vars(errors).items() if isinstance(value, type)}


def _codes_in_the_code() -> set[str]:
    """Every code that a refusal can carry: a class's own, or given where it is raised."""
    codes = set()
    for path in sorted((ROOT / "src").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            codes |= {
                said.value
                for said in _codes_at(node)
                if isinstance(said, ast.Constant) and isinstance(said.value, str)
            }
    return codes


def _codes_at(node: ast.AST) -> list[ast.expr]:
    match node:
        case ast.ClassDef():
            return [
                statement.value
                for statement in node.body
                if isinstance(statement, ast.Assign)
                if getattr(statement.targets[0], "id", "") == "code"
            ]
        case ast.Call(func=ast.Name(id="refuse"), args=[_, code, _]):
            return [code]
        case ast.Call(func=ast.Name(id=name)) if name in ERROR_TYPES:
            return [keyword.value for keyword in node.keywords if keyword.arg == "code"]
    return []


def test_the_page_of_settings_is_in_step() -> None:
    written = (DOCS / "configuration.md").read_text()
    assert written == config_document.markdown(), "make docs writes it anew"
    for row in ALL:
        assert f"`{row.path}`" in written


def test_the_page_of_commands_is_in_step() -> None:
    assert (DOCS / "cli.md").read_text() == cli_document.markdown(), "make docs writes it anew"


def test_the_page_of_metrics_is_in_step() -> None:
    assert (DOCS / "metrics.md").read_text() == metrics.markdown(), "make docs writes it anew"


def test_every_metric_ends_in_its_unit() -> None:
    for metric in metrics.METRICS:
        bare = metric.name.removesuffix("_total")
        assert bare.startswith("latchgate_")
        assert bare.endswith(tuple(f"_{unit}" for unit in metrics.UNITS)), metric.name
        assert metric.name.endswith("_total") == (metric.kind == metrics.COUNTER), metric.name


def test_every_metric_that_a_document_names_is_there() -> None:
    known = {metric.name for metric in metrics.METRICS}
    for document in DOCS.glob("*.md"):
        assert set(re.findall(r"\blatchgate_[a-z_]+", document.read_text())) <= known, document.name


def test_every_verb_can_be_typed() -> None:
    typed = {name.replace(" ", ".") for name, _ in cli_document.commands()}
    assert set(commands.VERBS) <= typed


def test_every_route_of_the_admin_api_is_documented() -> None:
    written = (DOCS / "management-api.md").read_text()
    for route in ROUTES:
        verb, path = route.verb.replace(".", " "), route.path.replace(":path", "")
        row = f"| `{route.method} {path}` | `{route.scope}` | `{verb}` | {route.says} |"
        assert row in written, row


def test_every_option_says_what_it_does() -> None:
    silent = [
        f"{name} {param.name}"
        for name, command in cli_document.commands()
        for param in command.params
        if param.name != "help" and not param.help
    ]
    assert not silent


def test_every_error_code_is_documented() -> None:
    written = (DOCS / "errors.md").read_text()
    missing = {code for code in _codes_in_the_code() if f"`{code}`" not in written}
    assert not missing


def test_every_make_verb_says_what_it_does() -> None:
    makefile = (ROOT / "Makefile").read_text()
    verbs = re.findall(r"^\.PHONY: (\S+)$", makefile, re.MULTILINE)
    for verb in verbs:
        assert re.search(rf"^{verb}:.*## \S", makefile, re.MULTILINE), verb


def test_every_file_that_a_document_names_is_there() -> None:
    roots = (ROOT, ROOT / "src" / "latchgate", DOCS)
    for document in [*ROOT.glob("*.md"), *DOCS.rglob("*.md")]:
        text = document.read_text()
        named = re.findall(r"`([\w./-]+/[\w./-]*\.(?:py|md|toml|css|js))`", text)
        for path in named:
            assert any((root / path).exists() for root in roots), f"{document.name}: {path}"
        for link in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", text):
            assert (document.parent / link).exists(), f"{document.name}: {link}"
