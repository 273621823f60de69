"""What a storm asks of both sides: the demonstration's lives, spread over the storm and widened.

Every life is drawn from the seed. No two changes of a life conflict, and each leaves a mark of its
own in the provider's ledger, so that the ledger alone tells what is in effect and what is not. One
signer of each envelope signs in an embedded session, the others act on their mails. Over a storm of
half a minute every kind of mutation there is is asked for.

Some lives end with a mail again whose fate nothing can tell (``undecidable``): its request is lost
and the provider's history then has a line of unknown meaning. What becomes of it a person decides.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Literal

from demo import workload
from demo.contracts.render import MUTUAL_NDA, SERVICES_AGREEMENT
from demo.workload import Change, Life, Party, Request

EMBEDDED = workload.SELLER
"""The role that signs in an embedded session; its address tells whose envelope it is."""

ENVELOPES_PER_S = 0.5
STARTS_UNTIL = 0.75
"""The last life starts after this part of the storm."""

ASKED_AGAIN_RATE = 0.25
"""So many requests are asked twice, because their callers die, too."""

ENVELOPES_MIN = 4
PHASE_S = 1.5

_DISCARDED, _UNDECIDABLE = (20, 5), (10, 7)
"""Of so many lives in a row, the one of this number."""

_UNDECIDABLE_SERVICE = "reception"

Decision = Literal["not_landed", "give_up"]

KINDS: Mapping[type[Change], str] = {
    workload.AddDocument: "add_documents",
    workload.ChangeSubject: "change_message",
    workload.ChangeMessage: "change_message",
    workload.AddParty: "add_recipients",
    workload.PlaceFields: "set_tabs",
    workload.Reorder: "reorder_routing",
    workload.Rename: "update_recipient",
    workload.ReplaceDocument: "replace_document",
    workload.RemoveDocument: "remove_documents",
    workload.RemoveParty: "remove_recipients",
    workload.RenameAll: "correct",
    workload.Readdress: "update_recipient",
    workload.Remind: "set_reminders",
    workload.Expire: "set_expiration",
    workload.Label: "set_custom_fields",
    workload.Resend: "resend",
    workload.Discard: "discard",
    workload.Send: "send",
    workload.Void: "void",
}
"""The kind of mutation that each change is asked for by. The create comes with the job."""


@dataclass(frozen=True, slots=True)
class Operation:
    """One request with the id under which its caller asks for it, perhaps once more, later."""

    operation_id: str
    request: Request
    again_after_s: float | None

    @property
    def undecidable(self) -> bool:
        """Whether nothing is to tell what became of it, where there are harms at all."""
        return self.request.service == _UNDECIDABLE_SERVICE


def lives(seed: int, seconds: float) -> tuple[Life, ...]:
    """The lives of a storm, in the order in which they start."""
    count = max(ENVELOPES_MIN, round(seconds * ENVELOPES_PER_S))
    draw = random.Random(f"storm-lives:{seed}")
    starts = sorted(draw.uniform(0, STARTS_UNTIL * seconds) for _ in range(count))
    made = workload.make(seed, count)
    return tuple(
        replace(widened(life, n), key=f"storm-{seed}-{life.key}", starts_at_s=start)
        for n, (life, start) in enumerate(zip(made, starts, strict=True))
    )


def widened(life: Life, number: int) -> Life:
    """The life of this number with what the demonstration does not ask for."""
    draw = random.Random(f"storm-widened:{life.key}:{number}")
    draft, in_process = _widening(life, number)
    period, at = _DISCARDED
    if number % period == at:
        sending = replace(life.sending, change=workload.Discard())
        life = replace(life, sending=sending, in_process=(), ending="deleted")
    if life.ending not in ("voided", "deleted"):
        corrected = _requests(draw, in_process)
        life = replace(life, in_process=(*life.in_process, *corrected, *_mailed_again(number)))
    return replace(life, draft=(*life.draft, *_requests(draw, draft)))


def _widening(life: Life, number: int) -> tuple[list[Change], list[Change]]:
    """Changes of the draft and in process. What the latter take out, the former have added."""
    leaves = life.ending in ("voided", "deleted")
    other = MUTUAL_NDA if life.contract == SERVICES_AGREEMENT else SERVICES_AGREEMENT
    buyer, seller = life.party(workload.BUYER), life.party(workload.SELLER)
    draft: list[Change] = [workload.Remind(3 + number % 3, 2)]
    in_process: list[Change] = []
    if number % 2:
        draft.append(workload.ReplaceDocument(workload.MAIN_DOCUMENT_ID, other))
        draft.append(workload.Label((("cost-center", f"{number}"),)))
        draft.append(workload.Label((("region", "north"),)))
        in_process.append(workload.Label((), remove=("region",)))
        in_process.append(workload.Readdress(workload.BUYER, f"new.{buyer.email}"))
    else:
        draft.append(workload.Expire(60 + number, 5))
        in_process.append(_renamed_all(life))
        if not leaves and number % _DISCARDED[0] != _DISCARDED[1]:
            observer = f"observer.{seller.email}"
            party = Party(workload.OBSERVER, "Observer", observer, 5, signs=False)
            draft.append(workload.AddParty(party))
            draft.append(workload.AddDocument(workload.ANNEX_DOCUMENT_ID, other))
            in_process.append(workload.RemoveParty(workload.OBSERVER))
            in_process.append(workload.RemoveDocument(workload.ANNEX_DOCUMENT_ID))
    return draft, in_process


def _mailed_again(number: int) -> tuple[Request, ...]:
    period, at = _UNDECIDABLE
    resend = workload.Resend(workload.BUYER)
    if number % period == at:
        return (Request(_UNDECIDABLE_SERVICE, 0.0, resend),)
    return (Request("sales", 0.0, resend),) if number % 3 == 1 else ()


def _renamed_all(life: Life) -> Change:
    roles = (workload.WITNESS, workload.AUDITOR)
    return workload.RenameAll(tuple((r, f"{life.party(r).name}-Vale") for r in roles))


def _requests(draw: random.Random, changes: list[Change]) -> tuple[Request, ...]:
    return tuple(Request("back office", draw.uniform(0, PHASE_S), change) for change in changes)


def operations(life: Life) -> Iterator[Operation]:
    """The requests of a life with their operation ids, in the order of its phases."""
    draw = random.Random(f"storm-operations:{life.key}")
    for number, request in enumerate(life.requests()):
        again = draw.random() < ASKED_AGAIN_RATE
        after_s = draw.uniform(0, 2) if again else None
        operation = Operation(f"{life.key}-op{number}", request, after_s)
        yield replace(operation, again_after_s=None) if operation.undecidable else operation


def decision(life: Life) -> Decision:
    """What a person decides of what nothing can tell, who knows that it did not happen."""
    return random.Random(f"storm-decision:{life.key}").choice(("not_landed", "give_up"))
