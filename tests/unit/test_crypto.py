"""Laws of what is sealed: the current key seals, every key of the ring opens, nothing else does."""

from __future__ import annotations

import io
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sealwax import crypto
from sealwax.crypto import (
    BLOCK_BYTES,
    TAG_BYTES,
    BadKey,
    Keyring,
    KeyUnknown,
    SealBroken,
    SealingStream,
    new_key,
    open_sealed,
    opened_stream,
    parse_key,
    seal,
)

OLD = Keyring("old", {"old": b"o" * 32})
BOTH = Keyring("new", {"old": b"o" * 32, "new": b"n" * 32})
NEW = Keyring("new", {"new": b"n" * 32})
IMPOSTOR = Keyring("new", {"new": b"i" * 32})


def streamed(parts: list[bytes], ring: Keyring = BOTH) -> bytes:
    """What a stream over these parts writes."""
    stream = SealingStream(ring, "blob")
    return b"".join([*(stream.take(part) for part in parts), stream.finish()])


def read_back(sealed: bytes, ring: Keyring = BOTH, purpose: str = "blob") -> Iterator[bytes]:
    """What it opens to."""
    return opened_stream(ring, io.BytesIO(sealed).read, purpose)


@given(st.binary(max_size=200), st.text(max_size=20))
def test_what_is_sealed_opens_for_its_purpose_and_no_other(plain: bytes, purpose: str) -> None:
    sealed = seal(BOTH, plain, purpose)
    assert open_sealed(BOTH, sealed, purpose) == plain
    assert open_sealed(NEW, sealed, purpose) == plain
    with pytest.raises(SealBroken):
        open_sealed(BOTH, sealed, purpose + "!")


