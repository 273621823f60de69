"""The figures of a storm, judged by the simulator's ledger of truth and by nothing else.

From a client come only the answers that its callers got and how it sees each envelope at the end,
and both only to be compared with the ledger. An envelope's business key is told by the e-mail
address of the party that signs in a session, which no change touches, so neither client's ways of
marking envelopes matter.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from benchmarks.storms.load import EMBEDDED, Operation, operations
from benchmarks.storms.record import Held, Record
from demo import workload
from demo.standing import as_intended, stands
from demo.workload import Life

Truth = Mapping[str, Any]

BINNED, DRAFT = "deleted", "created"


@dataclass(slots=True)
class Harm:
    """What a storm did to one side.

    ``lost``: requests answered "applied" whose effect does not stand in the ledger at the end, and
    requests (creations included) that never got an answer although their callers asked until the
    end. ``duplicate_envelopes``: envelopes of a business key beyond the first that left the draft.
    ``orphan_drafts``: drafts of a business key that are neither the one in use nor in the bin.
    ``duplicate_mails``: mails that a person got more than once for the same reason of one business
    key. ``double_effects``: writes beyond the first of the same operation and body in one envelope
    that each made a difference there; every request of a life has a body of its own, so each is
    one request in effect twice. ``divergent_states``: envelopes of which the client believes
    another id, status or recipients than the ledger holds, or whose callers were told what is not
    so (two answers to one operation that differ, a refusal of what is in effect), or whose content
    is not what the applied requests come to; also those that went on without a person where nothing
    could tell what became of a request. ``needs_attention``: envelopes that asked a person, or wait
    for one at the end. ``stuck``: envelopes that are neither ended nor waiting for a person.
    ``unreplayable``: stored runs that no worker can go on with (``benchmarks.storms.replays``).

    ``undecidable`` counts the envelopes that the provider's faults made such that a person has to
    be asked, and is no harm. ``why`` has a line for each harm, in words. Neither is a figure.
    """

    lost: int = 0
    duplicate_envelopes: int = 0
    duplicate_mails: int = 0
    double_effects: int = 0
    divergent_states: int = 0
    stuck: int = 0
    needs_attention: int = 0
    orphan_drafts: int = 0
    undecidable: int = 0
    unreplayable: int = 0
    why: list[str] = field(default_factory=list)

    def figures(self) -> dict[str, int]:
        """The figures by name."""
        figures = asdict(self)
        del figures["why"], figures["undecidable"]
        return figures

    @property
    def total(self) -> int:
        """All harm together. To ask a person is none where the truth cannot be told."""
        in_vain = max(0, self.needs_attention - self.undecidable)
        return sum(self.figures().values()) - self.needs_attention + in_vain

    def add(self, other: Harm) -> None:
        """Take in what another storm or life did."""
        for name, count in other.figures().items():
            setattr(self, name, getattr(self, name) + count)
        self.undecidable += other.undecidable
        self.why += other.why


def judge(lives: Sequence[Life], records: Mapping[str, Record], ledger: Truth) -> Harm:
    """The harm to all lives together; ``records`` by business key, ``ledger`` of one account."""
    harm = Harm()
    truths = by_key(lives, ledger["envelopes"])
    writes = by_envelope(ledger["writes"])
    mails = by_envelope(ledger["mails"])
    for life in lives:
        mine = truths[life.key]
        ids = [truth["envelopeId"] for truth in mine]
        life_harm = _judge_life(
            life,
            records[life.key],
            mine,
            [w for envelope_id in ids for w in writes.get(envelope_id, ())],
            [m for envelope_id in ids for m in mails.get(envelope_id, ())],
        )
        harm.add(life_harm)
    return harm


def _judge_life(
    life: Life, record: Record, truths: Sequence[Truth], writes: Sequence[Truth], mails: Any
) -> Harm:
    harm = Harm()

    def count(name: str, reason: str, number: int = 1) -> None:
        if number:
            setattr(harm, name, getattr(harm, name) + number)
            harm.why.append(f"{life.key}: {name} {number}: {reason}")

    truth = the_one(truths, record.held)
    others = [t for t in truths if t is not truth]
    alive = [t["envelopeId"] for t in others if t["status"] not in (DRAFT, BINNED)]
    drafts = [t["envelopeId"] for t in others if t["status"] == DRAFT]
    count("duplicate_envelopes", ", ".join(alive), len(alive))
    count("orphan_drafts", ", ".join(drafts), len(drafts))
    count("lost", f"{2 - record.jobs} of 2 jobs got no answer", int(record.jobs < 2))
    mine = [w for w in writes if w["accepted"] and w["changed"]]
    for operation in operations(life):
        reason = lost(life, record, operation, truth) or untraced(life, record, operation, mine)
        count("lost", f"{operation.operation_id} {reason}", int(bool(reason)))
    for what, extra in repeated(mailed(m) for m in mails).items():
        count("duplicate_mails", what, extra)
    for what, extra in repeated(written(w) for w in mine).items():
        count("double_effects", what, extra)
    reason = divergence(life, record, truth)
    count("divergent_states", reason, int(bool(reason)))
    held = record.held
    asked = bool(record.asked)
    harm.undecidable = int(
        record.undecidable == "yes" or (record.undecidable == "perhaps" and asked)
    )
    waits = [held.attention] if held.attention and not held.ended else []
    if asked or waits:
        count("needs_attention", "; ".join([*record.asked, *waits]))
    elif record.undecidable == "yes":
        count(
            "divergent_states", "nothing could tell what became of a request, and nobody was asked"
        )
    if not held.ended and not waits:
        told = "; ".join(record.troubles[-2:])
        count("stuck", f"{held.status} {'' if truth is None else truth['status']} ({told})")
    return harm


def lost(life: Life, record: Record, operation: Operation, truth: Truth | None) -> str:
    """Why an operation is lost; "" where it is not."""
    answers = record.answers.get(operation.operation_id, [])
    asked = 1 if operation.again_after_s is None else 2
    if len(answers) < asked:
        return f"got {len(answers)} of {asked} answers"
    applied = any(answer.told == "applied" for answer in answers)
    if applied and (truth is None or not stands(life, operation.request.change, truth)):
        return "was answered applied and is not in effect"
    return ""


def untraced(life: Life, record: Record, operation: Operation, writes: Sequence[Truth]) -> str:
    """Why what was applied and taken out again was never in effect; "" where it was."""
    change = operation.request.change
    answers = record.answers.get(operation.operation_id, [])
    if not isinstance(change, workload.RemoveDocument):
        return ""
    # What is added and taken out again is told by what both writes say that they changed.
    place = f"documents/{change.document_id}"
    traces = sum(place in str(write.get("summary", "")).split(", ") for write in writes)
    applied = any(answer.told == "applied" for answer in answers)
    return f"left {traces} traces of 2" if applied and traces < 2 else ""


def divergence(life: Life, record: Record, truth: Truth | None) -> str:
    """How what was told and is believed differs from the truth; "" where it does not."""
    for operation in operations(life):
        answers = record.answers.get(operation.operation_id, [])
        if len({(a.told, a.mark) for a in answers}) > 1:
            return f"{operation.operation_id} got two answers: {answers}"
        no = any(a.told in ("refused", "rejected") for a in answers)
        if no and truth is not None and stands(life, operation.request.change, truth):
            return f"{operation.operation_id} is in effect: {answers[0].told} {answers[0].why}"
    held = record.held
    if truth is None:
        return f"there is no envelope at all, believed {held.status}" if held.envelope_id else ""
    if not held.ended:
        return ""
    if (held.envelope_id, held.status) != (truth["envelopeId"], truth["status"]):
        return f"believed {held.status}, is {truth['status']}"
    if held.recipients is not None and held.recipients != recipients(truth):
        return f"recipients believed {held.recipients}, are {recipients(truth)}"
    told = [a.told for answers in record.answers.values() for a in answers]
    complete = len(record.answers) == len(list(operations(life)))
    if complete and set(told) == {"applied"} and not as_intended(life, truth):
        return f"all was applied, but the content is another one; status {truth['status']}"
    return ""


def recipients(truth: Truth) -> dict[str, tuple[str, int, str]]:
    """Name, routing order and status of each recipient, by e-mail address."""
    return {
        held["email"]: (held["name"], int(held["routingOrder"]), held["status"])
        for held in truth["recipients"]
    }


def the_one(truths: Sequence[Truth], held: Held) -> Truth | None:
    """The envelope that the client takes for its own, else the one that got furthest."""
    believed = [t for t in truths if t["envelopeId"] == held.envelope_id]
    sent = [t for t in truths if t["status"] not in (DRAFT, BINNED)]
    return next(iter([*believed, *sent, *truths]), None)


def mailed(mail: Truth) -> str:
    """What makes two mails the same."""
    return f"{mail['to']}, {mail['why']}"


def written(write: Truth) -> str:
    """What makes two writes the same: the envelope, the operation and the body."""
    return f"{write['envelopeId']} {write['operationId']} {write['fingerprint']}"


def repeated(things: Iterable[str]) -> dict[str, int]:
    """What occurs more than once, and how often beyond the first."""
    return {thing: number - 1 for thing, number in Counter(things).items() if number > 1}


def by_envelope(things: Iterable[Truth]) -> dict[str, list[Truth]]:
    """Writes or mails by the envelope they belong to."""
    found: dict[str, list[Truth]] = {}
    for thing in things:
        found.setdefault(thing["envelopeId"], []).append(thing)
    return found


def by_key(lives: Sequence[Life], truths: Iterable[Truth]) -> dict[str, list[Truth]]:
    """The provider's envelopes of each life."""
    key_of = {life.party(EMBEDDED).email: life.key for life in lives}
    found: dict[str, list[Truth]] = {life.key: [] for life in lives}
    for truth in truths:
        for email in {recipient["email"] for recipient in truth["recipients"]} & key_of.keys():
            found[key_of[email]].append(truth)
    return found
