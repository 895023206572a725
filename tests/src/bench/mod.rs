//! `cargo xtask bench`: what the data plane costs, measured on this machine.
//!
//! | module | what |
//! |---|---|
//! | `micro` | the cases, sizes and rounds of `bench micro` |
//! | `world` | hosts, blocks and mappings in the product's own tables |
//! | `generator` | runs a program behind the generator, and checks what it did |
//! | `rig` | packets a second through real links, beside other systems |
//! | `control` | what the control plane costs and does |
//! | `rfc9693` | the tests of RFC 9693 on the rig |
//! | `processor` | which processor a thread runs on, and for how long |
//! | `sample` | from time stamps to one figure |
//! | `memory` | what a read costs, by lines and pages |
//! | `maplog` | the size and speed of the mapping log, on years that it generates |
//! | `browsing`, `sharing` | a model of those who browse, and how ports may be shared out among them |
//! | `plot` | plots over numbers of flows |
//! | `report` | the table, the goals, the JSON |

pub mod browsing;
pub mod control;
pub mod generator;
pub mod maplog;
pub mod memory;
pub mod micro;
pub mod plot;
pub mod processor;
pub mod report;
pub mod rfc9693;
pub mod rig;
pub mod sample;
pub mod sharing;
pub mod slowpath;
pub mod world;

/// The generator's arithmetic, shared with the BPF program.
#[path = "../../../cgn-ebpf/src/bench/plan.rs"]
pub mod plan;

/// The rig's arithmetic, likewise.
#[path = "../../../cgn-ebpf/src/rig/crowd.rs"]
pub mod crowd;
