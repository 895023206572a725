//! What was on the wire, by tcpdump, and a small reader of its files.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};

use super::namespace::Namespace;
use super::ping::internet_sum;
use super::process::Process;

/// Time for packets on their way into tcpdump's buffers.
const SETTLE: std::time::Duration = std::time::Duration::from_millis(300);

/// Bytes of the headers of a pcap file, and of a packet in it.
const FILE_HEADER: usize = 24;
const PACKET_HEADER: usize = 16;

/// tcpdump at work.
#[derive(Debug)]
pub struct Capture {
    process: Process,
    file: PathBuf,
}

impl Capture {
    /// Starts tcpdump on a device and waits until it listens.
    ///
    /// # Errors
    /// It does not start.
    pub fn start(
        namespace: &Namespace,
        device: &str,
        arguments: &[&str],
        file: &Path,
    ) -> Result<Self> {
        let mut command = namespace.command("tcpdump");
        command
            .args([
                "-n", "-U", "-p", "-s", "0", "-B", "65536", "-Z", "root", "-i", device, "-w",
            ])
            .arg(file)
            .args(arguments);
        let mut process = Process::start("tcpdump", &mut command, &file.with_extension("log"))?;
        process.wait_for_output("listening on", 10.0)?;
        Ok(Self {
            process,
            file: file.to_owned(),
        })
    }

    /// What it has written so far.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn so_far(&self) -> Result<Vec<CapturedPacket>> {
        let bytes = std::fs::read(&self.file)
            .with_context(|| format!("cannot read {}", self.file.display()))?;
        // The last packet may be half written.
        let mut whole = bytes.len().min(FILE_HEADER);
        while let Some(length) = bytes.get(whole + 8..whole + 12) {
            let length = u32::from_ne_bytes(length.try_into()?) as usize;
            match whole + PACKET_HEADER + length {
                end if end <= bytes.len() => whole = end,
                _ => break,
            }
        }
        match whole {
            FILE_HEADER.. => parse_pcap(&bytes[..whole]),
            _ => Ok(Vec::new()),
        }
    }

    /// Ends tcpdump and reads all that it saw.
    ///
    /// # Errors
    /// It lost packets, or its file is broken.
    pub fn finish(mut self) -> Result<Vec<CapturedPacket>> {
        std::thread::sleep(SETTLE);
        // tcpdump writes its file out at SIGINT as well as at SIGTERM.
        self.process.stop()?;
        let said = self.process.output();
        ensure!(
            said.contains("\n0 packets dropped by kernel"),
            "tcpdump lost packets:\n{said}"
        );
        read_pcap(&self.file)
    }
}

/// An Ethernet frame.
#[derive(Debug, Clone)]
pub struct CapturedPacket {
    pub frame: Vec<u8>,
}

/// Reads a pcap file of Ethernet frames, of either byte order.
///
/// # Errors
/// It is no such file, or cut.
pub fn read_pcap(path: &Path) -> Result<Vec<CapturedPacket>> {
    let bytes = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    parse_pcap(&bytes).with_context(|| format!("in {}", path.display()))
}

fn parse_pcap(bytes: &[u8]) -> Result<Vec<CapturedPacket>> {
    let magic = bytes.first_chunk::<4>().context("no header")?;
    let is_little = match magic {
        [0xd4, 0xc3, 0xb2, 0xa1] | [0x4d, 0x3c, 0xb2, 0xa1] => true,
        [0xa1, 0xb2, 0xc3, 0xd4] | [0xa1, 0xb2, 0x3c, 0x4d] => false,
        other => bail!("not a pcap file: it begins with {other:02x?}"),
    };
    let number = |at: usize| -> Result<u32> {
        let four = bytes
            .get(at..)
            .and_then(|rest| rest.first_chunk::<4>())
            .context("the file is cut")?;
        Ok(if is_little {
            u32::from_le_bytes(*four)
        } else {
            u32::from_be_bytes(*four)
        })
    };
    ensure!(
        number(20)? == 1,
        "link type {} is not Ethernet",
        number(20)?
    );
    let mut packets = Vec::new();
    let mut at = FILE_HEADER;
    while at < bytes.len() {
        let length = number(at + 8)? as usize;
        let frame = bytes
            .get(at + PACKET_HEADER..at + PACKET_HEADER + length)
            .context("the last packet is cut")?;
        packets.push(CapturedPacket {
            frame: frame.to_vec(),
        });
        at += PACKET_HEADER + length;
    }
    Ok(packets)
}

