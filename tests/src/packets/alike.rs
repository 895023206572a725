//! Frames of two runs of a NAT made comparable: ports and IPv4 identifications, which it chooses as
//! it likes, become numbers in the order of their first appearance. Checksums that follow from
//! them are looked at and then left out.

use std::collections::HashMap;
use std::net::Ipv4Addr;

use anyhow::{Context as _, Result, ensure};

/// Length of the link header: frames have no VLAN tags.
const LINK: usize = 14;

/// What was chosen in one run, by the order of its appearance.
#[derive(Debug, Default)]
pub struct Choices {
    ports: HashMap<(u8, u16), u16>,
    ids: HashMap<u16, u16>,
}

impl Choices {
    /// The frame with numbers in the place of the ports of `external`, and of identifications.
    ///
    /// # Errors
    /// It is no IPv4, or the checksum of an IPv4 header in it is wrong.
    pub fn canonical(&mut self, frame: &[u8], external: Ipv4Addr) -> Result<Vec<u8>> {
        let mut frame = frame.to_vec();
        ensure!(frame.get(12..LINK) == Some(&[8, 0]), "no IPv4");
        self.packet(&mut frame[LINK..], external)?;
        Ok(frame)
    }

    /// A packet, or as much of it as an ICMP error quotes.
    fn packet(&mut self, packet: &mut [u8], external: Ipv4Addr) -> Result<()> {
        let header = usize::from(packet.first().context("nothing")? & 15) * 4;
        let ip = packet.get(..header.max(20)).context("a cut header")?;
        let sum = etherparse::checksum::Sum16BitWords::new().add_slice(ip);
        ensure!(
            sum.ones_complement() == 0,
            "IPv4 header checksum: {ip:02x?}"
        );
        let is = |at: usize| ip[at..at + 4] == external.octets();
        let (from_pool, to_pool, protocol) = (is(12), is(16), ip[9]);
        let fragment = u16::from_be_bytes([ip[6], ip[7]]);
        packet[10..12].fill(0);
        // Do not fragment, and it is none: the identification means nothing (RFC 6864) and stays.
        if fragment != 0x4000 {
            rename(&mut self.ids, |id| id, packet, 4);
        }
        if fragment & 0x1fff != 0 {
            return Ok(());
        }
        let payload = &mut packet[header.max(20)..];
        let ports = &mut self.ports;
        let key = |port| (protocol, port);
        match (protocol, payload.first()) {
            (1, Some(3 | 11 | 12)) => {
                blank(payload, 2);
                self.packet(payload.get_mut(8..).unwrap_or_default(), external)?;
            }
            (1, _) => {
                blank(payload, 2);
                if from_pool || to_pool {
                    rename(ports, key, payload, 4);
                }
            }
            _ => {
                if from_pool {
                    rename(ports, key, payload, 0);
                }
                if to_pool {
                    rename(ports, key, payload, 2);
                }
                blank(payload, if protocol == 6 { 16 } else { 6 });
            }
        }
        Ok(())
    }
}

/// Puts the number of a 16-bit field in its place.
fn rename<K: Eq + std::hash::Hash>(
    names: &mut HashMap<K, u16>,
    key: impl Fn(u16) -> K,
    bytes: &mut [u8],
    at: usize,
) {
    if let Some([high, low]) = bytes.get_mut(at..at + 2) {
        let next = names.len() as u16 + 1;
        let name = *names
            .entry(key(u16::from_be_bytes([*high, *low])))
            .or_insert(next);
        [*high, *low] = name.to_be_bytes();
    }
}

/// A checksum that is there (0 is none) becomes 1.
fn blank(bytes: &mut [u8], at: usize) {
    if let Some(field) = bytes.get_mut(at..at + 2)
        && *field != [0, 0]
    {
        field.copy_from_slice(&[0, 1]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packets::Draft;

    const EXTERNAL: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 1);
    const REMOTE: (Ipv4Addr, u16) = (Ipv4Addr::new(192, 0, 2, 9), 53);

    /// The canonical form of a datagram from this port, and of an error about it.
    fn forms(port: u16, id: u16, change: impl Fn(&mut Draft)) -> [Vec<u8>; 2] {
        let sent = Draft::udp((EXTERNAL, port), REMOTE).with(|d| {
            (d.id, d.dont_fragment) = (id, false);
            change(d);
        });
        let quoted = &sent.packet()[..28];
        let error = Draft::icmp_error((3, 3), [0; 4], quoted, REMOTE.0, EXTERNAL);
        let mut choices = Choices::default();
        [sent, error].map(|draft| choices.canonical(&draft.bytes(), EXTERNAL).expect("good"))
    }

    #[test]
    fn what_was_chosen_makes_no_difference_and_all_else_does() {
        let one = forms(4000, 7, |_| {});
        assert_eq!(
            one,
            forms(5001, 9999, |_| {}),
            "another port and identification"
        );
        let changes: [fn(&mut Draft); 5] = [
            |d| d.ttl = 63,
            |d| d.destination.1 = 54,
            |d| d.payload[0] ^= 1,
            |d| d.dont_fragment = true,
            |d| d.transport = crate::packets::Transport::Udp { checksum: false },
        ];
        for (number, change) in changes.into_iter().enumerate() {
            assert_ne!(one[0], forms(4000, 7, change)[0], "change {number}");
        }
    }

    #[test]
    fn one_port_and_two_are_different() {
        let frame = |port| Draft::udp((EXTERNAL, port), REMOTE).bytes();
        let form = |ports: [u16; 2]| {
            let mut choices = Choices::default();
            ports.map(|port| choices.canonical(&frame(port), EXTERNAL).expect("good"))
        };
        assert_eq!(form([1, 2]), form([9, 8]));
        assert_ne!(form([1, 1]), form([9, 8]));
    }
}
