//! The module against the running kernel, in network namespaces of the tests' own; and the
//! decoding of messages that this kernel cannot send.

mod decode;
mod judge;
mod kernel;
mod namespace;
mod neighbours;
