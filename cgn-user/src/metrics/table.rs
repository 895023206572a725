//! THE METRICS. Rules: <https://prometheus.io/docs/practices/naming/>.

use cgn_common::block::blocks_per_address;
use cgn_common::counters::{Carried, Counters};
use cgn_common::layout::{IPV6_LENGTHS, THROTTLED_LENGTHS};
use cgn_common::verdict::{Effect, Protocol, Reason};

use super::{Kind as MetricKind, Metric, Samples, Snapshot};
use crate::api::rows::MirrorRow;
use crate::maplog::notice::What;
use crate::radius::Outcome;
use crate::realms;
use crate::slowpath::answers::{Kind, Withheld};
use crate::state::Retry;

type Read = fn(&Snapshot, &mut Samples);
type Labels = &'static [&'static str];

const fn counter(name: &'static str, labels: Labels, help: &'static str, read: Read) -> Metric {
    Metric {
        name,
        kind: MetricKind::Counter,
        labels,
        help,
        read,
    }
}

const fn gauge(name: &'static str, labels: Labels, help: &'static str, read: Read) -> Metric {
    Metric {
        name,
        kind: MetricKind::Gauge,
        labels,
        help,
        read,
    }
}

const fn histogram(name: &'static str, labels: Labels, help: &'static str, read: Read) -> Metric {
    Metric {
        name,
        kind: MetricKind::Histogram,
        labels,
        help,
        read,
    }
}

const NONE: Labels = &[];
const POOL: Labels = &["pool"];
const PROTOCOL: Labels = &["protocol"];
const REASON: Labels = &["reason"];
const MIRROR: Labels = &["mirror"];

