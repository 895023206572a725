//! Giving a packet back to XDP: it is received once more, with what only XDP is
//! told (the kernel's routes for this very packet) and what was missing then.

use aya::programs::{TestRun as _, TestRunAttrs, TestRunOptions};

use super::load::{Dataplane, Entry, LoadError};

/// `struct xdp_md` of linux/bpf.h: data, data_end, data_meta, ingress_ifindex,
/// rx_queue_index, egress_ifindex.
type Context = [u32; 6];

impl Dataplane {
    /// Runs the program of `entry` on a frame as if queue `queue` of interface
    /// `ifindex` had just received it, and does with it what the program says:
    /// redirects it, for one. Costs some ten microseconds.
    ///
    /// # Errors
    /// The kernel's: the frame is larger than about 3,400 bytes, for one.
    pub fn run_again(
        &mut self,
        entry: Entry,
        (ifindex, queue): (u32, u32),
        frame: &[u8],
    ) -> Result<(), LoadError> {
        let name = self.program_name(entry);
        let context: Context = [0, frame.len() as u32, 0, ifindex, queue, 0];
        let bytes: Vec<u8> = context.iter().flat_map(|word| word.to_ne_bytes()).collect();
        let options = TestRunOptions {
            data_in: Some(frame),
            ctx_in: Some(&bytes),
            attrs: TestRunAttrs::new().xdp_live_frames(1),
            ..TestRunOptions::default()
        };
        self.program(entry)?
            .test_run(options)
            .map(drop)
            .map_err(|source| LoadError::Rerun { name, source })
    }
}
