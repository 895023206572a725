//! The bytes of RADIUS accounting (RFC 2866 section 3; attributes: RFC 2865 section 5). Pure.
//!
//! ```text
//! byte  size
//!    0     1  code: 4 request, 5 response
//!    1     1  identifier, the same in both
//!    2     2  length of all, 20 to 4096
//!    4    16  authenticator: MD5 over all, with zeros here (a request) or the request's (a response),
//!             and the shared secret behind
//!   20        attributes: type, length of all three (2 to 255), value
//! ```

use md5::{Digest as _, Md5};

const REQUEST: u8 = 4;
const RESPONSE: u8 = 5;
const HEADER_BYTES: usize = 20;
/// Longest packet.
pub const MOST_BYTES: usize = 4096;
/// Goes back as it came, each in its order (RFC 2865 section 5.33).
const PROXY_STATE: u8 = 33;

/// An Accounting-Request whose lengths are right.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Request<'a> {
    /// Without what may follow (RFC 2866 section 3: padding).
    bytes: &'a [u8],
}

impl<'a> Request<'a> {
    /// None if it is no such packet.
    #[must_use]
    pub fn parse(datagram: &'a [u8]) -> Option<Self> {
        let length = u16::from_be_bytes([*datagram.get(2)?, *datagram.get(3)?]).into();
        let is_length = (HEADER_BYTES..=MOST_BYTES).contains(&length);
        let bytes = datagram.get(..length).filter(|_| is_length)?;
        let mut rest = bytes.get(HEADER_BYTES..)?;
        while !rest.is_empty() {
            rest = split(rest)?.1;
        }
        (bytes[0] == REQUEST).then_some(Self { bytes })
    }

    /// Type and value of each attribute, in their order.
    pub fn attributes(&self) -> impl Iterator<Item = (u8, &'a [u8])> {
        let mut rest = &self.bytes[HEADER_BYTES..];
        std::iter::from_fn(move || {
            let (attribute, after) = split(rest)?;
            rest = after;
            Some((attribute[0], &attribute[2..]))
        })
    }

    /// True if its sender knows the secret.
    #[must_use]
    pub fn is_authentic(&self, secret: &[u8]) -> bool {
        let expected = authenticator(self.bytes, &[0; 16], secret);
        // As long for a nearly right one as for any.
        let wrong = expected.iter().zip(&self.bytes[4..HEADER_BYTES]);
        wrong.fold(0, |wrong, (a, b)| wrong | (a ^ b)) == 0
    }

    /// The Accounting-Response that says that it was recorded.
    #[must_use]
    pub fn response(&self, secret: &[u8]) -> Vec<u8> {
        let mut bytes = self.bytes[..HEADER_BYTES].to_vec();
        for (kind, value) in self.attributes().filter(|(kind, _)| *kind == PROXY_STATE) {
            bytes.extend_from_slice(&[kind, value.len() as u8 + 2]);
            bytes.extend_from_slice(value);
        }
        bytes[0] = RESPONSE;
        // No longer than the request.
        let length = (bytes.len() as u16).to_be_bytes();
        bytes[2..4].copy_from_slice(&length);
        let mut of_request = [0; 16];
        of_request.copy_from_slice(&self.bytes[4..HEADER_BYTES]);
        let digest = authenticator(&bytes, &of_request, secret);
        bytes[4..HEADER_BYTES].copy_from_slice(&digest);
        bytes
    }
}

/// The first attribute, and what follows.
fn split(attributes: &[u8]) -> Option<(&[u8], &[u8])> {
    let length = usize::from(*attributes.get(1)?);
    (length >= 2).then(|| attributes.split_at_checked(length))?
}

fn authenticator(packet: &[u8], in_place: &[u8; 16], secret: &[u8]) -> [u8; 16] {
    let mut digest = Md5::new();
    digest.update(&packet[..4]);
    digest.update(in_place);
    digest.update(&packet[HEADER_BYTES..]);
    digest.update(secret);
    digest.finalize().into()
}
