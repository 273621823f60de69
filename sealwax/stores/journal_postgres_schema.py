"""The journal's tables in PostgreSQL, and the statements upon them.

A sequence's order is not that of commits, so nothing here goes by "ids above the last one seen":
what is to be done stands in a webhook's state, and who does it takes it with ``SKIP LOCKED``.
Triggers keep the counts, in several rows each, so that writers seldom wait for one another.
"""

from __future__ import annotations

SCHEMA_LOCK = 0x5357544A
CHANNEL = "sealwax_journal"

SCHEMA = """
CREATE TABLE IF NOT EXISTS sealwax_webhook (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    delivery bytea NOT NULL UNIQUE,
    account text COLLATE "C" NOT NULL,
    provider_envelope_id text COLLATE "C" NOT NULL,
    token text COLLATE "C" NOT NULL,
    event_key text COLLATE "C" NOT NULL,
    provider text COLLATE "C" NOT NULL,
    event_name text COLLATE "C" NOT NULL,
    trust text COLLATE "C" NOT NULL,
    received_at timestamptz NOT NULL,
    state text COLLATE "C" NOT NULL,
    reason text COLLATE "C" NOT NULL,
    attempts integer NOT NULL DEFAULT 0,
    retry_at timestamptz,
    duplicates integer NOT NULL DEFAULT 0,
    sealed bytea NOT NULL
);
-- It does not compress, and apart from the row it need not be written again with every state.
ALTER TABLE sealwax_webhook ALTER sealed SET STORAGE EXTERNAL;
CREATE INDEX IF NOT EXISTS sealwax_webhook_pending ON sealwax_webhook (id) WHERE state = 'pending';
CREATE INDEX IF NOT EXISTS sealwax_webhook_pending_of
    ON sealwax_webhook (account, provider_envelope_id, id) WHERE state = 'pending';
CREATE INDEX IF NOT EXISTS sealwax_webhook_of
    ON sealwax_webhook (account, provider_envelope_id, id);
CREATE INDEX IF NOT EXISTS sealwax_webhook_parked
    ON sealwax_webhook (retry_at) WHERE state = 'parked' AND retry_at IS NOT NULL;

CREATE TABLE IF NOT EXISTS sealwax_webhook_past (
    delivery bytea PRIMARY KEY,
    id bigint NOT NULL,
    received_at timestamptz NOT NULL
);
CREATE INDEX IF NOT EXISTS sealwax_webhook_past_received ON sealwax_webhook_past (received_at);

CREATE TABLE IF NOT EXISTS sealwax_claim (
    account text COLLATE "C" NOT NULL,
    provider_envelope_id text COLLATE "C" NOT NULL,
    forwarder text NOT NULL,
    until timestamptz NOT NULL,
    PRIMARY KEY (account, provider_envelope_id)
);
CREATE TABLE IF NOT EXISTS sealwax_forwarder (
    name text PRIMARY KEY, at timestamptz NOT NULL, reaching boolean NOT NULL
);
CREATE TABLE IF NOT EXISTS sealwax_refused (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    account text COLLATE "C" NOT NULL,
    status integer NOT NULL,
    reason text NOT NULL,
    size_bytes bigint NOT NULL,
    received_at timestamptz NOT NULL,
    sealed bytea NOT NULL
);
CREATE INDEX IF NOT EXISTS sealwax_refused_of ON sealwax_refused (account, id);

CREATE TABLE IF NOT EXISTS sealwax_journal_tally (
    name text COLLATE "C" NOT NULL,
    shard integer NOT NULL,
    count bigint NOT NULL,
    PRIMARY KEY (name, shard)
) WITH (fillfactor = 20);

CREATE OR REPLACE FUNCTION sealwax_journal_inserted() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO sealwax_journal_tally AS t
    SELECT name, pg_backend_pid() % 64, n FROM (
        SELECT state AS name, count(*) AS n FROM new_rows GROUP BY state
        UNION ALL SELECT 'arrived', count(*) FROM new_rows WHERE state = 'pending'
        UNION ALL SELECT 'duplicates', sum(duplicates) FROM new_rows
        UNION ALL SELECT 'bytes', sum(octet_length(sealed) + 400) FROM new_rows
    ) AS c WHERE n != 0 ORDER BY name
    ON CONFLICT (name, shard) DO UPDATE SET count = t.count + excluded.count;
    RETURN NULL;
END $$;
CREATE OR REPLACE FUNCTION sealwax_journal_updated() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO sealwax_journal_tally AS t
    SELECT name, pg_backend_pid() % 64, sum(n) FROM (
        SELECT state AS name, 1 AS n FROM new_rows
        UNION ALL SELECT state, -1 FROM old_rows
        UNION ALL SELECT 'duplicates', duplicates FROM new_rows
        UNION ALL SELECT 'duplicates', -duplicates FROM old_rows
        UNION ALL SELECT 'arrived', 1 FROM new_rows n JOIN old_rows o USING (id)
            WHERE n.state = 'pending' AND o.state != 'pending'
        UNION ALL SELECT 'rerouted', 1 FROM new_rows n JOIN old_rows o USING (id)
            WHERE n.reason = 'rerouted' AND o.reason != 'rerouted'
    ) AS c GROUP BY name HAVING sum(n) != 0 ORDER BY name
    ON CONFLICT (name, shard) DO UPDATE SET count = t.count + excluded.count;
    RETURN NULL;
END $$;
CREATE OR REPLACE FUNCTION sealwax_journal_deleted() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO sealwax_journal_tally AS t
    SELECT name, pg_backend_pid() % 64, n FROM (
        SELECT state AS name, -count(*) AS n FROM old_rows GROUP BY state
        UNION ALL SELECT 'pruned', count(*) FROM old_rows
        UNION ALL SELECT 'bytes', -sum(octet_length(sealed) + 400) FROM old_rows
    ) AS c WHERE n != 0 ORDER BY name
    ON CONFLICT (name, shard) DO UPDATE SET count = t.count + excluded.count;
    RETURN NULL;
END $$;
CREATE OR REPLACE TRIGGER sealwax_journal_inserted AFTER INSERT ON sealwax_webhook
    REFERENCING NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION sealwax_journal_inserted();
CREATE OR REPLACE TRIGGER sealwax_journal_updated AFTER UPDATE ON sealwax_webhook
    REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION sealwax_journal_updated();
CREATE OR REPLACE TRIGGER sealwax_journal_deleted AFTER DELETE ON sealwax_webhook
    REFERENCING OLD TABLE AS old_rows
    FOR EACH STATEMENT EXECUTE FUNCTION sealwax_journal_deleted();
"""

