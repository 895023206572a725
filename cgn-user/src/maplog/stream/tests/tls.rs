//! Collectors by TLS.

use std::os::unix::fs::PermissionsExt;
use std::process::{Child, Command, Stdio};

use super::*;

/// `openssl s_server` with a certificate for `localhost`; what it is sent is its standard output.
fn tls_server(root: &Path, port: u16) -> Child {
    let openssl = |arguments: &str| {
        let mut command = Command::new("openssl");
        command.args(arguments.split(' ')).current_dir(root);
        command
            .stderr(Stdio::null())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        command
    };
    let request = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout tls.key -out tls.pem -days 2 -subj /CN=localhost -addext subjectAltName=DNS:localhost -addext basicConstraints=critical,CA:FALSE";
    assert!(openssl(request).status().unwrap().success());
    fs::set_permissions(root.join("tls.key"), fs::Permissions::from_mode(0o600)).unwrap();
    openssl(&format!(
        "s_server -accept {port} -key tls.key -cert tls.pem -quiet -naccept 1"
    ))
    .spawn()
    .unwrap()
}

#[test]
fn syslog_over_tls_reaches_the_right_server_only() {
    let mut place = Place::new();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let mut server = tls_server(&place.root, address.port());
    let tls = |server_name: &str| {
        Transport::Tls(Trust {
            ca_file: place.root.join("tls.pem"),
            server_name: server_name.to_owned(),
        })
    };
    let wrong = tls("other.example");
    let right = tls("localhost");
    let mut sink = place.sink(Format::Syslog, right, address);
    place.write(1, true);
    deliver(&mut sink);
    sink.close(Instant::now()).unwrap();
    let mut text = String::new();
    server
        .stdout
        .take()
        .unwrap()
        .read_to_string(&mut text)
        .unwrap();
    server.wait().unwrap();
    let (length, message) = text.split_once(' ').unwrap();
    assert_eq!(length.parse::<usize>().unwrap(), message.len());
    assert!(
        message.starts_with("<134>1 2026-03-03T00:00:00.001Z edge1 cgn - allocate ["),
        "{message}"
    );
    // The same server asked by another name is refused.
    let mut server = tls_server(&place.root, address.port());
    let mut sink = place.sink(Format::Syslog, wrong, address);
    place.write(2, true);
    let until = Instant::now() + PATIENCE;
    loop {
        if let Err(SinkError::Link { source, .. }) = sink.turn(Instant::now(), 0)
            && source.to_string().contains("certificate")
        {
            break;
        }
        assert!(Instant::now() < until, "it was not refused");
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(sink.stats().sent, 0);
    let _ = server.kill();
    let _ = server.wait();
    let _ = std::io::stdout().flush();
}
