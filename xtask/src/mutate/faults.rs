//! The faults: what a careless change would make of the translator.

/// One fault.
pub struct Fault {
    pub what: &'static str,
    /// From the top folder of the repository.
    pub file: &'static str,
    /// Where it is: a piece of the file that is there once, with the expression between « and ».
    pub place: &'static str,
    /// What stands there instead.
    pub wrong: &'static str,
}

const fn fault(
    what: &'static str,
    file: &'static str,
    place: &'static str,
    wrong: &'static str,
) -> Fault {
    Fault {
        what,
        file,
        place,
        wrong,
    }
}

pub const FAULTS: &[Fault] = &[
    fault(
        "UDP without a checksum gets one",
        "cgn-common/src/csum.rs",
        "if «checksum == 0» {",
        "false",
    ),
    fault(
        "UDP with a checksum of 0 after the change gets none",
        "cgn-common/src/csum.rs",
        "0 => «0xffff»,",
        "0",
    ),
    fault(
        "the transport checksum knows nothing of the new port",
        "cgn-common/src/nat/rewrite.rs",
        "Be16::new(old_port).raw(), «Be16::new(port).raw()»)",
        "Be16::new(old_port).raw()",
    ),
    fault(
        "the checksum of TCP knows nothing of the new address",
        "cgn-common/src/nat/rewrite.rs",
        "let checksum = «ports.and(addresses)».apply(old);",
        "ports",
    ),
    fault(
        "the time to live stays",
        "cgn-common/src/nat/rewrite.rs",
        "let word = Ipv4::ttl_word(«ip.ttl.wrapping_sub(1)»",
        "ip.ttl",
    ),
    fault(
        "a hairpinned echo has the sender's identifier",
        "cgn-common/src/nat/rewrite.rs",
        "frame.store(l4 + field::ICMP_IDENTIFIER, «ports[1]»)",
        "ports[0]",
    ),
    fault(
        "the checksum of a quoted datagram knows nothing of the addresses",
        "cgn-common/src/nat/rewrite.rs",
        "Protocol::Udp => «ports.and(network.addresses)».apply_udp(old.raw())",
        "ports",
    ),
    fault(
        "a quoted echo has the other end's identifier",
        "cgn-common/src/nat/rewrite.rs",
        "let new = if «error.quoted_type == ECHO_REQUEST» {",
        "error.quoted_type != ECHO_REQUEST",
    ),
    fault(
        "the checksum of an error forgets the one that it quotes",
        "cgn-common/src/nat/rewrite.rs",
        "all = «all.word16(old.raw(), new)»;",
        "all",
    ),
    fault(
        "the time to live that an error quotes goes down",
        "cgn-common/src/nat/rewrite.rs",
        "error.quoted_l3, ip, addresses, «ip.ttl»)",
        "ip.ttl.wrapping_sub(1)",
    ),
    fault(
        "the priority of a VLAN tag is lost",
        "cgn-common/src/nat/rewrite.rs",
        "write_link_header(frame, «came.tags[0] & PRIORITY», hop)",
        "0",
    ),
    fault(
        "a port in hold still has its owner",
        "cgn-common/src/nat/lookup.rs",
        "«key.is_live()».then_some(Slot",
        "!key.is_free()",
    ),
    fault(
        "a RST to another than the first remote endpoint keeps a mapping alive",
        "cgn-common/src/nat/lookup.rs",
        "} else if «tcp_state::is_answer(flags)» {",
        "false",
    ),
    fault(
        "a RST that changes nothing keeps a mapping alive",
        "cgn-common/src/nat/lookup.rs",
        "if «state == key.state() && tcp_state::is_answer(flags)» {",
        "false",
    ),
    fault(
        "a stranger's segment keeps a mapping alive",
        "cgn-common/src/nat/lookup.rs",
        "} else if «slot.key.is_shared()» &&",
        "true",
    ),
    fault(
        "a stranger's RST keeps a shared mapping alive",
        "cgn-common/src/nat/lookup.rs",
        "&& «!tcp_state::is_answer(flags)» {\n        slot.key.stamped",
        "true",
    ),
    fault(
        "a SYN does not take the place of a session that is over",
        "cgn-common/src/nat/lookup.rs",
        "&& «(state == CLOSING || state == TRANSITORY)»",
        "false",
    ),
    fault(
        "any datagram from outside keeps a mapping alive",
        "cgn-common/src/path.rs",
        "} else if «features.has(Features::INBOUND_REFRESH)» {",
        "true",
    ),
    fault(
        "a segment in mid-stream opens a mapping where it must not",
        "cgn-common/src/path.rs",
        "tcp_state::first(flags, «!features.has(Features::DROP_MIDSTREAM)»)",
        "true",
    ),
    fault(
        "a packet keeps its identification though it may be fragmented",
        "cgn-common/src/path.rs",
        "if «!packet.ip.is_atomic()» {",
        "false",
    ),
    fault(
        "who sends is looked up in the first realm",
        "cgn-common/src/path.rs",
        "match subscriber_in(tables, «realm», source)",
        "realm::FIRST",
    ),
    fault(
        "a packet leaves with a time to live of 0",
        "cgn-common/src/path.rs",
        "if «ip.ttl <= 1» {",
        "ip.ttl == 0",
    ),
    fault(
        "a packet as large as the MTU is too big",
        "cgn-common/src/path.rs",
        "if «ip.total_length() > hop.mtu()» {",
        "ip.total_length() >= hop.mtu()",
    ),
    fault(
        "a RST is like any segment",
        "cgn-common/src/nat/tcp_state.rs",
        "let row = if «flags & (flag::SYN | flag::FIN | flag::RST) == 0» {",
        "flags & (flag::SYN | flag::FIN) == 0",
    ),
    fault(
        "a SYN+ACK from inside is a SYN",
        "cgn-common/src/nat/tcp_state.rs",
        "} else if «flags & flag::ACK != 0» {",
        "false",
    ),
    fault(
        "a FIN from inside is one from outside",
        "cgn-common/src/nat/tcp_state.rs",
        "if «outbound» {",
        "!outbound",
    ),
    fault(
        "a SYN+ACK opens a further session as if in mid-stream",
        "cgn-common/src/nat/tcp_state.rs",
        "ANSWER => «SlotState::TcpEstablished»",
        "first(flags, true)",
    ),
    fault(
        "a datagram in fragments has no realm",
        "cgn-common/src/rare/fragments.rs",
        "key_of_all(ip, Side::Inside, «inside»)",
        "ip.source.get()",
    ),
    fault(
        "a later fragment is looked for in the first realm",
        "cgn-common/src/rare/fragments.rs",
        "Side::Inside => «realm::sender(frame, tables, source)?»",
        "source",
    ),
    fault(
        "a fragment may overwrite the flags of TCP",
        "cgn-common/src/rare/fragments.rs",
        "transport::TCP if «ip.fragment_offset() == TCP_FLAGS»",
        "false",
    ),
    fault(
        "fragments have no side",
        "cgn-common/src/layout/fragment.rs",
        "| «(side as u32) << 24»",
        "0",
    ),
    fault(
        "a first fragment for another joins a datagram that is known",
        "cgn-common/src/nat/fragment.rs",
        "if «known.source != source || known.destination != destination» {",
        "false",
    ),
    fault(
        "a datagram is never forgotten",
        "cgn-common/src/nat/fragment.rs",
        "Some(known) if «known.is_alive(now)» => {",
        "true",
    ),
    fault(
        "a datagram in fragments keeps its identification",
        "cgn-common/src/nat/fragment.rs",
        "true => «tables.fresh_id(source, destination, key.protocol())»",
        "key.id()",
    ),
    fault(
        "identifications do not count on",
        "cgn-common/src/nat/fragment.rs",
        "Some(counter) => «counter.add(1)»",
        "counter.load()",
    ),
    fault(
        "a hairpinned packet has the inside source",
        "cgn-common/src/rare/hairpin.rs",
        "let sender = («head.external()», port);",
        "ip.source.get()",
    ),
    fault(
        "the receiver of a hairpinned packet filters by the inside source",
        "cgn-common/src/rare/hairpin.rs",
        "(Side::Inside, peer::remote(«sender.0», sender.1))",
        "packet.ip.source.get()",
    ),
    fault(
        "anyone's address is admitted",
        "cgn-common/src/nat/session.rs",
        "let same_address = «first as u32 == party.remote as u32»;",
        "true",
    ),
    fault(
        "an earlier mapping's session is renewed",
        "cgn-common/src/nat/session.rs",
        "load());\n    if «old.external_port() != party.external_port» {",
        "false",
    ),
    fault(
        "an earlier mapping's session lets in",
        "cgn-common/src/nat/session.rs",
        "load());\n        if «old.external_port() != party.external_port» {",
        "false",
    ),
    fault(
        "sessions have no limit",
        "cgn-common/src/nat/session.rs",
        "&& «!quota::may_enter(quota)»",
        "false",
    ),
    fault(
        "an even port for an odd one",
        "cgn-common/src/nat/parity.rs",
        "let of_parity = «EVEN << (wanted.inside_port & 1)»;",
        "EVEN",
    ),
    fault(
        "TCP and echo keep a parity, too",
        "cgn-common/src/nat/parity.rs",
        "&& «matches!(protocol, Protocol::Udp)»",
        "true",
    ),
    fault(
        "a prefix may have one session more",
        "cgn-common/src/nat/throttle.rs",
        "if «lower(a, b) >= self.most» {",
        "lower(a, b) > self.most",
    ),
    fault(
        "a prefix takes the limit of another out of its cell",
        "cgn-common/src/nat/throttle.rs",
        "if «seen.prefix() == self.prefix || seen.left(self.now) == 0» {\n                if",
        "true",
    ),
    fault(
        "a small MSS is raised",
        "cgn-common/src/nat/mss.rs",
        "if «old.get() <= most» {",
        "false",
    ),
    fault(
        "the MSS at an odd offset is summed as at an even one",
        "cgn-common/src/nat/mss.rs",
        "let change = if «at.is_multiple_of(2)» {",
        "true",
    ),
    fault(
        "new mappings have no rate",
        "cgn-common/src/nat/quota.rs",
        "if «filled < ONE» {",
        "false",
    ),
    fault(
        "an error reaches who has the external endpoint that it quotes, wherever it was sent",
        "cgn-common/src/rare/errors.rs",
        "if «external != ip.destination.get()» {",
        "false",
    ),
    fault(
        "an error about an echo reply comes in",
        "cgn-common/src/rare/errors.rs",
        "if «is_about(&error, ECHO_REPLY)» {",
        "false",
    ),
    fault(
        "shared address space is reached outside",
        "cgn-common/src/nat/next_hop.rs",
        "&& «is_border && is_shared(destination)»",
        "false",
    ),
    fault(
        "a source that nobody has comes in",
        "cgn-common/src/path.rs",
        "if «!is_host_outside(source)» {",
        "false",
    ),
    fault(
        "header checksums are not looked at",
        "cgn-common/src/wire/ipv4.rs",
        "if «csum::fold(sum) != 0xffff» {",
        "false",
    ),
    fault(
        "a packet is longer than its frame",
        "cgn-common/src/wire/ipv4.rs",
        "if «total < header.header_length() || offset + total > frame.len()» {",
        "total < header.header_length()",
    ),
    fault(
        "a port is free again before its hold is over",
        "cgn-user/src/dataplane/sweep.rs",
        "if «idle > timers.hold && !key.is_logged()» {",
        "idle >= timers.hold && !key.is_logged()",
    ),
    fault(
        "a mapping ends while a packet refreshes it",
        "cgn-user/src/dataplane/sweep.rs",
        "let over = «idle >= timeout(key, remote, self.protocol, timers) + STAMP_TICKS»",
        "idle >= timeout(key, remote, self.protocol, timers)",
    ),
];
