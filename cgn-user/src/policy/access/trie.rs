//! The tries that lead from an address to its class, see [`cgn_common::layout::node`].

use std::collections::HashMap;

use cgn_common::layout::{CLASSES_PER_LINE, End, Entry, RULES, Tries, node, touched};

use super::Placed;

/// The rules, as sets, of packets from inside and from outside.
type Class = [u64; 2];

/// Addresses from `start` to the next run's, with their class.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Run {
    start: u32,
    class: u32,
}

/// Both tries and the classes.
#[derive(Default)]
struct Builder {
    lines: Vec<[u64; 8]>,
    numbers: HashMap<Class, u32>,
    classes: Vec<Class>,
}

/// What leads from addresses to rules.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Built {
    /// Where tries and classes begin.
    pub(super) tries: Tries,
    /// Class of the addresses in a /16 that no prefix touches, by [`End`].
    pub(super) elsewhere: [Class; 2],
    pub(super) lines: Vec<[u64; 8]>,
}

/// Tries and classes of these rules.
pub(super) fn build(rules: &[Placed]) -> Built {
    let mut builder = Builder::default();
    // Line 0 is never used: 0 means "none" everywhere.
    builder.lines.push([0; 8]);
    let ends = [End::Outside, End::Ours];
    let firsts = ends.map(|end| builder.trie(rules, end));
    let classes = builder.lines.len() as u32;
    let per_line = CLASSES_PER_LINE as usize;
    for chunk in builder.classes.chunks(per_line) {
        let mut line = [0; 8];
        for (words, class) in line.chunks_exact_mut(2).zip(chunk) {
            words.copy_from_slice(class);
        }
        builder.lines.push(line);
    }
    Built {
        tries: Tries::new(firsts[0], firsts[1], classes),
        elsewhere: ends.map(|end| elsewhere(rules, end)),
        lines: builder.lines,
    }
}

/// The rules that ask for no address of this end.
fn elsewhere(rules: &[Placed], end: End) -> Class {
    let mut class: Class = [0; 2];
    for rule in rules
        .iter()
        .filter(|rule| rule.ends[end as usize].is_empty())
    {
        class[rule.direction as usize] |= 1 << rule.number;
    }
    class
}

impl Builder {
    /// First line of the trie for one end of packets; 0 if no rule asks for it.
    fn trie(&mut self, rules: &[Placed], end: End) -> u32 {
        if rules.iter().all(|rule| rule.ends[end as usize].is_empty()) {
            return 0;
        }
        let elsewhere = elsewhere(rules, end);
        let runs = self.runs(rules, end as usize, elsewhere);
        let untouched = Entry(self.number(elsewhere));
        let first = self.lines.len();
        let root = first + touched::LINES as usize;
        self.lines.resize(root + Entry::ROOT_LINES as usize, [0; 8]);
        for (at, entry) in self.entries(&runs, 0, 16).into_iter().enumerate() {
            put(&mut self.lines[root..], at, entry);
            if entry != untouched {
                self.lines[first + at / touched::PER_LINE as usize][at / 64 % 8] |= 1 << (at % 64);
            }
        }
        first as u32
    }

    /// All addresses, in order; those of no prefix are of the class `elsewhere`.
    fn runs(&mut self, rules: &[Placed], end: usize, elsewhere: Class) -> Vec<Run> {
        let mut class = elsewhere;
        // Addresses at which a rule begins (1) or stops (-1) to hold.
        let mut changes: Vec<(u64, usize, i32)> = Vec::new();
        for rule in rules {
            let (direction, bit) = (rule.direction as usize, rule.number);
            for (first, last) in &rule.ends[end] {
                let place = direction * RULES + bit;
                changes.push((u64::from(*first), place, 1));
                changes.push((u64::from(*last) + 1, place, -1));
            }
        }
        changes.sort_unstable();
        let mut depth = [0_i32; 2 * RULES];
        let mut runs = vec![Run {
            start: 0,
            class: self.number(class),
        }];
        for changes in changes.chunk_by(|a, b| a.0 == b.0) {
            for (_, place, change) in changes {
                depth[*place] += change;
                let bit = 1 << (place % RULES);
                let word = &mut class[place / RULES];
                *word = match depth[*place] {
                    0 => *word & !bit,
                    _ => *word | bit,
                };
            }
            let Ok(start) = u32::try_from(changes[0].0) else {
                break; // beyond the last address
            };
            let run = Run {
                start,
                class: self.number(class),
            };
            match runs.last_mut() {
                Some(last) if last.class == run.class => {}
                Some(last) if last.start == start => *last = run,
                _ => runs.push(run),
            }
        }
        runs
    }

    fn number(&mut self, class: Class) -> u32 {
        *self.numbers.entry(class).or_insert_with(|| {
            self.classes.push(class);
            self.classes.len() as u32 - 1
        })
    }

    /// Entries for the parts, of 2^`shift` addresses each, that begin at `start`. The first of `runs`
    /// holds `start`, the others begin within the parts.
    fn entries(&mut self, runs: &[Run], start: u32, shift: u32) -> Vec<Entry> {
        let parts: u64 = if shift == 16 { 65_536 } else { 256 };
        let (mut entries, mut from) = (Vec::with_capacity(parts as usize), 0);
        for part in 0..parts {
            let first = u64::from(start) + (part << shift);
            let end = first + (1 << shift);
            while runs
                .get(from + 1)
                .is_some_and(|run| u64::from(run.start) <= first)
            {
                from += 1;
            }
            let rest = &runs[from + 1..];
            let within = rest
                .iter()
                .take_while(|run| u64::from(run.start) < end)
                .count();
            entries.push(match within {
                0 => Entry(runs[from].class),
                _ => self.node(&runs[from..=from + within], first as u32, shift - 8),
            });
        }
        entries
    }

    /// A node for 256 parts of 2^`shift` addresses.
    fn node(&mut self, runs: &[Run], start: u32, shift: u32) -> Entry {
        let entries = self.entries(runs, start, shift);
        let mut line = [0; 8];
        let mut own: Vec<Entry> = Vec::new();
        for (value, entry) in entries.into_iter().enumerate() {
            if own.last() != Some(&entry) {
                line[value / 64] |= 1 << (value % 64);
                own.push(entry);
            }
        }
        let before = |word: usize| -> u64 {
            line[..word]
                .iter()
                .map(|bits: &u64| u64::from(bits.count_ones()))
                .sum()
        };
        let mut entries = before(1) << 32 | before(2) << 40 | before(3) << 48;
        if own.len() <= node::MOST_OWN {
            for (at, entry) in own.iter().enumerate() {
                put(std::slice::from_mut(&mut line), 2 * node::OWN + at, *entry);
            }
        } else {
            let first = self.lines.len();
            entries |= first as u64;
            let lines = own.len().div_ceil(Entry::PER_LINE as usize);
            self.lines.resize(first + lines, [0; 8]);
            for (at, entry) in own.iter().enumerate() {
                put(&mut self.lines[first..], at, *entry);
            }
        }
        line[node::ENTRIES] = entries;
        self.lines.push(line);
        Entry(Entry::NODE | (self.lines.len() as u32 - 1))
    }
}

/// Writes entry number `at` of those that begin with the first of `lines`.
fn put(lines: &mut [[u64; 8]], at: usize, entry: Entry) {
    let per_line = Entry::PER_LINE as usize;
    let word = &mut lines[at / per_line][at % per_line / 2];
    *word |= u64::from(entry.0) << (32 * (at % 2));
}
