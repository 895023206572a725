//! The API over TCP: for clients with a certificate, to read only, as its own document says.

use std::fs;
use std::io::Read as _;
use std::net::TcpStream;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use cgn_tests::lab::{
    Daemon, Lab, Plan, Settings, UdpEcho, address, cgn_program, exchange, run_to_end,
};
use cgn_tests::{lab, skip};

use crate::{PATIENCE_SECS, SERVER, in_lab, lacks_program};

const PORT: u16 = 9465;
const URL: &str = "https://127.0.0.1:9465";

/// Two authorities, a certificate of the first for the daemon, and one of each for a client.
const CERTIFICATES: &str = "
set -e; umask 077
for ca in ours theirs; do
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=$ca \
    -keyout $ca-ca.key -out $ca-ca.pem
done
issue() {
  openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=$1 -keyout $1.key -out $1.csr
  printf 'subjectAltName=IP:127.0.0.1\\nextendedKeyUsage=%s\\n' $3 > $1.ext
  openssl x509 -req -in $1.csr -CA $2-ca.pem -CAkey $2-ca.key -CAcreateserial -days 2 -extfile $1.ext -out $1.pem
}
issue daemon ours serverAuth
issue client ours clientAuth
issue stranger theirs clientAuth
";

/// A configuration with the API over TCP, and its certificates.
fn toml(lab: &Lab) -> Result<String> {
    let mut command = Command::new("sh");
    command.args(["-c", CERTIFICATES]).current_dir(lab.folder());
    run_to_end(&mut command, 30.0)?;
    let folder = lab.folder().display();
    let keys = format!(
        "[control]\nlisten = \"127.0.0.1:{PORT}\"\ncert_file = \"{folder}/daemon.pem\"\n\
         key_file = \"{folder}/daemon.key\"\nclient_ca_file = \"{folder}/ours-ca.pem\"\n"
    );
    Ok(Settings::default().toml(lab).replace("[control]\n", &keys))
}

/// What curl says, with the status in front; None: there was no answer.
fn curl(lab: &Lab, client: Option<&str>, arguments: &[&str]) -> Result<Option<String>> {
    let mut command = lab.cgn.command("curl");
    command
        .current_dir(lab.folder())
        .args(["-s", "-m", "5", "--cacert", "ours-ca.pem"]);
    if let Some(client) = client {
        command.args([
            "--cert",
            &format!("{client}.pem"),
            "--key",
            &format!("{client}.key"),
        ]);
    }
    let output = command
        .args(["-w", "\n%{http_code}"])
        .args(arguments)
        .output()
        .context("curl")?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    Ok(output.status.success().then_some(said))
}

/// Who asks with whose certificate, what, and the status that he gets; None: no answer.
type Case<'a> = (&'a str, Option<&'a str>, &'a [&'a str], Option<&'a str>);

