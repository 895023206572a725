//! A topic of Kafka: librdkafka's own broker for tests, which speaks the protocol over TCP, takes what the
//! sink sends, and librdkafka's consumer reads it. Both come with `confluent_kafka` for Python.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, ChildStdout};

use serde_json::Value;

use super::*;
use cgn_tests::skip::python_with;

/// Says where the broker is, makes the topic, and prints so many messages as it is asked for. With a
/// certificate and its key it is behind TLS, and announces itself as `localhost`, in as many bytes.
const BROKER: &str = r#"
import socket, ssl, struct, sys, threading
def behind_tls(plain, certificate, key):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    listener = socket.create_server(('127.0.0.1', 0))
    port = listener.getsockname()[1]
    own = plain[0].encode() + struct.pack('>i', plain[1])
    announced = b'localhost' + struct.pack('>i', port)
    assert len(own) == len(announced)
    def pump(source, target, change):
        try:
            while data := source.recv(65536):
                target.sendall(change(data))
        except OSError:
            pass
        target.close()
    def serve(client):
        try:
            client = context.wrap_socket(client, server_side=True)
        except OSError:
            return
        server = socket.create_connection(plain)
        threading.Thread(target=pump, args=(client, server, bytes), daemon=True).start()
        pump(server, client, lambda data: data.replace(own, announced))
    def accept():
        while True:
            client, _ = listener.accept()
            threading.Thread(target=serve, args=(client,), daemon=True).start()
    threading.Thread(target=accept, daemon=True).start()
    return ('127.0.0.1', port)
from confluent_kafka import Consumer, Producer, TopicPartition
own = Producer({'test.mock.num.brokers': 1, 'log_level': 0})
broker = list(own.list_topics(timeout=10).brokers.values())[0]
own.list_topics('cgn', timeout=10)
plain = (broker.host, broker.port)
print('%s:%d' % (plain if len(sys.argv) < 2 else behind_tls(plain, sys.argv[1], sys.argv[2])), flush=True)
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
        Self::start_with(python, &[])
    }

    /// Behind TLS, with this certificate and key.
    fn start_with(python: &Path, files: &[&Path]) -> Self {
        let mut process = Command::new(python)
            .args(["-c", BROKER])
            .args(files)
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
        trust: None,
    }
}

/// A certificate of its own authority, which is valid for `names`, and its key.
fn certificate(place: &Place, name: &str, names: &[&str]) -> [PathBuf; 2] {
    let files = ["pem", "key"].map(|end| place.0.join(format!("{name}.{end}")));
    let names: Vec<String> = names.iter().map(|name| format!("DNS:{name}")).collect();
    let request = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=broker -addext basicConstraints=critical,CA:FALSE";
    let mut command = Command::new("openssl");
    command
        .args(request.split(' '))
        .args(["-addext", &format!("subjectAltName={}", names.join(","))])
        .arg("-out")
        .arg(&files[0])
        .arg("-keyout")
        .arg(&files[1]);
    said(&mut command);
    files
}

/// The broker that is asked must be who the operator says, and the one that the cluster names must be
/// that one.
#[test]
fn behind_tls_only_the_right_brokers_are_sent_anything() {
    const TEST: &str = "kafka::behind_tls_only_the_right_brokers_are_sent_anything";
    let Some(python) = python_with(TEST, "confluent_kafka") else {
        return;
    };
    let both: &[&str] = &["broker.test", "localhost"];
    // The names of the broker's certificate, the name that is wanted, and whether it is trusted.
    let cases: [(&str, &[&str], &str, bool, bool); 4] = [
        ("all as it should be", both, "broker.test", true, true),
        ("another name is wanted", both, "other.test", true, false),
        (
            "an authority that nobody trusts",
            both,
            "broker.test",
            false,
            false,
        ),
        (
            "the cluster names one that it is not",
            &["broker.test"],
            "broker.test",
            true,
            false,
        ),
    ];
    for (number, (sentence, names, server_name, is_trusted, arrives)) in
        cases.into_iter().enumerate()
    {
        let place = Place::new(&format!("kafka-tls-{number}"));
        let [own, key] = certificate(&place, "own", names);
        let [other, _] = certificate(&place, "other", names);
        let mut broker = Broker::start_with(&python, &[&own, &key]);
        let transport = Transport::Kafka {
            topic: "cgn".to_owned(),
            partition: 0,
            trust: Some(Trust {
                ca_file: if is_trusted { own } else { other },
                server_name: server_name.to_owned(),
            }),
        };
        let mut log = place.log();
        let mut sink = sink(
            &log,
            Format::JsonLines,
            transport,
            broker.address,
            Kinds::ALL,
        );
        log.append(&story()).expect("records");
        let outcome = sink.turn(Instant::now(), 0);
        let stats = sink.stats();
        if arrives {
            outcome.unwrap_or_else(|error| panic!("{sentence}: {error:?}"));
            assert_eq!((stats.sent, stats.pending), (2, 0), "{sentence}");
            let kinds = broker.messages(2);
            assert_eq!(
                (&kinds[0]["kind"], &kinds[1]["kind"]),
                (&"allocate".into(), &"release".into())
            );
        } else {
            let error = outcome.expect_err(sentence);
            let text = format!("{error:?}");
            assert!(text.contains("InvalidCertificate"), "{sentence}: {text}");
            assert_eq!((stats.sent, stats.pending), (0, 2), "{sentence}");
        }
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
