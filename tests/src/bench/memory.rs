//! What a dependent read costs on this machine, by how many lines are read and over how many pages they
//! lie. The tables of the data plane are laid out by this (ADR 48), so it tells which figures of the
//! other parts are the machine's.

use std::fmt::Write as _;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::hint::black_box;
use std::time::Instant;

use serde_json::{Value, json};

/// Lines of a page of 4 KiB.
const LINES: usize = 64;
/// Pages that are read, in all figures of a row.
pub const PAGES: [usize; 5] = [1024, 2048, 4096, 8192, 16_384];
/// Lines of each page that are read.
pub const LINES_A_PAGE: [usize; 4] = [1, 4, 16, 64];
/// Reads of a figure.
const READS: u32 = 2_000_000;

/// One figure.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Read {
    pub lines_a_page: usize,
    pub pages: usize,
    /// Nanoseconds a read; the median of the rounds.
    pub ns: f64,
}

/// A line holds where the next one is.
#[derive(Clone, Copy, Default)]
#[repr(align(64))]
struct Line(usize);

/// Reads lines in random order, each where the one before says, for each number of pages and lines.
#[must_use]
pub fn measure(rounds: usize) -> Vec<Read> {
    let sizes = LINES_A_PAGE
        .into_iter()
        .flat_map(|lines| PAGES.map(|pages| (lines, pages)));
    let read = |(lines_a_page, pages)| {
        let mut times: Vec<f64> = (0..rounds).map(|_| chase(lines_a_page, pages)).collect();
        times.sort_by(f64::total_cmp);
        Read {
            lines_a_page,
            pages,
            ns: times[times.len() / 2],
        }
    };
    sizes.map(read).collect()
}

/// Nanoseconds a read, in round trips over all lines.
fn chase(lines_a_page: usize, pages: usize) -> f64 {
    let (memory, first) = ring(lines_a_page, pages);
    let follow = |start: usize, reads: u32| (0..reads).fold(start, |at, _| memory[at].0);
    let warm = black_box(follow(first, (pages * lines_a_page) as u32));
    let start = Instant::now();
    black_box(follow(warm, READS));
    start.elapsed().as_nanos() as f64 / f64::from(READS)
}

/// Whole pages, some lines of which lead from one to the next and back to the first, which is told.
fn ring(lines_a_page: usize, pages: usize) -> (Vec<Line>, usize) {
    let mut memory = vec![Line::default(); pages * LINES];
    // In other places of each page, or they would share few sets of the caches.
    let mut order: Vec<usize> = (0..pages * lines_a_page)
        .map(|number| {
            let (page, at) = (number / lines_a_page, number % lines_a_page);
            page * LINES + (at * (LINES / lines_a_page) + 7 * page) % LINES
        })
        .collect();
    // An order that no prefetcher learns, the same in every run.
    order.sort_by_cached_key(|line| {
        let mut hash = DefaultHasher::new();
        line.hash(&mut hash);
        hash.finish()
    });
    for (from, to) in order.iter().zip(order.iter().cycle().skip(1)) {
        memory[*from] = Line(*to);
    }
    (memory, order[0])
}

/// A row for each number of lines.
#[must_use]
pub fn table(reads: &[Read]) -> String {
    let mut text = String::from("ns a read      ");
    for pages in PAGES {
        let _ = write!(text, "{:>14}", format!("{pages} pages"));
    }
    text.push('\n');
    for row in reads.chunks(PAGES.len()) {
        let lines = row[0].lines_a_page;
        let _ = write!(text, "{lines:>2} lines a page");
        for read in row {
            let _ = write!(text, "{:>14.1}", read.ns);
        }
        text.push('\n');
    }
    text
}

/// `[{"lines_a_page", "pages", "ns"}]`
#[must_use]
pub fn json(reads: &[Read]) -> Value {
    let reads = reads.iter().map(|read| {
        json!({"lines_a_page": read.lines_a_page, "pages": read.pages, "ns": (read.ns * 10.0).round() / 10.0})
    });
    reads.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_round_trip_reads_so_many_lines_of_every_page_and_each_once() {
        for lines_a_page in LINES_A_PAGE {
            let (memory, first) = ring(lines_a_page, 32);
            let mut read = vec![0; memory.len()];
            let last = (0..32 * lines_a_page).fold(first, |at, _| {
                read[at] += 1;
                memory[at].0
            });
            assert_eq!(last, first, "{lines_a_page}: and back");
            assert!(read.iter().all(|times| *times <= 1));
            for page in read.chunks(LINES) {
                assert_eq!(page.iter().sum::<usize>(), lines_a_page);
            }
        }
    }

    #[test]
    fn a_table_has_a_row_for_each_number_of_lines() {
        let reads: Vec<Read> = LINES_A_PAGE
            .into_iter()
            .flat_map(|lines_a_page| {
                PAGES.map(|pages| Read {
                    lines_a_page,
                    pages,
                    ns: 1.25,
                })
            })
            .collect();
        let table = table(&reads);
        assert_eq!(table.lines().count(), 1 + LINES_A_PAGE.len());
        assert!(
            table
                .lines()
                .all(|line| line.len() == table.lines().next().unwrap().len())
        );
        assert_eq!(json(&reads)[0]["pages"], 1024);
    }
}
