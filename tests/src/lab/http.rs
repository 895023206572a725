//! The least HTTP client that the daemon's control socket and metrics page need.

use std::io::{Read, Write};

use anyhow::{Context as _, Result, ensure};

/// One HTTP/1.1 exchange; the body of the answer if it is a success.
///
/// # Errors
/// No answer, or one that is no success.
pub fn http(
    stream: &mut (impl Read + Write),
    method: &str,
    path: &str,
    body: &str,
) -> Result<String> {
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nHost: cgn\r\nConnection: close\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )?;
    let mut answer = String::new();
    stream
        .read_to_string(&mut answer)
        .with_context(|| format!("no whole answer to {method} {path}"))?;
    let (head, body) = answer
        .split_once("\r\n\r\n")
        .with_context(|| format!("no HTTP answer to {method} {path}: {answer}"))?;
    let status = head.lines().next().unwrap_or_default();
    ensure!(
        status.contains(" 200"),
        "{method} {path} was answered with {status}: {body}"
    );
    ensure!(
        !head
            .to_ascii_lowercase()
            .contains("transfer-encoding: chunked"),
        "{method} {path} was answered in chunks, which this client cannot read"
    );
    Ok(body.to_owned())
}
