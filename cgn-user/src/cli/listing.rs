//! How each kind of row looks as a line of a table, and what is said when
//! there is none.

use std::net::Ipv4Addr;

use crate::api::rows::{
    BlockRow, DropRow, MappingRow, MirrorRow, PoolRow, RuleRow, Status, SubscriberRow,
};
use crate::config::LogSync;

use super::check::counted;
use super::table::{Column, numbers, words};

/// Rows that can be shown as a table.
pub trait Listed {
    const COLUMNS: &'static [Column];
    /// Where nothing was filtered away.
    const NONE_YET: &'static str;
    /// One of them, for counts and messages.
    const ONE: &'static str;
    fn cells(&self) -> Vec<String>;
    /// What a newcomer must know to read the table, and what stands out in it.
    fn notes(_rows: &[Self]) -> Vec<String>
    where
        Self: Sized,
    {
        Vec::new()
    }
}

const USED_PORTS: &str = "Each protocol has ports of its own (ICMP: identifiers). Used ports include those in hold after their mapping ended.";

/// A subscriber with his realm, if that has a name.
pub(super) fn named(realm: &str, inside: Ipv4Addr) -> String {
    match realm {
        "" => inside.to_string(),
        realm => format!("{realm}/{inside}"),
    }
}

fn or_dash(name: &Option<String>) -> String {
    name.clone().unwrap_or_else(|| "-".to_owned())
}

impl Listed for SubscriberRow {
    const COLUMNS: &'static [Column] = &[
        words("INSIDE"),
        words("EXTERNAL"),
        numbers("BLOCKS"),
        numbers("PORTS"),
        numbers("TCP USED"),
        numbers("UDP USED"),
        numbers("ICMP USED"),
        words("MORE BLOCKS"),
        words("POOL"),
    ];
    const NONE_YET: &'static str = "no subscriber has a block yet; a subscriber gets one with its first packet to the internet";
    const ONE: &'static str = "subscriber";

    fn cells(&self) -> Vec<String> {
        vec![
            named(&self.realm, self.inside),
            self.external
                .map_or_else(|| "-".to_owned(), |address| address.to_string()),
            self.blocks.to_string(),
            self.ports_usable.to_string(),
            self.ports_used.tcp.to_string(),
            self.ports_used.udp.to_string(),
            self.ports_used.icmp.to_string(),
            if self.refused { "no" } else { "yes" }.to_owned(),
            self.pool.clone(),
        ]
    }

    fn notes(_rows: &[Self]) -> Vec<String> {
        vec![
            USED_PORTS.to_owned(),
            "MORE BLOCKS: whether the subscriber can get a further block when these are full."
                .to_owned(),
        ]
    }
}

impl Listed for BlockRow {
    const COLUMNS: &'static [Column] = &[
        words("EXTERNAL"),
        words("PORTS"),
        words("INSIDE"),
        numbers("TCP USED"),
        numbers("UDP USED"),
        numbers("ICMP USED"),
        words("ALLOCATED (UTC)"),
        numbers("LOG RECORD"),
        words("POOL"),
    ];
    const NONE_YET: &'static str =
        "no block is allocated yet; a subscriber gets one with its first packet to the internet";
    const ONE: &'static str = "block";

    fn cells(&self) -> Vec<String> {
        vec![
            self.external.to_string(),
            self.ports(),
            named(&self.realm, self.inside),
            self.ports_used.tcp.to_string(),
            self.ports_used.udp.to_string(),
            self.ports_used.icmp.to_string(),
            self.allocated.clone(),
            self.log_sequence.to_string(),
            self.pool.clone(),
        ]
    }

    fn notes(_rows: &[Self]) -> Vec<String> {
        vec![USED_PORTS.to_owned()]
    }
}

impl BlockRow {
    fn ports(&self) -> String {
        let (first, last) = (self.first_port, self.last_port);
        match (self.key, self.first_system_port) {
            (0, 0) => format!("{first}-{last}"),
            (0, system) => format!("{system}-{}, {first}-{last}", self.last_system_port),
            (key, _) => format!("{first}-{last} scattered, key {key}"),
        }
    }
}

