//! Lowering the maximum segment size that a SYN announces (RFC 9293 section
//! 3.7.1), for ways that carry less than their ends believe. Off by default:
//! the verifier then takes the call out.

use core::hint::black_box;

use crate::csum::Change;
use crate::frame::Frame;
use crate::wire::Be16;
use crate::wire::transport::field;

/// TCP header without options, in bytes.
const HEADER: usize = 20;
/// Largest header.
const MOST: usize = 60;
/// Where a TCP header begins at the latest: behind two VLAN tags and the largest
/// IPv4 header.
const MOST_L4: usize = 14 + 8 + 60;
/// Kinds of options.
const END: u8 = 0;
const NOTHING: u8 = 1;
const MSS: u8 = 2;
/// Length of the MSS option.
const MSS_BYTES: usize = 4;

/// Lowers the MSS option of the TCP segment at `l4` to `most` bytes, if it has
/// one that is larger. Options that do not fit in the header, or with a length
/// that cannot be, are left as they are: the host that gets them decides.
#[inline(always)]
pub fn clamp<F: Frame>(frame: &mut F, l4: usize, most: u16) {
    let _ = find(frame, l4, most);
}

/// None where the options end without an MSS that is to be lowered.
#[inline(always)]
fn find<F: Frame>(frame: &mut F, l4: usize, most: u16) -> Option<()> {
    if l4 > MOST_L4 {
        return None; // cannot be; the verifier does not know it
    }
    let offset: u8 = frame.load(l4 + field::TCP_REST)?;
    let end = usize::from(offset >> 4) << 2;
    let mut at = HEADER;
    for _ in 0..MOST - HEADER {
        // Through two bytes of the stack, for two reasons. LLVM would take out
        // the bound as implied by the next one, which the verifier of Linux 6.1
        // does not see. And the verifier forgets which options came before:
        // else it follows every combination of them.
        at = usize::from(black_box(at as u16));
        if at > MOST - MSS_BYTES || at + MSS_BYTES > end {
            return None;
        }
        let [kind, length]: [u8; 2] = frame.load(l4 + at)?;
        at += match kind {
            END => return None,
            NOTHING => 1,
            MSS if usize::from(length) == MSS_BYTES => return lower(frame, l4, at, most),
            MSS => return None,
            _ if length < 2 => return None,
            _ => usize::from(length),
        };
    }
    None
}

/// Lowers the option at `at`, an offset in the TCP header.
#[inline(always)]
fn lower<F: Frame>(frame: &mut F, l4: usize, at: usize, most: u16) -> Option<()> {
    let old: Be16 = frame.load(l4 + at + 2)?;
    if old.get() <= most {
        return None;
    }
    let new = Be16::new(most);
    let checksum: u16 = frame.load(l4 + field::TCP_CHECKSUM)?;
    let change = if at.is_multiple_of(2) {
        Change::NONE.word16(old.raw(), new.raw())
    } else {
        // The two bytes belong to two words of the sum (RFC 1071 section 2 B).
        Change::NONE.word16(old.raw().swap_bytes(), new.raw().swap_bytes())
    };
    frame.store(l4 + at + 2, new)?;
    frame.store(l4 + field::TCP_CHECKSUM, change.apply(checksum))
}
