//! Many processors at once: one inside port never has two mappings, one
//! external port never two owners, and the counts stay right.

mod claims;
mod hesitant;
mod interleavings;
mod kernel;
mod moved;
mod processors;
mod threads;