/// Every metric, in the order in which they are scraped.
#[rustfmt::skip]
pub const TABLE: &[Metric] = &[
    // ---- packets ----
    counter("cgn_translated_packets_total", &["direction", "protocol"],
        "Packets translated and sent, by fast and slow path together.",
        |s, out| by_direction(s.counters().packets, out)),
    counter("cgn_translated_bytes_total", &["direction", "protocol"],
        "Bytes of the IPv4 packets translated and sent, without link headers.",
        |s, out| by_direction(s.counters().bytes, out)),
    counter("cgn_drops_total", &["reason", "protocol"],
        "Packets dropped, by fast and slow path together; protocol other: none that is translated, or not known. `cgn show drops --all` explains the reasons.",
        |s, out| drops(&s.counters(), out)),
    counter("cgn_punts_total", REASON,
        "Packets that the fast path handed to the slow path.",
        |s, out| by_reason(&s.fast_path, Effect::Punt, out)),
    counter("cgn_passes_total", REASON,
        "Packets given to the kernel untouched, because they are the router's own.",
        |s, out| by_reason(&s.counters(), Effect::Pass, out)),
    counter("cgn_rule_packets_total", &["rule", "direction", "action"],
        "Packets that a rule of the access lists held for: permitted, denied or let through untranslated.",
        |s, out| by_rule(s, out, |packets| packets.held)),
    counter("cgn_rule_over_rate_packets_total", &["rule", "direction", "action"],
        "Those of them that were over the rate of the rule, and so dropped.",
        |s, out| by_rule(s, out, |packets| packets.over_rate)),
    counter("cgn_mirror_matched_packets_total", MIRROR,
        "Packets that fitted a mirror (and were chosen, where it takes a sample) and were mirrored.",
        |s, out| by_mirror(s, out, |mirror| mirror.matched)),
    counter("cgn_mirror_missed_packets_total", MIRROR,
        "Packets that fitted a mirror and were not mirrored: beyond its rate, or than could be read in time.",
        |s, out| by_mirror(s, out, |mirror| mirror.missed)),
    counter("cgn_mirror_sent_frames_total", MIRROR,
        "Frames that a mirror sent, up to two of a packet.",
        |s, out| by_mirror(s, out, |mirror| mirror.sent)),
    counter("cgn_mirror_sent_bytes_total", MIRROR,
        "Bytes of them, headers of GRE and ERSPAN included.",
        |s, out| by_mirror(s, out, |mirror| mirror.bytes)),
    counter("cgn_mirror_lost_frames_total", MIRROR,
        "Frames that a mirror could not send: its interface or collector is not there, or takes less.",
        |s, out| by_mirror(s, out, |mirror| mirror.lost)),

    // ---- mappings ----
    gauge("cgn_mappings", PROTOCOL,
        "Live mappings as of the last complete sweep: one for each inside address and port in use, however many remote endpoints it talks to.",
        |s, out| by_protocol(s.stats.mappings(), out)),
    counter("cgn_mappings_created_total", PROTOCOL,
        "Mappings created.",
        |s, out| by_protocol(s.counters().created, out)),
    counter("cgn_mappings_expired_total", PROTOCOL,
        "Mappings that the sweep ended because they were idle.",
        |s, out| by_protocol(s.stats.sweep.expired, out)),
    gauge("cgn_mapping_overflow", PROTOCOL,
        "Mappings that stand in another bucket than their own, as of the last complete sweep; divided by cgn_mappings, the share that needs a second look.",
        |s, out| by_protocol(s.stats.overflow(), out)),
    gauge("cgn_sessions", PROTOCOL,
        "First sessions of mappings, as of the last complete sweep; cgn_further_sessions has the others, where they are noted.",
        |s, out| by_protocol(s.stats.mappings(), out)),
    gauge("cgn_further_sessions", NONE,
        "Sessions beside the first of their mapping, as of the last complete sweep. They are noted where a pool filters, or sessions.time_tcp is set.",
        |s, out| out.put(&[], s.stats.sessions.live)),
    counter("cgn_further_sessions_expired_total", NONE,
        "Sessions beside the first of their mapping that the sweep ended because they were idle.",
        |s, out| out.put(&[], s.stats.sessions.expired)),

    // ---- subscribers and blocks ----
    gauge("cgn_subscribers", NONE,
        "Subscribers that have a block.",
        |s, out| out.put(&[], s.each_pool().map(|(_, pool)| u64::from(pool.status.subscribers)).sum())),
    counter("cgn_address_mappings_created_total", POOL,
        "Subscribers that were paired with an external address, by their first block; cgn_subscribers is how many are.",
        |s, out| by_pool(s, out, |pool| pool.status.counters.paired)),
    histogram("cgn_subscriber_ports_now", &["pool", "protocol"],
        "Ports in use or in hold of each subscriber that has a block, as of the last complete sweep. The counts are not cumulative over time: histogram_quantile without rate.",
        |s, out| for (shape, pool) in s.each_pool() {
            for protocol in Protocol::ALL {
                out.put_distribution(&[&shape.name, protocol.name()], pool.subscriber_ports[protocol as usize]);
            }
        }),
    gauge("cgn_subscriber_addresses", NONE,
        "Inside addresses in the subscriber prefixes of the configuration.",
        |s, out| out.put(&[], s.subscriber_addresses)),
    gauge("cgn_blocks", &["pool", "state"],
        "Blocks of ports by what they are: used by a subscriber, held after their release, or free.",
        |s, out| for (shape, pool) in s.each_pool() {
            out.put(&[&shape.name, "used"], pool.status.blocks_used);
            out.put(&[&shape.name, "held"], pool.status.blocks_held);
            out.put(&[&shape.name, "free"], pool.status.blocks_free);
        }),
    gauge("cgn_overflow_blocks", &["pool", "state"],
        "Blocks of a deterministic pool that are in nobody's share: taken (used or held) or free; of other pools none.",
        |s, out| for (shape, pool) in s.each_pool() {
            let (total, free) = (pool.status.overflow_total, pool.status.overflow_free);
            out.put(&[&shape.name, "taken"], total - free);
            out.put(&[&shape.name, "free"], free);
        }),
    gauge("cgn_overflow_full_addresses", POOL,
        "External addresses of a deterministic pool whose blocks for overflow are all taken.",
        |s, out| by_pool(s, out, |pool| pool.status.overflow_full)),
    counter("cgn_blocks_allocated_total", POOL,
        "Blocks given to subscribers.",
        |s, out| by_pool(s, out, |pool| pool.status.counters.allocated)),
    counter("cgn_blocks_withdrawn_total", POOL,
        "Allocations taken back before any packet used them.",
        |s, out| by_pool(s, out, |pool| pool.status.counters.withdrawn)),
    counter("cgn_blocks_released_total", POOL,
        "Blocks that subscribers gave back.",
        |s, out| by_pool(s, out, |pool| pool.status.counters.released)),
    counter("cgn_blocks_adopted_total", POOL,
        "Blocks taken over at start from the tables of an earlier run.",
        |s, out| by_pool(s, out, |pool| pool.status.counters.adopted)),
    counter("cgn_block_refusals_total", &["pool", "reason"],
        "Blocks that a subscriber wanted and did not get.",
        |s, out| for (shape, pool) in s.each_pool() {
            let counters = pool.status.counters;
            for (reason, count) in [
                ("subscriber_limit", counters.refused_subscriber_limit),
                ("address_exhausted", counters.refused_address_exhausted),
                ("pool_exhausted", counters.refused_pool_exhausted),
                ("no_slab", counters.refused_no_slab),
                ("log_unavailable", pool.refused_log_unavailable),
            ] {
                out.put(&[&shape.name, reason], count);
            }
        }),
    gauge("cgn_slabs", &["pool", "state"],
        "Slabs of slot memory, one for each block that can be allocated at once: used, free, or in quarantine for a moment after use.",
        |s, out| for (shape, pool) in s.each_pool() {
            let status = pool.status;
            let idle = status.slabs_free + status.slabs_quarantined;
            out.put(&[&shape.name, "used"], u64::from(status.slabs_total.saturating_sub(idle)));
            out.put(&[&shape.name, "free"], u64::from(status.slabs_free));
            out.put(&[&shape.name, "quarantined"], u64::from(status.slabs_quarantined));
        }),

    // ---- realms ----
    gauge("cgn_realm_subscribers", &["realm"],
        "Subscribers of each realm that have a block, as of the last complete sweep; the first realm is called [inside].",
        |s, out| for (name, realm) in &s.stats.realms { out.put(&[realms::label(name)], realm.subscribers); }),
    gauge("cgn_realm_mappings", &["realm", "protocol"],
        "Live mappings of each realm, as of the last complete sweep.",
        |s, out| for (name, realm) in &s.stats.realms {
            for protocol in Protocol::ALL {
                out.put(&[realms::label(name), protocol.name()], realm.mappings[protocol as usize]);
            }
        }),

    counter("cgn_realm_drops_total", &["realm"],
        "Packets dropped by realm, where there are several: from inside by VLAN, from outside by who has the port, else by a pool that is of one realm. `cgn show drops --realm` has the reasons.",
        |s, out| for (name, drops) in &s.realm_drops { out.put(&[realms::label(name)], *drops); }),

    // ---- pools ----
    gauge("cgn_pool_addresses", &["pool", "state"],
        "External addresses: used (somebody has a block of it) or free.",
        |s, out| for (shape, pool) in s.each_pool() {
            let (all, used) = (shape.address_count(), pool.status.addresses_used);
            out.put(&[&shape.name, "used"], u64::from(used));
            out.put(&[&shape.name, "free"], u64::from(all.saturating_sub(used)));
        }),
    gauge("cgn_pool_ports", POOL,
        "Ports of each protocol in the blocks of all addresses of the pool.",
        |s, out| for (shape, _) in s.each_pool() {
            let blocks = u64::from(shape.address_count()) * u64::from(blocks_per_address(shape.block_shift));
            out.put(&[&shape.name], blocks << shape.block_shift);
        }),
    gauge("cgn_pool_allocated_ports", POOL,
        "Ports of each protocol in the blocks that subscribers have.",
        |s, out| for (shape, pool) in s.each_pool() {
            out.put(&[&shape.name], pool.status.blocks_used << shape.block_shift);
        }),
    gauge("cgn_pool_mapped_ports", &["pool", "protocol"],
        "Ports with a live mapping, as of the last complete sweep.",
        |s, out| for (shape, pool) in s.each_pool() {
            for protocol in Protocol::ALL {
                out.put(&[&shape.name, protocol.name()], pool.mappings[protocol as usize]);
            }
        }),
    gauge("cgn_pool_held_ports", POOL,
        "Ports in hold after the end of their mapping, all protocols together, as of the last complete sweep.",
        |s, out| by_pool(s, out, |pool| pool.held_ports)),
    gauge("cgn_pool_limit", &["pool", "limit"],
        "Limits from the configuration. Ports are 1024 to 65535 in every pool.",
        |s, out| for (shape, _) in s.each_pool() {
            out.put(&[&shape.name, "block_ports"], 1 << shape.block_shift);
            out.put(&[&shape.name, "blocks_per_subscriber"], u64::from(shape.blocks_per_subscriber));
            out.put(&[&shape.name, "max_blocks"], u64::from(shape.max_blocks));
            out.put(&[&shape.name, "watermark_ports"], u64::from(shape.watermark_ports));
        }),
    gauge("cgn_limit", &["limit"],
        "Limits of all pools together: subscribers, ports of each protocol in blocks that can be allocated at once, further sessions, fragmented datagrams, fragments that can wait.",
        |s, out| {
            out.put(&["subscribers"], s.subscriber_addresses);
            out.put(&["ports"], s.pools.iter().map(|pool| u64::from(pool.max_blocks) << pool.block_shift).sum());
            out.put(&["sessions"], s.limits.sessions);
            out.put(&["datagrams"], s.limits.datagrams);
            out.put(&["held_fragments"], s.limits.held_fragments);
        }),

    // ---- floods ----
    counter("cgn_unsolicited_packets_total", POOL,
        "Packets from outside to the pool's addresses that nobody waited for; counted where guard.unsolicited_per_second is set.",
        |s, out| for ((shape, _), count) in s.each_pool().zip(&s.stats.floods.unsolicited) {
            out.put(&[&shape.name], *count);
        }),
    gauge("cgn_attacked_addresses", POOL,
        "External addresses under attack: they get more of them than guard.unsolicited_per_second.",
        |s, out| for (shape, _) in s.each_pool() {
            let own = s.stats.floods.attacked.iter().filter(|address| shape.has(**address));
            out.put(&[&shape.name], own.count() as u64);
        }),
    gauge("cgn_throttled_prefixes", &["side", "length"],
        "Prefixes that opened too many sessions and are limited; lengths up to 32 of IPv4, others of IPv6.",
        |s, out| for side in ["inside", "outside"] {
            for length in THROTTLED_LENGTHS.into_iter().chain(IPV6_LENGTHS) {
                let own = s.stats.floods.throttled.iter();
                let own = own.filter(|prefix| prefix.side() == side && u32::from(prefix.length) == length);
                out.put(&[side, &length.to_string()], own.count() as u64);
            }
        }),
    gauge("cgn_slow_path_busy_ratio", NONE,
        "Share of the last second that the slow path worked and did not wait for packets.",
        |s, out| out.put_fraction(&[], s.stats.floods.busy_percent / 100.0)),
    gauge("cgn_put_off_ratio", NONE,
        "Share of new subscribers that is put off because the slow path is overloaded.",
        |s, out| out.put_fraction(&[], s.stats.floods.put_off_percent as f64 / 100.0)),

    // ---- slow path ----
    counter("cgn_punt_batches_total", NONE,
        "Times that the slow path found punted packets.",
        |s, out| out.put(&[], s.stats.punts.batches)),
    counter("cgn_punted_packets_received_total", NONE,
        "Punted packets that the slow path received; fewer than cgn_punts_total if some were lost on the way.",
        |s, out| out.put(&[], s.stats.punts.packets)),
    histogram("cgn_punt_seconds", NONE,
        "Time from when a punted packet was there (or, while the slow path is busy, from its last look) to when it was sent, dropped or set aside to wait.",
        |s, out| out.put_distribution(&[], s.stats.punts.latency)),
    counter("cgn_punt_retries_total", &["waited_for"],
        "Packets that the slow path processed again: after their subscriber got a block, after their neighbour answered, or by handing them to XDP, which knows the route.",
        |s, out| for retry in Retry::ALL { out.put(&[retry.name()], s.stats.punts.retries[retry as usize]); }),
    histogram("cgn_block_grant_seconds", NONE,
        "Time that giving a group of blocks took: choosing them, writing the mapping log to the disk, filling the tables.",
        |s, out| out.put_distribution(&[], s.stats.punts.grants)),
    gauge("cgn_neighbour_waiting_packets", NONE,
        "Packets that wait for the link address of their next hop.",
        |s, out| out.put(&[], s.stats.punts.waiting_packets)),

    // ---- ICMP errors of our own ----
    counter("cgn_icmp_errors_sent_total", &["kind"],
        "ICMP errors sent to tell senders that their packets ended here; their packets are in cgn_drops_total.",
        |s, out| for kind in Kind::ALL { out.put(&[kind.name()], s.stats.answers.sent[*kind as usize]); }),
    counter("cgn_icmp_errors_withheld_total", REASON,
        "ICMP errors that the slow path did not send: over a rate, about a packet of which no error may be, asked to be silent (a blackhole route), without an address to send from, or about a SYN from outside that met one from inside in time or found the store of waiting SYNs full. What the fast path drops at once is not in it.",
        |s, out| for why in Withheld::ALL { out.put(&[why.name()], s.stats.answers.withheld[*why as usize]); }),
    gauge("cgn_syns_held", NONE,
        "SYNs from outside that nobody waits for and whose senders are not told yet (RFC 5382 REQ-4).",
        |s, out| out.put(&[], s.stats.syns_held)),
    gauge("cgn_fragments_held", NONE,
        "Fragments that wait for the first one of their datagram.",
        |s, out| out.put(&[], s.stats.fragments.held)),
    gauge("cgn_fragments_held_bytes", NONE,
        "Bytes of the frames of those fragments.",
        |s, out| out.put(&[], s.stats.fragments.held_bytes)),
    counter("cgn_fragments_early_total", NONE,
        "Fragments that came before the first one of their datagram.",
        |s, out| out.put(&[], s.stats.fragments.came_early)),
    counter("cgn_fragments_released_total", NONE,
        "Of those, how many went on when it came; cgn_drops_total has the others, by reason.",
        |s, out| out.put(&[], s.stats.fragments.released)),
    counter("cgn_packets_split_total", NONE,
        "Packets that were fragmented because their next hop takes no larger ones.",
        |s, out| out.put(&[], s.stats.fragments.split)),

    // ---- mapping log ----
    counter("cgn_log_records_total", &["kind"],
        "Records written to the mapping log; kind mark is a start or stop of the daemon.",
        |s, out| {
            out.put(&["allocate"], s.stats.log.allocate_records);
            out.put(&["release"], s.stats.log.release_records);
            out.put(&["session"], s.stats.log.session_records);
            out.put(&["mark"], s.stats.log.mark_records);
            out.put(&["identity"], s.stats.log.identity_records);
        }),
    counter("cgn_log_errors_total", NONE,
        "Groups of log records that could not be written; by log.on_full their blocks were not given, or given without records.",
        |s, out| out.put(&[], s.stats.log.append_errors)),
    gauge("cgn_log_refusing", NONE,
        "1 while the mapping log cannot be written, as on a full disk, and no new blocks are given; else 0.",
        |s, out| out.put(&[], u64::from(s.stats.log.is_refusing))),
    gauge("cgn_log_lacking", NONE,
        "1 while the mapping log cannot be written and blocks are given without records (log.on_full = continue); else 0.",
        |s, out| out.put(&[], u64::from(s.stats.log.lacking_since_ms.is_some()))),
    counter("cgn_log_lacking_records_total", NONE,
        "Records that were not written in such times; those of blocks still held at the end follow.",
        |s, out| out.put(&[], s.stats.log.lacking_records)),
    counter("cgn_log_commits_total", NONE,
        "Groups of records that were written to the mapping log.",
        |s, out| out.put(&[], s.stats.log.commits)),
    counter("cgn_log_commit_seconds_total", NONE,
        "Time spent writing them and, with log.sync = full, waiting for the disk.",
        |s, out| out.put_fraction(&[], s.stats.log.commit_secs)),
    gauge("cgn_log_bytes", &["part"],
        "Bytes of the mapping log on disk: the segment that is written, all write-ahead segments, sealed files.",
        |s, out| {
            out.put(&["segment"], s.stats.log.segment_bytes);
            out.put(&["spool"], s.stats.log.spool_bytes);
            out.put(&["sealed"], s.stats.log.sealed_bytes);
        }),
    gauge("cgn_log_unsealed_records", NONE,
        "Records of the mapping log that are in no sealed file yet; those of an hour are sealed when it is over.",
        |s, out| out.put(&[], s.stats.log.unsealed_records)),
    gauge("cgn_identities", NONE,
        "Subscribers whose name is known by RADIUS accounting.",
        |s, out| out.put(&[], s.stats.identity.names)),
    counter("cgn_identity_requests_total", &["outcome"],
        "Datagrams to identity.listen: recorded, known (on record before) or ignored (no name of a subscriber), which are answered; unrecorded (the log could not be written), stranger, forged or malformed, which are not.",
        |s, out| for ((_, name), count) in Outcome::NAMES.iter().zip(s.stats.identity.requests) {
            out.put(&[name], count);
        }),
    counter("cgn_log_sealed_files_total", NONE,
        "Sealed files of the mapping log that were made.",
        |s, out| out.put(&[], s.stats.log.sealed_files)),
    counter("cgn_log_seal_errors_total", NONE,
        "Times that the mapping log could not be sealed or cleaned up; it is tried again every second.",
        |s, out| out.put(&[], s.stats.log.seal_errors)),

    counter("cgn_sink_records_total", &["sink", "fate"],
        "Records of the mapping log for a sink: sent (as far as its transport tells), lost (the spool had them no more), or sent again as interim records.",
        |s, out| for (name, sink) in &s.stats.sinks {
            out.put(&[name, "sent"], sink.sent);
            out.put(&[name, "lost"], sink.lost);
            out.put(&[name, "interim"], sink.interim);
        }),
    counter("cgn_notices_total", &["kind"],
        "Exhaustion, quota and threshold notices for sinks; the same one once in log.notice_secs.",
        |s, out| for (name, count) in What::NAMES.iter().zip(s.stats.log.notices) {
            out.put(&[name], count);
        }),
    counter("cgn_sink_notices_total", &["sink", "fate"],
        "Notices that a sink was sent, or that waited for it too long and were dropped (lost).",
        |s, out| for (name, sink) in &s.stats.sinks {
            out.put(&[name, "sent"], sink.notices);
            out.put(&[name, "lost"], sink.lost_notices);
        }),
    gauge("cgn_sink_pending_records", &["sink"],
        "Records of the mapping log that a sink has not got yet.",
        |s, out| for (name, sink) in &s.stats.sinks { out.put(&[name], sink.pending); }),
    counter("cgn_sink_failures_total", &["sink"],
        "Connections to a sink that failed or ended.",
        |s, out| for (name, sink) in &s.stats.sinks { out.put(&[name], sink.failures); }),
    gauge("cgn_sink_connected", &["sink"],
        "Whether a sink is connected: 1 or 0; always 1 over UDP unless it was refused.",
        |s, out| for (name, sink) in &s.stats.sinks { out.put(&[name], u64::from(sink.is_connected)); }),

    // ---- sweep ----
    counter("cgn_sweeps_total", NONE,
        "Complete sweeps over all blocks.",
        |s, out| out.put(&[], s.stats.sweep.count)),
    counter("cgn_sweep_seconds_total", NONE,
        "Time spent in complete sweeps.",
        |s, out| out.put_fraction(&[], s.stats.sweep.total_secs)),
    gauge("cgn_sweep_last_seconds", NONE,
        "Time spent in the last complete sweep.",
        |s, out| out.put_fraction(&[], s.stats.sweep.last_secs)),
    counter("cgn_ports_unheld_total", NONE,
        "Ports that could be used again at once, because hold.max_ports were held already.",
        |s, out| out.put(&[], s.stats.sweep.unheld_ports)),

    // ---- routes and interfaces ----
    gauge("cgn_next_hops", NONE,
        "Next hops that packets can be sent to.",
        |s, out| out.put(&[], s.stats.next_hops)),
    counter("cgn_route_updates_total", NONE,
        "Times that the next hops were worked out anew from the kernel's routes.",
        |s, out| out.put(&[], s.stats.routes_generation)),
    gauge("cgn_interface_info", &["interface", "side", "mode"],
        "Always 1; how the XDP program is attached: native (in the driver) or generic (slower).",
        |s, out| for interface in &s.stats.interfaces {
            out.put(&[&interface.name, interface.side, interface.mode], 1);
        }),

    // ---- the program ----
    gauge("cgn_start_blocks", &["outcome"],
        "Blocks of the last daemon that were found at start: identical in tables and log; repaired, in use without a record, and logged again; orphaned, in the log only, and released; incomplete, half given or taken back.",
        |s, out| {
            let found = &s.stats.reconciliation;
            for (outcome, count) in [
                ("identical", found.identical),
                ("repaired", found.repaired),
                ("orphaned", found.orphaned),
                ("incomplete", found.incomplete),
            ] {
                out.put(&[outcome], count);
            }
        }),
    gauge("cgn_start_time_seconds", NONE,
        "When the daemon started, in seconds of Unix time; counters count from then on, or from when the tables were made.",
        |s, out| out.put_fraction(&[], s.started_unix_ms as f64 / 1000.0)),
    gauge("cgn_clock_most_off_seconds", NONE,
        "Seconds that the system's clock, and so a time in the mapping log, can be off, by the kernel; 16: nobody keeps it right. Missing where the kernel does not tell.",
        |s, out| if let Some(clock) = s.clock {
            out.put_fraction(&[], clock.most_off.as_secs_f64());
        }),
    gauge("cgn_build_info", &["version"],
        "Always 1; the version of the program.",
        |s, out| out.put(&[s.version], 1)),
    gauge("cgn_info", &["mapping", "filtering", "pooling", "fragments", "hairpinning"],
        "Always 1; how this NAT behaves, in the words of RFC 4787: eim and eif are endpoint-independent mapping and filtering, adf and apdf address and address-and-port-dependent filtering; mixed: pools or protocols differ.",
        |s, out| {
            let is = s.behaviours;
            out.put(&[is.mapping, is.filtering, is.pooling, is.fragments, is.hairpinning], 1);
        }),
];