impl Listed for MappingRow {
    const COLUMNS: &'static [Column] = &[
        words("PROTOCOL"),
        words("INSIDE"),
        words("EXTERNAL"),
        words("FIRST REMOTE"),
        words("STATE"),
        numbers("IDLE"),
        words("POOL"),
    ];
    const NONE_YET: &'static str = "no mappings yet; the first packet from inside opens one";
    const ONE: &'static str = "mapping";

    fn cells(&self) -> Vec<String> {
        let remote = match (self.remote, self.remote_port) {
            (Some(remote), Some(port)) => format!("{remote}:{port}"),
            (Some(remote), None) => remote.to_string(),
            (None, _) => "-".to_owned(),
        };
        let state = if self.shared { "shared" } else { &self.state };
        vec![
            self.protocol.clone(),
            format!("{}:{}", named(&self.realm, self.inside), self.inside_port),
            format!("{}:{}", self.external, self.external_port),
            remote,
            state.to_owned(),
            format!("{} s", self.idle_secs),
            self.pool.clone(),
        ]
    }

    fn notes(rows: &[Self]) -> Vec<String> {
        let mut notes = Vec::new();
        if rows.iter().any(|row| row.protocol == "icmp") {
            notes
                .push("The number after an ICMP address is the identifier of the echo.".to_owned());
        }
        if rows.iter().any(|row| row.remote.is_none()) {
            let note =
                "-: of a UDP or ICMP mapping the first remote endpoint is noted after two seconds.";
            notes.push(note.to_owned());
        }
        if rows.iter().any(|row| row.shared) {
            notes.push("shared: more than one remote endpoint uses this TCP mapping.".to_owned());
        }
        notes
    }
}

impl Listed for PoolRow {
    const COLUMNS: &'static [Column] = &[
        words("POOL"),
        numbers("ADDRESSES USED"),
        numbers("SUBSCRIBERS"),
        numbers("BLOCKS USED"),
        numbers("HELD"),
        numbers("FREE"),
        numbers("TCP MAPPINGS"),
        numbers("UDP"),
        numbers("ICMP"),
        numbers("HELD PORTS"),
        numbers("REFUSED"),
        words("PORTS"),
        numbers("ENTROPY"),
    ];
    const NONE_YET: &'static str = "the configuration has no pool";
    const ONE: &'static str = "pool";

    fn cells(&self) -> Vec<String> {
        vec![
            self.pool.clone(),
            format!("{} of {}", self.addresses_used, self.addresses),
            format!("{} of {}", self.subscribers, self.subscriber_addresses),
            self.blocks_used.to_string(),
            self.blocks_held.to_string(),
            self.blocks_free.to_string(),
            self.mappings.tcp.to_string(),
            self.mappings.udp.to_string(),
            self.mappings.icmp.to_string(),
            self.held_ports.to_string(),
            self.refusals.sum().to_string(),
            self.port_mode.clone(),
            format!("{} bits", self.entropy_bits),
        ]
    }

    fn notes(rows: &[Self]) -> Vec<String> {
        let mut notes: Vec<String> = rows
            .iter()
            .map(|row| {
                format!(
                    "{}: blocks of {} ports, at most {} for a subscriber, {} in use at once.",
                    row.pool, row.block_ports, row.blocks_per_subscriber, row.max_blocks
                )
            })
            .collect();
        notes.extend(rows.iter().filter_map(refusals));
        let withheld = rows.iter().filter(|row| !row.withheld.is_empty());
        notes.extend(withheld.map(|row| format!("{}: out of use: {}.", row.pool, row.withheld)));
        let attacked = rows.iter().filter(|row| !row.attacked.is_empty());
        notes.extend(attacked.map(|row| format!("{}: under attack: {}.", row.pool, row.attacked)));
        notes
    }
}

/// Why blocks of the pool were not given, and what would help.
fn refusals(row: &PoolRow) -> Option<String> {
    let counts = row.refusals;
    let reasons = [
        (counts.subscriber_limit, "blocks_per_subscriber reached"),
        (
            counts.address_exhausted,
            "no free block at the subscriber's address",
        ),
        (counts.pool_exhausted, "no free block in the pool"),
        (counts.no_slab, "max_blocks in use"),
        (counts.log_unavailable, "mapping log not writable"),
    ];
    let reasons = reasons.iter().filter(|(count, _)| *count > 0);
    let reasons: Vec<String> = reasons
        .map(|(count, why)| format!("{count} x {why}"))
        .collect();
    (!reasons.is_empty()).then(|| format!("{} refused blocks: {}.", row.pool, reasons.join(", ")))
}

impl Listed for RuleRow {
    const COLUMNS: &'static [Column] = &[
        words("DIRECTION"),
        numbers("PLACE"),
        words("RULE"),
        words("ACTION"),
        words("REALM"),
        words("GROUP"),
        numbers("PREFIXES"),
        numbers("PACKETS"),
        numbers("OVER RATE"),
    ];
    const NONE_YET: &'static str = "the configuration has no [[rule]], and access.bogons is false";
    const ONE: &'static str = "rule";

    fn cells(&self) -> Vec<String> {
        vec![
            self.direction.clone(),
            self.place.to_string(),
            self.rule.clone(),
            self.action.clone(),
            or_dash(&self.realm),
            or_dash(&self.group),
            self.prefixes.to_string(),
            self.packets.to_string(),
            self.over_rate
                .map_or_else(|| "-".to_owned(), |packets| packets.to_string()),
        ]
    }

    fn notes(rows: &[Self]) -> Vec<String> {
        let mut notes = vec![
            "The first rule of its direction that holds for a packet decides, and is counted; other packets are \
             translated. Counted since the rules are these."
                .to_owned(),
        ];
        if rows.iter().any(|row| row.realm.is_some()) {
            notes.push("A rule without a realm is for packets of all.".to_owned());
        }
        notes
    }
}

