"""The verbs that touch no page say what they do, and refuse what nobody could mean."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.conftest import Sealwax
from tests.cli.test_commands import sent

pytestmark = pytest.mark.usefixtures("worker")


@pytest.mark.parametrize(
    "verb",
    [
        ("reminders", "--first-after-days", "3", "--every-days", "2"),
        ("reminders", "--off"),
        ("expiration", "--after-days", "30", "--warn-days", "5"),
        ("fields", "--set", "matter=4711", "--set", "office=Bern=West"),
        ("resend",),
        ("resend", "buyer"),
    ],
    ids=" ".join,
)
async def test_each_verb_is_one_mutation(
    sealwax: Sealwax, account: str, pdf: Path, verb: tuple[str, ...]
) -> None:
    """Its answer is the mutation's, under the caller's operation id."""
    await sent(sealwax, account, pdf)
    name, *rest = verb
    ran = await sealwax(name, "order-17", *rest, "--operation-id", "o-1", "--json")
    assert (ran.code, ran.err) == (0, "")
    assert (ran.json["operation_id"], ran.json["state"]) == ("o-1", "applied")


@pytest.mark.parametrize(
    ("verb", "advice"),
    [
        (("reminders",), "--off"),
        (("reminders", "--off", "--first-after-days", "3"), "either"),
        (("fields", "--set", "matter"), "name=value"),
    ],
    ids=str,
)
async def test_an_unclear_wish_is_refused_in_a_line(
    sealwax: Sealwax, account: str, pdf: Path, verb: tuple[str, ...], advice: str
) -> None:
    """Bad input costs nothing and says what to give."""
    name, *rest = verb
    ran = await sealwax(name, "order-17", *rest, "--json")
    assert (ran.code, ran.error["code"]) == (2, "bad_input")
    assert advice in ran.error["message"]