fn by_direction(counts: [[u64; 3]; 2], out: &mut Samples) {
    for (direction, counts) in ["outbound", "inbound"].into_iter().zip(counts) {
        for protocol in Protocol::ALL {
            out.put(&[direction, protocol.name()], counts[protocol as usize]);
        }
    }
}

fn by_protocol(counts: [u64; 3], out: &mut Samples) {
    for protocol in Protocol::ALL {
        out.put(&[protocol.name()], counts[protocol as usize]);
    }
}

fn by_reason(counters: &Counters, effect: Effect, out: &mut Samples) {
    for reason in Reason::ALL
        .iter()
        .filter(|reason| reason.effect() == effect)
    {
        out.put(&[reason.name()], counters.ended(*reason));
    }
}

fn drops(counters: &Counters, out: &mut Samples) {
    let dropped = Reason::ALL.iter();
    for reason in dropped.filter(|reason| reason.effect() == Effect::Drop) {
        for carried in Carried::ALL {
            let count = counters.drops[*reason as usize][carried as usize];
            out.put(&[reason.name(), carried.name()], count);
        }
    }
}

fn by_rule(s: &Snapshot, out: &mut Samples, read: fn(&crate::state::RulePackets) -> u64) {
    for (rule, packets) in &s.rules {
        out.put(
            &[&rule.name, rule.direction_name(), rule.action_name()],
            read(packets),
        );
    }
}

fn by_mirror(s: &Snapshot, out: &mut Samples, read: fn(&MirrorRow) -> u64) {
    for mirror in &s.mirrors {
        out.put(&[&mirror.mirror], read(mirror));
    }
}

fn by_pool(s: &Snapshot, out: &mut Samples, read: fn(&crate::state::PoolStats) -> u64) {
    for (shape, pool) in s.each_pool() {
        out.put(&[&shape.name], read(&pool));
    }
}
