use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener as StdListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use cgn_common::layout::SlotState;
use cgn_common::verdict::Protocol;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::sync::oneshot;

use super::fixture::{Fixture, HOME, Scratch};
use super::{BindError, Socket};
use crate::state::State;

/// A served daemon: the socket answers until this is dropped.
pub(crate) struct Daemon {
    pub socket: PathBuf,
    _stop: oneshot::Sender<()>,
    _scratch: Scratch,
}

impl Daemon {
    pub fn start(name: &str, state: Arc<State>) -> Self {
        let scratch = Scratch::new(name);
        let socket = scratch.0.join("run").join("cgn.sock");
        let bound = Socket::bind(&socket).unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        tokio::spawn(bound.serve(state, async {
            let _ = stopped.await;
        }));
        Self {
            socket,
            _stop: stop,
            _scratch: scratch,
        }
    }
}

/// Status code and body of one raw request.
async fn ask(socket: &Path, method: &str, target: &str, body: &str) -> (u16, String) {
    let mut stream = UnixStream::connect(socket).await.unwrap();
    let length = body.len();
    let request = format!(
        "{method} {target} HTTP/1.1\r\nHost: cgn\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
    let body = answer.split_once("\r\n\r\n").unwrap().1;
    (status, body.to_owned())
}

#[tokio::test]
async fn every_endpoint_answers_with_json() {
    let mut cgn = Fixture::new();
    cgn.give(HOME, [203, 0, 113, 2], 5);
    cgn.send(Protocol::Tcp, HOME, 50_000, 0);
    let daemon = Daemon::start("endpoints", cgn.state(false));
    let cases = [
        ("/v1/subscribers", "/rows/0/inside", "\"100.64.0.10\""),
        (
            "/v1/blocks?external=203.0.113.2:1344",
            "/rows/0/log_sequence",
            "100",
        ),
        (
            "/v1/mappings?protocol=tcp&limit=1",
            "/rows/0/inside_port",
            "50000",
        ),
        ("/v1/mappings?protocol=udp", "/rows", "[]"),
        ("/v1/pools?pool=business", "/rows/0/block_ports", "512"),
        ("/v1/drops", "/rows/0/slow_path", "2"),
        ("/v1/drops?all=true", "/next_cursor", "null"),
        (
            "/v1/explain?packet=udp%20100.64.0.10:5000%20%3E%20192.0.2.80:53",
            "/steps/0/step",
            "\"route_kernel\"",
        ),
        (
            "/v1/top?limit=1",
            "/subscribers/0/inside",
            "\"100.64.0.10\"",
        ),
        (
            "/v1/ietf-nat",
            "/ietf-nat:nat/instances/instance/0/policy/0/port-set/port-set-size",
            "512",
        ),
        ("/v1/status", "/started", "\"2025-03-01T00:09:10.123Z\""),
    ];
    for (target, pointer, expected) in cases {
        let (status, body) = ask(&daemon.socket, "GET", target, "").await;
        assert_eq!(status, 200, "{target}: {body}");
        let json: serde_json::Value = serde_json::from_str(&body).unwrap();
        assert_eq!(
            json.pointer(pointer).map(ToString::to_string).as_deref(),
            Some(expected),
            "{target} {body}"
        );
    }
}

/// What the document tells of is there.
#[tokio::test]
async fn every_endpoint_of_the_document_is_answered() {
    let daemon = Daemon::start("document", Fixture::new().state(false));
    let (status, body) = ask(&daemon.socket, "GET", "/v1/openapi.json", "").await;
    assert_eq!(status, 200, "{body}");
    let document: serde_json::Value = serde_json::from_str(&body).unwrap();
    for (path, operations) in document["paths"].as_object().unwrap() {
        for method in operations.as_object().unwrap().keys() {
            let method = method.to_uppercase();
            let (status, body) = ask(&daemon.socket, &method, path, "{").await;
            assert!(
                !body.contains("no such endpoint") && status != 405,
                "{method} {path}: {body}"
            );
        }
    }
}

#[tokio::test]
async fn what_cannot_be_answered_is_refused_in_words() {
    let daemon = Daemon::start("refusals", Fixture::new().state(false));
    let cases = [
        (
            "/v1/blocks?protocol=tcp",
            400,
            "`protocol` selects nothing here",
        ),
        ("/v1/explain", 400, "packet"),
        ("/v1/explain?packet=sctp", 400, "is not tcp, udp or icmp"),
        (
            "/v1/explain?packet=icmp%201.2.3.4%20%3E%201.2.3.5&side=up",
            400,
            "inside or outside",
        ),
        ("/v1/trace?port=70000", 400, "up to 65535"),
        ("/v1/trace?outside=8.8.8.8:x", 400, "8.8.8.8:53"),
        (
            "/v1/trace?inside=100.64.1.1/16",
            400,
            "an address or prefix",
        ),
        ("/v1/trace?rate=5", 400, "`rate` selects nothing here"),
        ("/v1/trace?realm=mvno", 400, "there are no realms"),
        ("/v1/trace?realm=", 400, "there are no realms"),
        ("/v1/trace", 503, "still starting"),
        ("/v1/top?pool=lab", 400, "`pool` selects nothing here"),
        ("/v1/pools?limit=3", 400, "`limit` selects nothing here"),
        ("/v1/mappings?protocol=sctp", 400, "tcp, udp or icmp"),
        ("/v1/mappings?subscriber=home", 400, "100.64.0.1"),
        (
            "/v1/mappings?external=203.0.113.1:70000",
            400,
            "address and port",
        ),
        ("/v1/mappings?limit=0", 400, "1 to 10000"),
        ("/v1/mappings?limit=10001", 400, "1 to 10000"),
        ("/v1/mappings?cursor=-1", 400, "next_cursor"),
        ("/v1/drops?all=maybe", 400, "true or false"),
        ("/v1/mappings?colour=red", 400, "colour"),
        ("/v1/mappings?pool=gold", 404, "residential, business"),
        (
            "/v1/mappings?subscriber=8.8.8.8",
            404,
            "in no subscriber prefix",
        ),
        ("/v1/mappings?external=8.8.8.8", 404, "in no pool"),
        ("/v2/mappings", 404, "/v1/mappings"),
    ];
    for (target, expected, words) in cases {
        let (status, body) = ask(&daemon.socket, "GET", target, "").await;
        assert_eq!(status, expected, "{target}: {body}");
        let failure: super::rows::Failure = serde_json::from_str(&body).unwrap();
        assert!(failure.error.contains(words), "{target}: {body}");
    }
}

#[tokio::test]
async fn the_clock_moves_only_in_a_daemon_for_tests() {
    let daemon = Daemon::start("no-clock", Fixture::new().state(false));
    let (status, body) = ask(
        &daemon.socket,
        "POST",
        "/v1/clock",
        "{\"advance_secs\": 60}",
    )
    .await;
    assert_eq!(status, 403, "{body}");
    assert!(body.contains("--test-clock"), "{body}");

    let state = Fixture::new().state(true);
    let before = state.now_tick();
    let daemon = Daemon::start("clock", Arc::clone(&state));
    for (body, expected) in [
        ("{\"advance_secs\": 60}", 200),
        ("{\"advance_secs\": 60}", 200),
        ("{\"advance_secs\": -1}", 400),
        ("{\"advance_secs\": 4000000}", 400),
        ("{\"advance_ms\": 1}", 400),
        ("sixty", 400),
    ] {
        let (status, answer) = ask(&daemon.socket, "POST", "/v1/clock", body).await;
        assert_eq!(status, expected, "{body}: {answer}");
    }
    assert_eq!(state.memory.clock_offset_ns(), 120_000_000_000);
    let moved = state.now_tick() - before;
    assert!((446..460).contains(&moved), "{moved} ticks of 0.268 s");
    let (_, body) = ask(&daemon.socket, "GET", "/v1/status", "").await;
    assert!(body.contains("\"clock_offset_secs\":120"), "{body}");
}

#[tokio::test]
async fn a_mapping_is_as_idle_as_the_moved_clock_says() {
    let mut cgn = Fixture::new();
    cgn.give(HOME, [203, 0, 113, 2], 5);
    let state = Fixture::new().state(true);
    cgn.send(Protocol::Udp, HOME, 40_000, state.now_tick());
    let daemon = Daemon::start("idle", cgn.state(true));
    ask(
        &daemon.socket,
        "POST",
        "/v1/clock",
        "{\"advance_secs\": 100}",
    )
    .await;
    let (_, body) = ask(&daemon.socket, "GET", "/v1/mappings", "").await;
    let json: serde_json::Value = serde_json::from_str(&body).unwrap();
    let idle = json.pointer("/rows/0/idle_secs").unwrap().as_u64().unwrap();
    assert!((99..110).contains(&idle), "{idle}");
    assert_eq!(
        json.pointer("/rows/0/state").unwrap(),
        SlotState::Open.name()
    );
}

#[tokio::test]
async fn the_socket_is_for_owner_and_group_and_goes_with_the_daemon() {
    let scratch = Scratch::new("modes");
    let path = scratch.0.join("made").join("cgn.sock");
    let socket = Socket::bind(&path).unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&path), 0o660);
    assert_eq!(mode(path.parent().unwrap()), 0o755);
    // Ready at once: the server stops, and its file goes.
    socket
        .serve(Fixture::new().state(false), async {})
        .await
        .unwrap();
    assert!(!path.exists());
}