# Repetitions: counted, except (last parameter true) those that are the same receipt, sent here
# again because nobody knew whether the first time had got through.
APPEND = """
WITH new AS (
    SELECT * FROM unnest($1::bytea[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[],
                         $7::text[], $8::text[], $9::timestamptz[], $10::text[], $11::text[],
                         $12::bytea[], $13::int[])
        WITH ORDINALITY AS n (delivery, account, provider_envelope_id, token, event_key, provider,
                              event_name, trust, received_at, state, reason, sealed, duplicates,
                              place)
), past AS (
    SELECT p.delivery, p.id FROM sealwax_webhook_past p JOIN new USING (delivery)
), again AS (
    INSERT INTO sealwax_journal_tally AS t
    SELECT 'duplicates', pg_backend_pid() % 64, count(*) FROM past HAVING count(*) > 0
    ON CONFLICT (name, shard) DO UPDATE SET count = t.count + excluded.count
), kept AS (
    INSERT INTO sealwax_webhook AS w
        (delivery, account, provider_envelope_id, token, event_key, provider, event_name, trust,
         received_at, state, reason, sealed, duplicates)
    SELECT delivery, account, provider_envelope_id, token, event_key, provider, event_name, trust,
           received_at, state, reason, sealed, duplicates
    FROM new WHERE NOT EXISTS (SELECT FROM past p WHERE p.delivery = new.delivery) ORDER BY place
    ON CONFLICT (delivery) DO UPDATE SET duplicates = w.duplicates + excluded.duplicates
        + CASE WHEN $14 AND w.received_at = excluded.received_at THEN 0 ELSE 1 END
    RETURNING delivery, id, xmax::text != '0' AS duplicate
)
SELECT delivery, id, duplicate FROM kept UNION ALL SELECT delivery, id, true FROM past
"""
NOTIFY = f"NOTIFY {CHANNEL}"
ARRIVED = "SELECT coalesce(sum(count), 0)::bigint FROM sealwax_journal_tally WHERE name = 'arrived'"

