//! The kernel as the judge: a random history of routes, then `ip route get` for many addresses.

use std::net::Ipv4Addr;

use super::kernel::{static_neighbours, to};
use super::namespace::{PATIENTLY, World, addr, mac, wait_for, world};
use crate::netlink::Follower;
use crate::routes::{Fib, Resolution};

/// After this the follower reads all routes anew.
const DISTURB: &str = "nexthop add id 9 blackhole\nnexthop del id 9\n";

/// Numbers that look random and are the same in each run (xorshift).
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % limit
    }

    fn of<T: Copy>(&mut self, list: &[T]) -> T {
        list[self.below(list.len() as u64) as usize]
    }

    /// A command that may fail, as when it deletes what is not there.
    fn command(&mut self) -> String {
        let verb = self.of(&["add", "append", "prepend", "replace", "del"]);
        let len = self.of(&[8, 12, 15, 16, 17, 20, 24, 31, 32]);
        let bits = [self.below(4) << 16, self.below(4) << 8, self.below(4) << 6];
        let address = bits
            .iter()
            .fold(0x0a00_0000, |all, bits| all | *bits as u32);
        let network = Ipv4Addr::from(address >> (32 - len) << (32 - len));
        let what = match self.below(12) {
            0 => format!("blackhole {network}/{len}"),
            1 => format!("unreachable {network}/{len}"),
            2 => format!("prohibit {network}/{len}"),
            3 => format!("throw {network}/{len}"),
            4..8 => format!("{network}/{len} via 198.51.100.{}", 10 + self.below(3)),
            _ => format!("{network}/{len} via 100.64.0.{}", 20 + self.below(2)),
        };
        format!("route {verb} {what} metric {}\n", self.below(2))
    }
}

/// Runs `history`, and returns what the follower makes of it.
fn run(world: &World, follower: &Follower, mut history: String) -> std::sync::Arc<Fib> {
    history += "route add 192.0.2.0/24 via 198.51.100.12\n";
    world.batch(&history);
    wait_for(follower, PATIENTLY, "the last route", |fib| {
        to(fib, "192.0.2.1") == Some(12)
    })
}

fn judge(world: &World, fib: &Fib, random: &mut Random) {
    for _ in 0..200 {
        let bits = [
            random.below(4) << 16,
            random.below(5) << 8,
            random.below(256),
        ];
        let address = bits
            .iter()
            .fold(0x0a00_0000, |all, bits| all | *bits as u32);
        let destination = Ipv4Addr::from(address);
        let said = world.try_ip(&format!("route get {destination}"));
        let ours = match fib.resolve(destination) {
            Resolution::Hop(id) => Ok(fib.next_hop(id).expect("listed").mac),
            other => Err(other),
        };
        assert_eq!(ours, as_the_kernel_said(&said), "{destination}: {said:?}");
    }
}

#[test]
fn the_news_alone_agree_with_the_kernel() {
    let Some(world) = world("netlink the_news_alone_agree_with_the_kernel") else {
        return;
    };
    static_neighbours(&world);
    let follower = world.follow();
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let history = (0..3000).map(|_| random.command()).collect();
    let fib = run(&world, &follower, history);
    judge(&world, &fib, &mut random);
    let status = follower.status();
    assert_eq!(status.route_dumps, 1, "no other dump helped: {status:?}");
    assert_eq!(status.last_error, None);
}

/// Routes in the kernel.
fn kernel_count(world: &World) -> u64 {
    world.ip("-4 -o route show table all").lines().count() as u64
}

/// While routes change, next-hop objects come and go, each time followed by a dump that takes
/// a while (the routes to 9.0.0.0/8 are read first); then routes change for some time more, so
/// that no dump mends what the earlier ones broke.
#[test]
fn news_during_dumps_agree_with_the_kernel() {
    let Some(world) = world("netlink news_during_dumps_agree_with_the_kernel") else {
        return;
    };
    static_neighbours(&world);
    let ballast = (0..5_000).map(|number| {
        let (high, low) = (number >> 8, number & 0xff);
        format!("route add 9.{high}.{low}.0/24 via 198.51.100.10\n")
    });
    world.batch(&ballast.collect::<String>());
    let follower = world.follow();
    let mut random = Random(0x0123_4567_89ab_cdef);
    let commands = (0..40_000).map(|number| {
        let disturb = number < 39_000 && number % 100 == 0;
        let disturb = if disturb { DISTURB } else { "" };
        disturb.to_owned() + &random.command()
    });
    let history = commands.collect();
    let mut fib = run(&world, &follower, history);
    let routes = kernel_count(&world);
    if follower.status().overruns > 0 {
        // On a busy machine news get lost, and it takes another dump in quiet times.
        wait_for(&follower, PATIENTLY, "as many routes", |_| {
            follower.status().routes == routes
        });
        fib = follower.fib();
    }
    let status = follower.status();
    assert_eq!(status.routes, routes, "no more and no less: {status:?}");
    judge(&world, &fib, &mut random);
    assert!(status.route_dumps > 1, "dumps were made: {status:?}");
    assert_eq!(status.last_error, None);
}

fn as_the_kernel_said(said: &Result<String, String>) -> Result<[u8; 6], Resolution> {
    match said {
        Ok(route) => {
            let gateway = route
                .split_whitespace()
                .skip_while(|word| *word != "via")
                .nth(1);
            let last = addr(gateway.expect("all routes have one")).octets()[3];
            Ok(mac(&format!("02:00:00:00:00:{last:02x}")))
        }
        Err(complaint) if complaint.contains("Invalid argument") => Err(Resolution::Blackhole),
        Err(complaint) if complaint.contains("No route to host") => Err(Resolution::Unreachable),
        Err(complaint) if complaint.contains("Permission denied") => Err(Resolution::Prohibited),
        Err(complaint) if complaint.contains("Network is unreachable") => Err(Resolution::NoRoute),
        Err(complaint) => panic!("not understood: {complaint}"),
    }
}