@given(st.binary(min_size=1, max_size=60), st.data())
def test_one_changed_bit_is_found_wherever_it_is(plain: bytes, data: st.DataObject) -> None:
    sealed = bytearray(seal(BOTH, plain, "p"))
    bit = data.draw(st.integers(0, len(sealed) * 8 - 1))
    sealed[bit // 8] ^= 1 << bit % 8
    with pytest.raises((SealBroken, KeyUnknown)):
        open_sealed(BOTH, bytes(sealed), "p")


@given(st.data())
def test_a_part_of_it_does_not_open(data: st.DataObject) -> None:
    sealed = seal(BOTH, b"a contract", "p")
    with pytest.raises((SealBroken, KeyUnknown)):
        open_sealed(BOTH, sealed[: data.draw(st.integers(0, len(sealed) - 1))], "p")


def test_a_replaced_key_still_opens_and_no_longer_seals() -> None:
    """Rotation: old data opens with the ring, new data is under the current key."""
    sealed = seal(OLD, b"of last year", "p")
    assert open_sealed(BOTH, sealed, "p") == b"of last year"
    with pytest.raises(KeyUnknown, match=r"key old.*\[encryption\.keys\]"):
        open_sealed(NEW, sealed, "p")
    with pytest.raises(KeyUnknown, match="key new"):
        open_sealed(OLD, seal(BOTH, b"of today", "p"), "p")


def test_another_key_under_the_same_id_is_told_and_not_believed() -> None:
    with pytest.raises(SealBroken, match="key of that id"):
        open_sealed(IMPOSTOR, seal(NEW, b"x", "p"), "p")


def test_equal_texts_are_sealed_differently() -> None:
    """Nobody sees from what is sealed that two things are the same."""
    assert len({seal(BOTH, b"the same", "p") for _ in range(50)}) == 50


@pytest.mark.parametrize(
    "size_bytes", [0, 1, BLOCK_BYTES - 1, BLOCK_BYTES, BLOCK_BYTES + 1, 3 * BLOCK_BYTES]
)
@pytest.mark.parametrize("piece_bytes", [70_001, BLOCK_BYTES, 10 * BLOCK_BYTES])
def test_a_stream_comes_back_whole_however_it_was_cut(size_bytes: int, piece_bytes: int) -> None:
    plain = bytes(range(256)) * (size_bytes // 256 + 1)
    plain = plain[:size_bytes]
    parts = [plain[i : i + piece_bytes] for i in range(0, size_bytes, piece_bytes)]
    assert b"".join(read_back(streamed(parts))) == plain


def test_a_stream_is_sealed_before_all_of_it_is_there() -> None:
    """No more than a block and what was just taken is held."""
    stream = SealingStream(BOTH, "blob")
    written = sum(len(stream.take(b"x" * BLOCK_BYTES)) for _ in range(5))
    assert written >= 4 * BLOCK_BYTES


def test_blocks_cannot_be_cut_off_left_out_swapped_or_appended() -> None:
    """A stream opens as it was written, or it does not open."""
    plain = b"a" * BLOCK_BYTES + b"b" * BLOCK_BYTES + b"c" * 10
    sealed = streamed([plain])
    block = BLOCK_BYTES + TAG_BYTES
    start = len(sealed) - 2 * block - 10 - TAG_BYTES
    head, one, two, last = (
        sealed[:start],
        sealed[start : start + block],
        sealed[start + block : start + 2 * block],
        sealed[start + 2 * block :],
    )
    assert b"".join(read_back(head + one + two + last)) == plain
    for forged in (
        head + one + two,
        head + one + last,
        head + two + one + last,
        head + one + two + last + last,
        head + one + two + last[:-1],
        head,
        head[:-1],
        sealed[:3],
        b"",
        plain,
    ):
        with pytest.raises(SealBroken):
            b"".join(read_back(forged))


def test_a_stream_opens_for_its_purpose_and_under_its_key_only() -> None:
    sealed = streamed([b"x"], NEW)
    with pytest.raises(SealBroken):
        list(read_back(sealed, purpose="journal"))
    with pytest.raises(SealBroken):
        list(read_back(sealed, IMPOSTOR))
    with pytest.raises(KeyUnknown, match="key new"):
        list(read_back(sealed, OLD))


def test_a_message_is_no_stream_and_a_stream_no_message() -> None:
    with pytest.raises(SealBroken):
        open_sealed(BOTH, streamed([b"x"]), "blob")
    with pytest.raises(SealBroken):
        list(read_back(seal(BOTH, b"x", "blob")))


def test_a_new_key_is_read_back_in_either_alphabet() -> None:
    text = new_key()
    assert parse_key(text + "\n") == parse_key(text.replace("+", "-").replace("/", "_"))
    assert new_key() != text


@pytest.mark.parametrize(
    "text", ["", "secret", "c2hvcnQ=", "x" * 44, "é" * 44, "QUJD" * 10, "QUJD" * 11 + "QQ=="]
)
def test_what_is_no_key_is_refused_without_being_shown(text: str) -> None:
    with pytest.raises(BadKey, match="sealwax keys new") as caught:
        parse_key(text)
    assert not text or text not in str(caught.value)


def test_a_ring_needs_its_current_key_ids_that_may_be_shown_and_whole_keys() -> None:
    with pytest.raises(BadKey, match="add it"):
        Keyring("k2", {"k1": b"k" * 32})
    with pytest.raises(BadKey, match="31 bytes"):
        Keyring("k1", {"k1": b"k" * 31})
    for odd in ("", "K1", "a b", "k" * 65, "ana@example.com", "../x"):
        with pytest.raises(BadKey, match="lower case"):
            Keyring(odd, {odd: b"k" * 32})


def test_a_ring_shows_no_key() -> None:
    assert "ooo" not in repr(OLD)
    assert "old" in repr(OLD)


def test_an_id_that_is_none_is_not_repeated() -> None:
    """What stands where an id should be may be anything, and ends in a log."""
    sealed = bytes([*crypto._MAGIC, 1, 15]) + b"ana@example.com" + b"x" * 40
    with pytest.raises(KeyUnknown) as caught:
        open_sealed(BOTH, sealed, "p")
    assert "ana" not in str(caught.value)
