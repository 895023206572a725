//! A model of households that browse, for whatever asks how many ports they need.
//!
//! Each device opens a page every 45 s on average, from 2 to 30 servers, the few large pages from most of
//! them: by HTTP/1.1 over up to six connections to each, by HTTP/2 over one. A connection stays open for 5
//! to 90 s, and the client closes it.

use crate::packets::mutate::Dice;

/// Seconds that a household is watched.
pub const HOUR_SECS: u32 = 3600;
/// Most connections to one server by HTTP/1.1, as browsers open them, and by HTTP/2.
pub const HTTP_1: usize = 6;
pub const HTTP_2: usize = 1;

/// Between two pages of a device, on average.
const PAGE_SECS: usize = 45;
const SERVERS_OF_A_PAGE: (usize, usize) = (2, 30);
const OPEN_SECS: (usize, usize) = (5, 90);
/// All servers; those with low numbers are asked more often.
const SERVERS: usize = 1000;

/// One connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Connection {
    /// Second of the hour in which it is opened.
    pub opened: u32,
    /// How long it is open.
    pub open_secs: u32,
    /// Which page of the household wants it.
    pub page: usize,
    pub server: usize,
}

/// The connections of a household's hour, in the order in which they are opened; the same for each seed.
#[must_use]
pub fn hour(devices: usize, connections_to_a_server: usize, seed: u64) -> Vec<Connection> {
    let mut dice = Dice::new(seed);
    let (mut connections, mut page) = (Vec::new(), 0);
    for _ in 0..devices {
        let mut second = dice.roll(PAGE_SECS);
        while second < HOUR_SECS as usize {
            // The lesser of two throws: many small pages, few large ones.
            let servers =
                within(&mut dice, SERVERS_OF_A_PAGE).min(within(&mut dice, SERVERS_OF_A_PAGE));
            for _ in 0..servers {
                let server = dice.roll(SERVERS).min(dice.roll(SERVERS));
                for _ in 0..within(&mut dice, (1, connections_to_a_server)) {
                    connections.push(Connection {
                        opened: second as u32,
                        open_secs: within(&mut dice, OPEN_SECS) as u32,
                        page,
                        server,
                    });
                }
            }
            page += 1;
            second += within(&mut dice, (1, 2 * PAGE_SECS - 1));
        }
    }
    connections.sort_by_key(|connection| connection.opened);
    connections
}

fn within(dice: &mut Dice, (least, most): (usize, usize)) -> usize {
    least + dice.roll(most - least + 1)
}

#[cfg(test)]
mod tests {
    use super::{HOUR_SECS, HTTP_1, HTTP_2, hour};

    #[test]
    fn an_hour_has_the_pages_and_connections_that_it_should() {
        for (devices, most) in [(1, HTTP_1), (1, HTTP_2), (40, HTTP_1), (40, HTTP_2)] {
            let connections = hour(devices, most, 7);
            assert_eq!(
                connections,
                hour(devices, most, 7),
                "the same for each seed"
            );
            assert_ne!(connections, hour(devices, most, 8));
            assert!(connections.is_sorted_by_key(|connection| connection.opened));
            assert!(connections.iter().all(|one| one.opened < HOUR_SECS));
            let pages = 1 + connections.iter().map(|one| one.page).max().expect("some");
            // 80 pages a device.
            assert!((devices * 60..devices * 100).contains(&pages), "{pages}");
            let a_page = connections.len() as f64 / pages as f64;
            // Eleven servers and a third, with half the connections and a half.
            let wanted = 11.33 * (most as f64 + 1.0) / 2.0;
            assert!((a_page / wanted - 1.0).abs() < 0.25, "{a_page} of {wanted}");
        }
    }
}
