"""Bad input is a one-line typed error with a non-zero exit code, and starts nothing."""

from __future__ import annotations

from pathlib import Path

import pytest
from temporalio.testing import WorkflowEnvironment

from sealwax.definition import DOCUMENT_BYTES_MAX
from tests.cli.conftest import Sealwax

SIGNER = "buyer:Bea Buyer:bea@example.com"


@pytest.fixture
def files(tmp_path: Path, pdf: Path) -> dict[str, str]:
    """Documents, good and bad, by what is wrong with them."""
    big = tmp_path / "big.pdf"
    with big.open("wb") as stream:
        stream.write(b"%PDF-1.7\n")
        stream.truncate(DOCUMENT_BYTES_MAX + 1)
    text, empty = tmp_path / "text.pdf", tmp_path / "empty.pdf"
    text.write_text("Dear Bea")
    empty.touch()
    return {
        "good": str(pdf),
        "missing": str(tmp_path / "nowhere.pdf"),
        "folder": str(tmp_path),
        "text": str(text),
        "empty": str(empty),
        "big": str(big),
        "two lines": "a\nb.pdf",
    }


# What is wrong -> (document, options in the place of the good ones, the error's code, exit code).
BAD: dict[str, tuple[str, dict[str, list[str]], str, int]] = {
    "missing file": ("missing", {}, "bad_input", 2),
    "folder": ("folder", {}, "bad_input", 2),
    "no PDF": ("text", {}, "bad_input", 2),
    "empty file": ("empty", {}, "bad_input", 2),
    "line end in path": ("two lines", {}, "bad_input", 2),
    "oversize document": ("big", {}, "oversize", 2),
    "oversize subject": ("good", {"--subject": ["s" * 101]}, "oversize", 2),
    "empty subject": ("good", {"--subject": [""]}, "bad_input", 2),
    "oversize message": ("good", {"--message": ["m" * 10_001]}, "oversize", 2),
    "bad e-mail": ("good", {"--signer": ["buyer:Bea:bea@"]}, "bad_email", 2),
    "duplicate ids": ("good", {"--signer": [SIGNER, SIGNER]}, "duplicate_id", 2),
    "order zero": ("good", {"--signer": [f"{SIGNER}:0"]}, "bad_routing_order", 2),
    "order no number": ("good", {"--signer": [f"{SIGNER}:first"]}, "bad_routing_order", 2),
    "order too high": ("good", {"--signer": [f"{SIGNER}:10001"]}, "bad_routing_order", 2),
    "signer malformed": ("good", {"--signer": ["bea@example.com"]}, "bad_input", 2),
    "no signer": ("good", {"--signer": [], "--cc": [SIGNER]}, "bad_input", 2),
    "e-mail as key": ("good", {"--key": ["bea@example.com"]}, "bad_key", 2),
    "spaces in key": ("good", {"--key": ["order 17"]}, "bad_key", 2),
    "unknown account": ("good", {"--account": ["nobody"]}, "settings", 2),
    "unknown principal": ("good", {"--principal": ["nobody"]}, "settings", 2),
    "unknown option": ("good", {"--colour": ["red"]}, "bad_input", 2),
    "timeout no number": ("good", {"--timeout": ["soon"]}, "bad_input", 2),
}


def sending(account: str, document: str, changes: dict[str, list[str]]) -> list[str]:
    """A good command to send a document, with some options changed."""
    options = {
        "--account": [account],
        "--key": ["order-17"],
        "--subject": ["Contract"],
        "--signer": [SIGNER],
        **changes,
    }
    return ["send", document, *(p for k, values in options.items() for v in values for p in (k, v))]


@pytest.mark.parametrize("as_json", [False, True], ids=["text", "json"])
@pytest.mark.parametrize("case", BAD)
async def test_bad_input_is_one_line_and_starts_nothing(
    sealwax: Sealwax,
    dev_env: WorkflowEnvironment,
    files: dict[str, str],
    account: str,
    case: str,
    as_json: bool,
) -> None:
    """One line on stderr that names the fault, nothing on stdout, no workflow, no document."""
    document, changes, code, exit_code = BAD[case]
    ran = await sealwax(
        *sending(account, files[document], changes), *(["--json"] if as_json else [])
    )
    assert ran.code == exit_code
    assert ran.out == ""
    (line,) = ran.err.splitlines()
    if as_json:
        assert ran.error["code"] == code
    else:
        assert line.startswith("error: ")
    assert "Traceback" not in ran.err
    query = f"SealwaxAccount = '{account}'"
    assert not [w async for w in dev_env.client.list_workflows(query)]
    assert not list(Path(files["good"]).parent.glob("sealwax-data/blobs/sha256/*/*"))


