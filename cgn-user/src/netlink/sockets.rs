//! The two sockets: one that hears of changes, one that asks. They are apart because the kernel
//! throws news away when a socket's buffer is full, but never a part of a dump.

use std::io;
use std::time::Duration;

use futures::channel::mpsc::UnboundedReceiver;
use futures::{FutureExt, Stream, StreamExt};
use rtnetlink::MulticastGroup;
use rtnetlink::packet_core::{
    NLM_F_ACK, NLM_F_CREATE, NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REPLACE, NLM_F_REQUEST,
    NetlinkHeader, NetlinkMessage, NetlinkPayload,
};
use rtnetlink::packet_route::address::AddressMessage;
use rtnetlink::packet_route::link::{LinkAttribute, LinkExtentMask, LinkMessage};
use rtnetlink::packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourFlags, NeighbourMessage,
};
use rtnetlink::packet_route::route::{RouteAddress, RouteAttribute, RouteMessage, RouteType};
use rtnetlink::packet_route::rule::RuleMessage;
use rtnetlink::packet_route::{AddressFamily, RouteNetlinkMessage};
use rtnetlink::proto::{ConnectionHandle, new_connection};
use rtnetlink::sys::protocols::NETLINK_ROUTE;
use rtnetlink::sys::{AsyncSocket, SocketAddr};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::FollowError;
use super::follow::Question;
use super::message::KernelMessage;
use crate::routes::Probe;

/// The kernel answers at once; a dump comes in pieces, each at once.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// Neighbours asked for in one datagram, at 36 bytes each.
const PROBES_PER_DATAGRAM: usize = 64;

/// A try to catch up with the news is given up after so long, and made again.
const CATCH_UP_TIMEOUT: Duration = Duration::from_millis(200);

/// Together as long as [`ANSWER_TIMEOUT`].
const CATCH_UP_TRIES: usize = 50;

type Incoming = UnboundedReceiver<(NetlinkMessage<KernelMessage>, SocketAddr)>;

/// The socket that hears of changes.
pub(super) struct Newsfeed {
    handle: ConnectionHandle<KernelMessage>,
    incoming: Incoming,
}

impl Newsfeed {
    /// Opens the socket and runs it in `tasks`.
    pub(super) fn open(tasks: &mut JoinSet<()>, buffer_bytes: usize) -> io::Result<Self> {
        let groups = [
            MulticastGroup::Link,
            MulticastGroup::Ipv4Ifaddr,
            MulticastGroup::Ipv4Route,
            MulticastGroup::Ipv4Rule,
            MulticastGroup::Neigh,
            MulticastGroup::Nexthop,
        ];
        let (mut connection, handle, incoming) = new_connection::<KernelMessage>(NETLINK_ROUTE)?;
        let socket = connection.socket_mut().socket_mut();
        // The kernel caps the value at net.core.rmem_max and doubles it.
        socket.set_rx_buf_sz(i32::try_from(buffer_bytes).unwrap_or(i32::MAX))?;
        socket.bind(&SocketAddr::new(0, 0))?;
        for group in groups {
            socket.add_membership(group as u32)?;
        }
        tasks.spawn(connection);
        Ok(Newsfeed { handle, incoming })
    }

    /// The next message, as soon as there is one.
    pub(super) async fn next(&mut self) -> Result<NetlinkMessage<KernelMessage>, FollowError> {
        let next = self.incoming.next().await;
        next.map(|(message, _)| message).ok_or(FollowError::Closed)
    }

    /// The next message if it is here already.
    pub(super) fn next_waiting(
        &mut self,
    ) -> Result<Option<NetlinkMessage<KernelMessage>>, FollowError> {
        match self.incoming.next().now_or_never() {
            None => Ok(None),
            Some(None) => Err(FollowError::Closed),
            Some(Some((message, _))) => Ok(Some(message)),
        }
    }

