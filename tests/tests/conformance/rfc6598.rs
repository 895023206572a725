//! RFC 6598: shared address space.

use cgn_common::verdict::Reason;
use cgn_tests::harness::trial::{Endpoint, Trial};
use cgn_tests::harness::world::{hop, remote, subscriber};
use cgn_tests::packets::Draft;
use cgn_user::dataplane::load::Entry::{Inside, Outside};

use crate::registry::{REALMS, in_group, tests};

tests! {
    it_does_not_cross_the_border ["R6598-1"]
        "Section 4: packets from or to 100.64.0.0/10 are not forwarded across the border, in either direction";
    the_same_range_twice ["R6598-2", "R6888-2"]
        "Section 4: the same range can be behind several inside interfaces; each address is a subscriber in each realm";
    nothing_crosses_from_realm_to_realm ["R6598-2"]
        "Section 4: fragments, errors, sessions and hairpins of equal addresses stay apart";
}

const CLIENT: Endpoint = (subscriber::PLAIN, 5000);

fn it_does_not_cross_the_border(t: &mut Trial) {
    let external = t.outbound(
        Inside,
        &Draft::udp(CLIENT, (remote::PLAIN, 53)),
        hop::OUTSIDE,
    );
    for shared in [[100, 64, 0, 1], [100, 64, 0, 200], [100, 127, 255, 255]] {
        let from = Draft::udp((shared.into(), 53), external);
        t.stopped(Outside, &from.bytes(), Reason::BadSource);
        let to = Draft::udp((remote::PLAIN, 53), (shared.into(), external.1));
        t.stopped(Outside, &to.bytes(), Reason::NotForUs);
    }
    // A default route leads there.
    let to = Draft::udp(CLIENT, (remote::SHARED, 53));
    t.stopped(Inside, &to.bytes(), Reason::Martian);
}

fn the_same_range_twice(t: &mut Trial) {
    let beginnings = [
        "three subscribers with one inside address and port are three",
        "all mappings of a subscriber of a realm have one external address",
        "an address is a subscriber's in its own realm only",
        "who has no block yet is punted for one",
    ];
    in_group(t, REALMS, &beginnings, |_| {});
}

fn nothing_crosses_from_realm_to_realm(t: &mut Trial) {
    let beginnings = [
        "sessions of equal endpoints are apart",
        "fragments of equal datagrams follow the first one of their own realm",
        "an ICMP error reaches the subscriber who sent what it quotes",
        "an ICMP error of a subscriber leaves from his external endpoint",
        "a packet to the external endpoint of a subscriber of another realm is hairpinned",
        "an error about a hairpinned packet finds its way between realms",
        "no packet is for a key",
    ];
    in_group(t, REALMS, &beginnings, |_| {});
}