async def test_no_document_is_refused(sealwax: Sealwax, account: str) -> None:
    """An envelope without a document is none."""
    arguments = sending(account, "x", {})
    arguments.remove("x")
    assert (await sealwax(*arguments, "--json")).error["code"] == "empty_documents"


@pytest.mark.parametrize(
    ("line", "instead", "named"),
    [
        ('private_key = "file:key.pem"', "", "private_key"),
        (
            'account_id = "01234567-89ab-cdef-0123-456789abcdef"',
            'account_id = "17"',
            "account_id",
        ),
        ('api_base = "http://127.0.0.1:1"', 'api_base = "http://example.com"', "api_base"),
        ('provider = "docusign"', 'provider = "paper"', "provider"),
        ("[temporal]", "[temporal", "TOML"),
    ],
)
async def test_wrong_settings_are_named(
    sealwax: Sealwax, settings: Path, pdf: Path, account: str, line: str, instead: str, named: str
) -> None:
    """The error names the key that is wrong, and nothing is done."""
    text = settings.read_text()
    assert line in text
    settings.write_text(text.replace(line, instead))
    ran = await sealwax(*sending(account, str(pdf), {}), "--json")
    assert ran.code == 2
    assert ran.error["code"] == "settings"
    assert named in ran.error["message"]


async def test_settings_that_are_not_there_are_named(
    sealwax: Sealwax, tmp_path: Path, pdf: Path, account: str
) -> None:
    """A settings file given by hand has to be there."""
    missing = str(tmp_path / "other.toml")
    ran = await sealwax(*sending(account, str(pdf), {"--config": [missing]}), "--json")
    assert ran.code == 2
    assert "other.toml" in ran.error["message"]


async def test_bad_input_is_told_before_an_absent_server(
    sealwax: Sealwax, settings: Path, pdf: Path, account: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a server: bad input is bad input, and good input is told that Temporal is away."""
    monkeypatch.setenv("SEALWAX_TEMPORAL__ADDRESS", "127.0.0.1:1")
    bad = await sealwax(*sending(account, str(pdf), {"--subject": [" "]}), "--json")
    assert (bad.code, bad.error["code"]) == (2, "bad_input")
    good = await sealwax(*sending(account, str(pdf), {}), "--json")
    assert (good.code, good.error["code"]) == (6, "temporal_unreachable")
    assert "127.0.0.1:1" in good.error["message"]


async def test_an_envelope_that_there_is_not_has_its_own_exit_code(sealwax: Sealwax) -> None:
    """Status, watch and void of an unknown key say so."""
    for arguments in (["status", "x-1"], ["watch", "x-1"], ["void", "x-1", "--reason", "No"]):
        ran = await sealwax(*arguments, "--json")
        assert (ran.code, ran.error["code"]) == (5, "unknown_envelope")


async def test_lists_refuse_what_is_no_account_or_status(sealwax: Sealwax) -> None:
    """A filter that can match nothing is an error, not an empty list."""
    assert (await sealwax("list", "--account", "nobody", "--json")).error["code"] == "settings"
    assert (await sealwax("list", "--status", "done", "--json")).error["code"] == "bad_input"
    assert (await sealwax("list", "--limit", "many", "--json")).error["code"] == "bad_input"


async def test_with_several_accounts_one_has_to_be_named(sealwax: Sealwax, settings: Path) -> None:
    """Which account is meant is never guessed."""
    from tests.cli.conftest import ACCOUNT

    settings.write_text(settings.read_text() + ACCOUNT.format(name="second"))
    ran = await sealwax("status", "order-17", "--json")
    assert (ran.code, ran.error["code"]) == (2, "bad_input")
    assert "second" in ran.error["message"]


@pytest.mark.parametrize("given", [["--merge"], ["--expected-revision", "-1"]])
async def test_a_revision_that_nobody_read_is_refused_before_anything_is_asked(
    sealwax: Sealwax, given: list[str]
) -> None:
    """A merge without a revision, or a negative one, is bad input."""
    ran = await sealwax("void", "order-17", "--reason", "No", *given, "--json")
    assert (ran.code, ran.error["code"]) == (2, "bad_input")
    assert "revision" in ran.error["message"]
