//! A topic of Kafka: librdkafka's own broker for tests, which speaks the protocol over TCP, takes what the
//! sink sends, and librdkafka's consumer reads it. Both come with `confluent_kafka` for Python.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, ChildStdout};

use serde_json::Value;

use super::*;
use cgn_tests::skip::python_with;
use cgn_user::maplog::stream::{Mechanism, Sasl};

/// Says where the broker is, makes the topic, and prints so many messages as it is asked for. With a
/// certificate and its key it is behind TLS, and announces itself as `localhost`, in as many bytes. With a
/// mechanism, a user and a password it asks for them (SASL) before it passes anything on.
const BROKER: &str = r#"
import base64, hashlib, hmac, socket, ssl, struct, sys, threading
def exact(source, count):
    data = b''
    while len(data) < count:
        more = source.recv(count - len(data))
        if not more:
            raise OSError('closed')
        data += more
    return data
def frame(source):
    return exact(source, struct.unpack('>i', exact(source, 4))[0])
def scram(digest, user, password):
    salt, rounds = b'salt of the judge', 4096
    def mac(key, text):
        return hmac.new(key, text, digest).digest()
    first = (yield b'').removeprefix(b'n,,')
    fields = dict(field.split(b'=', 1) for field in first.split(b','))
    nonce = fields[b'r'] + b'judge'
    challenge = b'r=%s,s=%s,i=%d' % (nonce, base64.b64encode(salt), rounds)
    last = yield challenge
    plain, proof = last.rsplit(b',p=', 1)
    said = first + b',' + challenge + b',' + plain
    salted = hashlib.pbkdf2_hmac(digest, password, salt, rounds)
    stored = hashlib.new(digest, mac(salted, b'Client Key')).digest()
    key = bytes(a ^ b for a, b in zip(base64.b64decode(proof), mac(stored, said)))
    is_right = hashlib.new(digest, key).digest() == stored and fields[b'n'] == user
    yield b'v=' + base64.b64encode(mac(mac(salted, b'Server Key'), said)) if is_right else None
    yield 'done'
def by_password(user, password):
    yield (b'' if (yield b'') == b'\0' + user + b'\0' + password else None)
    yield 'done'
def is_known(client, server, mechanism, user, password):
    digests = {'SCRAM-SHA-256': 'sha256', 'SCRAM-SHA-512': 'sha512'}
    steps = scram(digests[mechanism], user, password) if mechanism in digests else by_password(user, password)
    next(steps)
    rounds = 2 if mechanism in digests else 1
    while True:
        request = frame(client)
        key, version, number, name = struct.unpack('>hhih', request[:10])
        rest = request[10 + max(name, 0):]
        if key == 18:
            server.sendall(struct.pack('>i', len(request)) + request)
            body = frame(server)[4:]
            own = [struct.pack('>hhh', *entry) for entry in ((17, 1, 1), (36, 0, 1))]
            if version >= 3:
                body = body[:2] + bytes([body[2] + 2]) + b''.join(entry + b'\0' for entry in own) + body[3:]
            else:
                count = struct.unpack('>i', body[2:6])[0] + 2
                body = body[:2] + struct.pack('>i', count) + b''.join(own) + body[6:]
        elif key == 17:
            body = struct.pack('>hih', 0, 1, len(mechanism)) + mechanism.encode()
        elif key == 36:
            answer = steps.send(rest[4:])
            rounds -= 1
            error = 58 if answer is None else 0
            body = struct.pack('>hhi', error, -1, len(answer or b'')) + (answer or b'')
            body += struct.pack('>q', 0) if version else b''
        else:
            return False
        client.sendall(struct.pack('>ii', len(body) + 4, number) + body)
        if key == 36 and (error or not rounds):
            return not error
