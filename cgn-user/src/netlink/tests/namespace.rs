//! Two network namespaces, a router and its neighbours, that go away with the value.

use std::io::Write;
use std::net::Ipv4Addr;
use std::os::fd::AsRawFd;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use crate::netlink::{Follower, Options};
use crate::routes::{Fib, Port, Resolution, Side};

/// How soon a change must be seen.
pub(super) const SOON: Duration = Duration::from_secs(1);
/// For what the kernel itself takes seconds to do.
pub(super) const PATIENTLY: Duration = Duration::from_secs(10);

/// ```text
/// [router] in0 100.64.0.1/24 ------- 100.64.0.10/24 in1 [neighbours]
///         out0 198.51.100.1/24 --- 198.51.100.254/24 out1
/// ```
pub(super) struct World {
    router: String,
    neighbours: String,
    pub(super) inside: u32,
    pub(super) outside: u32,
}

/// Makes the namespaces, or says why not and counts the test as skipped.
pub(super) fn world(test: &str) -> Option<World> {
    // SAFETY: takes nothing, changes nothing and cannot fail.
    if unsafe { libc::geteuid() } == 0 {
        return Some(World::new());
    }
    let line = format!("{test}\trights: needs root");
    println!("skipped: {line}");
    if let Some(path) = std::env::var_os("CGN_SKIPS") {
        let file = std::fs::File::options()
            .append(true)
            .create(true)
            .open(path);
        writeln!(file.expect("CGN_SKIPS can be opened"), "{line}")
            .expect("CGN_SKIPS can be written");
    }
    None
}

