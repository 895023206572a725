//! RFC 6598: shared address space.

use cgn_common::verdict::Reason;
use cgn_tests::harness::trial::{Endpoint, Trial};
use cgn_tests::harness::world::{hop, remote, subscriber};
use cgn_tests::packets::Draft;
use cgn_user::dataplane::load::Entry::{Inside, Outside};

use crate::registry::tests;

tests! {
    it_does_not_cross_the_border ["R6598-1"]
        "Section 4: packets from or to 100.64.0.0/10 are not forwarded across the border, in either direction";
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
