//! A log through many lives of the daemon, against a list of what it acknowledged.

use std::collections::HashMap;
use std::fs;

use super::*;

#[derive(Debug, Clone)]
enum Step {
    /// One group: for each number, its block changes between free and live.
    Append(Vec<u16>),
    /// The daemon dies: in order, or so many bytes into writing a group.
    Die { torn_bytes: usize },
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => prop::collection::vec(0..20_u16, 0..12).prop_map(Step::Append),
        1 => (0..3 * RECORD_BYTES).prop_map(|torn_bytes| Step::Die { torn_bytes }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn what_was_acknowledged_is_there_after_any_death(steps in prop::collection::vec(any_step(), 1..30)) {
        let directory = Directory::new();
        let path = directory.log();
        let mut acknowledged: Vec<Entry> = Vec::new();
        let mut live: HashMap<u16, Entry> = HashMap::new();
        let (mut log, _) = open(&path);
        for step in steps {
            match step {
                Step::Append(numbers) => {
                    let group: Vec<Entry> = numbers.iter().map(|&number| {
                        if live.remove(&number).is_some() {
                            release(number)
                        } else {
                            live.insert(number, allocate(number));
                            allocate(number)
                        }
                    }).collect();
                    let first = acknowledged.len() as u64 + 1;
                    let sequences = log.append(&group).unwrap();
                    prop_assert_eq!(sequences, first..first + group.len() as u64);
                    acknowledged.extend(group);
                }
                Step::Die { torn_bytes } => {
                    drop(log);
                    let mut bytes = fs::read(&path).unwrap();
                    // A group of three, of which all but its last record's end came to disk.
                    let group = [allocate(30), release(30), allocate(30)];
                    let group = group_bytes(acknowledged.len() as u64 + 1, &group);
                    bytes.extend_from_slice(&group[..torn_bytes]);
                    fs::write(&path, &bytes).unwrap();
                    let recovery;
                    (log, recovery) = open(&path);
                    prop_assert_eq!(recovery.torn_bytes as usize, torn_bytes);
                    prop_assert_eq!(recovery.records as usize, acknowledged.len());
                    prop_assert_eq!(recovery.live.len(), live.len());
                    for (number, entry) in &live {
                        let found = &recovery.live[&(block(*number).external, 1024 + 512 * number)];
                        prop_assert_eq!(found.block, block(*number));
                        prop_assert_eq!(found.unix_ms, entry.unix_ms);
                    }
                }
            }
        }
        let read: Vec<Entry> = records(&path).iter().map(|record| record.entry).collect();
        prop_assert_eq!(read, acknowledged);
    }
}
