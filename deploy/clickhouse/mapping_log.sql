-- The mapping log in ClickHouse, for those who outgrow one machine. The files of a log are read as they
-- are, and this table is for many logs together. tests/tests/maplog_judges runs these very statements.

CREATE TABLE IF NOT EXISTS mapping_log
(
    nat        LowCardinality(String),              -- which CGN
    time       DateTime64(3, 'UTC') CODEC(Delta, ZSTD),
    event      LowCardinality(String),              -- allocate, release, start, stop, gap, resume
    reason     LowCardinality(String),              -- of a release
    external   IPv4,
    first_port UInt16,
    port_count UInt16,
    inside     IPv4,
    pool       UInt16,
    key        UInt8                                -- not 0: first_port is a place (docs/log.md)
)
ENGINE = ReplacingMergeTree                         -- a file that is loaded twice counts once
PARTITION BY toYYYYMM(time)
ORDER BY (external, first_port, time, event, nat, inside);

-- Who had a port of an external address at a time: the newest event of its block up to then. `release`:
-- nobody had it any more. A gap of the log in that time, or the clock of who asks, can make it wrong: the CGN's own
-- `cgn log who` looks at both. Of blocks with a key only that knows the ports.
CREATE VIEW IF NOT EXISTS who AS
SELECT inside, event, time AS since, nat, first_port, port_count
FROM mapping_log
WHERE external = {external:IPv4}
  AND key = 0
  AND first_port <= {port:UInt16}
  AND {port:UInt16} < toUInt32(first_port) + port_count
  AND time <= {at:DateTime64(3, 'UTC')}
  AND event IN ('allocate', 'release')
ORDER BY time DESC
LIMIT 1;