def guarded(plain, certificate, key, mechanism, user, password):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    if certificate:
        context.load_cert_chain(certificate, key)
    listener = socket.create_server(('127.0.0.1', 0))
    port = listener.getsockname()[1]
    own = plain[0].encode() + struct.pack('>i', plain[1])
    announced = (b'localhost' if certificate else b'127.0.0.1') + struct.pack('>i', port)
    assert len(own) == len(announced)
    def pump(source, target, change):
        try:
            while data := source.recv(65536):
                target.sendall(change(data))
        except OSError:
            pass
        target.close()
    def serve(client):
        server = socket.create_connection(plain)
        try:
            if certificate:
                client = context.wrap_socket(client, server_side=True)
            if mechanism and not is_known(client, server, mechanism, user.encode(), password.encode()):
                return client.close()
        except OSError:
            return
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
print('%s:%d' % (guarded(plain, *sys.argv[1:]) if any(sys.argv[1:]) else plain), flush=True)
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
        Self::start_with(python, &[], ["", "", ""])
    }

    /// Behind TLS, with this certificate and key, if they are there; with mechanism, user and password, if those are.
    fn start_with(python: &Path, files: &[&Path], sasl: [&str; 3]) -> Self {
        let mut command = Command::new(python);
        command.args(["-c", BROKER]);
        match files {
            [] => command.args(["", ""]),
            files => command.args(files),
        };
        let mut process = command
            .args(sasl)
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
        sasl: None,
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
        let mut broker = Broker::start_with(&python, &[&own, &key], ["", "", ""]);
        let transport = Transport::Kafka {
            topic: "cgn".to_owned(),
            partition: 0,
            trust: Some(Trust {
                ca_file: if is_trusted { own } else { other },
                server_name: server_name.to_owned(),
            }),
            sasl: None,
        };
        let outcome = tell(&place, &mut broker, transport);
        assert_eq!(outcome.is_ok(), arrives, "{sentence}: {outcome:?}");
        if let Err(text) = outcome {
            assert!(text.contains("InvalidCertificate"), "{sentence}: {text}");
        }
    }
}

/// Sends two records. They arrive and are counted so, or wait, and the error tells why.
fn tell(place: &Place, broker: &mut Broker, transport: Transport) -> Result<(), String> {
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
    if let Err(error) = outcome {
        assert_eq!((stats.sent, stats.pending), (0, 2), "{error:?}");
        return Err(format!("{error:?}"));
    }
    assert_eq!((stats.sent, stats.pending), (2, 0));
    let kinds = broker.messages(2);
    let kinds = [&kinds[0]["kind"], &kinds[1]["kind"]];
    assert_eq!(kinds, ["allocate", "release"]);
    Ok(())
}

/// The broker believes who knows the password, by each mechanism, and nobody else.
#[test]
fn who_knows_the_password_may_send() {
    const TEST: &str = "kafka::who_knows_the_password_may_send";
    let Some(python) = python_with(TEST, "confluent_kafka") else {
        return;
    };
    use Mechanism::{Plain, ScramSha256, ScramSha512};
    // Mechanism, its name, whether behind TLS, our user and password, and whether they are right.
    let cases = [
        (
            ScramSha256,
            "SCRAM-SHA-256",
            false,
            "cgn",
            "secret one",
            true,
        ),
        (
            ScramSha512,
            "SCRAM-SHA-512",
            true,
            "cgn",
            "secret one",
            true,
        ),
        (Plain, "PLAIN", true, "cgn", "secret one", true),
        (
            ScramSha512,
            "SCRAM-SHA-512",
            false,
            "cgn",
            "secret two",
            false,
        ),
        (Plain, "PLAIN", true, "cgn", "secret two", false),
        (Plain, "PLAIN", true, "another", "secret one", false),
        (
            ScramSha256,
            "SCRAM-SHA-512",
            false,
            "cgn",
            "secret one",
            false,
        ),
    ];
    for (number, (mechanism, name, has_tls, user, password, arrives)) in
        cases.into_iter().enumerate()
    {
        let sentence = format!("{name}, {user}, {password}");
        let place = Place::new(&format!("kafka-sasl-{number}"));
        let [own, key] = certificate(&place, "own", &["broker.test", "localhost"]);
        let files: &[&Path] = if has_tls { &[&own, &key] } else { &[] };
        let mut broker = Broker::start_with(&python, files, [name, "cgn", "secret one"]);
        let password_file = place.0.join("password");
        fs::write(&password_file, format!("{password}\n")).expect("a file");
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        fs::set_permissions(&password_file, mode).expect("a mode");
        let transport = Transport::Kafka {
            topic: "cgn".to_owned(),
            partition: 0,
            trust: has_tls.then(|| Trust {
                ca_file: own.clone(),
                server_name: "broker.test".to_owned(),
            }),
            sasl: Some(Sasl {
                mechanism,
                user: user.to_owned(),
                password_file,
            }),
        };
        let outcome = tell(&place, &mut broker, transport);
        assert_eq!(outcome.is_ok(), arrives, "{sentence}: {outcome:?}");
        if let Err(text) = outcome {
            assert!(text.contains("Sasl"), "{sentence}: {text}");
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