#[tokio::test]
async fn only_the_socket_of_a_dead_daemon_is_replaced() {
    let scratch = Scratch::new("stale");
    let path = scratch.0.join("cgn.sock");
    drop(StdListener::bind(&path).unwrap());
    assert!(path.exists(), "as kill -9 leaves it");
    let alive = Socket::bind(&path).unwrap();
    let second = Socket::bind(&path);
    assert!(matches!(second, Err(BindError::InUse { .. })), "{second:?}");
    assert!(path.exists(), "the living one keeps its socket");
    drop(alive);
    fs::write(&path, "precious").unwrap();
    let error = Socket::bind(&path).unwrap_err();
    assert!(matches!(error, BindError::NotASocket { .. }), "{error}");
    assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
}

#[tokio::test]
async fn a_client_that_hangs_does_not_keep_the_daemon_from_stopping() {
    let scratch = Scratch::new("hang");
    let path = scratch.0.join("cgn.sock");
    let socket = Socket::bind(&path).unwrap();
    let (stop, stopped) = oneshot::channel::<()>();
    let server = tokio::spawn(socket.serve(Fixture::new().state(false), async {
        let _ = stopped.await;
    }));
    let mut client = UnixStream::connect(&path).await.unwrap();
    client
        .write_all(b"GET /v1/status HTTP/1.1\r\nHost: cgn\r\n\r\n")
        .await
        .unwrap();
    client.read_u8().await.unwrap();
    // The connection is served. Now a request of which half never comes; the
    // pause lets the server begin with it.
    client
        .write_all(b"POST /v1/clock HTTP/1.1\r\nHost: cgn\r\nContent-Length: 9\r\n\r\nhalf")
        .await
        .unwrap();
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    stop.send(()).unwrap();
    let patience = std::time::Duration::from_secs(20);
    tokio::time::timeout(patience, server)
        .await
        .unwrap()
        .unwrap()
        .unwrap();
}

