"""The journal's tables in SQLite, and the statements upon them.

A webhook's small columns and its sealed bytes stand apart: what is marked again and again is then
a row of some 300 bytes, not one of several pages. Both are written through a view. Whoever changes
a state by hand keeps the counts right, because triggers do.
"""

from __future__ import annotations

APPLICATION_ID = 0x53574A33

SCHEMA = """
CREATE TABLE IF NOT EXISTS webhook (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    delivery BLOB NOT NULL UNIQUE,
    account TEXT NOT NULL,
    provider_envelope_id TEXT NOT NULL,
    token TEXT NOT NULL,
    event_key TEXT NOT NULL,
    provider TEXT NOT NULL,
    event_name TEXT NOT NULL,
    trust TEXT NOT NULL,
    received_us INTEGER NOT NULL,
    state TEXT NOT NULL,
    reason TEXT NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 0,
    retry_us INTEGER,
    duplicates INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE TABLE IF NOT EXISTS payload (id INTEGER PRIMARY KEY, sealed BLOB NOT NULL) STRICT;
CREATE INDEX IF NOT EXISTS webhook_pending ON webhook (id) WHERE state = 'pending';
CREATE INDEX IF NOT EXISTS webhook_pending_of
    ON webhook (account, provider_envelope_id, id) WHERE state = 'pending';
CREATE INDEX IF NOT EXISTS webhook_parked_of
    ON webhook (account, provider_envelope_id, id) WHERE state = 'parked';
CREATE INDEX IF NOT EXISTS webhook_of ON webhook (account, provider_envelope_id, id);
CREATE INDEX IF NOT EXISTS webhook_parked
    ON webhook (retry_us) WHERE state = 'parked' AND retry_us IS NOT NULL;

-- Keys of events whose rows were pruned.
CREATE TABLE IF NOT EXISTS past (
    id INTEGER PRIMARY KEY,
    delivery BLOB NOT NULL UNIQUE,
    received_us INTEGER NOT NULL
) STRICT;

CREATE TABLE IF NOT EXISTS claim (
    account TEXT NOT NULL,
    provider_envelope_id TEXT NOT NULL,
    forwarder TEXT NOT NULL,
    until_us INTEGER NOT NULL,
    PRIMARY KEY (account, provider_envelope_id)
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS forwarder (
    name TEXT PRIMARY KEY,
    at_us INTEGER NOT NULL,
    reaching INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS refused (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    account TEXT NOT NULL,
    status INTEGER NOT NULL,
    reason TEXT NOT NULL,
    size_bytes INTEGER NOT NULL,
    received_us INTEGER NOT NULL,
    sealed BLOB NOT NULL
) STRICT;
CREATE INDEX IF NOT EXISTS refused_of ON refused (account, id);

CREATE TABLE IF NOT EXISTS tally (name TEXT PRIMARY KEY, count INTEGER NOT NULL)
    STRICT, WITHOUT ROWID;

-- A webhook as it comes: of two tables, and counted, in one statement.
CREATE VIEW IF NOT EXISTS arriving AS
    SELECT w.id, delivery, account, provider_envelope_id, token, event_key, provider, event_name,
        trust, received_us, state, reason, sealed
    FROM webhook w JOIN payload p ON p.id = w.id;
CREATE TRIGGER IF NOT EXISTS arrived INSTEAD OF INSERT ON arriving BEGIN
    SELECT RAISE(ABORT, 'its row was pruned') FROM past WHERE delivery = new.delivery;
    INSERT INTO webhook (id, delivery, account, provider_envelope_id, token, event_key, provider,
        event_name, trust, received_us, state, reason)
    VALUES (new.id, new.delivery, new.account, new.provider_envelope_id, new.token, new.event_key,
        new.provider, new.event_name, new.trust, new.received_us, new.state, new.reason);
    INSERT INTO payload VALUES (new.id, new.sealed);
    INSERT INTO tally VALUES (new.state, 1) ON CONFLICT DO UPDATE SET count = count + 1;
END;

CREATE TRIGGER IF NOT EXISTS tally_moved AFTER UPDATE OF state ON webhook
WHEN old.state != new.state BEGIN
    UPDATE tally SET count = count - 1 WHERE name = old.state;
    INSERT INTO tally VALUES (new.state, 1) ON CONFLICT DO UPDATE SET count = count + 1;
END;
CREATE TRIGGER IF NOT EXISTS tally_again AFTER UPDATE OF state ON webhook
WHEN new.state = 'pending' AND old.state != 'pending' BEGIN
    INSERT INTO tally VALUES ('again', 1) ON CONFLICT DO UPDATE SET count = count + 1;
END;
CREATE TRIGGER IF NOT EXISTS tally_gone AFTER DELETE ON webhook BEGIN
    UPDATE tally SET count = count - 1 WHERE name = old.state;
    INSERT INTO tally VALUES ('pruned', 1) ON CONFLICT DO UPDATE SET count = count + 1;
END;
CREATE TRIGGER IF NOT EXISTS tally_rerouted AFTER UPDATE OF reason ON webhook
WHEN new.reason = 'rerouted' AND old.reason != 'rerouted' BEGIN
    INSERT INTO tally VALUES ('rerouted', 1) ON CONFLICT DO UPDATE SET count = count + 1;
END;
"""