impl World {
    fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = |role| format!("cgn-tnl-{}-{number}{role}", std::process::id());
        let mut world = World {
            router: name("r"),
            neighbours: name("n"),
            inside: 0,
            outside: 0,
        };
        run(&["netns", "add", &world.router]);
        run(&["netns", "add", &world.neighbours]);
        for (ours, theirs, our_net, their_net) in [
            ("in0", "in1", "100.64.0.1/24", "100.64.0.10/24"),
            ("out0", "out1", "198.51.100.1/24", "198.51.100.254/24"),
        ] {
            let neighbours = world.neighbours.clone();
            world.ip(&format!(
                "link add {ours} type veth peer name {theirs} netns {neighbours}"
            ));
            world.ip(&format!("address add {our_net} dev {ours}"));
            world.ip(&format!("link set {ours} up"));
            world.theirs(&format!("address add {their_net} dev {theirs}"));
            world.theirs(&format!("link set {theirs} up"));
        }
        world.ip("link set lo up");
        world.inside = world.ifindex("in0");
        world.outside = world.ifindex("out0");
        world
    }

    /// `ip` in the router's namespace.
    pub(super) fn ip(&self, command: &str) -> String {
        self.in_namespace(&self.router, command)
    }

    /// `ip` in the neighbours' namespace.
    pub(super) fn theirs(&self, command: &str) -> String {
        self.in_namespace(&self.neighbours, command)
    }

    fn in_namespace(&self, namespace: &str, command: &str) -> String {
        let mut words = vec!["-n", namespace];
        words.extend(command.split_whitespace());
        run(&words)
    }

    /// `ip` in the router's namespace: its output, or its complaint.
    pub(super) fn try_ip(&self, command: &str) -> Result<String, String> {
        let mut words = vec!["-n", self.router.as_str()];
        words.extend(command.split_whitespace());
        let output = Command::new("ip")
            .args(&words)
            .output()
            .expect("ip can be run");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        if output.status.success() {
            Ok(text(&output.stdout))
        } else {
            Err(text(&output.stderr))
        }
    }

    /// Many commands for `ip` at once in the router's namespace; those that fail are passed over.
    pub(super) fn batch(&self, commands: &str) {
        let mut child = Command::new("ip")
            .args(["-n", &self.router, "-force", "-batch", "-"])
            .stdin(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("ip can be run");
        let mut stdin = child.stdin.take().expect("stdin is a pipe");
        stdin.write_all(commands.as_bytes()).expect("ip reads");
        drop(stdin);
        child.wait().expect("ip ends");
    }

    fn ifindex(&self, name: &str) -> u32 {
        let shown = self.ip(&format!("-o link show {name}"));
        let (index, _) = shown.split_once(':').expect("an index");
        index.parse().expect("a number")
    }

    /// The Ethernet address of a device of the neighbours.
    pub(super) fn their_mac(&self, name: &str) -> [u8; 6] {
        let shown = self.theirs(&format!("-o link show {name}"));
        let mut words = shown
            .split_whitespace()
            .skip_while(|word| *word != "link/ether");
        mac(words.nth(1).expect("an address"))
    }

    /// Runs `work` on a thread in the router's namespace.
    pub(super) fn in_router<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        std::thread::scope(|scope| {
            let entered = scope.spawn(|| {
                let path = format!("/var/run/netns/{}", self.router);
                let file = std::fs::File::open(path).expect("the namespace is there");
                // SAFETY: the descriptor is open for the whole call, and no memory is passed.
                let entered = unsafe { libc::setns(file.as_raw_fd(), libc::CLONE_NEWNET) };
                assert_eq!(entered, 0, "root may enter it");
                work()
            });
            entered
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// Sets net.ipv4.neigh.`device`.`name` in the router's namespace.
    pub(super) fn neigh_sysctl(&self, device: &str, name: &str, value: &str) {
        let path = format!("/proc/sys/net/ipv4/neigh/{device}/{name}");
        self.in_router(|| std::fs::write(path, value).expect("the setting is there"));
    }

    pub(super) fn ports(&self) -> Vec<Port> {
        let port = |device, side, phys_ifindex| Port {
            device,
            side,
            phys_ifindex,
            vlan: vec![],
            realm: 0,
        };
        vec![
            port(0, Side::Inside, self.inside),
            port(1, Side::Outside, self.outside),
        ]
    }

    pub(super) fn follow(&self) -> Follower {
        self.follow_with(Options::default())
    }

    pub(super) fn follow_with(&self, options: Options) -> Follower {
        let ports = self.ports();
        self.in_router(|| Follower::spawn(ports, options).expect("netlink can be followed"))
    }
}

impl Drop for World {
    fn drop(&mut self) {
        for name in [&self.router, &self.neighbours] {
            // Also after a panic: complain, do not panic again.
            let deleted = Command::new("ip").args(["netns", "del", name]).status();
            if !deleted.is_ok_and(|status| status.success()) {
                eprintln!("network namespace {name} is left behind");
            }
        }
    }
}

fn run(words: &[&str]) -> String {
    let output = Command::new("ip")
        .args(words)
        .output()
        .expect("ip can be run");
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "ip {}: {complaint}",
        words.join(" ")
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}

pub(super) fn mac(text: &str) -> [u8; 6] {
    let bytes: Vec<u8> = text
        .split(':')
        .map(|byte| u8::from_str_radix(byte, 16).expect("hexadecimal"))
        .collect();
    bytes.try_into().expect("six bytes")
}

pub(super) fn addr(text: &str) -> Ipv4Addr {
    text.parse().expect("an address")
}

/// Waits until a snapshot is as wanted.
pub(super) fn wait_for(
    follower: &Follower,
    limit: Duration,
    what: &str,
    wanted: impl Fn(&Fib) -> bool,
) -> Arc<Fib> {
    let began = Instant::now();
    loop {
        let fib = follower.fib();
        if wanted(&fib) {
            return fib;
        }
        assert!(
            began.elapsed() < limit,
            "{what}: not within {limit:?}; {:?}",
            follower.status()
        );
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Where packets to `destination` are sent; `None` if no next hop is known.
pub(super) fn mac_to(fib: &Fib, destination: &str) -> Option<[u8; 6]> {
    match fib.resolve(addr(destination)) {
        Resolution::Hop(id) => Some(fib.next_hop(id).expect("listed").mac),
        _ => None,
    }
}
