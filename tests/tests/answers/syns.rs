//! SYNs from outside that nobody waits for (RFC 5382 REQ-4).

use cgn_user::slowpath::unsolicited;

use super::*;

/// A slow path whose first pool filters TCP by address and port, and a mapping there to a server
/// that nobody else knows of: its external endpoint.
fn filtering() -> (SlowPath, (Ipv4Addr, u16)) {
    let mut slow = SlowPath::with(1000, |world| {
        let (anyone, port) = (
            Filtering::EndpointIndependent,
            Filtering::AddressAndPortDependent,
        );
        world.constants.pools[0] = Policy::new(anyone, port, 0);
        world.constants.features.0 |= Features::SESSIONS;
    });
    let external = slow.open(&Draft::tcp(flag::SYN, CLIENT, (remote::OTHER, 80)));
    (slow, external)
}

impl SlowPath {
    /// What the sender of a SYN is told when it has waited.
    fn after_six_seconds(&mut self, syn: &Draft) -> Option<Answer> {
        let counted = Counted::default();
        let tables = self.world.tables(&self.memory, &counted);
        tables.now.set(self.now);
        tables.ingress.set(INGRESS);
        self.answers.answer_syn(&syn.bytes(), &tables, Outside)
    }

    /// Whether it waits at all.
    fn is_held(&self, entry: Entry, draft: &Draft, reason: Reason) -> bool {
        let counted = Counted::default();
        let tables = self.world.tables(&self.memory, &counted);
        tables.ingress.set(INGRESS);
        unsolicited::is_one(&draft.bytes(), &tables, entry, reason)
    }
}

#[test]
fn an_unsolicited_syn_is_not_answered_at_once_but_later() {
    let (mut slow, external) = filtering();
    for (what, to, reason) in [
        (
            "to a port without a mapping",
            (POOL[0], 5000),
            Reason::NoMapping,
        ),
        (
            "to a mapping whose filter refuses it",
            external,
            Reason::Filtered,
        ),
    ] {
        let syn = Draft::tcp(flag::SYN, SERVER, to);
        slow.silent(what, Outside, &syn.bytes(), reason, None);
        assert!(slow.is_held(Outside, &syn, reason), "{what}");
        let answer = slow.after_six_seconds(&syn).expect(what);
        let expected = Error::outside((3, 3)).frame(&syn, identification(&answer.frame));
        assert_eq!(hex(&answer.frame), hex(&expected), "{what}");
        assert_eq!(answer.ifindex, OUTSIDE_IF, "{what}");
    }
    let mut expected = AnswerStats::default();
    expected.sent[Kind::UnsolicitedSyn as usize] = 2;
    assert_eq!(slow.answers.stats(), expected);
}

#[test]
fn a_syn_that_is_met_from_inside_is_dropped_in_silence() {
    let (mut slow, external) = filtering();
    let syn = Draft::tcp(flag::SYN, SERVER, external);
    let refused = Outcome::Dropped(Reason::Filtered);
    assert_eq!(slow.run(Outside, &syn.bytes()).0, refused);
    let again = slow.open(&Draft::tcp(flag::SYN, CLIENT, SERVER));
    assert_eq!(again, external);
    assert_eq!(slow.after_six_seconds(&syn), None, "the same connection");
    let other = Draft::tcp(flag::SYN, (SERVER.0, 444), external);
    assert!(slow.after_six_seconds(&other).is_some(), "another one");
    let mut expected = AnswerStats::default();
    expected.sent[Kind::UnsolicitedSyn as usize] = 1;
    expected.withheld[Withheld::Connected as usize] = 1;
    assert_eq!(slow.answers.stats(), expected);
}

#[test]
fn only_syns_from_outside_wait() {
    let (slow, external) = filtering();
    let stray = (POOL[0], 5000);
    let (syn, no_mapping) = (flag::SYN, Reason::NoMapping);
    for (what, entry, draft, reason) in [
        (
            "SYN and ACK",
            Outside,
            Draft::tcp(syn | flag::ACK, SERVER, stray),
            no_mapping,
        ),
        (
            "data",
            Outside,
            Draft::tcp(flag::ACK, SERVER, stray),
            no_mapping,
        ),
        ("a datagram", Outside, Draft::udp(SERVER, stray), no_mapping),
        (
            "a datagram that a filter refuses",
            Outside,
            Draft::udp(SERVER, external),
            Reason::Filtered,
        ),
        (
            "from one subscriber to another: silence",
            Inside,
            Draft::tcp(syn, CLIENT, stray),
            no_mapping,
        ),
        (
            "dropped for something else",
            Outside,
            Draft::tcp(syn, SERVER, stray),
            Reason::TtlExpired,
        ),
    ] {
        assert!(!slow.is_held(entry, &draft, reason), "{what}");
    }
}
