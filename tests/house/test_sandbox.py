"""Workflows load in Temporal's sandbox without second copies of modules and without a network."""

from __future__ import annotations

import importlib
import inspect
import subprocess
import sys
from pathlib import Path

import pytest
from temporalio import workflow
from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner, SandboxRestrictions

ROOT = Path(__file__).parents[2]
POLICY = (
    workflow.SandboxImportNotificationPolicy.WARN_ON_DYNAMIC_IMPORT
    | workflow.SandboxImportNotificationPolicy.RAISE_ON_UNINTENTIONAL_PASSTHROUGH
)


MODULES = sorted(file.stem for file in (ROOT / "workflows").glob("*.py") if file.stem[0] != "_")


def workflows_of(module_name: str) -> dict[str, type]:
    """The workflow classes that a module of `workflows/` defines, by name."""
    module = importlib.import_module(f"workflows.{module_name}")
    return {
        name: kind
        for name, kind in inspect.getmembers(module, inspect.isclass)
        if kind.__module__ == module.__name__ and hasattr(kind, "__temporal_workflow_definition")
    }


def test_the_search_finds_workflows() -> None:
    """The search sees the envelope's workflow: otherwise the law below would hold of nothing."""
    assert set(workflows_of("envelope")) == {"EnvelopeWorkflow"}


@pytest.mark.parametrize("module_name", MODULES)
async def test_workflows_pass_the_strict_sandbox(module_name: str) -> None:
    """Each import of a workflow is passed through on purpose, and none happens while it runs."""
    restrictions = SandboxRestrictions.default.with_import_notification_policy(POLICY)
    runner = SandboxedWorkflowRunner(restrictions)

    for kind in workflows_of(module_name).values():
        runner.prepare_workflow(workflow._Definition.must_from_class(kind))


def test_workflow_code_loads_no_network() -> None:
    """After loading every workflow module neither httpx nor a tracing SDK nor SQLite is loaded."""
    names = [f"workflows.{name}" for name in MODULES]
    script = (
        "import importlib, sys\n"
        f"for name in {names!r}: importlib.import_module(name)\n"
        "heavy = {'httpx', 'opentelemetry.sdk', 'apsw', 'uvicorn', 'pydantic_settings'}\n"
        "print(sorted(heavy & set(sys.modules)))\n"
    )
    argv = [sys.executable, "-c", script]
    loaded = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=True)

    assert loaded.stdout.strip() == "[]"
