//! The socket that access servers send to, and the thread that answers them.

use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context as _, Result};

use super::desk::{Desk, Outcome};
use super::meaning::Request;
use super::packet::{self, MOST_BYTES};
use crate::config::{Checked, SubscriberRange};
use crate::engine::clock;
use crate::maplog::identity::{Attribute, Book, Who};
use crate::privileges::{self, Work};
use crate::secret::{self, SecretError};
use crate::state::State;

/// Most requests that one group of records is for.
const BATCH: usize = 256;
/// Longest wait for a request, so that the daemon can end.
const WAIT: Duration = Duration::from_millis(200);
/// Longest wait for the log: then the request is as good as lost, and is sent again.
const PATIENCE: Duration = Duration::from_secs(2);

/// Why there is no secret.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    #[error(transparent)]
    Secret(#[from] SecretError),
    #[error("the secret in {path} is empty: write one of at least 16 random characters", path = path.display())]
    Empty { path: PathBuf },
}

/// An access server, or a proxy of several.
#[derive(Debug)]
struct Client {
    address: IpAddr,
    secret: Vec<u8>,
    /// Number of its realm in the configuration.
    realm: u8,
}

/// A datagram, and who sent it.
struct Received {
    from: SocketAddr,
    bytes: Vec<u8>,
}

/// A request that is answered once the log has it.
struct Heard {
    to: SocketAddr,
    response: Vec<u8>,
    outcome: Outcome,
}

/// Ready to hear requests.
#[derive(Debug)]
pub struct Listener {
    socket: UdpSocket,
    clients: Vec<Client>,
    attributes: Vec<Attribute>,
    subscribers: Vec<SubscriberRange>,
    desk: Desk,
}

impl Listener {
    /// Binds the socket and reads the secrets; None without `identity.listen`.
    ///
    /// # Errors
    /// The address is in use, or a secret is none.
    pub fn open(checked: &Checked, names: Book) -> Result<Option<Self>> {
        let identity = &checked.config.identity;
        let Some(listen) = identity.listen else {
            return Ok(None);
        };
        let clients = identity.client.iter().map(|client| {
            let path = &client.secret_file;
            let mut secret = secret::read(path)?;
            let end = secret.trim_ascii_end().len();
            secret.truncate(end);
            if secret.is_empty() {
                return Err(ClientError::Empty { path: path.clone() });
            }
            let mut realms = checked.config.realm.iter();
            let at = realms.position(|realm| realm.name == client.realm);
            Ok(Client {
                address: client.address.to_canonical(),
                secret,
                realm: at.map_or(0, |at| at as u8 + 1),
            })
        });
        let clients = clients.collect::<Result<_, ClientError>>()?;
        let socket = UdpSocket::bind(listen)
            .with_context(|| format!("identity.listen: cannot listen on {listen}"))?;
        socket
            .set_read_timeout(Some(WAIT))
            .context("the socket of identity.listen")?;
        Ok(Some(Self {
            socket,
            clients,
            attributes: identity.attributes.clone(),
            subscribers: checked.subscribers.clone(),
            desk: Desk::new(names),
        }))
    }

    /// Answers until `stop`.
    ///
    /// # Errors
    /// There is no thread for it.
    pub fn spawn(mut self, state: Arc<State>, stop: Arc<AtomicBool>) -> Result<JoinHandle<()>> {
        std::thread::Builder::new()
            .name("cgn-identity".into())
            .spawn(move || {
                privileges::narrow(Work::Log);
                while !stop.load(Ordering::Relaxed) {
                    self.turn(&state);
                }
            })
            .context("no thread for identity.listen")
    }

    fn turn(&mut self, state: &State) {
        let batch = self.receive();
        let mut outcomes = Vec::with_capacity(batch.len());
        let mut heard = Vec::new();
        for received in &batch {
            match self.hear(received, state) {
                Ok(one) => heard.push(one),
                Err(outcome) => outcomes.push(outcome),
            }
        }
        let events = self.desk.events().to_vec();
        let is_recorded = events.is_empty() || {
            let answer = state.identities.ask(events);
            answer.recv_timeout(PATIENCE).unwrap_or(false)
        };
        self.desk.settle(is_recorded);
        for mut one in heard {
            // A duplicate of what could not be written is not on record either.
            if !is_recorded && one.outcome != Outcome::Ignored {
                one.outcome = Outcome::Unrecorded;
            }
            if one.outcome.is_answered() {
                // As if it were lost on its way: the request comes again.
                let _ = self.socket.send_to(&one.response, one.to);
            }
            outcomes.push(one.outcome);
        }
        let figures = &mut state.stats().identity;
        figures.names = self.desk.count() as u64;
        for outcome in outcomes {
            figures.requests[outcome as usize] += 1;
        }
    }

    /// Waits for a request, and takes those that are there besides.
    fn receive(&self) -> Vec<Received> {
        let mut batch = Vec::new();
        let mut buffer = [0; MOST_BYTES];
        while batch.len() < BATCH {
            let received = self.socket.recv_from(&mut buffer);
            match received {
                Ok((length, from)) => batch.push(Received {
                    from,
                    bytes: buffer[..length].to_vec(),
                }),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => break,
            }
            if self.socket.set_nonblocking(true).is_err() {
                break;
            }
        }
        // It waits again next time.
        let _ = self.socket.set_nonblocking(false);
        batch
    }

    /// What a datagram says, and how it is answered.
    fn hear(&mut self, received: &Received, state: &State) -> Result<Heard, Outcome> {
        let address = received.from.ip().to_canonical();
        let client = self.clients.iter().find(|client| client.address == address);
        let client = client.ok_or(Outcome::Stranger)?;
        let packet = packet::Request::parse(&received.bytes).ok_or(Outcome::Malformed)?;
        if !packet.is_authentic(&client.secret) {
            return Err(Outcome::Forged);
        }
        let request = Request::of(&packet, address, &self.attributes).ok_or(Outcome::Malformed)?;
        let realm = client.realm;
        let in_log = state.log_realms.get(usize::from(realm));
        let is_ours = |who: Who| {
            let mut ranges = self.subscribers.iter();
            ranges.any(|one| one.realm == realm && one.range.contains(who.1))
        };
        let now_ms = clock::unix_ms(state);
        let in_log = in_log.copied().unwrap_or(0);
        Ok(Heard {
            outcome: self.desk.hear(&request, in_log, is_ours, now_ms),
            to: received.from,
            response: packet.response(&client.secret),
        })
    }
}
