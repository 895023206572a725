//! Which addresses have an entry, and where: the way into the tables.

use bytemuck::{Pod, Zeroable};

/// Directory pages: an address's upper 20 bits choose the page.
pub const PAGES: u32 = 1 << 20;
/// Addresses in a page, as a shift.
pub const PAGE_SHIFT: u32 = 12;

/// Which of 4096 neighbouring addresses have an entry in the table behind the
/// directory (`SUBSCRIBERS` or `EXTERNALS`), and where. All zero: none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct Page {
    /// Index in the table of the address at offset `first`.
    pub base: u32,
    /// First offset (0..4096) in the page that has an entry.
    pub first: u16,
    /// One more than the last such offset.
    pub end: u16,
}
