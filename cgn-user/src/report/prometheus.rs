//! Asks a Prometheus: <https://prometheus.io/docs/prometheus/latest/querying/api/>.

use std::collections::BTreeMap;
use std::io;
use std::time::Duration;

use http_body_util::{BodyExt as _, Full};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::{Request as HttpRequest, header};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use tokio::net::TcpStream;

use super::Request;

/// How long one answer may take; Prometheus itself gives up after two minutes.
const PATIENCE: Duration = Duration::from_secs(130);

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum PrometheusError {
    #[error(
        "cannot connect to Prometheus at {address}: {source}; name another with --prometheus HOST:PORT"
    )]
    Connect { address: String, source: io::Error },
    #[error("Prometheus at {address} did not answer within {} seconds", PATIENCE.as_secs())]
    Slow { address: String },
    #[error("Prometheus at {address} hung up: {source}")]
    HungUp {
        address: String,
        source: hyper::Error,
    },
    #[error("what answers at {address} is no Prometheus: {source}")]
    Nonsense {
        address: String,
        source: serde_json::Error,
    },
    #[error("Prometheus at {address} refuses the query {query}: {error}")]
    Refused {
        address: String,
        query: String,
        error: String,
    },
}

/// A Prometheus: `host:port` of its HTTP server, without TLS.
#[derive(Clone, Debug)]
pub struct Source {
    pub address: String,
}

/// One line: its labels, and seconds of Unix time with values.
#[derive(Clone, Debug, PartialEq)]
pub struct Series {
    pub labels: BTreeMap<String, String>,
    pub points: Vec<(f64, f64)>,
}

#[derive(Deserialize)]
struct Answer {
    #[serde(default)]
    error: String,
    data: Option<Data>,
}

#[derive(Deserialize)]
struct Data {
    result: Vec<Found>,
}

#[derive(Deserialize)]
struct Found {
    metric: BTreeMap<String, String>,
    values: Vec<(f64, String)>,
}

impl Source {
    /// The lines of `query` over the period of `request`.
    ///
    /// # Errors
    /// No answer, or a refusal.
    pub async fn range(
        &self,
        query: &str,
        request: &Request<'_>,
        step_secs: u64,
    ) -> Result<Vec<Series>, PrometheusError> {
        let from = request.until_secs - request.period_secs;
        let form = form_urlencoded::Serializer::new(String::new())
            .append_pair("query", query)
            .append_pair("start", &from.to_string())
            .append_pair("end", &request.until_secs.to_string())
            .append_pair("step", &step_secs.to_string())
            .finish();
        let address = || self.address.clone();
        let body = tokio::time::timeout(PATIENCE, self.post("/api/v1/query_range", form))
            .await
            .map_err(|_| PrometheusError::Slow { address: address() })??;
        let answer: Answer =
            serde_json::from_slice(&body).map_err(|source| PrometheusError::Nonsense {
                address: address(),
                source,
            })?;
        let Some(data) = answer.data else {
            return Err(PrometheusError::Refused {
                address: address(),
                query: query.to_owned(),
                error: answer.error,
            });
        };
        Ok(data.result.into_iter().map(series).collect())
    }

    async fn post(&self, path: &str, form: String) -> Result<Bytes, PrometheusError> {
        let stream = TcpStream::connect(&self.address).await;
        let stream = stream.map_err(|source| PrometheusError::Connect {
            address: self.address.clone(),
            source,
        })?;
        let exchange = async {
            let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
            // Its error reaches us through the request that it breaks.
            tokio::spawn(connection);
            let request = HttpRequest::post(path)
                .header(header::HOST, &self.address)
                .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
                .body(Full::new(Bytes::from(form)))
                .expect("a header from an address that was connected to");
            let answer = sender.send_request(request).await?;
            Ok(answer.into_body().collect().await?.to_bytes())
        };
        exchange.await.map_err(|source| PrometheusError::HungUp {
            address: self.address.clone(),
            source,
        })
    }
}

/// Values that are no numbers, as a quotient by zero, are left out.
fn series(found: Found) -> Series {
    let points = found.values.into_iter().filter_map(|(at, value)| {
        let value: f64 = value.parse().ok()?;
        value.is_finite().then_some((at, value))
    });
    Series {
        labels: found.metric,
        points: points.collect(),
    }
}
