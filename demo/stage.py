"""What stands ready before the workload starts: tenants with keys, the settings file, the programs.

Every secret is made for one run and lies in the demonstration's folder, readable by its owner only.
"""

from __future__ import annotations

import json
import os
import secrets
import sys
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from demo.control import Control, Principal
from demo.stack import Program
from sealwax.crypto import new_key

SIMULATOR, WORKER, BRIDGE, CODEC = "simulator", "worker", "bridge", "codec"
FORWARDER = "forwarder"
ACCOUNT = "acme"
STORAGE = "sealwax-data"
APPLICATION = "https://app.example.com"
"""The application of the README's examples, to which signers may return."""

CHECKOUT = Path(__file__).resolve().parent.parent
PROCESSING_MS = (150, 450)
WEBHOOK_DELAY_MS = (0, 2_000)
WEBHOOK_DUPLICATE_RATE = 0.3

SCALE = 0.1
"""The provider's windows in the demonstration: 500 calls in 3 s, 3,000 in 6 minutes."""

TIMING: Mapping[str, float] = {
    "call_deadline_s": 8.0,
    "outcome_settle_s": 2.0,
    "close_settle_s": 1.5,
    "backoff_first_s": 0.3,
    "backoff_max_s": 3.0,
    "refresh_min_s": 1.0,
}

_RSA_BITS = 2048
_KEY_FILE, _HMAC_FILE = "keys/integration.pem", "keys/connect.txt"
_ENCRYPTION_KEY_ID = "demo"
_ENCRYPTION_FILE, _CODEC_FILE = "keys/encryption.txt", "keys/codec.txt"

_SETTINGS = """\
# Written anew by every run of the demonstration.
[temporal]
address = "{temporal}"

[storage]
folder = "{storage}"

[bridge]
host = "127.0.0.1"
port = {bridge_port}
public_url = "{public_url}"

[encryption]
current = "{encryption_key_id}"

[encryption.keys]
{encryption_key_id} = "file:{encryption_file}"

[codec]
host = "127.0.0.1"
port = {codec_port}
origins = {codec_origins}
token = "file:{codec_file}"

[accounts.{account}]
provider = "docusign"
account_id = "{account_id}"
api_base = "{simulator}/restapi"
oauth_base = "{simulator}"
default_principal = "system"
webhook_keys = ["file:{hmac_file}"]

[accounts.{account}.principals.system]
integration_key = "{integration_key}"
user_id = "{user_id}"
private_key = "file:{key_file}"
"""


@dataclass(frozen=True, slots=True)
class Tenant:
    """One side's account at the provider, with the application that acts for it."""

    account_id: str
    principal: Principal
    private_key_pem: str = field(repr=False)
    hmac_key: str = field(repr=False)


def new_tenant(name: str) -> Tenant:
    """An account with fresh identifiers and keys."""
    key = rsa.generate_private_key(public_exponent=65_537, key_size=_RSA_BITS)
    public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return Tenant(
        account_id=str(uuid.uuid4()),
        principal=Principal(
            integration_key=str(uuid.uuid4()),
            user_id=str(uuid.uuid4()),
            public_key_pem=public.decode(),
            name=f"{name} contracts",
            email=f"contracts@{name}.example.com",
        ),
        private_key_pem=private.decode(),
        hmac_key=secrets.token_urlsafe(32),
    )


async def admit(control: Control, tenant: Tenant, name: str) -> None:
    """Make the tenant's account, consent and webhook key at the provider."""
    await control.add_account(tenant.account_id, name, tenant.principal)
    await control.add_hmac_key(tenant.account_id, tenant.hmac_key)


@dataclass(frozen=True, slots=True)
class Codec:
    """Where the codec server will be, and the token that opens it."""

    port: int
    token: str = field(default_factory=lambda: secrets.token_hex(32), repr=False)

    @property
    def endpoint(self) -> str:
        """What the Temporal UI and the ``temporal`` program are given."""
        return f"http://127.0.0.1:{self.port}/{self.token}"