#[tokio::test]
async fn the_log_answers_over_the_socket_while_it_is_written() {
    use crate::maplog::{Block, Entry, Event, Log, LogOptions, PortRange, ProtocolScope};
    let scratch = Scratch::new("enquiries-log");
    let options = LogOptions {
        sync: false,
        keep_released_ms: 0,
        may_lack: false,
    };
    let (mut log, _) = Log::open(&scratch.0, options).unwrap();
    let block = Block {
        realm: 0,
        inside: HOME,
        external: [203, 0, 113, 5].into(),
        ports: PortRange::new(1024, 512).unwrap(),
        pool: 0,
        scope: ProtocolScope::All,
        key: 0,
    };
    let given = Entry {
        unix_ms: 1_772_546_587_123,
        event: Event::Allocate(block),
    };
    let mut state = Fixture::new().state(false);
    let config = &mut Arc::get_mut(&mut state).unwrap().config.config;
    config.log.directory = scratch.0.clone();
    let daemon = Daemon::start("enquiries", state);
    let who = "/v1/log/who?external=203.0.113.5:1100&protocol=udp";
    let (_, before) = ask(&daemon.socket, "GET", who, "").await;
    assert!(before.contains(r#""outcome":"nobody""#), "{before}");
    log.append(&[given]).unwrap();
    let holding = r#"{"subscriber":"100.64.0.10","external":"203.0.113.5","first_port":1024,"last_port":1535,"pool":0,"since":"2026-03-03T14:03:07.123Z","until":"","release_reason":""}"#;
    let cases = [
        ("", 200, holding),
        ("&at=2026-03-03T14:03:08Z", 200, r#""outcome":"one""#),
        (
            "&at=2026-03-03T14:03:07Z&skew=0",
            200,
            r#""outcome":"nobody""#,
        ),
        (
            "&at=2026-03-03T14:03:07Z&skew=1",
            200,
            r#""skew_secs":1,"outcome":"one""#,
        ),
        ("&at=yesterday", 400, "2026-03-03T14:03:07Z"),
        ("&skew=-1", 400, "a number of seconds"),
        ("&colour=red", 400, "colour"),
    ];
    for (more, expected, words) in cases {
        let (status, body) = ask(&daemon.socket, "GET", &format!("{who}{more}"), "").await;
        assert_eq!(status, expected, "{more}: {body}");
        assert!(body.contains(words), "{more}: {body}");
    }
    for (target, words) in [
        (
            "/v1/log/who?external=203.0.113.5&protocol=udp",
            "address and port",
        ),
        (
            "/v1/log/who?external=203.0.113.5:1&protocol=sctp",
            "tcp, udp or icmp",
        ),
        ("/v1/log/who?external=203.0.113.5:1", "protocol"),
    ] {
        let (status, body) = ask(&daemon.socket, "GET", target, "").await;
        assert_eq!(status, 400, "{target}: {body}");
        assert!(body.contains(words), "{target}: {body}");
    }
}