_COLUMNS = """
w.id, w.account, w.provider, w.token, w.event_key, w.event_name, w.provider_envelope_id,
w.received_at, w.state, w.reason, w.trust, w.attempts, w.duplicates, w.retry_at
"""
ENTRIES = f"SELECT {_COLUMNS} FROM sealwax_webhook w WHERE "
_WHOLE = f"SELECT {_COLUMNS}, w.delivery, w.sealed FROM {{}} w"
ROW = _WHOLE.format("sealwax_webhook") + " WHERE w.id = $1"
PENDING = _WHOLE.format("sealwax_webhook") + " WHERE state = 'pending' ORDER BY id LIMIT $1"
_UNDELIVERED = """
SELECT * FROM (SELECT * FROM sealwax_webhook WHERE state = '{}' AND account = $1
               AND provider_envelope_id = $2 AND id > $3 ORDER BY id LIMIT $4) AS {}
"""
UNDELIVERED = (
    _WHOLE.format(
        f"({_UNDELIVERED.format('pending', 'a')} UNION ALL {_UNDELIVERED.format('parked', 'b')})"
    )
    + " ORDER BY w.id LIMIT $4"
)

# Without an order of its own the nested loop stops at the last limit, and reads no row beyond.
_UNDELIVERED_OF = """
(SELECT * FROM sealwax_webhook WHERE state = '{}' AND account = e.account
 AND provider_envelope_id = e.envelope ORDER BY id LIMIT $3)
"""
UNDELIVERED_OF = f"""
SELECT {_COLUMNS}, w.delivery, w.sealed
FROM unnest($1::text[], $2::text[]) AS e (account, envelope)
CROSS JOIN LATERAL (
    SELECT * FROM ({_UNDELIVERED_OF.format("pending")}
    UNION ALL {_UNDELIVERED_OF.format("parked")}) AS u ORDER BY id LIMIT $3
) AS w LIMIT $4
"""

DUE = """
SELECT d.account, d.provider_envelope_id, min(d.id) AS first, count(*) AS rows,
       bool_or(c.until IS NOT NULL) AS held
FROM (
    (SELECT account, provider_envelope_id, id FROM sealwax_webhook
     WHERE state = 'pending' ORDER BY id LIMIT $2)
    UNION ALL
    (SELECT account, provider_envelope_id, id FROM sealwax_webhook
     WHERE state = 'parked' AND retry_at IS NOT NULL AND retry_at <= $1
     ORDER BY retry_at LIMIT $2)
) AS d
LEFT JOIN sealwax_claim c ON c.account = d.account
    AND c.provider_envelope_id = d.provider_envelope_id AND c.until > $1
GROUP BY d.account, d.provider_envelope_id ORDER BY first
"""
# From one envelope's name to the next, each found by one step into the index.
DUE_BY_NAME = """
WITH RECURSIVE step AS (
    (SELECT account, provider_envelope_id, id, 1 AS n FROM sealwax_webhook
     WHERE state = 'pending' AND (account, provider_envelope_id) > ($2, $3)
     ORDER BY account, provider_envelope_id, id LIMIT 1)
    UNION ALL
    SELECT w.account, w.provider_envelope_id, w.id, step.n + 1 FROM step, LATERAL (
        SELECT account, provider_envelope_id, id FROM sealwax_webhook
        WHERE state = 'pending'
            AND (account, provider_envelope_id) > (step.account, step.provider_envelope_id)
        ORDER BY account, provider_envelope_id, id LIMIT 1) AS w
    WHERE step.n < $4
)
SELECT s.account, s.provider_envelope_id, s.id AS first, c.until IS NOT NULL AS held
FROM step s LEFT JOIN sealwax_claim c ON c.account = s.account
    AND c.provider_envelope_id = s.provider_envelope_id AND c.until > $1
ORDER BY s.n
"""
# Who has locked an envelope's first row is about to claim the envelope: others pass it over.
CLAIM = """
WITH mine AS (
    SELECT account, provider_envelope_id FROM sealwax_webhook
    WHERE id = ANY($1::bigint[]) AND state IN ('pending', 'parked')
    ORDER BY account, provider_envelope_id FOR UPDATE SKIP LOCKED
)
INSERT INTO sealwax_claim AS c (account, provider_envelope_id, forwarder, until)
SELECT account, provider_envelope_id, $2, $4 FROM mine
ON CONFLICT (account, provider_envelope_id)
    DO UPDATE SET forwarder = excluded.forwarder, until = excluded.until WHERE c.until <= $3
RETURNING account, provider_envelope_id
"""
RELEASE = """
DELETE FROM sealwax_claim c USING unnest($2::text[], $3::text[]) AS n (account, envelope)
WHERE c.account = n.account AND c.provider_envelope_id = n.envelope AND c.forwarder = $1
"""

