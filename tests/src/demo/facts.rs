//! What the demonstration found out: the JSON object, and the verdict.

use std::net::{Ipv4Addr, SocketAddrV4};

use cgn_user::api::rows::{BlockRow, DropRow, MappingRow, SubscriberRow};
use serde::Serialize;

/// One flow from a subscriber to a server.
#[derive(Debug, Clone, Serialize)]
pub struct Flow {
    /// `tcp`, `udp` or `icmp`.
    pub protocol: &'static str,
    /// The subscriber's address and port; for ICMP, the identifier stands for the port.
    pub inside: SocketAddrV4,
    pub server: SocketAddrV4,
    /// The address and port that the server saw, if anything arrived.
    pub seen: Option<SocketAddrV4>,
    /// What was sent arrived unchanged, in both directions.
    pub intact: bool,
    /// `seen` is an address of the pool.
    pub translated: bool,
    /// By the mapping log, `seen` belongs to this subscriber.
    pub logged: bool,
    /// What went wrong.
    pub error: Option<String>,
}

impl Flow {
    /// Whether all is well with it.
    #[must_use]
    pub fn is_ok(&self) -> bool {
        self.intact && self.translated && self.logged && self.error.is_none()
    }
}

/// TCP throughput, Mbit/s of content.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub struct Throughput {
    pub outbound_mbps: f64,
    pub inbound_mbps: f64,
}

/// A figure of the metrics page.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Metric {
    /// Name and labels, as Prometheus writes them.
    pub name: String,
    pub value: f64,
}

/// All of it. The first fields are what scripts look at.
#[derive(Debug, Serialize)]
pub struct Facts {
    /// Every flow arrived intact, translated and with its log record; one subscriber needed more
    /// than one block; what was not asked for stayed outside.
    pub ok: bool,
    pub flows: usize,
    pub subscribers: usize,
    pub blocks: usize,
    pub log_records: usize,
    /// Slower direction of the TCP transfer.
    pub throughput_mbps: f64,
    /// From the first namespace to the last answer.
    pub seconds: f64,
    /// Why `ok` is false.
    pub problems: Vec<String>,
    pub kernel: String,
    /// `native` or `generic`, inside and outside.
    pub xdp_modes: Vec<String>,
    pub throughput: Throughput,
    /// A datagram from a stranger to a port without a mapping was dropped and counted.
    pub stranger_dropped: bool,
    pub flow_list: Vec<Flow>,
    pub subscriber_list: Vec<SubscriberRow>,
    pub block_list: Vec<BlockRow>,
    pub mapping_list: Vec<MappingRow>,
    /// Records of the mapping log, as lines.
    pub log_record_list: Vec<String>,
    pub drops: Vec<DropRow>,
    pub metrics: Vec<Metric>,
}

/// Subscribers with more than one block.
#[must_use]
pub fn with_several_blocks(blocks: &[BlockRow]) -> Vec<(Ipv4Addr, usize)> {
    let mut owners: Vec<Ipv4Addr> = blocks.iter().map(|block| block.inside).collect();
    owners.sort_unstable();
    owners
        .chunk_by(|one, other| one == other)
        .filter(|same| same.len() > 1)
        .map(|same| (same[0], same.len()))
        .collect()
}

/// Reads a metrics page in Prometheus' text format; comments are passed over.
#[must_use]
pub fn parse_metrics(page: &str) -> Vec<Metric> {
    page.lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.rsplit_once(' '))
        .filter_map(|(name, value)| {
            Some(Metric {
                name: name.to_owned(),
                value: value.parse().ok()?,
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::parse_metrics;

    #[test]
    fn a_metrics_page() {
        let page = "# HELP a x\n# TYPE a counter\na{b=\"c d\"} 12\nb 1.5\n";
        let found = parse_metrics(page);
        let found: Vec<(&str, f64)> = found
            .iter()
            .map(|metric| (metric.name.as_str(), metric.value))
            .collect();
        assert_eq!(found, [("a{b=\"c d\"}", 12.0), ("b", 1.5)]);
    }
}
