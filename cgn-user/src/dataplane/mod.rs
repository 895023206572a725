//! The tables that XDP and user space share.

pub mod geometry;
pub mod install;
pub mod load;
pub mod memory;
pub mod sweep;
pub mod tables;
