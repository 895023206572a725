//! Packets that are fragmented: put together again, they are what they were.

use cgn_user::slowpath::split::split;
use etherparse::Ipv4HeaderSlice;

use crate::harness::sound::{network_offset, sum_again};

/// Two bytes for the MTU, then the frame, whose header checksum is made right.
pub fn run(input: &[u8]) -> bool {
    let Some((mtu, frame)) = input.split_first_chunk() else {
        return false;
    };
    let (mtu, mut frame) = (u16::from_be_bytes(*mtu), frame.to_vec());
    let Some((link, _)) = network_offset(&frame) else {
        return false;
    };
    let _ = sum_again(&mut frame, link);
    let Some(fragments) = split(&frame, mtu) else {
        return false;
    };
    let whole = Ipv4HeaderSlice::from_slice(&frame[link..]).expect("it was read as IPv4");
    let begin = usize::from(whole.fragments_offset().value()) * 8;
    let end = link + usize::from(whole.total_len());
    let data = &frame[link + whole.slice().len()..end];
    let mut joined: Vec<u8> = Vec::new();
    for (number, fragment) in fragments.iter().enumerate() {
        assert_eq!(fragment[..link], frame[..link], "the link header");
        let header = Ipv4HeaderSlice::from_slice(&fragment[link..]).expect("a header");
        let (read, at) = (header.to_header(), header.slice().len());
        assert_eq!(read.header_checksum, read.calc_header_checksum());
        assert_eq!(usize::from(header.total_len()), fragment.len() - link);
        assert!(header.total_len() <= mtu, "larger than {mtu}");
        let offset = usize::from(header.fragments_offset().value()) * 8;
        assert_eq!(offset, begin + joined.len(), "one behind the other");
        let is_last = number + 1 == fragments.len();
        assert_eq!(header.more_fragments(), !is_last || whole.more_fragments());
        let same = |h: &Ipv4HeaderSlice<'_>| {
            (
                h.source(),
                h.destination(),
                h.protocol(),
                h.identification(),
                h.ttl(),
                h.dont_fragment(),
            )
        };
        let wanted = (whole.dont_fragment() && fragments.len() == 1, same(&whole));
        let (mut is, mut was) = (same(&header), wanted.1);
        // Who fragments has seen that it may.
        (is.5, was.5) = (false, false);
        assert_eq!(is, was);
        joined.extend(&fragment[link + at..]);
    }
    assert_eq!(joined, data, "the data");
    fragments.len() > 1
}
