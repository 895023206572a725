//! What `cgn log` prints, of a log that is written and of copies of it.

use std::fs;

use clap::Parser;

use super::*;
use crate::maplog::directory::HOUR_MS;
use crate::maplog::identity::{Attribute, Login, login};
use crate::maplog::sealer::{Retention, Sealer};
use crate::maplog::{Block, Entry, Event, LogOptions, PortRange, ProtocolScope, ReleaseReason};

/// 2026-03-03T00:00Z.
const START: u64 = 1_772_496_000_000;

#[derive(Parser)]
struct Line {
    #[command(subcommand)]
    log: Log,
}

/// A directory that goes with the test.
struct Place(PathBuf);

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn place(name: &str) -> Place {
    let path = std::env::temp_dir().join(format!("cgn-cli-log-{}-{name}", std::process::id()));
    let _ = fs::remove_dir_all(&path);
    Place(path)
}

/// Of one block: the first subscriber has it for ten seconds, two minutes later the second one. In the
/// hours after, the third has another.
fn write(root: &Path) -> crate::maplog::Log {
    let options = LogOptions {
        sync: false,
        keep_released_ms: 0,
        may_lack: false,
    };
    let (mut log, _) = crate::maplog::Log::open(root, options).unwrap();
    let block = |inside: u8, first: u16| Block {
        realm: 0,
        inside: [100, 64, 0, inside].into(),
        external: [203, 0, 113, 5].into(),
        ports: PortRange::new(first, 64).unwrap(),
        pool: 2,
        scope: ProtocolScope::All,
        key: 0,
    };
    let reason = ReleaseReason::Idle;
    let story = [
        (1_000, Event::Allocate(block(1, 1024))),
        (
            11_000,
            Event::Release {
                block: block(1, 1024),
                reason,
            },
        ),
        (131_000, Event::Allocate(block(2, 1024))),
        (HOUR_MS, Event::Allocate(block(3, 2048))),
        (2 * HOUR_MS, Event::Stop),
        (3 * HOUR_MS, Event::Start),
    ];
    for (after_ms, event) in story {
        let unix_ms = START + after_ms;
        log.append(&[Entry { unix_ms, event }]).unwrap();
    }
    log
}

fn seal(root: &Path) {
    let keep = Retention {
        days: None,
        sealed_bytes: None,
        spool_bytes: 0,
    };
    Sealer::open(root, keep, None).unwrap().turn(START).unwrap();
}

/// What `cgn log` prints, and whether the answer is clear.
fn ask(root: &Path, line: &str) -> (String, bool) {
    let words = ["log"].into_iter().chain(line.split(' '));
    let dir = root.display().to_string();
    let log = Line::parse_from(words.chain(["--dir", &dir])).log;
    let mut out = Vec::new();
    let is_clear = match &log {
        Log::Who(arguments) => who(arguments, &mut out),
        Log::Subscriber(arguments) => subscriber(arguments, &mut out),
        Log::Verify(arguments) => prove(arguments, &mut out),
    };
    (String::from_utf8(out).unwrap(), is_clear.unwrap())
}

const WHO: &str = "who 203.0.113.5:1030 --proto udp --at 2026-03-03T00:00:05Z --skew 0";
const CSV_HEAD: &str = "external,port,protocol,at,outcome,subscriber,first_port,last_port,key,pool,since,until,release_reason,remarks,realm,first_system_port,last_system_port,identity\n";