def write_settings(
    folder: Path,
    tenant: Tenant,
    *,
    simulator: str,
    temporal: str,
    bridge_port: int,
    codec: Codec,
    ui_url: str,
    sessions: Mapping[str, float] | None = None,
    timing: Mapping[str, float] = TIMING,
    scale: float = SCALE,
    public_url: str = "",
) -> Path:
    """Write Sealwax's settings and the secrets that they name; returns the settings' path.

    `sessions`: what is believed of the provider's sessions where its clock is not the usual one.
    `timing`: how patient envelopes are. `scale`: of the provider's windows. `public_url`: where the
    bridge is reached, unless by its own port.
    """
    write_secret(folder / _KEY_FILE, tenant.private_key_pem)
    write_secret(folder / _HMAC_FILE, tenant.hmac_key)
    write_secret(folder / _CODEC_FILE, codec.token)
    if not (folder / _ENCRYPTION_FILE).exists():
        write_secret(folder / _ENCRYPTION_FILE, new_key())
    path = folder / "sealwax.toml"
    path.write_text(
        _SETTINGS.format(
            temporal=temporal,
            storage=STORAGE,
            bridge_port=bridge_port,
            public_url=public_url or f"http://127.0.0.1:{bridge_port}",
            account=ACCOUNT,
            account_id=tenant.account_id,
            simulator=simulator,
            hmac_file=_HMAC_FILE,
            integration_key=tenant.principal.integration_key,
            user_id=tenant.principal.user_id,
            key_file=_KEY_FILE,
            encryption_key_id=_ENCRYPTION_KEY_ID,
            encryption_file=_ENCRYPTION_FILE,
            codec_port=codec.port,
            codec_origins=json.dumps([ui_url, ui_url.replace("127.0.0.1", "localhost")]),
            codec_file=_CODEC_FILE,
        )
        + _table("timing", timing)
        + _table("quota", {"scale": scale})
        + _table("sessions", {"return_origins": [APPLICATION], **(sessions or {})}),
        encoding="utf-8",
    )
    return path


def _table(name: str, values: Mapping[str, float | list[str]]) -> str:
    lines = [f"{key} = {json.dumps(value)}\n" for key, value in values.items()]
    return "".join([f"\n[{name}]\n", *lines])


def simulator_program(
    seed: int, *, overlap: bool, more: Sequence[str] = (), scale: float = SCALE
) -> Program:
    """The provider: both sides meet the same one, with the same harms; `more` are its options.

    It keeps its limits, in windows shorter by `scale`.
    """
    low, high = WEBHOOK_DELAY_MS
    webhooks = f"delay={low}:{high},duplicate={WEBHOOK_DUPLICATE_RATE}"
    options = ("--port", "0", "--seed", str(seed), "--overlap", "on" if overlap else "off")
    harms = ("--processing-ms", "{}:{}".format(*PROCESSING_MS), "--webhook-plan", webhooks)
    limits = ("--limits", f"scale={scale:g}")
    argv = (sys.executable, "-m", "simulator", *options, *harms, *limits, *more)
    return Program(name=SIMULATOR, argv=argv, env=_ENV)


def worker_program(settings: Path) -> Program:
    """Sealwax's worker."""
    argv = (sys.executable, str(CHECKOUT / "worker.py"))
    return Program(name=WORKER, argv=argv, env=_with(settings), stop_within_s=15.0)


def bridge_program(settings: Path) -> Program:
    """Sealwax's bridge, which starts and ends a forwarder of its own."""
    return Program(name=BRIDGE, argv=(sys.executable, "-m", "bridge"), env=_with(settings))


def forwarder_program(settings: Path) -> Program:
    """One more forwarder, which shares the work with the bridge's."""
    argv = (sys.executable, "-m", "bridge.forwarder")
    return Program(name=FORWARDER, argv=argv, env=_with(settings))


def codec_program(settings: Path) -> Program:
    """The codec server, through which the Temporal UI shows what is encrypted."""
    argv = (sys.executable, "-m", "bridge.codec")
    return Program(name=CODEC, argv=argv, env=_with(settings))


# The programs find the checkout's packages wherever the demonstration was started.
_ENV = {
    "PYTHONPATH": os.pathsep.join(filter(None, (str(CHECKOUT), os.environ.get("PYTHONPATH", "")))),
    "PYTHONUNBUFFERED": "1",
}


def _with(settings: Path) -> dict[str, str]:
    return {**_ENV, "SEALWAX_CONFIG": str(settings)}


def write_secret(path: Path, secret: str) -> None:
    """A new file that its owner alone may read."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(secret)