impl CapturedPacket {
    /// The IPv4 packet in it, past any VLAN tags; `None` if it carries something else.
    #[must_use]
    pub fn ipv4(&self) -> Option<&[u8]> {
        let mut at = 12;
        loop {
            let kind = self.frame.get(at..)?.first_chunk::<2>()?;
            match u16::from_be_bytes(*kind) {
                0x8100 | 0x88a8 => at += 4,
                0x0800 => {
                    let packet = self.frame.get(at + 2..)?;
                    let length = u16::from_be_bytes(*packet.get(2..)?.first_chunk()?);
                    return packet.get(..usize::from(length));
                }
                _ => return None,
            }
        }
    }

    /// Source and destination of the IPv4 packet.
    #[must_use]
    pub fn addresses(&self) -> Option<(Ipv4Addr, Ipv4Addr)> {
        let at = |at: usize| -> Option<Ipv4Addr> {
            Some(Ipv4Addr::from(*self.ipv4()?.get(at..)?.first_chunk::<4>()?))
        };
        Some((at(12)?, at(16)?))
    }

    /// Time to live.
    #[must_use]
    pub fn ttl(&self) -> Option<u8> {
        self.ipv4()?.get(8).copied()
    }

    /// Number of the transport protocol.
    #[must_use]
    pub fn protocol(&self) -> Option<u8> {
        self.ipv4()?.get(9).copied()
    }

    /// IPv4 addresses that an ARP packet names (RFC 826): sender and target.
    #[must_use]
    pub fn arp_addresses(&self) -> Option<(Ipv4Addr, Ipv4Addr)> {
        if self.frame.get(12..14)? != [0x08, 0x06] {
            return None;
        }
        let at = |at: usize| -> Option<Ipv4Addr> {
            Some(Ipv4Addr::from(*self.frame.get(at..)?.first_chunk::<4>()?))
        };
        Some((at(28)?, at(38)?))
    }

    /// Checks the checksums of the IPv4 header and of TCP, UDP (0 stands for none) or ICMP.
    ///
    /// # Errors
    /// Which one is wrong.
    pub fn check(&self) -> Result<()> {
        let packet = self.ipv4().context("not a whole IPv4 packet")?;
        let header = packet
            .get(..usize::from(packet[0] & 15) * 4)
            .context("header length")?;
        ensure!(internet_sum(header) == 0xffff, "IPv4 header checksum");
        let payload = &packet[header.len()..];
        let protocol = packet[9];
        match protocol {
            1 => ensure!(internet_sum(payload) == 0xffff, "ICMP checksum"),
            6 | 17 => {
                if protocol == 17 && payload.get(6..8) == Some(&[0, 0]) {
                    return Ok(());
                }
                let length = u16::try_from(payload.len())?.to_be_bytes();
                let mut sum = packet[12..20].to_vec();
                sum.extend_from_slice(&[0, protocol, length[0], length[1]]);
                sum.extend_from_slice(payload);
                ensure!(
                    internet_sum(&sum) == 0xffff,
                    "checksum of protocol {protocol}"
                );
            }
            other => bail!("protocol {other} on the wire"),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{CapturedPacket, parse_pcap};

    /// UDP 192.0.2.1:1 to 192.0.2.2:2 with two bytes of data, checksums by hand (RFC 1071).
    const FRAME: [u8; 44] = [
        2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0, // Ethernet
        0x45, 0, 0, 30, 0, 0, 0, 0, 64, 17, 0xf6, 0xcb, 192, 0, 2, 1, 192, 0, 2, 2, // IPv4
        0, 1, 0, 2, 0, 10, 0xda, 0x7a, 0xa1, 0x58, // UDP
    ];

    #[test]
    fn a_wrong_bit_is_seen() {
        let good = CapturedPacket {
            frame: FRAME.to_vec(),
        };
        good.check().expect("all right");
        for (at, wanted) in [(22, "IPv4 header"), (43, "protocol 17")] {
            let mut bad = good.clone();
            bad.frame[at] ^= 4;
            let error = bad.check().expect_err("one bit is wrong").to_string();
            assert!(error.contains(wanted), "byte {at}: {error}");
        }
    }

    #[test]
    fn files_of_both_byte_orders() {
        for is_little in [true, false] {
            let word = |value: u32| {
                if is_little {
                    value.to_le_bytes()
                } else {
                    value.to_be_bytes()
                }
            };
            let mut file = Vec::new();
            for value in [0xa1b2_c3d4, 0x0002_0004, 0, 0, 65535, 1, 7, 8, 44, 44] {
                file.extend_from_slice(&word(value));
            }
            file.extend_from_slice(&FRAME);
            let packets = parse_pcap(&file).expect("a whole file");
            assert_eq!(packets.len(), 1);
            assert_eq!(packets[0].frame, FRAME);
            assert!(parse_pcap(&file[..file.len() - 1]).is_err(), "cut");
        }
    }
}