/// What came after the time that is asked for is not read: the block was held then.
#[test]
fn one_subscriber_is_named_in_each_format() {
    let root = place("one");
    let _log = write(&root.0);
    let cases = [
        (
            "table",
            "AT                        EXTERNAL          PROTOCOL  SUBSCRIBER  SINCE                     UNTIL\n\
             2026-03-03T00:00:05.000Z  203.0.113.5:1030  udp       100.64.0.1  2026-03-03T00:00:01.000Z  (held)\n",
        ),
        (
            "csv",
            "external,port,protocol,at,outcome,subscriber,first_port,last_port,key,pool,since,until,release_reason,remarks,realm,first_system_port,last_system_port,identity\n\
             203.0.113.5,1030,udp,2026-03-03T00:00:05.000Z,one,100.64.0.1,1024,1087,0,2,2026-03-03T00:00:01.000Z,,,,,,,\n",
        ),
        (
            "json",
            r#"[
  {
    "external": "203.0.113.5",
    "port": 1030,
    "protocol": "udp",
    "at": "2026-03-03T00:00:05.000Z",
    "skew_secs": 0,
    "outcome": "one",
    "holdings": [
      {
        "subscriber": "100.64.0.1",
        "external": "203.0.113.5",
        "first_port": 1024,
        "last_port": 1087,
        "pool": 2,
        "since": "2026-03-03T00:00:01.000Z",
        "until": "",
        "release_reason": ""
      }
    ],
    "sessions": [],
    "remarks": []
  }
]
"#,
        ),
    ];
    for (format, expected) in cases {
        let (said, is_clear) = ask(&root.0, &format!("{WHO} --format {format}"));
        assert_eq!(said, expected);
        assert!(is_clear, "{format}");
    }
}

#[test]
fn what_is_not_clear_is_told_with_its_reason() {
    let cases = [
        ("nobody had it", "00:01:00Z --skew 0", "nobody", 1, ""),
        (
            "two had it within the skew",
            "00:01:10Z --skew 61",
            "several",
            2,
            "the port changed hands within 61 s of 2026-03-03T00:01:10.000Z: a time that is more exact, or a smaller skew, can decide",
        ),
    ];
    for (what, at, outcome, rows, remark) in cases {
        let root = place("unclear");
        let _log = write(&root.0);
        let line = format!("who 203.0.113.5:1030 --proto tcp --at 2026-03-03T{at} --format csv");
        for is_sealed in [false, true] {
            if is_sealed {
                seal(&root.0);
            }
            let (said, is_clear) = ask(&root.0, &line);
            assert!(!is_clear, "{what}");
            let lines = said.strip_prefix(CSV_HEAD).unwrap().lines();
            let lines: Vec<&str> = lines.collect();
            assert_eq!(lines.len(), rows, "{what}: {said}");
            for line in lines {
                assert!(line.contains(&format!(",{outcome},")), "{what}: {line}");
                let quoted = match remark {
                    "" => ",,,,".to_owned(),
                    remark => format!(",\"{remark}\",,,,"),
                };
                assert!(line.ends_with(&quoted), "{what}: {line}");
            }
        }
    }
}

