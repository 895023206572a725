//! STUN: coturn as the server, and a host that asks it how it is seen (RFC 8489).

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use super::process::Process;
use super::topology::Lab;

/// Where the server listens; with two addresses at the port after it, too.
pub const STUN_PORT: u16 = 3478;

/// How long the server may take to start.
const START_SECS: f64 = 5.0;
/// How long a request waits for its answer.
const ANSWER_WAIT: Duration = Duration::from_millis(500);

/// RFC 8489 section 5 and 14.2.
const BINDING_REQUEST: [u8; 2] = [0x00, 0x01];
const BINDING_SUCCESS: [u8; 2] = [0x01, 0x01];
const MAGIC_COOKIE: [u8; 4] = [0x21, 0x12, 0xa4, 0x42];
const HEADER_BYTES: usize = 20;
const XOR_MAPPED_ADDRESS: u16 = 0x0020;

/// A STUN server in the internet on these addresses.
///
/// # Errors
/// It does not start.
pub fn stun_server(lab: &Lab, addresses: &[Ipv4Addr]) -> Result<Process> {
    let mut command = lab.internet.command("turnserver");
    for address in addresses {
        command.args(["-L", &address.to_string()]);
    }
    command.args(["-p", &STUN_PORT.to_string()]);
    command.args(["--alt-listening-port", &(STUN_PORT + 1).to_string()]);
    command.args([
        "-n",
        "--no-auth",
        "--no-tls",
        "--no-dtls",
        "--no-cli",
        "-l",
        "stdout",
    ]);
    command.args([
        "--userdb",
        &lab.folder().join("turndb").display().to_string(),
    ]);
    command.args([
        "--pidfile",
        &lab.folder().join("turn.pid").display().to_string(),
    ]);
    let log = lab.folder().join("turnserver.log");
    let mut server = Process::start("turnserver", &mut command, &log)?;
    server.wait_for_output("Total General servers", START_SECS)?;
    Ok(server)
}

/// The address and port that a STUN server sees a socket at. Sent again while there is no answer.
///
/// # Errors
/// No answer in `secs` seconds.
pub fn external_endpoint(
    socket: &UdpSocket,
    server: SocketAddrV4,
    secs: f64,
) -> Result<SocketAddrV4> {
    let end = Instant::now() + Duration::from_secs_f64(secs);
    let mut request = [0; HEADER_BYTES];
    request[..2].copy_from_slice(&BINDING_REQUEST);
    request[4..8].copy_from_slice(&MAGIC_COOKIE);
    // The transaction's number; the socket's port tells it from those of others.
    request[18..].copy_from_slice(&socket.local_addr()?.port().to_be_bytes());
    socket.set_read_timeout(Some(ANSWER_WAIT))?;
    let mut buffer = [0; 1500];
    while Instant::now() < end {
        socket.send_to(&request, server)?;
        while let Ok((length, peer)) = socket.recv_from(&mut buffer) {
            let answer = &buffer[..length];
            if peer == SocketAddr::V4(server) && answer.get(8..20) == Some(&request[8..]) {
                return mapped_address(answer).context("not a binding response with an address");
            }
        }
    }
    bail!(
        "{} got no answer from the STUN server {server}",
        socket.local_addr()?
    )
}

/// XOR-MAPPED-ADDRESS of a response (RFC 8489 section 14.2).
fn mapped_address(answer: &[u8]) -> Option<SocketAddrV4> {
    if answer.get(..2)? != BINDING_SUCCESS {
        return None;
    }
    let mut rest = answer.get(HEADER_BYTES..)?;
    loop {
        let (head, behind) = rest.split_first_chunk::<4>()?;
        let [kind, length] = [0, 2].map(|at| u16::from_be_bytes([head[at], head[at + 1]]));
        let length = usize::from(length);
        if kind == XOR_MAPPED_ADDRESS {
            // One byte of zero, the family (1 is IPv4), port and address.
            let [_, 1, port @ .., a, b, c, d] = *behind.first_chunk::<8>()? else {
                return None;
            };
            let plain = |bytes: [u8; 4]| -> [u8; 4] {
                std::array::from_fn(|at| bytes[at] ^ MAGIC_COOKIE[at])
            };
            let [high, low] = port;
            let [high, low, ..] = plain([high, low, 0, 0]);
            let address = Ipv4Addr::from(plain([a, b, c, d]));
            return Some(SocketAddrV4::new(address, u16::from_be_bytes([high, low])));
        }
        // Attributes are padded to four bytes.
        rest = behind.get(length.next_multiple_of(4)..)?;
    }
}

#[cfg(test)]
mod tests {
    use super::mapped_address;

    /// The response of RFC 5769 section 2.2 to a request, with its first attribute (SOFTWARE) and the
    /// address, 192.0.2.1:32853.
    const SAMPLE: &[u8] =
        b"\x01\x01\x00\x3c\x21\x12\xa4\x42\xb7\xe7\xa7\x01\xbc\x34\xd6\x86\xfa\x87\xdf\xae\
        \x80\x22\x00\x0b\x74\x65\x73\x74\x20\x76\x65\x63\x74\x6f\x72\x20\
        \x00\x20\x00\x08\x00\x01\xa1\x47\xe1\x12\xa6\x43";

    #[test]
    fn the_sample_of_rfc_5769_is_read() {
        let address = "192.0.2.1:32853".parse().expect("an address");
        assert_eq!(mapped_address(SAMPLE), Some(address));
        assert_eq!(mapped_address(&SAMPLE[..46]), None, "cut");
        let request = [&[0, 1], &SAMPLE[2..]].concat();
        assert_eq!(mapped_address(&request), None, "not a response");
    }
}
