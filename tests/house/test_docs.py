"""The README names what a reader can type and set; the changelog speaks of running envelopes."""

from __future__ import annotations

import importlib
import importlib.util
import re
import tomllib
from pathlib import Path

import pytest

from sealwax.settings import FILE_VARIABLE, PREFIX, Settings

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"

needs_readme = pytest.mark.skipif(not README.exists(), reason="there is no README.md to check")
needs_cli = pytest.mark.skipif(
    importlib.util.find_spec("sealwax.cli") is None, reason="there is no sealwax/cli.py to check"
)


def targets_of(makefile: str) -> set[str]:
    """The make targets that `make help` lists."""
    return set(re.findall(r"(?m)^([a-z-]+):.*## ", makefile))


@needs_readme
@needs_cli
def test_every_command_is_in_the_readme() -> None:
    """Each `sealwax` command stands in the README as it is typed."""
    app = importlib.import_module("sealwax.cli").app
    commands = [name for name in app if not name.startswith("-")]
    text = README.read_text("utf-8")

    assert commands
    assert [name for name in commands if f"sealwax {name}" not in text] == []


@needs_readme
def test_every_table_of_the_settings_is_in_the_readme() -> None:
    """The variable that names the settings file, the prefix and each table are explained."""
    text = README.read_text("utf-8")

    assert FILE_VARIABLE in text
    assert f"{PREFIX}TEMPORAL__" in text
    assert [table for table in Settings.model_fields if f"[{table}" not in text] == []


@needs_readme
def test_the_readme_names_make_targets_that_exist() -> None:
    """`make TARGET` in the README is a target of the Makefile; demo and test are named."""
    known = targets_of((ROOT / "Makefile").read_text("utf-8"))
    named = set(re.findall(r"`?make ([a-z][a-z-]*)`?", README.read_text("utf-8")))

    assert {"demo", "test"} <= named & known


def test_continuous_integration_runs_what_the_readme_says() -> None:
    """`.ci/run` is executable, stops at the first failure and runs `make test`."""
    script = ROOT / ".ci" / "run"
    text = script.read_text("utf-8")

    assert script.stat().st_mode & 0o111
    assert "set -euo pipefail" in text
    assert text.splitlines()[-1] == "exec make test"


def test_every_release_says_whether_running_envelopes_are_safe() -> None:
    """Each release of the changelog has its line on envelopes that are on their way."""
    text = (ROOT / "CHANGELOG.md").read_text("utf-8")
    releases = re.split(r"(?m)^## ", text)[1:]
    version = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["version"]

    assert any(release.startswith((f"[{version}]", "[Unreleased]")) for release in releases)
    assert [release[:20] for release in releases if "**Running envelopes:**" not in release] == []
