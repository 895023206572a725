//! Frames to throw at the translator: our own, and captures where they are.

use std::path::{Path, PathBuf};

use super::pcap::{self, NotRead};
use super::{CUSTOMER_TAG, Draft, SERVICE_TAG, flag};
use crate::harness::sound::{ENTRIES, at_home_here, fault};
use crate::harness::trial::Trial;
use crate::harness::world::{
    INSIDE_QINQ, INSIDE_VLAN, LARGE_POOL, OUTSIDE_VLAN, POOL, remote, subscriber,
};
use crate::harness::{Ending, run_everywhere, shown};

/// A frame with where it is from.
#[derive(Clone, Debug)]
pub struct Sample {
    pub name: String,
    pub bytes: Vec<u8>,
}

/// Frames of our own that the translator takes, and close relatives.
#[must_use]
pub fn own() -> Vec<Sample> {
    let inside = (subscriber::PLAIN, 5000);
    let server = (remote::PLAIN, 443);
    let tcp = Draft::tcp(flag::SYN, inside, server);
    let udp = Draft::udp((subscriber::TWO_BLOCKS, 53), (remote::OTHER, 53));
    let ping = Draft::ping((subscriber::LARGE, 77), remote::PLAIN);
    let tag = |draft: &Draft, tags: &[(u16, u16)]| draft.clone().with(|d| d.tags = tags.to_vec());
    let drafts = [
        ("tcp", tcp.clone()),
        (
            "tcp with options",
            tcp.clone().with(|d| d.options = vec![1; 12]),
        ),
        ("udp", udp.clone()),
        (
            "udp, odd length",
            udp.clone().with(|d| d.payload = vec![9; 33]),
        ),
        ("ping", ping.clone()),
        ("padding", ping.clone().with(|d| d.padding = vec![0xee; 9])),
        ("fragment", udp.clone().with(|d| d.more_fragments = true)),
        (
            "one tag",
            tag(&tcp, &[(CUSTOMER_TAG, 0x6000 | INSIDE_VLAN)]),
        ),
        (
            "two tags",
            tag(
                &udp,
                &[
                    (SERVICE_TAG, INSIDE_QINQ[0]),
                    (CUSTOMER_TAG, INSIDE_QINQ[1]),
                ],
            ),
        ),
        (
            "inbound on a VLAN",
            tag(
                &Draft::udp(server, (POOL[0], 1024)),
                &[(CUSTOMER_TAG, OUTSIDE_VLAN)],
            ),
        ),
        ("inbound", Draft::tcp(flag::ACK, server, (POOL[0], 1030))),
        (
            "inbound, large block",
            Draft::udp(server, (LARGE_POOL, 65_100)),
        ),
        ("pong", Draft::pong(remote::PLAIN, (POOL[0], 1040))),
        ("hairpin", Draft::udp(inside, (POOL[1], 2000))),
        (
            "first packet",
            Draft::udp((subscriber::NO_BLOCK_YET, 1), server),
        ),
        (
            "by the kernel's route",
            Draft::udp(inside, (remote::KERNEL, 53)),
        ),
    ];
    drafts
        .into_iter()
        .map(|(name, draft)| Sample {
            name: name.to_owned(),
            bytes: draft.bytes(),
        })
        .collect()
}

/// What was found in the captures beside the clone.
#[derive(Debug, Default)]
pub struct Captured {
    pub samples: Vec<Sample>,
    pub files: usize,
    /// Files of another format, or that end in their header.
    pub not_read: usize,
    /// Files of another link type.
    pub not_ethernet: usize,
}

/// Folder of the captures, beside the clone.
#[must_use]
pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/pcaps")
}

/// The captures; None where the folder is absent.
#[must_use]
pub fn captured() -> Option<Captured> {
    let folder = folder();
    if !folder.is_dir() {
        return None;
    }
    let mut captured = Captured::default();
    for file in pcap::files(&folder) {
        let Ok(bytes) = std::fs::read(&file) else {
            captured.not_read += 1;
            continue;
        };
        captured.files += 1;
        match pcap::parse(&bytes) {
            Ok(capture) if capture.link_type == pcap::ETHERNET => {
                let name = file.file_name().unwrap_or_default().to_string_lossy();
                let frames = capture.frames.into_iter().enumerate();
                captured.samples.extend(frames.map(|(at, bytes)| Sample {
                    name: format!("{name} frame {}", at + 1),
                    bytes,
                }));
            }
            Ok(_) => captured.not_ethernet += 1,
            Err(NotRead::OtherFormat | NotRead::Truncated) => captured.not_read += 1,
        }
    }
    Some(captured)
}

/// Runs every sample through every program in every home, as it is and with
/// addresses that the world knows; returns how many runs were translated.
///
/// # Panics
/// Homes differ, or a result is unsound.
pub fn run(trial: &mut Trial, samples: &[Sample]) -> usize {
    let mut sent = 0;
    for (number, sample) in samples.iter().enumerate() {
        if number % 100 == 0 {
            trial.begin("captured frames");
        }
        for entry in ENTRIES {
            let adapted = [true, false].map(|outward| at_home_here(&sample.bytes, entry, outward));
            let frames = std::iter::once(Some(sample.bytes.clone())).chain(adapted);
            for frame in frames.flatten() {
                let run = run_everywhere(&mut trial.homes, entry, &frame, &sample.name);
                if let Some(fault) = fault(&trial.world, entry, &frame, &run) {
                    panic!("{}: {fault}\n{}", sample.name, shown(&run));
                }
                sent += usize::from(matches!(run.ending, Ending::Sent { .. }));
            }
        }
    }
    sent
}
