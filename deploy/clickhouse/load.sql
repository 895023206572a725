-- Loads the sealed files of one CGN (clickhouse-client --param_nat=edge1 --param_files='/srv/edge1/*/*.parquet').
-- Who held which block when a day began is left out: the table knows it from the days before.
INSERT INTO mapping_log
SELECT {nat:String}, time, event, reason, CAST(external AS IPv4), first_port, port_count, CAST(inside AS IPv4), pool
FROM file({files:String}, Parquet)
WHERE event != 'held';
