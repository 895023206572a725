//! Two calls of `bpf(2)` on hash maps that the library does not have: reading
//! many elements at once, and taking one out with its last value.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use bytemuck::Pod;

const LOOKUP_AND_DELETE_ELEM: libc::c_long = 21;
const LOOKUP_BATCH: libc::c_long = 24;

/// `bpf_attr` of a batch.
#[repr(C)]
struct Batch {
    in_batch: u64,
    out_batch: u64,
    keys: u64,
    values: u64,
    count: u32,
    map_fd: u32,
    elem_flags: u64,
    flags: u64,
}

/// `bpf_attr` of one element.
#[repr(C)]
struct One {
    map_fd: u32,
    padding: u32,
    key: u64,
    value: u64,
    flags: u64,
}

/// Calls `bpf(2)`.
///
/// # Safety
/// The attributes must be those of `command`, and their addresses point to
/// memory as large as the map and the counts say.
unsafe fn bpf<A>(command: libc::c_long, attributes: &mut A) -> io::Result<()> {
    let (start, bytes) = (std::ptr::from_mut(attributes), size_of::<A>());
    // SAFETY: of the caller; the size is the attributes' own.
    match unsafe { libc::syscall(libc::SYS_bpf, command, start, bytes) } {
        result if result < 0 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

/// Some elements of a map, and the bucket to go on with (None: that was all).
pub type Part<K, V> = (Vec<(K, V)>, Option<u32>);

/// Elements from bucket `from` on (None: the first), about `most` of them, and
/// the bucket to go on with (None: that was all).
///
/// # Errors
/// The kernel's. `ENOSPC`: one bucket has more than `most`.
pub fn read<K: Pod, V: Pod>(
    map: BorrowedFd<'_>,
    from: Option<u32>,
    most: u32,
) -> io::Result<Part<K, V>> {
    let (mut keys, mut values) = (
        vec![K::zeroed(); most as usize],
        vec![V::zeroed(); most as usize],
    );
    let (start, mut next) = (from.unwrap_or(0), 0_u32);
    let mut batch = Batch {
        in_batch: from.map_or(0, |_| std::ptr::from_ref(&start) as u64),
        out_batch: std::ptr::from_mut(&mut next) as u64,
        keys: keys.as_mut_ptr() as u64,
        values: values.as_mut_ptr() as u64,
        count: most,
        map_fd: map.as_raw_fd() as u32,
        elem_flags: 0,
        flags: 0,
    };
    // SAFETY: keys and values have room for `most` elements of their sizes,
    // which a test compares with the map's; a hash map's cursor has 4 bytes.
    let is_over = match unsafe { bpf(LOOKUP_BATCH, &mut batch) } {
        Ok(()) => false,
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => true,
        Err(error) => return Err(error),
    };
    let found = keys.into_iter().zip(values).take(batch.count as usize);
    Ok((found.collect(), (!is_over).then_some(next)))
}

/// Takes an element out, with the value that it had at that moment. None: it
/// was not there.
pub fn take<K: Pod, V: Pod>(map: BorrowedFd<'_>, key: &K) -> Option<V> {
    let mut value = V::zeroed();
    let mut one = One {
        map_fd: map.as_raw_fd() as u32,
        padding: 0,
        key: std::ptr::from_ref(key) as u64,
        value: std::ptr::from_mut(&mut value) as u64,
        flags: 0,
    };
    // SAFETY: key and value are of the map's sizes, as above.
    unsafe { bpf(LOOKUP_AND_DELETE_ELEM, &mut one) }.ok()?;
    Some(value)
}
