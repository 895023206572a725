//! A topic of Kafka: librdkafka's own broker for tests, which speaks the protocol over TCP, takes what the
//! sink sends, and librdkafka's consumer reads it. Both come with `confluent_kafka` for Python.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, ChildStdout};

use serde_json::Value;

use super::*;
use cgn_tests::skip::python_with;

/// Says where the broker is, makes the topic, and prints so many messages as it is asked for.
const BROKER: &str = r#"
import sys
from confluent_kafka import Consumer, Producer, TopicPartition
own = Producer({'test.mock.num.brokers': 1, 'log_level': 0})
broker = list(own.list_topics(timeout=10).brokers.values())[0]
own.list_topics('cgn', timeout=10)
print('%s:%d' % (broker.host, broker.port), flush=True)
reader = Consumer({'bootstrap.servers': '%s:%d' % (broker.host, broker.port), 'group.id': 'judge', 'log_level': 0})
reader.assign([TopicPartition('cgn', 0, 0)])
for line in sys.stdin:
    for _ in range(int(line)):
        message = reader.poll(20)
        if message is None or message.error():
            print('none' if message is None else message.error(), flush=True)
        else:
            print(message.value().decode(), flush=True)
"#;

struct Broker {
    process: Child,
    asks: ChildStdin,
    says: BufReader<ChildStdout>,
    address: SocketAddr,
}

impl Drop for Broker {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Broker {
    fn start(python: &Path) -> Self {
        let mut process = Command::new(python)
            .args(["-c", BROKER])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("Python runs");
        let asks = process.stdin.take().expect("a pipe");
        let mut says = BufReader::new(process.stdout.take().expect("a pipe"));
        let mut line = String::new();
        says.read_line(&mut line).expect("an address");
        let address = line.trim().parse().expect("an address");
        Self {
            process,
            asks,
            says,
            address,
        }
    }

    /// The next so many messages of the topic.
    fn messages(&mut self, count: usize) -> Vec<Value> {
        writeln!(self.asks, "{count}").expect("it listens");
        let mut line = String::new();
        let messages = (0..count).map(|_| {
            line.clear();
            self.says.read_line(&mut line).expect("a message");
            serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"))
        });
        messages.collect()
    }
}

fn topic(name: &str) -> Transport {
    Transport::Kafka {
        topic: name.to_owned(),
        partition: 0,
    }
}

#[test]
fn what_is_sent_to_a_topic_is_read_there_in_order() {
    const TEST: &str = "kafka::what_is_sent_to_a_topic_is_read_there_in_order";
    let Some(python) = python_with(TEST, "confluent_kafka") else {
        return;
    };
    let place = Place::new("kafka");
    let mut broker = Broker::start(&python);
    let mut log = place.log();
    let kinds = Kinds::ALL;
    let mut sink = sink(&log, Format::JsonLines, topic("cgn"), broker.address, kinds);
    // More than one batch of the protocol: some 250 bytes each.
    let rounds = 2000;
    for _ in 0..rounds {
        log.append(&story()).expect("records");
    }
    let until = Instant::now() + PATIENCE;
    while sink.stats().pending > 0 {
        let outcome = sink.turn(Instant::now(), (START / 1000) as u32);
        assert!(Instant::now() < until, "{outcome:?} {:?}", sink.stats());
    }
    assert_eq!((sink.stats().sent, sink.stats().failures), (2 * rounds, 0));
    let messages = broker.messages(2 * rounds as usize);
    for (number, message) in messages.iter().enumerate() {
        assert_eq!(message["sequence"], number + 1);
        let kind = ["allocate", "release"][number % 2];
        assert_eq!(message["kind"], kind);
    }
    assert_eq!(messages[0]["inside"], "100.64.0.9");
}

#[test]
fn what_a_dead_broker_or_a_missing_topic_missed_is_sent_later() {
    const TEST: &str = "kafka::what_a_dead_broker_or_a_missing_topic_missed_is_sent_later";
    let Some(python) = python_with(TEST, "confluent_kafka") else {
        return;
    };
    let place = Place::new("kafka-dead");
    let mut log = place.log();
    // Nobody is there: refused, kept, counted.
    let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a socket");
    let nobody = free.local_addr().expect("an address");
    drop(free);
    let kinds = Kinds::ALL;
    let mut dead = sink(&log, Format::JsonLines, topic("cgn"), nobody, kinds);
    log.append(&story()).expect("records");
    let outcome = dead.turn(Instant::now(), 0);
    assert!(outcome.is_err(), "{outcome:?}");
    let stats = dead.stats();
    assert_eq!((stats.pending, stats.sent, stats.failures), (2, 0, 1));
    dead.close(Instant::now()).expect("a cursor");
    // The same sink, when there is a broker.
    let mut broker = Broker::start(&python);
    let mut alive = sink(&log, Format::JsonLines, topic("cgn"), broker.address, kinds);
    let until = Instant::now() + PATIENCE;
    while alive.stats().pending > 0 {
        let outcome = alive.turn(Instant::now(), 0);
        assert!(Instant::now() < until, "{outcome:?} {:?}", alive.stats());
    }
    let kinds: Vec<_> = broker
        .messages(2)
        .iter()
        .map(|message| message["kind"].clone())
        .collect();
    assert_eq!(kinds, ["allocate", "release"]);
    // And when it dies while it is connected.
    drop(broker);
    log.append(&story()).expect("records");
    let until = Instant::now() + PATIENCE;
    while alive.turn(Instant::now(), 0).is_ok() {
        assert!(Instant::now() < until, "{:?}", alive.stats());
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(alive.stats().pending, 2);
}
