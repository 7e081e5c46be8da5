"""The house's rules that no tool holds for us."""

from __future__ import annotations

import ast
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MODULE_LINES_MAX = 400
FUNCTION_LINES_MAX = 70
#: Names that say nothing about what is inside.
FORBIDDEN_NAMES = {"utils", "util", "helpers", "helper", "common", "manager", "misc"}
#: DESIGN's words: one noun, one meaning. Each of these has a better word in the glossary.
FORBIDDEN_WORDS = {
    "wallet": "account",
    "spend_log": "usage event",
    "org_id": "account_id",
    "admin_user": "operator",
    "access_token": "API key or session",
}
#: Addresses of package registries, and places on somebody's machine.
FOREIGN_PLACES = re.compile(
    r"(?:pypi|pythonhosted|npmjs)[.](?:org|com)|crates[.]io|--(?:extra-)?index-url"
    rf"|/home/[a-z]|/root/|/Users/[A-Za-z]|{re.escape(str(ROOT))}(?:/|$)"
)
TEXT_SUFFIXES = {
    ".py", ".md", ".toml", ".txt", ".in", ".html", ".css", ".js", ".json", ".yml", ".ini", ".mako",
    ".sh", "",
}  # fmt: skip


def _tracked() -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    )
    paths = (ROOT / name.decode() for name in listed.stdout.split(b"\0") if name)
    return [path for path in paths if path.is_file()]


def _modules() -> list[Path]:
    return [path for path in _tracked() if path.suffix == ".py"]


def _functions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def _named(path: Path) -> str:
    return str(path.relative_to(ROOT))


def test_a_module_fits_into_a_head() -> None:
    long = {
        _named(path): lines
        for path in _modules()
        if "migrations" not in path.parts
        if (lines := len(path.read_text().splitlines())) > MODULE_LINES_MAX
    }
    assert not long


def test_a_function_fits_on_a_screen() -> None:
    long = {
        f"{_named(path)}:{node.lineno} {node.name}": lines
        for path in _modules()
        if "migrations" not in path.parts  # a step is a list of tables, and never changes again
        for node in _functions(path)
        if (lines := (node.end_lineno or node.lineno) - node.lineno + 1) > FUNCTION_LINES_MAX
    }
    assert not long


def test_every_function_is_annotated() -> None:
    bare = []
    for path in _modules():
        for node in _functions(path):
            args = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
            unsaid = [arg.arg for arg in args if not arg.annotation]
            if node.returns is None or set(unsaid) - {"self", "cls"}:
                bare.append(f"{_named(path)}:{node.lineno} {node.name}")
    assert not bare


def test_every_module_of_ours_says_what_it_is_for() -> None:
    silent = [
        _named(path)
        for path in _modules()
        if path.is_relative_to(ROOT / "src") and not ast.get_docstring(ast.parse(path.read_text()))
    ]
    assert not silent


def test_an_example_knows_latchgate_only_as_a_server() -> None:
    """Whoever copies an example's folder has all of it."""
    found = [
        _named(path)
        for path in _modules()
        if path.is_relative_to(ROOT / "examples")
        and re.search(r"^\s*(from|import) (latchgate|tests)\b", path.read_text(), re.MULTILINE)
    ]
    assert not found


def test_no_module_has_a_name_that_says_nothing() -> None:
    vague = [
        _named(path)
        for path in _modules()
        if FORBIDDEN_NAMES & {*path.relative_to(ROOT).parts[:-1], *path.stem.split("_")}
    ]
    assert not vague


@pytest.mark.parametrize("word", sorted(FORBIDDEN_WORDS))
def test_one_noun_has_one_meaning(word: str) -> None:
    shape = re.compile(rf"\b{word}\b", re.IGNORECASE)
    found = [
        _named(path)
        for path in _modules()
        if path.is_relative_to(ROOT / "src") and shape.search(path.read_text())
    ]
    assert not found, f"the glossary's word for {word} is {FORBIDDEN_WORDS[word]}"


def test_no_name_of_a_registry_or_of_a_place_on_a_machine_is_kept() -> None:
    found = []
    for path in _tracked():
        if path.suffix not in TEXT_SUFFIXES or path == Path(__file__):
            continue
        for number, line in enumerate(path.read_text(errors="replace").splitlines(), 1):
            if match := FOREIGN_PLACES.search(line):
                found.append(f"{_named(path)}:{number} {match.group()}")
    assert not found


def test_no_test_is_skipped_without_a_reason() -> None:
    shape = re.compile(r"pytest\.mark\.skip\b(?!\(reason=)|pytest\.skip\(\s*\)|importorskip")
    found = [
        f"{_named(path)}:{number}"
        for path in _modules()
        if path.is_relative_to(ROOT / "tests") and path != Path(__file__)
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if shape.search(line)
    ]
    assert not found


def test_every_dependency_says_why_it_is_there() -> None:
    for path in sorted((ROOT / "requirements").glob("*.in")):
        for line in path.read_text().splitlines():
            if line and not line.startswith(("#", "-r")):
                assert re.fullmatch(r"[\w\-\[\]]+ +# \S.*", line), f"{path.name}: {line}"


@pytest.mark.parametrize("name", ["app", "dev", "build", "model", "examples", "conformance"])
def test_every_locked_dependency_has_a_hash(name: str) -> None:
    locked = (ROOT / "requirements" / f"{name}.txt").read_text()
    for entry in re.split(r"\n(?=[a-zA-Z0-9])", locked):
        if "==" in entry:
            assert "--hash=sha256:" in entry, entry.splitlines()[0]


def test_what_runs_and_what_is_tested_are_locked_to_the_same_versions() -> None:
    def versions(name: str) -> dict[str, str]:
        text = (ROOT / "requirements" / f"{name}.txt").read_text()
        return dict(re.findall(r"^([A-Za-z0-9_.\-]+)==([^\s;\\]+)", text, re.MULTILINE))

    dev = versions("dev")
    for run in ("app", "examples"):
        assert {name: dev.get(name) for name in versions(run)} == versions(run)
