//! `Frame` over an XDP context: the only packet-pointer arithmetic.

use aya_ebpf::bindings::xdp_md;
use aya_ebpf::helpers::bpf_xdp_adjust_head;
use bytemuck::Pod;
use cgn_common::csum;
use cgn_common::frame::Frame;
use cgn_common::nat::mss;

/// The frame of one run of the program.
pub struct XdpFrame {
    ctx: *mut xdp_md,
}

impl XdpFrame {
    /// `ctx` is the program's own context.
    #[inline(always)]
    pub fn new(ctx: *mut xdp_md) -> Self {
        Self { ctx }
    }

    #[inline(always)]
    fn start(&self) -> usize {
        // SAFETY: the context is valid for the whole run of the program; the
        // verifier turns this load into the packet pointer.
        unsafe { (*self.ctx).data as usize }
    }

    #[inline(always)]
    fn end(&self) -> usize {
        // SAFETY: as in `start`.
        unsafe { (*self.ctx).data_end as usize }
    }

    /// Pointer to a `T` at `offset`, if all of it is in the packet.
    #[inline(always)]
    fn at<T: Pod>(&self, offset: usize) -> Option<*mut T> {
        let pointer = self.start() + offset;
        (pointer + size_of::<T>() <= self.end()).then_some(pointer as *mut T)
    }
}

impl Frame for XdpFrame {
    #[inline(always)]
    fn len(&self) -> usize {
        self.end() - self.start()
    }

    #[inline(always)]
    fn load<T: Pod>(&self, offset: usize) -> Option<T> {
        // SAFETY: `at` checked that the T lies in the packet, and any bytes are a T.
        self.at::<T>(offset).map(|p| unsafe { p.read_unaligned() })
    }

    #[inline(always)]
    fn store<T: Pod>(&mut self, offset: usize, value: T) -> Option<()> {
        // SAFETY: `at` checked that the T lies in the packet.
        self.at::<T>(offset)
            .map(|p| unsafe { p.write_unaligned(value) })
    }

    #[inline(always)]
    fn sum(&self, offset: usize, length: usize) -> Option<u64> {
        match cgn_sum(self.ctx, offset as u64, length as u64) {
            NO_SUM => None,
            sum => Some(sum),
        }
    }

    #[inline(always)]
    fn move_start(&mut self, delta: i32) -> Option<()> {
        // SAFETY: a helper call on our own context. Packet pointers are made
        // anew at each access, so none outlives it.
        let result = unsafe { bpf_xdp_adjust_head(self.ctx, delta) };
        (result == 0).then_some(())
    }

    #[inline(always)]
    fn clamp_mss(&mut self, l4: usize, most: u16) {
        cgn_clamp_mss(self.ctx, l4 as u64 | u64::from(most) << 32);
    }
}

/// A global function, which the verifier checks once.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn cgn_clamp_mss(ctx: *mut xdp_md, l4_and_most: u64) -> u64 {
    let (l4, most) = (l4_and_most as u32 as usize, (l4_and_most >> 32) as u16);
    mss::clamp(&mut XdpFrame::new(ctx), l4, most);
    0
}

/// No page sums up to it.
const NO_SUM: u64 = u64::MAX;

/// A global function: the verifier follows its long loop once.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn cgn_sum(ctx: *mut xdp_md, offset: u64, length: u64) -> u64 {
    csum::sum(&XdpFrame { ctx }, offset as usize, length as usize).unwrap_or(NO_SUM)
}
