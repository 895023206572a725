//! SYNs that nobody waits for, in the slow path: their senders are told later.

use cgn_common::layout::Features;
use cgn_common::tables::Tables as _;
use cgn_common::verdict::Reason;

use super::{Engine, tables};
use crate::slowpath::answers::Withheld;
use crate::slowpath::unsolicited;

impl Engine {
    /// A frame from `port` was dropped for `reason`: if it is such a SYN, its
    /// sender may be told in six seconds.
    pub(super) fn hold_syn(&mut self, reason: Reason, port: usize, frame: Vec<u8>) {
        if !matches!(reason, Reason::NoMapping | Reason::Filtered) {
            return;
        }
        let (entry, ifindex) = (self.ports[port].entry, self.ports[port].ifindex);
        let tables = tables(&self.state, &self.routing, &self.vlans, &self.counted);
        tables.ingress.set(ifindex);
        let is_told = unsolicited::is_one(&frame, &tables, entry, reason)
            && tables.features().has(Features::TELL_SYN);
        if is_told && !self.syns.keep(frame, port, self.state.now_tick()) {
            self.answers.withhold(Withheld::HoldFull);
        }
    }

    /// Tells the senders of those whose time is over.
    pub(super) fn answer_syns(&mut self, now: u32) {
        while let Some(syn) = self.syns.next_due(now) {
            let port = &self.ports[syn.port];
            let (entry, ifindex) = (port.entry, port.ifindex);
            let tables = tables(&self.state, &self.routing, &self.vlans, &self.counted);
            tables.now.set(now);
            tables.ingress.set(ifindex);
            let answer = self.answers.answer_syn(&syn.frame, &tables, entry);
            self.tell(0, answer);
        }
        let mut stats = self.state.stats();
        stats.syns_held = self.syns.len() as u64;
    }
}
