//! The sealed files as DuckDB, pyarrow and ClickHouse (chdb) read them, and the statements for ClickHouse
//! in `deploy/clickhouse`.

use cgn_tests::skip::python_with;

use super::*;

/// How each of them gets the rows of the files in `files`.
const READERS: [(&str, &str); 3] = [
    (
        "duckdb",
        r#"
import duckdb
rows = duckdb.sql("SELECT epoch_ms(time), event, reason, external, first_port, port_count, inside, pool, key FROM read_parquet(%r)" % files).fetchall()
"#,
    ),
    (
        "pyarrow",
        r#"
import pyarrow.parquet as pq
rows = []
for f in files:
    t = pq.read_table(f)
    t = t.set_column(0, 'time', t['time'].cast('int64'))
    rows += [tuple(r.values()) for r in t.to_pylist()]
"#,
    ),
    (
        "chdb",
        r#"
import chdb, json
q = "SELECT toUnixTimestamp64Milli(time), event, reason, external, first_port, port_count, inside, pool, key FROM file('%s/*/*.parquet', Parquet)"
rows = [tuple(json.loads(l)) for l in str(chdb.query(q % sys.argv[1], 'JSONCompactEachRow')).splitlines()]
rows = [tuple(int(x) if i not in (1, 2) else x for i, x in enumerate(r)) for r in rows]
"#,
    ),
];
const HEAD: &str = "import sys, glob\nfiles = sorted(glob.glob(sys.argv[1] + '/*/*.parquet'))\n";
const TAIL: &str = "\nfor row in sorted(rows):\n    print(*(x if x != '' else '-' for x in row))\n";

/// A log of two days, sealed.
fn sealed(name: &str) -> Place {
    let place = Place::new(name);
    let mut log = place.log();
    let mut entries = story().to_vec();
    let later = Event::Allocate(entries[0].event.block().expect("a block"));
    entries.push(Entry {
        unix_ms: START + HOUR_MS + 5,
        event: later,
    });
    entries.push(Entry {
        unix_ms: START + 24 * HOUR_MS + 5,
        event: Event::Stop,
    });
    for entry in &entries {
        log.append(&[*entry]).expect("a record");
    }
    seal(&mut log, 48);
    place
}

#[test]
fn other_programs_read_the_sealed_files() {
    const TEST: &str = "other_programs_read_the_sealed_files";
    let place = sealed("parquet");
    let block = "3405803781 1024 512 1681915913 0 0";
    let expected = format!(
        "{} allocate - {block}\n{} release idle {block}\n{} held - {block}\n{} allocate - {block}\n{} stop - 0 0 0 0 0 0\n",
        START + 123,
        START + 1_123,
        START + HOUR_MS,
        START + HOUR_MS + 5,
        START + 24 * HOUR_MS + 5,
    );
    for (module, read) in READERS {
        let Some(python) = python_with(TEST, module) else {
            continue;
        };
        let program = format!("{HEAD}{read}{TAIL}");
        let mut command = Command::new(python);
        let text = said(command.args(["-c", &program]).arg(place.0.join("log")));
        assert_eq!(text, expected, "{module}");
    }
}

/// Runs `deploy/clickhouse` and asks who had port 1535 at each time of the arguments.
const CLICKHOUSE: &str = r#"
import sys
from chdb import session
s = session.Session()
deploy, log, *times = sys.argv[1:]
for statement in open(deploy + '/mapping_log.sql').read().split(';'):
    if statement.strip():
        s.query(statement)
for _ in range(2):
    s.query(open(deploy + '/load.sql').read(), params={'nat': 'edge1', 'files': log + '/*/*.parquet'})
print(str(s.query('SELECT count() FROM mapping_log FINAL')).strip())
for at in times:
    q = "SELECT inside, event, nat FROM who(external='203.0.113.5', port=1535, at='%s')" % at
    print(str(s.query(q, 'CSV')).strip())
"#;

#[test]
fn the_statements_for_clickhouse_load_a_log_and_answer() {
    const TEST: &str = "the_statements_for_clickhouse_load_a_log_and_answer";
    let Some(python) = python_with(TEST, "chdb") else {
        return;
    };
    let place = sealed("clickhouse");
    let deploy = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/clickhouse");
    let mut command = Command::new(python);
    command
        .args(["-c", CLICKHOUSE])
        .arg(deploy)
        .arg(place.0.join("log"));
    command.args([
        "2026-03-03 00:00:00.122",
        "2026-03-03 00:00:01.122",
        "2026-03-03 00:30:00.000",
        "2026-03-04 12:00:00.000",
    ]);
    let expected = "4\n\n\"100.64.0.9\",\"allocate\",\"edge1\"\n\"100.64.0.9\",\"release\",\"edge1\"\n\"100.64.0.9\",\"allocate\",\"edge1\"\n";
    assert_eq!(said(&mut command), expected, "loaded twice, counted once");
}