    /// Waits until all news from before the call are here. To know that, it asks a question on
    /// this very socket: the answer queues up behind them.
    pub(super) async fn catch_up(&self) -> Result<(), FollowError> {
        for _ in 0..CATCH_UP_TRIES {
            let mut loopback = LinkMessage::default();
            loopback.header.index = 1;
            let question = request(RouteNetlinkMessage::GetLink(loopback), 0);
            let mut answer = self
                .handle
                .request(question, SocketAddr::new(0, 0))
                .map_err(|_| FollowError::Closed)?;
            // Any answer will do. None comes when the buffer is full just now.
            match timeout(CATCH_UP_TIMEOUT, answer.next()).await {
                Ok(Some(_)) => return Ok(()),
                Ok(None) => return Err(FollowError::Closed),
                Err(_) => {}
            }
        }
        Err(stalled("news"))
    }
}

/// One of the kernel's tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Dump {
    Links,
    Addresses,
    Routes,
    Rules,
    Neighbours,
}

impl Dump {
    fn name(self) -> &'static str {
        match self {
            Dump::Links => "links",
            Dump::Addresses => "addresses",
            Dump::Routes => "routes",
            Dump::Rules => "rules",
            Dump::Neighbours => "neighbours",
        }
    }

    fn request(self) -> RouteNetlinkMessage {
        match self {
            Dump::Links => {
                let mut link = LinkMessage::default();
                let skip = LinkAttribute::ExtMask(vec![LinkExtentMask::SkipStats]);
                link.attributes.push(skip);
                RouteNetlinkMessage::GetLink(link)
            }
            Dump::Addresses => {
                let mut address = AddressMessage::default();
                address.header.family = AddressFamily::Inet;
                RouteNetlinkMessage::GetAddress(address)
            }
            Dump::Routes => {
                let mut route = RouteMessage::default();
                route.header.address_family = AddressFamily::Inet;
                RouteNetlinkMessage::GetRoute(route)
            }
            Dump::Rules => {
                let mut rule = RuleMessage::default();
                rule.header.family = AddressFamily::Inet;
                RouteNetlinkMessage::GetRule(rule)
            }
            Dump::Neighbours => {
                let mut neighbour = NeighbourMessage::default();
                neighbour.header.family = AddressFamily::Inet;
                RouteNetlinkMessage::GetNeighbour(neighbour)
            }
        }
    }
}

/// The socket that asks.
pub(super) struct Requests {
    handle: ConnectionHandle<KernelMessage>,
    /// What nobody asked for: nothing, but for a note that something was lost.
    stray: Incoming,
}

impl Requests {
    /// Opens the socket and runs it in `tasks`.
    pub(super) fn open(tasks: &mut JoinSet<()>) -> io::Result<Self> {
        let (mut connection, handle, stray) = new_connection::<KernelMessage>(NETLINK_ROUTE)?;
        // Without it, the end of a dump and the end of the connection look the same.
        connection.set_forward_done(true);
        tasks.spawn(connection);
        Ok(Requests { handle, stray })
    }

    /// Reads a whole table, message by message. True if it changed meanwhile, so that something
    /// may be missing or double.
    pub(super) async fn dump(
        &mut self,
        table: Dump,
        mut each: impl FnMut(KernelMessage, u16),
    ) -> Result<bool, FollowError> {
        let what = table.name();
        let refused = |source| FollowError::Dump { what, source };
        let mut answers = self.send(vec![request(table.request(), NLM_F_DUMP)])?;
        let mut torn = false;
        loop {
            let (header, payload) = next(&mut answers, what).await?.into_parts();
            torn |= header.flags & NLM_F_DUMP_INTR != 0;
            match payload {
                NetlinkPayload::InnerMessage(message) => each(message, header.flags),
                NetlinkPayload::Done(done) if done.code < 0 => {
                    return Err(refused(io::Error::from_raw_os_error(-done.code)));
                }
                NetlinkPayload::Done(_) => break,
                NetlinkPayload::Error(error) => return Err(refused(error.to_io())),
                _ => torn = true,
            }
        }
        while self.stray.try_recv().is_ok() {
            torn = true;
        }
        Ok(torn)
    }

