//! The tables that XDP and user space share.

pub mod attach;
mod batch;
mod bpf_fs;
pub mod datagrams;
pub mod diagnostics;
pub mod geometry;
pub mod growth;
pub mod install;
pub mod interface;
pub mod journal;
pub mod load;
pub mod memory;
mod pinned_link;
mod rerun;
pub mod routing;
pub mod session_sweep;
pub mod sessions;
pub mod swap;
pub mod sweep;
pub mod tables;

#[cfg(test)]
mod tests;