#[test]
fn a_copy_elsewhere_answers_and_says_what_it_lacks() {
    let root = place("original");
    let log = write(&root.0);
    seal(&root.0);
    drop(log);
    let copy = place("copy");
    let day = copy.0.join("2026-03-03");
    fs::create_dir_all(&day).unwrap();
    let mut files: Vec<PathBuf> = fs::read_dir(root.0.join("2026-03-03"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    for file in &files {
        fs::copy(file, day.join(file.file_name().unwrap())).unwrap();
    }
    let (of_original, _) = ask(&root.0, WHO);
    assert_eq!(
        ask(&copy.0, WHO),
        (of_original, true),
        "the same from the copy"
    );
    // Without write-ahead segments nobody knows what came after its last hour.
    let (said, _) = ask(
        &copy.0,
        "who 203.0.113.5:2050 --proto udp --at 2026-03-03T05:00:00Z",
    );
    assert!(
        said.contains("a copy without write-ahead segments"),
        "{said}"
    );

    let second = files
        .iter()
        .find(|file| file.to_string_lossy().contains("/01-"));
    fs::remove_file(day.join(second.unwrap().file_name().unwrap())).unwrap();
    let line = "who 203.0.113.5:2050 --proto udp --at 2026-03-03T02:30:00Z --format csv";
    let (said, is_clear) = ask(&copy.0, line);
    assert!(!is_clear);
    assert!(said.contains(",unknown,"), "{said}");
    assert!(
        said.contains("records 4 to 4 of the log are missing"),
        "{said}"
    );
}

#[test]
fn what_a_subscriber_had_is_printed() {
    let root = place("subscriber");
    let _log = write(&root.0);
    let line = "subscriber 100.64.0.2 --from 2026-03-03T00:00:00Z --to 2026-03-03T12:00:00Z";
    let expected = "subscriber,external,first_port,last_port,key,pool,since,until,release_reason,realm,first_system_port,last_system_port,identity\n\
                    100.64.0.2,203.0.113.5,1024,1087,0,2,2026-03-03T00:02:11.000Z,,,,,,\n";
    let (said, _) = ask(&root.0, &format!("{line} --format csv"));
    assert_eq!(said, expected);
    let (said, _) = ask(&root.0, &format!("{line} --format json"));
    let json: serde_json::Value = serde_json::from_str(&said).unwrap();
    assert_eq!(json["holdings"][0]["subscriber"], "100.64.0.2");
    let nothing = "subscriber 100.64.0.9 --from 2026-03-03T00:00:00Z --to 2026-03-03T12:00:00Z";
    assert_eq!(ask(&root.0, nothing).0, "no block in that time\n");
}

/// The first subscriber, who has no block any more, is alice, and four seconds later bob.
fn write_names(root: &Path) -> crate::maplog::Log {
    let mut log = write(root);
    let stay = |session| Login {
        inside: [100, 64, 0, 1].into(),
        realm: 0,
        early_secs: 0,
        nas: 1,
        session,
    };
    for (after_ms, name) in [
        (3 * HOUR_MS + 2_000, "alice"),
        (3 * HOUR_MS + 6_000, "bob, jr."),
    ] {
        let unix_ms = START + after_ms;
        let events = login(stay(after_ms as u32), Attribute::UserName, name.as_bytes());
        let entries = events.into_iter().map(|event| Entry { unix_ms, event });
        log.append(&entries.collect::<Vec<_>>()).unwrap();
    }
    log
}

#[test]
fn names_are_told_in_each_format() {
    let root = place("names");
    let mut log = write_names(&root.0);
    let line = "subscriber 100.64.0.1 --from 2026-03-03T00:00:00Z --to 2026-03-03T12:00:00Z";
    let (table, _) = ask(&root.0, line);
    for name in [
        "identity alice (User-Name) from 2026-03-03T03:00:02.000Z to 2026-03-03T03:00:06.000Z",
        "identity bob, jr. (User-Name) from 2026-03-03T03:00:06.000Z to (known)",
    ] {
        assert!(table.contains(name), "{table}");
    }
    // Its block was released before it had a name.
    let (csv, _) = ask(&root.0, &format!("{line} --format csv"));
    assert!(csv.ends_with("idle,,,,\n"), "{csv}");
    // Of the third, who has its block still, there is one.
    let stay = Login {
        inside: [100, 64, 0, 3].into(),
        realm: 0,
        early_secs: 60,
        nas: 1,
        session: 9,
    };
    let unix_ms = START + 4 * HOUR_MS;
    let events = login(stay, Attribute::Imsi, b"001010123456789");
    let entries = events.into_iter().map(|event| Entry { unix_ms, event });
    log.append(&entries.collect::<Vec<_>>()).unwrap();
    let who = "who 203.0.113.5:2050 --proto tcp --at 2026-03-03T04:00:00Z";
    let (json, _) = ask(&root.0, &format!("{who} --format json"));
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    let identity = &json[0]["holdings"][0]["identities"][0];
    assert_eq!(
        *identity,
        serde_json::json!({
            "identity": "001010123456789",
            "attribute": "3GPP-IMSI",
            "since": "2026-03-03T03:59:00.000Z",
            "until": "",
        })
    );
    let (csv, _) = ask(&root.0, &format!("{who} --format csv"));
    assert!(csv.ends_with(",001010123456789\n"), "{csv}");
    let (table, _) = ask(&root.0, who);
    let told = "203.0.113.5:2050: 100.64.0.3 is 001010123456789 (3GPP-IMSI) from 2026-03-03T03:59:00.000Z to (known)\n";
    assert!(table.ends_with(told), "{table}");
}
