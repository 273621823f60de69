"""Laws about the repository's own text: sizes, names, docstrings, and what must not stand in it."""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PRODUCT = ("sealwax", "workflows", "activities", "bridge", "simulator", "demo", "benchmarks")
LINES_PER_FUNCTION_MAX = 70
LINES_PER_MODULE_MAX = 500
NAMES_THAT_SAY_NOTHING = {"utils", "util", "common", "helpers", "helper", "misc"}
TEXT_SUFFIXES = {
    ".py", ".md", ".toml", ".yml", ".yaml", ".txt", ".json", ".cfg", ".sh", ".lock", ".html", "",
}  # fmt: skip
SKIPPED_FOLDERS = {"build", "dist", "__pycache__"}

# Folders of one developer's machine, and settings that say where packages were fetched from.
FOREIGN = re.compile(
    r"(?<![\w.$}/-])/(?:work|farm|root|home|Users|tmp)/\w"
    r"|(?:pythonhosted|pypi)\.org|--(?:extra-)?index-url|(?m:^\s*index-url\s*=)"
)


def product_modules() -> Iterator[Path]:
    """Every Python file of the product: its rooms and the worker."""
    for room in PRODUCT:
        yield from sorted((ROOT / room).rglob("*.py"))
    if (ROOT / "worker.py").exists():
        yield ROOT / "worker.py"


def all_modules() -> list[Path]:
    """The product's modules and the tests."""
    return [*product_modules(), *sorted((ROOT / "tests").rglob("*.py"))]


def text_files() -> Iterator[Path]:
    """Every text file that a clone has; hidden folders hold tools' own files."""
    for file in sorted(ROOT.rglob("*")):
        parts = file.relative_to(ROOT).parts
        hidden = any(part.startswith(".") and part != ".ci" for part in parts[:-1])
        # In a second working tree ".git" is a file that names the first.
        if hidden or SKIPPED_FOLDERS & set(parts) or file.name in ("uv.lock", ".git"):
            continue
        if file.is_file() and file.suffix in TEXT_SUFFIXES:
            yield file


def named(file: Path) -> str:
    return str(file.relative_to(ROOT))


def parsed(source: str) -> ast.Module:
    """The tree. CPython counts the depth of a parse per interpreter, not per thread: where a thread
    of an earlier test parses too, the count does not come out (SystemError), and only asking again
    helps."""
    for _ in range(9):
        with suppress(SystemError):
            return ast.parse(source)
    return ast.parse(source)


def functions_too_long(source: str) -> list[str]:
    """Name and length of each function over the limit, its docstring not counted."""
    found = []
    for node in ast.walk(parsed(source)):
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        body = node.body[1:] if ast.get_docstring(node) is not None else node.body
        first = body[0].lineno if body else node.lineno
        lines = (node.end_lineno or first) - first + 1
        if lines > LINES_PER_FUNCTION_MAX:
            found.append(f"{node.name}: {lines} lines")
    return found


def foreign_texts(text: str) -> list[str]:
    """What names a machine's folder or a package registry."""
    return [match.group(0) for match in FOREIGN.finditer(text)]


def test_every_module_says_what_it_is_for() -> None:
    """Each module of product and tests opens with a docstring."""
    silent = [
        named(file)
        for file in all_modules()
        if ast.get_docstring(parsed(file.read_text("utf-8"))) is None
    ]

    assert silent == []


def test_package_files_hold_a_docstring_at_most() -> None:
    """No `__init__.py` of the product imports: the workflow sandbox loads every parent's."""
    busy = [
        named(file)
        for file in product_modules()
        if file.name == "__init__.py" and len(parsed(file.read_text("utf-8")).body) > 1
    ]

    assert busy == []


def test_functions_stay_short() -> None:
    """No function of the product has more lines than can be held in the head."""
    long = {
        named(file): found
        for file in product_modules()
        if (found := functions_too_long(file.read_text("utf-8")))
    }

    assert long == {}


def test_modules_stay_short() -> None:
    """No module of the product is longer than 500 lines."""
    lengths = {named(file): len(file.read_text("utf-8").splitlines()) for file in product_modules()}

    assert {name: n for name, n in lengths.items() if n > LINES_PER_MODULE_MAX} == {}


def test_modules_are_named_for_what_they_hold() -> None:
    """No module is called utils, common, helpers or the like."""
    assert [named(file) for file in all_modules() if file.stem in NAMES_THAT_SAY_NOTHING] == []


def test_no_file_names_a_machine_or_a_registry() -> None:
    """The repository holds no folder of a developer's machine and no address of a registry."""
    found = {
        named(file): texts
        for file in text_files()
        if (texts := foreign_texts(file.read_text("utf-8", errors="replace")))
    }

    assert found == {}


def test_dependencies_are_locked_by_name_version_and_hash() -> None:
    """Each requirement of the lock is pinned and hashed, and no line names a host."""
    text = (ROOT / "requirements.lock").read_text("utf-8")
    entries = [
        entry
        for entry in text.replace("\\\n", " ").splitlines()
        if entry.strip() and not entry.strip().startswith("#")
    ]

    assert len(entries) > 20
    assert [
        entry for entry in entries if not re.match(r"[\w.-]+==\S+ .*--hash=sha256:", entry)
    ] == []
    assert "://" not in text


def test_every_dependency_is_in_the_lock() -> None:
    """The lock was made after the last change of the declared dependencies."""
    document = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    groups = document["dependency-groups"].values()
    declared = document["project"]["dependencies"] + [
        entry for group in groups for entry in group if isinstance(entry, str)
    ]
    names = {re.split(r"[\[<>=~; ]", entry)[0].lower().replace("_", "-") for entry in declared}
    locked = re.findall(r"(?m)^([\w.-]+)==", (ROOT / "requirements.lock").read_text("utf-8"))

    assert names - {name.lower() for name in locked} == set()


def test_every_silenced_rule_has_its_reason() -> None:
    """A rule that ruff shall not apply stands on a line of its own, with the reason behind it."""
    text = (ROOT / "pyproject.toml").read_text("utf-8")
    lint = text[text.index("[tool.ruff.lint]") : text.index("[tool.mypy]")]
    silenced = re.findall(r'(?m)^\s+"[A-Z]+\d+".*$', lint)

    assert silenced
    assert [line for line in silenced if not re.search(r'",\s+# \S.{20,}', line)] == []


@pytest.mark.parametrize(
    "text",
    ["see /" + "work/notes", 'open("/' + 'tmp/x")', "--index" + "-url=x", "https://py" + "pi.org"],
)
def test_foreign_text_is_recognised(text: str) -> None:
    """The search for machine paths and registries finds each of its kinds."""
    assert foreign_texts(text)


def test_a_long_function_is_recognised() -> None:
    """The measure counts the body: one line over the limit is found, at the limit none is."""
    body = "    x = 1\n" * LINES_PER_FUNCTION_MAX

    assert functions_too_long(f"def at_limit():\n    '''Doc.'''\n{body}") == []
    assert functions_too_long(f"def over():\n    '''Doc.'''\n{body}    x = 2\n") == [
        "over: 71 lines"
    ]
