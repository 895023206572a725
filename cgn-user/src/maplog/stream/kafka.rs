//! A topic of a Kafka cluster: each record a message, in one partition, so that they stay in order.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rskafka::BackoffConfig;
use rskafka::client::partition::{Compression, PartitionClient, UnknownTopicHandling};
use rskafka::client::{ClientBuilder, Credentials, SaslConfig};
use rskafka::record::Record;
use rustls::ClientConfig;
use tokio::runtime::{Builder, Runtime};

use super::format::Message;
use crate::secret;

/// Longest time for an answer of the cluster, its retries included.
const PATIENCE: Duration = Duration::from_secs(5);
/// For retries alone: shorter, so that it is told what is wrong and not that time is over.
const RETRIES: Duration = Duration::from_secs(2);
/// Bytes of messages that go at once; brokers refuse more than a million unless told otherwise.
const MOST_BYTES: usize = 400_000;
/// What a message takes besides its bytes, about.
const OVERHEAD: usize = 32;

/// How a password is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mechanism {
    /// As it is (RFC 4616).
    Plain,
    /// Not at all: both sides prove that they know it (RFC 5802, RFC 7677).
    ScramSha256,
    ScramSha512,
}

/// Who we are to a cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sasl {
    pub mechanism: Mechanism,
    pub user: String,
    /// Nobody else may read it; white space at its end does not count.
    pub password_file: PathBuf,
}

impl Sasl {
    /// # Errors
    /// The password cannot be read, or by others, too.
    pub(super) fn config(&self) -> io::Result<SaslConfig> {
        let bytes = secret::read(&self.password_file).map_err(io::Error::other)?;
        let password = String::from_utf8(bytes).map_err(io::Error::other)?;
        let credentials = Credentials::new(self.user.clone(), password.trim_end().to_owned());
        Ok(match self.mechanism {
            Mechanism::Plain => SaslConfig::Plain(credentials),
            Mechanism::ScramSha256 => SaslConfig::ScramSha256(credentials),
            Mechanism::ScramSha512 => SaslConfig::ScramSha512(credentials),
        })
    }
}

/// A connection to the leader of a partition.
pub(super) struct Topic {
    runtime: Runtime,
    partition: PartitionClient,
    waiting: Vec<Record>,
    /// Number of the record after the last one that waits or was passed over.
    next_sequence: Option<u64>,
}

impl Topic {
    /// Asks the broker at `address` for the partition's leader, wherever that is.
    pub(super) fn connect(
        address: SocketAddr,
        topic: &str,
        number: i32,
        tls: Option<Arc<ClientConfig>>,
        sasl: Option<SaslConfig>,
    ) -> io::Result<Self> {
        // One thread, the sink's own.
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let partition = runtime.block_on(within(async {
            let client = ClientBuilder::new(vec![address.to_string()])
                .client_id("cgn")
                .backoff_config(BackoffConfig {
                    deadline: Some(RETRIES),
                    ..BackoffConfig::default()
                });
            let client = match tls {
                Some(config) => client.tls_config(config),
                None => client,
            };
            let client = match sasl {
                Some(config) => client.sasl_config(config),
                None => client,
            };
            let client = client.build().await?;
            client
                .partition_client(topic, number, UnknownTopicHandling::Error)
                .await
        }))?;
        Ok(Self {
            runtime,
            partition,
            waiting: Vec::new(),
            next_sequence: None,
        })
    }

    /// Keeps a message for the next batch.
    pub(super) fn send(&mut self, message: &Message) {
        if !message.bytes.is_empty() {
            self.waiting.push(Record {
                key: None,
                value: Some(message.bytes.trim_ascii_end().to_vec()),
                headers: std::collections::BTreeMap::new(),
                timestamp: SystemTime::now().into(),
            });
        }
        self.next_sequence = message.next_sequence.or(self.next_sequence);
    }

    /// Sends what waits. It has arrived when all replicas in sync have it.
    pub(super) fn arrived(&mut self) -> io::Result<Option<u64>> {
        while !self.waiting.is_empty() {
            let mut bytes = 0;
            let fits = self.waiting.iter().take_while(|record| {
                bytes += record.approximate_size() + OVERHEAD;
                bytes <= MOST_BYTES
            });
            let count = fits.count().max(1);
            let batch: Vec<Record> = self.waiting.drain(..count).collect();
            let produce = self.partition.produce(batch, Compression::NoCompression);
            self.runtime.block_on(within(produce))?;
        }
        Ok(self.next_sequence.take())
    }
}

async fn within<T, E: std::error::Error + Send + Sync + 'static>(
    work: impl Future<Output = Result<T, E>>,
) -> io::Result<T> {
    match tokio::time::timeout(PATIENCE, work).await {
        Ok(outcome) => outcome.map_err(io::Error::other),
        Err(_) => Err(io::ErrorKind::TimedOut.into()),
    }
}
