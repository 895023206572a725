//! The file system in which BPF objects are pinned.

use std::ffi::CString;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

const MAGIC: libc::c_long = 0xcafe_4a11;

/// Where distributions mount it.
const STANDARD: &str = "/sys/fs/bpf";

/// A BPF file system holds no plain files: that we mounted one ourselves is the name of an
/// empty directory in it.
pub(super) const OWN_MOUNT: &str = "mounted-by-cgn";

/// Makes `directory` in a BPF file system: one is mounted at `/sys/fs/bpf` for
/// directories below it, else at the directory itself.
///
/// # Errors
/// It cannot be made or mounted.
pub(super) fn make(directory: &Path) -> io::Result<()> {
    let standard = Path::new(STANDARD);
    if directory.starts_with(standard) && directory != standard {
        if !is_mounted(standard) {
            mount(standard)?;
        }
        return fs::create_dir_all(directory);
    }
    fs::create_dir_all(directory)?;
    if !is_mounted(directory) {
        mount(directory)?;
        fs::create_dir(directory.join(OWN_MOUNT))?;
    }
    Ok(())
}

/// Removes `directory`, and the file system if [`make`] mounted it there. One that is not
/// empty stays.
pub(super) fn remove(directory: &Path) {
    if fs::remove_dir(directory.join(OWN_MOUNT)).is_ok() {
        unmount(directory);
    }
    let _ = fs::remove_dir(directory);
}

pub(super) fn c_path(path: &Path) -> io::Result<CString> {
    CString::new(path.as_os_str().as_bytes()).map_err(io::Error::other)
}

fn is_mounted(path: &Path) -> bool {
    let Ok(path) = c_path(path) else { return false };
    // SAFETY: all bytes zero is a valid statfs.
    let mut info: libc::statfs = unsafe { std::mem::zeroed() };
    // SAFETY: a valid C string and a statfs to write into.
    let result = unsafe { libc::statfs(path.as_ptr(), &raw mut info) };
    result == 0 && info.f_type as libc::c_long == MAGIC
}

fn mount(path: &Path) -> io::Result<()> {
    let path = c_path(path)?;
    // SAFETY: valid C strings; data may be null.
    let result = unsafe {
        libc::mount(
            c"bpf".as_ptr(),
            path.as_ptr(),
            c"bpf".as_ptr(),
            libc::MS_NOSUID | libc::MS_NODEV | libc::MS_NOEXEC,
            std::ptr::null(),
        )
    };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

fn unmount(path: &Path) {
    if let Ok(path) = c_path(path) {
        // SAFETY: a valid C string.
        unsafe { libc::umount2(path.as_ptr(), libc::MNT_DETACH) };
    }
}
