//! A 64-bit word that XDP programs and user space change at the same time.

use core::cell::UnsafeCell;

/// One 64-bit word of a shared table. Every change of state in the tables is
/// one compare-and-swap of one `Word`.
///
/// On the host it is an `AtomicU64`. On BPF it uses volatile loads and stores
/// and the compare-and-swap intrinsic, because `core::sync::atomic` has no
/// compare-and-swap there and its loads crash the code generator. BPF atomics
/// that return a value are fully ordered (Linux `Documentation/bpf/standardization`).
#[repr(transparent)]
pub struct Word(UnsafeCell<u64>);

// SAFETY: every access goes through the methods below, which are atomic
// (host: AtomicU64; BPF: aligned 64-bit accesses and BPF_ATOMIC instructions).
unsafe impl Sync for Word {}

impl Word {
    /// A word that holds `value`.
    #[must_use]
    pub const fn new(value: u64) -> Self {
        Self(UnsafeCell::new(value))
    }
}

impl Default for Word {
    fn default() -> Self {
        Self::new(0)
    }
}

impl core::fmt::Debug for Word {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{:#018x}", self.load())
    }
}

#[cfg(not(target_arch = "bpf"))]
impl Word {
    #[inline(always)]
    fn atomic(&self) -> &core::sync::atomic::AtomicU64 {
        // SAFETY: `UnsafeCell<u64>` behind `repr(transparent)` has the size and
        // alignment of `AtomicU64`, and no other method makes plain accesses.
        unsafe { core::sync::atomic::AtomicU64::from_ptr(self.0.get()) }
    }

    /// Reads the word.
    #[inline(always)]
    pub fn load(&self) -> u64 {
        self.atomic().load(core::sync::atomic::Ordering::Acquire)
    }

    /// Writes the word. Only where no one else writes it at the same time.
    #[inline(always)]
    pub fn store(&self, value: u64) {
        self.atomic()
            .store(value, core::sync::atomic::Ordering::Release);
    }

    /// Replaces `old` by `new`; false if the word was not `old`.
    #[inline(always)]
    #[must_use]
    pub fn replace(&self, old: u64, new: u64) -> bool {
        use core::sync::atomic::Ordering::SeqCst;
        self.atomic()
            .compare_exchange(old, new, SeqCst, SeqCst)
            .is_ok()
    }

    /// Adds `value` (wrapping) and returns what was there before.
    #[inline(always)]
    pub fn add(&self, value: u64) -> u64 {
        self.atomic()
            .fetch_add(value, core::sync::atomic::Ordering::SeqCst)
    }
}

#[cfg(target_arch = "bpf")]
impl Word {
    /// Reads the word.
    #[inline(always)]
    pub fn load(&self) -> u64 {
        // SAFETY: the pointer comes from a live reference and is aligned;
        // volatile keeps LLVM from re-reading or splitting the access.
        unsafe { core::ptr::read_volatile(self.0.get()) }
    }

    /// Writes the word. Only where no one else writes it at the same time.
    #[inline(always)]
    pub fn store(&self, value: u64) {
        // SAFETY: as in `load`.
        unsafe { core::ptr::write_volatile(self.0.get(), value) }
    }

    /// Replaces `old` by `new`; false if the word was not `old`.
    #[inline(always)]
    #[must_use]
    pub fn replace(&self, old: u64, new: u64) -> bool {
        use core::intrinsics::{AtomicOrdering::SeqCst, atomic_cxchg};
        // SAFETY: as in `load`; compiles to BPF_CMPXCHG.
        let (seen, _) =
            unsafe { atomic_cxchg::<u64, { SeqCst }, { SeqCst }>(self.0.get(), old, new) };
        seen == old
    }

    /// Adds `value` (wrapping) and returns what was there before.
    #[inline(always)]
    pub fn add(&self, value: u64) -> u64 {
        use core::intrinsics::{AtomicOrdering::SeqCst, atomic_xadd};
        // SAFETY: as in `load`; compiles to BPF_ADD | BPF_FETCH.
        unsafe { atomic_xadd::<u64, u64, { SeqCst }>(self.0.get(), value) }
    }
}