TALLY = "INSERT INTO tally VALUES (?, ?) ON CONFLICT DO UPDATE SET count = count + excluded.count"
LAST_ID = "SELECT seq FROM sqlite_sequence WHERE name = 'webhook'"

# Ids and what became pending again: what grows whenever there may be something to forward.
ARRIVED = """
SELECT coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'webhook'), 0),
       coalesce((SELECT count FROM tally WHERE name = 'again'), 0)
"""
KNOWN = """
SELECT delivery, id, 1 FROM webhook WHERE delivery IN ({0})
UNION ALL SELECT delivery, id, 0 FROM past WHERE delivery IN ({0})
"""
APPEND = "INSERT INTO arriving SELECT * FROM (VALUES {}) WHERE column1 IS NOT NULL"

_COLUMNS = """
w.id, w.account, w.provider, w.token, w.event_key, w.event_name, w.provider_envelope_id,
w.received_us, w.state, w.reason, w.trust, w.attempts, w.duplicates, w.retry_us
"""
ENTRIES = f"SELECT {_COLUMNS} FROM webhook w WHERE "
_WHOLE = f"SELECT {_COLUMNS}, w.delivery, p.sealed FROM {{}} w JOIN payload p ON p.id = w.id"
ROW = _WHOLE.format("webhook") + " WHERE w.id = ?"
PENDING = (
    _WHOLE.format("(SELECT * FROM webhook WHERE state = 'pending' ORDER BY id LIMIT ?)")
    + " ORDER BY w.id"
)
KEPT = _WHOLE.format("(SELECT * FROM webhook WHERE id > ? ORDER BY id LIMIT ?)") + " ORDER BY w.id"
_OF_ENVELOPE = """
SELECT * FROM (SELECT id FROM webhook INDEXED BY webhook_{0}_of
               WHERE state = '{0}' AND account = :account
                   AND provider_envelope_id = :envelope AND id > :after ORDER BY id LIMIT :limit)
"""
UNDELIVERED = (
    f"{_WHOLE.format('webhook')} WHERE w.id IN ({_OF_ENVELOPE.format('pending')}"
    f" UNION ALL {_OF_ENVELOPE.format('parked')}) ORDER BY w.id LIMIT :limit"
)
_OF_NAMED = """
SELECT * FROM (SELECT id FROM webhook INDEXED BY webhook_{0}_of
               WHERE state = '{0}' AND account = n.value ->> 0
                   AND provider_envelope_id = n.value ->> 1 ORDER BY id LIMIT :limit)
"""
# A cross join goes from one name to the next, so that one envelope's rows come together.
UNDELIVERED_OF = f"""
SELECT {_COLUMNS}, w.delivery, p.sealed
FROM json_each(:names) n CROSS JOIN webhook w CROSS JOIN payload p
WHERE p.id = w.id AND w.id IN ({_OF_NAMED.format("pending")} UNION ALL {_OF_NAMED.format("parked")})
"""

