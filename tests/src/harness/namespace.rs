//! A network namespace without a name, for the thread that needs the kernel's
//! routes: it goes when the thread goes.

use std::net::Ipv4Addr;
use std::process::Command;

use super::world::{INSIDE_IF, OTHER_IF, OUTSIDE_IF, hop, hop_of, remote};

/// Runs `work` on a thread of its own in a fresh namespace with the interfaces
/// and routes of [`super::world`].
///
/// # Panics
/// The namespace cannot be made, or `work` panics.
pub fn in_namespace<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let inside = scope.spawn(|| {
            enter();
            prepare();
            work()
        });
        inside
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

fn enter() {
    // SAFETY: a system call that changes this thread only.
    let result = unsafe { libc::unshare(libc::CLONE_NEWNET) };
    let error = std::io::Error::last_os_error();
    assert_eq!(result, 0, "a network namespace cannot be made: {error}");
}

fn prepare() {
    let mac = |bytes: [u8; 6]| bytes.map(|b| format!("{b:02x}")).join(":");
    let kernel = hop_of(hop::KERNEL);
    let (local, neighbour, elsewhere) = (remote::NEW_LOCAL, remote::KERNEL, remote::ELSEWHERE);
    for (name, index) in [("in", INSIDE_IF), ("out", OUTSIDE_IF), ("other", OTHER_IF)] {
        ip(&format!(
            "link add {name} index {index} type veth peer name {name}-peer"
        ));
        ip(&format!("link set {name}-peer up"));
    }
    let own = mac(kernel.source_mac);
    let theirs = mac(kernel.destination_mac);
    ip(&format!("link set out address {own}"));
    for name in ["lo", "in", "out", "other"] {
        ip(&format!("link set {name} up"));
    }
    std::fs::write("/proc/sys/net/ipv4/ip_forward", "1").expect("forwarding can be set");
    ip(&format!("address add {local}/24 dev out"));
    neighbour_of("out", neighbour, &theirs);
    ip(&format!("route add {elsewhere}/32 dev other"));
    neighbour_of("other", elsewhere, &theirs);
    let unreachable = remote::UNREACHABLE;
    ip(&format!("route add unreachable {unreachable}/32"));
    let unknown = remote::UNKNOWN;
    ip(&format!(
        "route add {unknown}/32 encap ip id 7 dst {neighbour} dev out"
    ));
}

fn neighbour_of(device: &str, address: Ipv4Addr, mac: &str) {
    ip(&format!(
        "neighbour add {address} lladdr {mac} dev {device} nud permanent"
    ));
}

/// Runs `ip` in the namespace of this thread.
///
/// # Panics
/// It fails.
pub fn ip(words: &str) {
    let output = Command::new("ip")
        .args(words.split_whitespace())
        .output()
        .expect("ip (iproute2) can be run");
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "ip {words}: {complaint}");
}