# Locked in one order, so that two who mark the same rows do not wait for each other.
_LOCKED = "(SELECT id FROM sealwax_webhook WHERE id = ANY($1::bigint[]) ORDER BY id FOR UPDATE)"
MARK = f"""
UPDATE sealwax_webhook SET state = $2, reason = $3, retry_at = NULL WHERE id IN {_LOCKED}
"""
PARK = f"""
UPDATE sealwax_webhook SET state = 'parked', retry_at = $2, reason = $3, attempts = attempts + 1
WHERE id IN {_LOCKED}
"""
NEXT_DUE = """
SELECT min(retry_at) FROM sealwax_webhook WHERE state = 'parked' AND retry_at IS NOT NULL
"""

REFUSE = """
INSERT INTO sealwax_refused (account, status, reason, size_bytes, received_at, sealed)
VALUES ($1, $2, $3, $4, $5, $6)
"""
REFUSED_TRIM = """
DELETE FROM sealwax_refused WHERE account = $1 AND id <= (
    SELECT id FROM sealwax_refused WHERE account = $1 ORDER BY id DESC LIMIT 1 OFFSET $2)
"""
REFUSED = """
SELECT id, account, status, reason, size_bytes, received_at, sealed FROM sealwax_refused
WHERE $1::text IS NULL OR account = $1 ORDER BY id DESC LIMIT $2
"""

COUNTS = """
SELECT name, sum(count)::bigint FROM sealwax_journal_tally
WHERE name NOT IN ('arrived', 'bytes') GROUP BY name
"""
SIZE = "SELECT coalesce(sum(count), 0)::bigint FROM sealwax_journal_tally WHERE name = 'bytes'"
OLDEST_PENDING = """
SELECT received_at FROM sealwax_webhook WHERE state = 'pending' ORDER BY id LIMIT 1
"""
PRUNABLE = """
SELECT id, received_at, octet_length(sealed) FROM sealwax_webhook
WHERE id > $1 AND state IN ('delivered', 'late', 'discarded') ORDER BY id LIMIT $2
"""
PRUNE = """
WITH gone AS (
    DELETE FROM sealwax_webhook WHERE id IN (
        SELECT id FROM sealwax_webhook
        WHERE id = ANY($1::bigint[]) AND state IN ('delivered', 'late', 'discarded')
        ORDER BY id FOR UPDATE SKIP LOCKED)
    RETURNING id, delivery, received_at
), remembered AS (
    INSERT INTO sealwax_webhook_past SELECT delivery, id, received_at FROM gone
    WHERE received_at >= $2 ON CONFLICT DO NOTHING
)
SELECT count(*) FROM gone
"""
FORGET = """
DELETE FROM sealwax_webhook_past WHERE delivery IN (
    SELECT delivery FROM sealwax_webhook_past WHERE received_at < $1
    ORDER BY received_at LIMIT $2 FOR UPDATE SKIP LOCKED)
"""
BEAT = """
WITH forgotten AS (DELETE FROM sealwax_forwarder WHERE at < $4 AND name != $1)
INSERT INTO sealwax_forwarder AS f VALUES ($1, $2, $3)
ON CONFLICT (name) DO UPDATE SET at = excluded.at, reaching = excluded.reaching
"""
BEATS = "SELECT name, at, reaching FROM sealwax_forwarder WHERE at > $1 ORDER BY name"