#[test]
fn clients_with_a_certificate_may_read() {
    const TEST: &str = "remote::clients_with_a_certificate_may_read";
    if lacks_program(TEST, "openssl") || lacks_program(TEST, "curl") {
        return;
    }
    in_lab(TEST, &Plan::default(), |lab| {
        let toml = toml(lab)?;
        let mut daemon = Daemon::start_with(lab, &toml, &cgn_program()?, &[])?;
        // One who says nothing keeps nobody waiting, and is hung up on.
        let mut silent = lab
            .cgn
            .within(|| Ok(TcpStream::connect(("127.0.0.1", PORT))?))?;
        let status = format!("{URL}/v1/status");
        let cases: [Case<'_>; 6] = [
            ("he who may", Some("client"), &[&status], Some("200")),
            ("without a certificate", None, &[&status], None),
            ("another's certificate", Some("stranger"), &[&status], None),
            (
                "a change",
                Some("client"),
                &["-X", "POST", &format!("{URL}/v1/reload")],
                Some("404"),
            ),
            (
                "other programs",
                Some("client"),
                &[&format!("{URL}/v1/trace?count=1")],
                Some("404"),
            ),
            (
                "a wrong key",
                Some("client"),
                &[&format!("{URL}/v1/pools?limit=1")],
                Some("400"),
            ),
        ];
        for (who, client, arguments, expected) in cases {
            let said = curl(lab, client, arguments)?;
            let got = said.as_deref().and_then(|said| said.lines().last());
            ensure!(got == expected, "{who}: {said:?}");
        }
        // RFC 6302: with the source port.
        let said = daemon.process().output();
        let mut requests = said
            .lines()
            .filter(|line| line.contains("client=127.0.0.1:"));
        ensure!(requests.any(|line| line.contains("status=200")), "{said}");
        silent.set_read_timeout(Some(std::time::Duration::from_secs(10)))?;
        ensure!(
            matches!(silent.read(&mut [0; 8]), Ok(0)),
            "the silent one is still there"
        );

        // A key that others can read: no reload with it, for that would be the end.
        let key = lab.folder().join("daemon.key");
        let open = |mode| {
            use std::os::unix::fs::PermissionsExt as _;
            fs::set_permissions(&key, fs::Permissions::from_mode(mode))
        };
        open(0o644)?;
        let config = lab.folder().join("cgn.toml");
        fs::write(
            &config,
            fs::read_to_string(&config)?.replace("block_idle_secs = 60", "block_idle_secs = 61"),
        )?;
        let mut reload = Command::new(cgn_program()?);
        reload.args(["reload", "--socket"]).arg(daemon.socket());
        let output = reload.output()?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(
            !output.status.success() && said.contains("can be read by others"),
            "{said}"
        );
        open(0o600)?;
        ensure!(
            reload.output()?.status.success(),
            "the reload is refused all the same"
        );
        let said = curl(lab, Some("client"), &[&status])?;
        ensure!(
            said.is_some_and(|said| said.ends_with("200")),
            "not there after a reload"
        );
        Ok(())
    });
}

#[test]
fn schemathesis_finds_nothing_that_the_document_does_not_say() {
    const TEST: &str = "remote::schemathesis_finds_nothing_that_the_document_does_not_say";
    if lacks_program(TEST, "openssl") {
        return;
    }
    let Some(python) = skip::python_with(TEST, "schemathesis") else {
        return;
    };
    in_lab(TEST, &Plan::default(), |lab| {
        let toml = toml(lab)?;
        let daemon = Daemon::start_with(lab, &toml, &cgn_program()?, &[])?;
        let echo = UdpEcho::start(&lab.internet, SERVER)?;
        let socket = lab::echo_from(&lab.subscribers[0], address::subscriber(1, 2))?;
        exchange(&socket, echo.address(), b"a mapping", true, PATIENCE_SECS)?;
        let mut command = lab.cgn.command(&python);
        command.current_dir(lab.folder()).stdin(Stdio::null());
        command.args([
            "-c",
            "from schemathesis.cli import schemathesis; schemathesis()",
        ]);
        command.args(["run", &format!("{URL}/v1/openapi.json"), "--no-color"]);
        command.args([
            "--request-cert",
            "client.pem",
            "--request-cert-key",
            "client.key",
        ]);
        command.args([
            "--tls-verify",
            "ours-ca.pem",
            "--max-examples",
            "20",
            "--seed",
            "7",
        ]);
        command.args([
            "--phases",
            "examples,coverage,fuzzing",
            "--continue-on-failure",
        ]);
        // A pool that is not there, or a packet in wrong words, is refused, and no schema can say which.
        command.args(["--exclude-checks", "positive_data_acceptance"]);
        let output = command.output().context("schemathesis")?;
        let said = String::from_utf8_lossy(&output.stdout);
        ensure!(
            output.status.success(),
            "{said}{}",
            String::from_utf8_lossy(&output.stderr)
        );
        ensure!(said.contains("12 selected"), "{said}");
        ensure!(
            daemon.status()?.mappings.udp < 2,
            "a reader opened a mapping"
        );
        Ok(())
    });
}