# The oldest rows only: after a long outage the backlog is large, and this is asked again and again.
# All in one row, because with each that is stepped to Python's lock has to be had again.
DUE = """
WITH oldest AS MATERIALIZED (
    SELECT * FROM (SELECT account, provider_envelope_id, id FROM webhook
                   WHERE state = 'pending' ORDER BY id LIMIT :rows)
    UNION ALL
    SELECT * FROM (SELECT account, provider_envelope_id, id FROM webhook
                   WHERE state = 'parked' AND retry_us IS NOT NULL AND retry_us <= :now
                   ORDER BY retry_us LIMIT :rows)
), free AS (
    SELECT account, provider_envelope_id, min(id) AS first FROM oldest o
    GROUP BY account, provider_envelope_id HAVING NOT EXISTS (
        SELECT 1 FROM claim c WHERE c.account = o.account
            AND c.provider_envelope_id = o.provider_envelope_id AND c.until_us > :now)
    ORDER BY first LIMIT :limit
)
SELECT (SELECT count(*) FROM oldest), json_group_array(
    json_array(account, provider_envelope_id) ORDER BY first) FROM free
"""
NEXT_PENDING_OF = """
SELECT account, provider_envelope_id FROM webhook
WHERE state = 'pending' AND (account, provider_envelope_id) > (?, ?)
ORDER BY account, provider_envelope_id LIMIT 1
"""
HELD = "SELECT account, provider_envelope_id FROM claim WHERE until_us > ?"
CLAIM = """
INSERT INTO claim (account, provider_envelope_id, forwarder, until_us)
SELECT value ->> 0, value ->> 1, :forwarder, :until FROM json_each(:names) WHERE true
ON CONFLICT DO UPDATE SET forwarder = excluded.forwarder, until_us = excluded.until_us
    WHERE until_us <= :now
"""
CLAIMED = """
SELECT json_group_array(json_array(account, provider_envelope_id)) FROM claim
WHERE forwarder = :forwarder AND until_us = :until
    AND (account, provider_envelope_id) IN (SELECT value ->> 0, value ->> 1 FROM json_each(:names))
"""
RELEASE = """
DELETE FROM claim WHERE forwarder = ? AND (account, provider_envelope_id) IN (
    SELECT value ->> 0, value ->> 1 FROM json_each(?))
"""

MARK = """
UPDATE webhook SET state = ?, reason = ?, retry_us = NULL
WHERE id IN (SELECT value FROM json_each(?))
"""
PARK = """
UPDATE webhook SET state = 'parked', retry_us = ?, reason = ?, attempts = attempts + 1
WHERE id IN (SELECT value FROM json_each(?))
"""
DUPLICATE = "UPDATE webhook SET duplicates = duplicates + 1 WHERE id = ?"

REFUSE = """
INSERT INTO refused (account, status, reason, size_bytes, received_us, sealed)
VALUES (?, ?, ?, ?, ?, ?)
"""
REFUSED_TRIM = """
DELETE FROM refused WHERE account = ?1 AND id <= (
    SELECT id FROM refused WHERE account = ?1 ORDER BY id DESC LIMIT 1 OFFSET ?2)
"""
REFUSED = """
SELECT id, account, status, reason, size_bytes, received_us, sealed FROM refused
WHERE :account IS NULL OR account = :account ORDER BY id DESC LIMIT :limit
"""

USED_BYTES = """
SELECT (p.page_count - f.freelist_count) * s.page_size
FROM pragma_page_count p, pragma_freelist_count f, pragma_page_size s
"""
FINISHED = """
SELECT w.id, w.received_us, length(p.sealed) FROM webhook w JOIN payload p ON p.id = w.id
WHERE w.id > ? AND w.state IN ('delivered', 'late', 'discarded') ORDER BY w.id LIMIT ?
"""
REMEMBER = """
INSERT INTO past SELECT id, delivery, received_us FROM webhook
WHERE received_us >= ? AND id IN (SELECT value FROM json_each(?))
"""
DROP_PAYLOADS = "DELETE FROM payload WHERE id IN (SELECT value FROM json_each(?))"
DROP_WEBHOOKS = "DELETE FROM webhook WHERE id IN (SELECT value FROM json_each(?))"
FORGET = """
DELETE FROM past WHERE received_us < ?1 AND id IN (SELECT id FROM past ORDER BY id LIMIT ?2)
"""
OLDEST_PENDING = "SELECT received_us FROM webhook WHERE state = 'pending' ORDER BY id LIMIT 1"
BEATS = "SELECT name, at_us, reaching FROM forwarder WHERE at_us > ? ORDER BY name"
FORGET_BEATS = "DELETE FROM forwarder WHERE at_us < ?"
BEAT = """
INSERT INTO forwarder VALUES (?, ?, ?)
ON CONFLICT DO UPDATE SET at_us = excluded.at_us, reaching = excluded.reaching
"""
