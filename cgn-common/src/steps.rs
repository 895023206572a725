//! The steps that a packet took, in its own order: what `cgn explain` and `cgn
//! trace` tell beside the verdict. [`crate::path`] notes them; who does not care
//! ([`crate::tables::Tables::note`] without a body, as in the released object)
//! pays nothing.

macro_rules! steps {
    ($($number:literal $variant:ident $name:literal $help:literal;)*) => {
        /// A step of a packet's way. Numbers from 1 to 31, never used for another.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u8)]
        pub enum Step { $(#[doc = $help] $variant = $number,)* }

        impl Step {
            /// Every step, by number.
            pub const ALL: &'static [Step] = &[$(Step::$variant,)*];

            /// Name in the output for programs.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Step::$variant => $name,)* }
            }

            /// One sentence for an operator.
            #[must_use]
            pub const fn help(self) -> &'static str {
                match self { $(Step::$variant => $help,)* }
            }
        }
    };
}

steps! {
    1 PoolAddress "pool_address" "the destination is an address of a pool";
    2 RouteNetwork "route_network" "route: all of the destination's /16 has one next hop";
    3 RouteExact "route_exact" "route: the destination has an entry of its own";
    4 RouteKernel "route_kernel" "route: the kernel's routing table was asked";
    5 Subscriber "subscriber" "the source is a subscriber's";
    6 NextHop "next_hop" "the next hop is known, and on the right side";
    7 OpenAtHome "open_at_home" "no mapping where it is looked for first: one is opened there, if there is room";
    8 Searched "searched" "all blocks of the subscriber are searched for the mapping, and one is opened if there is none";
    9 Mapping "mapping" "it has a mapping";
    10 Port "port" "the external port has a mapping";
    11 Sessions "sessions" "the session with this remote endpoint was looked up in the table of sessions";
    12 Admitted "admitted" "the filter admits the remote endpoint";
    13 Rare "rare" "not the common packet: it goes on in the program for hairpins, ICMP errors and fragments";
    14 Told "told" "its end may have to be told to the sender by an ICMP error";
    15 Translated "translated" "address, port and checksums are rewritten";
    16 Listed "listed" "a rule of the access lists holds for it";
    17 Bypassed "bypassed" "it goes through untranslated";
}

/// Steps in their order: 5 bits each, the last one lowest. Of more than 12 the
/// first are forgotten.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Steps(pub u64);

impl Steps {
    const BITS: u32 = 5;
    /// Steps that are remembered.
    pub const MOST: u32 = u64::BITS / Self::BITS;

    /// The same with one more.
    #[inline(always)]
    #[must_use]
    pub const fn and(self, step: Step) -> Self {
        self.and_number(step as u64)
    }

    /// The same by the step's number.
    #[inline(always)]
    #[must_use]
    pub const fn and_number(self, step: u64) -> Self {
        Self((self.0 << Self::BITS | step) & ((1 << (Self::BITS * Self::MOST)) - 1))
    }

    /// From the first to the last.
    pub fn iter(self) -> impl Iterator<Item = Step> {
        (0..Self::MOST).rev().filter_map(move |place| {
            let number = (self.0 >> (Self::BITS * place)) as u8 & 31;
            Step::ALL.iter().copied().find(|step| *step as u8 == number)
        })
    }
}

const _: () = {
    let mut i = 0;
    while i < Step::ALL.len() {
        let number = Step::ALL[i] as u8;
        assert!(number >= 1 && number < 1 << Steps::BITS);
        i += 1;
    }
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_told_in_their_order_and_of_too_many_the_last() {
        let taken = [
            Step::Subscriber,
            Step::Searched,
            Step::Searched,
            Step::Translated,
        ];
        let steps = taken
            .iter()
            .fold(Steps::default(), |steps, step| steps.and(*step));
        assert!(steps.iter().eq(taken));
        let many = (0..40).fold(Steps::default(), |steps, _| steps.and(Step::Rare));
        let last = many.and(Step::Told);
        assert_eq!(last.iter().count() as u32, Steps::MOST);
        assert_eq!(last.iter().last(), Some(Step::Told));
    }
}
