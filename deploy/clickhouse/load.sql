-- Loads the sealed files of one CGN (clickhouse-client --param_nat=edge1 --param_files='/srv/edge1/*/{held,??}-*.parquet').
-- Who held which block when a day began is left out: the table knows it from the days before.
INSERT INTO mapping_log
SELECT {nat:String}, time, event, reason, CAST(external AS IPv4), first_port, port_count, CAST(inside AS IPv4), pool, key
-- Files of version 1 have no column `key`, which is 0 then.
FROM file({files:String}, Parquet, 'time DateTime64(3, ''UTC''), event String, reason String, external UInt32, first_port UInt16, port_count UInt16, inside UInt32, pool UInt16, key UInt8')
WHERE event != 'held';
