"""Who may import whom: the contracts of pyproject.toml hold, and can fail."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ROOMS = ("sealwax", "workflows", "activities", "bridge", "simulator", "demo", "benchmarks")


def lint(folder: Path) -> subprocess.CompletedProcess[str]:
    """Run the import contracts of a tree."""
    return subprocess.run(
        [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"],
        cwd=folder,
        # The tree's own folder is what shall be linted, not a checkout that PYTHONPATH names.
        env={**os.environ, "PYTHONPATH": str(folder), "COLUMNS": "200"},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The product's tree with its contracts, to be broken."""
    for room in ROOMS:
        ignored = shutil.ignore_patterns("__pycache__", "*.pdf")
        shutil.copytree(ROOT / room, tmp_path / room, ignore=ignored)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def test_the_contracts_hold() -> None:
    """No import points upwards, and the ground, the adapters and the simulator are pure."""
    report = lint(ROOT)

    assert report.returncode == 0, report.stdout + report.stderr


@pytest.mark.parametrize(
    ("module", "line", "contract"),
    [
        ("sealwax/facts.py", "import time", "The ground is the standard library's data types"),
        ("sealwax/definition.py", "import sealwax.messages", "every room has a floor"),
        ("sealwax/utils.py", "import json", "every room has a floor"),
        (
            "sealwax/providers/docusign_shapes.py",
            "import httpx",
            "Contract, adapters and the reading of webhooks",
        ),
        ("activities/envelopes.py", "import sealwax.providers.http", "Workflow code never reaches"),
        ("sealwax/blobs.py", "import httpx", "Workflow code never reaches"),
        ("sealwax/client.py", "import sealwax.connection", "The client is handed a connection"),
        ("simulator/ledger.py", "import sealwax.keys", "The simulator shares no code"),
        ("sealwax/settings.py", "import simulator.ledger", "Nobody leans on the simulator"),
        ("benchmarks/quota/postgres.py", "import tests.keys", "Nobody leans on the simulator"),
        ("bridge/__init__.py", "import workflows.envelope", "Programs stand on the library"),
        ("demo/stack.py", "import activities.envelopes", "do not reach into them"),
    ],
)
def test_a_forbidden_import_is_found(copy: Path, module: str, line: str, contract: str) -> None:
    """An import that breaks a rule fails the contract that is meant for it."""
    with (copy / module).open("a", encoding="utf-8") as file:
        file.write(f"\n{line}\n")

    report = lint(copy)

    broken = [text for text in report.stdout.splitlines() if text.endswith("BROKEN")]
    assert report.returncode != 0
    assert any(contract in text for text in broken), report.stdout + report.stderr
