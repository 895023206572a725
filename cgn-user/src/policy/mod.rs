//! Decisions, without I/O: what the configuration means for the tables, and
//! who may do what, and when blocks are given and taken back.

pub mod access;
pub mod advice;
pub mod attacks;
pub mod blocks;
pub mod deterministic;
pub mod groups;
pub mod overload;
pub mod shape;
pub mod sizing;
pub mod throttle;
