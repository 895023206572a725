//! VLAN tags come, go and change.

use cgn_common::verdict::Reason;
use cgn_user::dataplane::load::Entry::{Inside, Outside, Vlan};

use super::Case;
use crate::harness::trial::{Endpoint, Trial};
use crate::harness::world::{
    INSIDE_QINQ, INSIDE_VLAN, OUTSIDE_QINQ, OUTSIDE_VLAN, hop, remote, subscriber,
};
use crate::packets::{CUSTOMER_TAG, Draft, SERVICE_TAG, flag};

const PRIORITY: u16 = 0xb000;

type Tags = Vec<(u16, u16)>;

fn one(vlan: u16) -> Tags {
    vec![(CUSTOMER_TAG, PRIORITY | vlan)]
}

fn two(vlans: [u16; 2]) -> Tags {
    vec![
        (SERVICE_TAG, PRIORITY | vlans[0]),
        (CUSTOMER_TAG, 0x2000 | vlans[1]),
    ]
}

/// Tags of a packet from inside, its subscriber and the hop that leads back there.
fn insides() -> Vec<(Tags, Endpoint, u16)> {
    vec![
        (one(INSIDE_VLAN), (subscriber::PLAIN, 4000), hop::INSIDE),
        (one(INSIDE_VLAN), (subscriber::VLAN, 4000), hop::INSIDE_VLAN),
        (two(INSIDE_QINQ), (subscriber::VLAN, 4001), hop::INSIDE_VLAN),
        (two(INSIDE_QINQ), (subscriber::QINQ, 4000), hop::INSIDE_QINQ),
        (one(INSIDE_VLAN), (subscriber::QINQ, 4001), hop::INSIDE_QINQ),
    ]
}

/// Remote endpoints by the hop that leads there, and tags that answers come with.
fn outsides() -> Vec<(Endpoint, u16, Tags)> {
    vec![
        ((remote::PLAIN, 80), hop::OUTSIDE, one(OUTSIDE_VLAN)),
        ((remote::VLAN, 80), hop::OUTSIDE_VLAN, one(OUTSIDE_VLAN)),
        ((remote::VLAN, 80), hop::OUTSIDE_VLAN, two(OUTSIDE_QINQ)),
        ((remote::QINQ, 80), hop::OUTSIDE_QINQ, two(OUTSIDE_QINQ)),
        ((remote::QINQ, 80), hop::OUTSIDE_QINQ, one(OUTSIDE_VLAN)),
    ]
}

pub const CASES: &[Case] = &[
    (
        "one and two tags in, none, one and two out, priority kept",
        |t| {
            for (came, inside, back) in insides() {
                for (server, out, answered) in outsides() {
                    for draft in [
                        Draft::tcp(flag::SYN, inside, server),
                        Draft::udp(inside, server),
                        Draft::ping(inside, server.0),
                    ] {
                        let draft = draft.with(|d| d.tags = came.clone());
                        let external = t.outbound(Vlan, &draft, out);
                        let answer = draft.answer(external).with(|d| d.tags = answered.clone());
                        t.inbound(Vlan, &answer, inside, back);
                    }
                }
            }
        },
    ),
    ("untagged in, tags out", |t| {
        for (_, inside, back) in insides() {
            for (server, out, _) in outsides() {
                let draft = Draft::udp(inside, server);
                let external = t.outbound(Inside, &draft, out);
                t.inbound(Outside, &draft.answer(external), inside, back);
            }
        }
    }),
    ("either EtherType of a tag is read, at either place", |t| {
        for outer in [CUSTOMER_TAG, SERVICE_TAG] {
            let single = Draft::udp((subscriber::PLAIN, 9), (remote::PLAIN, 9))
                .with(|d| d.tags = vec![(outer, INSIDE_VLAN)]);
            t.outbound(Vlan, &single, hop::OUTSIDE);
            for inner in [CUSTOMER_TAG, SERVICE_TAG] {
                let double = single.clone().with(|d| {
                    d.tags = vec![(outer, INSIDE_QINQ[0]), (inner, INSIDE_QINQ[1])];
                });
                t.outbound(Vlan, &double, hop::OUTSIDE);
            }
        }
    }),
    (
        "a third tag on a VLAN of ours is too deep, on another it is the kernel's",
        |t| {
            let deep = |tags: Tags| {
                let draft = Draft::udp((subscriber::PLAIN, 9), (remote::PLAIN, 9));
                draft.with(|d| d.tags = tags).bytes()
            };
            let third = (CUSTOMER_TAG, 7);
            let ours = [two(INSIDE_QINQ), vec![third]].concat();
            t.stopped(Vlan, &deep(ours), Reason::VlanDepth);
            let deeper = [two(OUTSIDE_QINQ), vec![third, third]].concat();
            t.stopped(Vlan, &deep(deeper), Reason::VlanDepth);
            let theirs = [two([300, 302]), vec![third]].concat();
            t.stopped(Vlan, &deep(theirs), Reason::OtherVlan);
        },
    ),
    ("what is on no VLAN of ours is the kernel's", other_vlans),
    ("a tag that ends in the middle is truncated", |t| {
        let draft = Draft::udp((subscriber::PLAIN, 9), (remote::PLAIN, 9));
        let frame = draft.with(|d| d.tags = two(INSIDE_QINQ)).bytes();
        for length in 14..22 {
            t.stopped(Vlan, &frame[..length], Reason::Truncated);
            // Without VLANs of ours, nothing behind a tag is read.
            for entry in [Inside, Outside] {
                t.stopped(entry, &frame[..length], Reason::OtherVlan);
            }
        }
    }),
];

fn other_vlans(t: &mut Trial) {
    let draft = Draft::udp((subscriber::PLAIN, 9), (remote::PLAIN, 9));
    for tags in [
        vec![],
        one(7),
        one(0),
        one(INSIDE_QINQ[0]),
        two([INSIDE_VLAN, INSIDE_VLAN]),
        two([INSIDE_QINQ[1], INSIDE_QINQ[0]]),
    ] {
        let frame = draft.clone().with(|d| d.tags = tags).bytes();
        t.stopped(Vlan, &frame, Reason::OtherVlan);
    }
    for tags in [one(INSIDE_VLAN), two(INSIDE_QINQ), one(7)] {
        let frame = draft.clone().with(|d| d.tags = tags).bytes();
        t.stopped(Inside, &frame, Reason::OtherVlan);
        t.stopped(Outside, &frame, Reason::OtherVlan);
    }
}
