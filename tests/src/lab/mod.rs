//! A network laboratory: subscribers, an access router, the CGN and an internet, each in a network
//! namespace of its own, with real kernel sockets as hosts.
//!
//! ```text
//!  sub1 100.64.1.0/24 ---+
//!  sub2 100.64.2.0/24 ---+-- access 10.64.255.2 --- 10.64.255.1 inside [cgn] outside 198.51.100.1
//!  ...                   |                                                               |
//!  direct 100.64.0.2 ----+ (macvlan on access's uplink)             198.51.100.2 [internet]
//!                                                                  servers 192.0.2.10 to .12
//! ```
//!
//! Every address of a `sub` namespace's network is a subscriber: sockets can be bound to any of
//! them. The namespace `cgn` does not forward by itself, so what arrives went through the CGN.
//!
//! | file | what it has |
//! |---|---|
//! | `topology` | [`Lab`]: builds and removes all of it |
//! | `bed` | [`Bed`]: the rig of the benches |
//! | `namespace` | a namespace: sockets and processes inside it |
//! | `janitor`, `signals`, `lock` | removal at every kind of end; one test laboratory at a time |
//! | `process`, `daemon`, `http` | processes that end with their value; the CGN's daemon |
//! | `tcp`, `udp`, `ping` | flows that tell which external address and port the server saw |
//! | `raw` | packets as a test writes them |
//! | `stream` | a stream of numbered datagrams, and which of them were lost |
//! | `stun`, `dialogue` | how a host is seen from outside; programs that are told what to do |
//! | `capture`, `xdp_pass` | what was on the wire |
//! | `run` | the body of a test |

mod bed;
mod capture;
mod daemon;
mod deadline;
mod dialogue;
mod http;
mod janitor;
mod lock;
mod namespace;
mod ping;
mod process;
mod program;
mod raw;
mod run;
pub mod signals;
mod stream;
mod stun;
mod tcp;
mod topology;
mod udp;
mod xdp_pass;

pub use bed::{Bed, DEVICES, ENDS, mac};
pub use capture::{Capture, CapturedPacket, read_pcap};
pub use daemon::{Daemon, Settings, owner_by, owner_in};
pub use deadline::{poll, wait_until};
pub use dialogue::Dialogue;
pub use lock::LabLock;
pub use namespace::Namespace;
pub use ping::{PingOutcome, PingWatch, ping};
pub use process::{Process, run_to_end};
pub use program::cgn_program;
pub use raw::RawSocket;
pub use run::in_lab;
pub use stream::{Streamed, UdpStream};
pub use stun::{STUN_PORT, external_endpoint, stun_server};
pub use tcp::{TcpServer, Transfer, connect, converse, transfer};
pub use topology::{Lab, Plan, Trunk, address};
pub use udp::{UdpEcho, echo_from, exchange};
pub use xdp_pass::XdpPass;
