//! Packets off the common way: to another subscriber, ICMP errors, to the slow path, to the kernel.
//!
//! Fragments are not among them: how many datagrams of a source may be on their way is limited, and
//! a run would measure the limit.

use anyhow::{Result, ensure};
use cgn_common::counters::Counters;
use cgn_common::verdict::{Direction, Reason};
use cgn_user::dataplane::load::Entry;

use super::{Bench, Case};
use crate::bench::generator::{Reference, Run, XDP_DROP, XDP_PASS, XDP_TX};
use crate::bench::plan::Plan;

/// All of them, in the order of the table.
const CASES: [Case; 4] = [Case::Hairpin, Case::IcmpError, Case::Punt, Case::Passed];

impl Bench {
    /// Each of them once.
    pub(super) fn asides(&mut self, first: u64) -> Result<()> {
        for case in CASES {
            let (plan, offsets) = self.plan_of(case);
            self.generator.follow(&plan, &offsets);
            let generator = self.reference(first, Reference::Tx)?;
            let (entry, action) = match case {
                Case::IcmpError => (Entry::Outside, XDP_TX),
                Case::Hairpin => (Entry::Inside, XDP_TX),
                Case::Punt => (Entry::Inside, XDP_DROP),
                _ => (Entry::Inside, XDP_PASS),
            };
            self.aim_at_product(entry)?;
            let before = self.dataplane.counters()?;
            let run = self.warm_run(first, action)?;
            let after = self.dataplane.counters()?;
            self.check_aside(case, &run, &before, &after)?;
            self.note(case, generator, run.chunks);
        }
        Ok(())
    }

    fn plan_of(&self, case: Case) -> (Plan, Vec<u16>) {
        match case {
            Case::Hairpin => {
                let (far, offsets) = self.world.inbound();
                self.generator.follow_far(&far, &offsets);
                self.world.hairpinned()
            }
            Case::IcmpError => self.world.icmp_errors(),
            Case::Punt => self.world.punted(),
            _ => self.world.passed(),
        }
    }

    fn note(
        &mut self,
        case: Case,
        generator: crate::bench::sample::Chunks,
        product: crate::bench::sample::Chunks,
    ) {
        let asides = &mut self.samples.asides;
        match asides.iter_mut().find(|(of, ..)| *of == case) {
            Some((_, generators, products)) => {
                generators.push(generator);
                products.push(product);
            }
            None => asides.push((case, vec![generator], vec![product])),
        }
    }

    /// Every packet ended as it should, and the last one looks so.
    fn check_aside(
        &self,
        case: Case,
        run: &Run,
        before: &Counters,
        after: &Counters,
    ) -> Result<()> {
        let packets = self.packets_of_a_warm_run();
        let translated = |way: Direction| {
            let sum = |counters: &Counters| counters.packets[way as usize].iter().sum::<u64>();
            sum(after) - sum(before)
        };
        let sent = run.last_sent;
        let (counted, is_right) = match case {
            Case::Hairpin => {
                let both = translated(Direction::Outbound).min(translated(Direction::Inbound));
                let is_right = run.last_seen.is_some_and(|seen| {
                    let source = (seen.source, seen.source_port);
                    let destination = (seen.destination, seen.destination_port);
                    self.world.owns((sent.source, sent.source_port), source)
                        && self
                            .world
                            .owns(destination, (sent.destination, sent.destination_port))
                });
                (both, is_right)
            }
            Case::IcmpError => (translated(Direction::Inbound), run.last_seen.is_none()),
            Case::Punt => (
                after.all_dropped(Reason::PuntUndelivered)
                    - before.all_dropped(Reason::PuntUndelivered),
                run.last_seen == Some(sent),
            ),
            _ => (
                after.ended(Reason::NotIpv4) - before.ended(Reason::NotIpv4),
                run.last_seen.is_none(),
            ),
        };
        let name = case.name();
        ensure!(
            counted == packets,
            "{name}: {counted} of {packets} packets ended so"
        );
        ensure!(is_right, "{name}: {sent:?} became {:?}", run.last_seen);
        Ok(())
    }
}
