//! `cgn`: the carrier-grade NAT.
use std::path::PathBuf;
fn main() -> anyhow::Result<()> {
    let args: Vec<String> = std::env::args().collect();
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_target(false).init();
    let at = args.iter().position(|a| a == "--config").map(|i| PathBuf::from(&args[i + 1]));
    cgn_user::supervisor::run(&at.unwrap_or_default(), args.iter().any(|a| a == "--test-clock"))
}