impl Listed for MirrorRow {
    const COLUMNS: &'static [Column] = &[
        words("MIRROR"),
        words("TO"),
        numbers("MATCHED"),
        numbers("MISSED"),
        numbers("SENT"),
        numbers("LOST"),
        words("STATE"),
    ];
    const NONE_YET: &'static str = "the configuration has no [[mirror]]";
    const ONE: &'static str = "mirror";

    fn cells(&self) -> Vec<String> {
        vec![
            self.mirror.clone(),
            self.to.clone(),
            self.matched.to_string(),
            self.missed.to_string(),
            self.sent.to_string(),
            self.lost.to_string(),
            self.state.clone(),
        ]
    }

    fn notes(_rows: &[Self]) -> Vec<String> {
        vec![
            "Packets that matched, or matched and were missed; frames, up to two of a packet, that were sent or lost. \
             Since the daemon started."
                .to_owned(),
        ]
    }
}

impl Listed for DropRow {
    const COLUMNS: &'static [Column] = &[
        words("EFFECT"),
        words("REASON"),
        numbers("FAST PATH"),
        numbers("SLOW PATH"),
        words("MEANING"),
    ];
    const NONE_YET: &'static str = "no packet was dropped, punted or passed yet";
    const ONE: &'static str = "reason";

    fn cells(&self) -> Vec<String> {
        vec![
            self.effect.clone(),
            self.reason.clone(),
            self.fast_path.to_string(),
            self.slow_path.to_string(),
            self.help.clone(),
        ]
    }

    fn notes(rows: &[Self]) -> Vec<String> {
        let dropped = rows.iter().filter(|row| row.effect == "drop");
        let dropped: u64 = dropped.map(|row| row.fast_path + row.slow_path).sum();
        let dropped = usize::try_from(dropped).unwrap_or(usize::MAX);
        vec![
            "Packets since the tables were made, by effect. drop: discarded; punt: given to the slow path, \
             which translates or drops it; pass: left to the kernel."
                .to_owned(),
            format!("{} dropped.", counted(dropped, "packet")),
        ]
    }
}

/// The daemon, one fact a line.
pub fn status(status: &Status) -> String {
    let mut lines = vec![
        ("version", status.version.clone()),
        ("started", status.started.clone()),
    ];
    for interface in &status.interfaces {
        let how = format!("{} ({} XDP)", interface.interface, interface.mode);
        let side = if interface.side == "inside" {
            "inside"
        } else {
            "outside"
        };
        lines.push((side, how));
    }
    let (mappings, found) = (status.mappings, status.reconciliation);
    lines.extend([
        (
            "mappings",
            format!(
                "{} TCP, {} UDP, {} ICMP",
                mappings.tcp, mappings.udp, mappings.icmp
            ),
        ),
        (
            "next hops",
            format!(
                "{}, worked out {} times",
                status.next_hops, status.route_updates
            ),
        ),
        (
            "waiting",
            format!("{} packets for their next hop", status.waiting_packets),
        ),
        (
            "sweeps",
            format!(
                "{}, the last took {:.1} ms",
                status.sweeps,
                status.sweep_last_secs * 1000.0
            ),
        ),
        (
            "mapping log",
            format!(
                "{}: {} records, {} errors{}",
                status.log_path,
                status.log_records,
                status.log_errors,
                match status.log_sync {
                    LogSync::Full => "",
                    LogSync::Relaxed => "; relaxed: a power failure loses the last ones",
                }
            ),
        ),
        (
            "at start",
            format!(
                "blocks of the last daemon: {} identical in tables and log, {} repaired, {} orphaned, {} incomplete",
                found.identical, found.repaired, found.orphaned, found.incomplete
            ),
        ),
    ]);
    if status.put_off_percent > 0 {
        let (busy, put_off) = (status.busy_percent, status.put_off_percent);
        lines.push((
            "OVERLOADED",
            format!("the slow path is busy {busy} % of the time; {put_off} % of new subscribers are put off"),
        ));
    }
    if !status.throttled.is_empty() {
        lines.push(("throttled", status.throttled.join(", ")));
    }
    if status.log_refusing {
        lines.push((
            "refusing",
            "new blocks, for the mapping log cannot be written".to_owned(),
        ));
    }
    if let Some(since) = &status.log_lacking_since {
        lines.push((
            "LACKING",
            format!(
                "log records since {since}: it cannot be written, and blocks are given without ({} records)",
                status.log_lacking_records
            ),
        ));
    }
    if status.clock_offset_secs > 0 {
        lines.push((
            "test clock",
            format!("{} s ahead", status.clock_offset_secs),
        ));
    }
    let lines = lines
        .iter()
        .map(|(what, fact)| format!("{what:<12}  {fact}\n"));
    lines.collect()
}