    /// Asks the kernel to find these neighbours, or to probe them, like
    /// `ip neighbour replace IP dev DEVICE use`. Returns how many requests it refused, and the last reason.
    pub(super) async fn ask(
        &mut self,
        probes: &[Probe],
    ) -> Result<Option<(usize, io::Error)>, FollowError> {
        let mut refused = None;
        for some in probes.chunks(PROBES_PER_DATAGRAM) {
            let flags = NLM_F_CREATE | NLM_F_REPLACE | NLM_F_ACK;
            let requests = some
                .iter()
                .map(|probe| request(use_neighbour(*probe), flags));
            let mut answers = self.send(requests.collect())?;
            // Acknowledgements end here; refusals come out.
            while let Some(answer) = timeout(ANSWER_TIMEOUT, answers.next())
                .await
                .map_err(|_| stalled("neighbour requests"))?
            {
                if let NetlinkPayload::Error(error) = answer.payload {
                    let before = refused.map_or(0, |(count, _)| count);
                    refused = Some((before + 1, error.to_io()));
                }
            }
        }
        Ok(refused)
    }

    /// The neighbour that the kernel would send such a packet to; `None` if it would not forward
    /// it (or forwarding is off).
    pub(super) async fn neighbour_for(
        &mut self,
        question: Question,
    ) -> Result<Option<Probe>, FollowError> {
        let mut route = RouteMessage::default();
        route.header.address_family = AddressFamily::Inet;
        (
            route.header.source_prefix_length,
            route.header.destination_prefix_length,
        ) = (32, 32);
        route.attributes.extend([
            RouteAttribute::Source(RouteAddress::Inet(question.source)),
            RouteAttribute::Destination(RouteAddress::Inet(question.destination)),
            RouteAttribute::Iif(question.ifindex),
        ]);
        let mut answers = self.send(vec![request(RouteNetlinkMessage::GetRoute(route), 0)])?;
        let answer = next(&mut answers, "a route").await?.payload;
        let NetlinkPayload::InnerMessage(KernelMessage::Route(RouteNetlinkMessage::NewRoute(
            route,
        ))) = answer
        else {
            return Ok(None);
        };
        let mut probe = Probe {
            ifindex: 0,
            ip: question.destination,
        };
        for attribute in route.attributes {
            match attribute {
                RouteAttribute::Oif(ifindex) => probe.ifindex = ifindex,
                RouteAttribute::Gateway(RouteAddress::Inet(gateway)) => probe.ip = gateway,
                _ => {}
            }
        }
        let is_unicast = route.header.kind == RouteType::Unicast;
        Ok((is_unicast && probe.ifindex != 0).then_some(probe))
    }

    fn send(
        &self,
        messages: Vec<NetlinkMessage<KernelMessage>>,
    ) -> Result<impl Stream<Item = NetlinkMessage<KernelMessage>> + Unpin + use<>, FollowError>
    {
        // All in one datagram: the library sends the next one only when something wakes it.
        self.handle
            .request_batch(messages, SocketAddr::new(0, 0))
            .map_err(|_| FollowError::Closed)
    }
}

async fn next(
    answers: &mut (impl Stream<Item = NetlinkMessage<KernelMessage>> + Unpin),
    what: &'static str,
) -> Result<NetlinkMessage<KernelMessage>, FollowError> {
    timeout(ANSWER_TIMEOUT, answers.next())
        .await
        .map_err(|_| stalled(what))?
        .ok_or(FollowError::Closed)
}

fn stalled(what: &'static str) -> FollowError {
    FollowError::Stalled {
        what,
        after_secs: ANSWER_TIMEOUT.as_secs(),
    }
}

fn request(message: RouteNetlinkMessage, flags: u16) -> NetlinkMessage<KernelMessage> {
    let mut header = NetlinkHeader::default();
    header.flags = NLM_F_REQUEST | flags;
    let payload = NetlinkPayload::InnerMessage(KernelMessage::Route(message));
    NetlinkMessage::new(header, payload)
}

fn use_neighbour(probe: Probe) -> RouteNetlinkMessage {
    let mut neighbour = NeighbourMessage::default();
    neighbour.header.family = AddressFamily::Inet;
    neighbour.header.ifindex = probe.ifindex;
    neighbour.header.flags = NeighbourFlags::Use;
    let destination = NeighbourAttribute::Destination(NeighbourAddress::Inet(probe.ip));
    neighbour.attributes.push(destination);
    RouteNetlinkMessage::NewNeighbour(neighbour)
}
