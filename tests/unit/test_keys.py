"""Names made of names: opaque, reversible where they must be, and never colliding."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sealwax import keys
from sealwax.definition import Refusal, RefusalCode


@given(
    st.from_regex(r"[a-z0-9][a-z0-9-]{0,20}", fullmatch=True),
    st.from_regex(r"[A-Z0-9][\w.:~-]{0,40}", fullmatch=True).filter(str.isascii),
)
def test_a_workflow_id_tells_its_account_and_key(account: str, key: str):
    """The inverse gives back what went in."""
    assert keys.account_and_key(keys.workflow_id(account, key)) == (account, key)


@pytest.mark.parametrize("key", ["ana@example.com", "", "a b", "../x", "x" * 129, "-x", "ä"])
def test_a_key_that_may_not_be_shown_is_refused(key: str):
    """E-mail-shaped, blank, or with characters that an id cannot carry."""
    with pytest.raises(Refusal) as refused:
        keys.workflow_id("acme", key)

    assert refused.value.code is RefusalCode.BAD_KEY
    assert "@" not in str(refused.value)


@given(st.lists(st.text(), max_size=4), st.lists(st.text(), max_size=4))
def test_different_parts_never_make_the_same_digest(a: list[str], b: list[str]):
    """("ab", "c") and ("a", "bc") differ."""
    assert (keys.digest(a) == keys.digest(b)) == (a == b)


def test_each_attempt_has_a_transaction_id_of_its_own_and_the_same_one_every_time():
    """Known before the call, from the workflow's id alone."""
    first = keys.transaction_id("envelope/acme/1", 1)

    assert first == keys.transaction_id("envelope/acme/1", 1)
    assert first not in (keys.transaction_id("envelope/acme/1", 2), keys.transaction_id("b", 1))


def test_another_workflow_s_id_is_no_envelope():
    """The inverse refuses what it did not make."""
    with pytest.raises(ValueError, match="not the id of an envelope"):
        keys.account_and_key("order-17")
