//! What the tests, the demo and the bench share.

pub mod demo;
pub mod fuzz;
pub mod lab;
pub mod skip;

pub mod bench;
pub mod harness;
pub mod packets;
