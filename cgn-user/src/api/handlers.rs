//! The endpoints.

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::rejection::QueryRejection;
use axum::extract::{ConnectInfo, Query as Ask, State as Shared};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Extension, Json, Router};
use cgn_common::counters::RealmDrops;
use futures::StreamExt as _;
use serde::Serialize;
use tokio::sync::mpsc;

use super::Peer;
use super::enquiry::{self, Asked as Asking, EnquiryError};
use super::openapi::{self, Audience};
use super::query::{ExplainQuery, Keys, Query, QueryError, WatchQuery};
use super::rows::{
    AddressAnswer, AddressRequest, CaptureRequest, ClockAnswer, ClockRequest, Failure, Page,
    PeaksRow, ReloadRequest, TraceLine,
};
use super::view::{self, Part, Selection, View};
use crate::engine::clock;
use crate::explain::{self, packet::Packet};
use crate::reload;
use crate::state::State;
use crate::utc::Utc;
use crate::watch::Clock;
use crate::watch::capture::Capture;
use crate::watch::client::{Client, Heard};
use crate::watch::crypto_pan::CryptoPan;
use crate::watch::desk::WatchError;
use crate::watch::redact::Redaction;
use crate::watch::seen::Seen;
use crate::watch::whose::{Owners, Whose};

/// Furthest that one request may move the clock: 30 days.
const MAX_ADVANCE_SECS: u32 = 30 * 24 * 3600;

type Asked = Result<Ask<Query>, QueryRejection>;
type Daemon = Shared<Arc<State>>;

/// All endpoints.
pub fn router(state: Arc<State>) -> Router {
    reading(Audience::Local)
        .route("/v1/mirrors", get(mirrors))
        .route("/v1/trace", get(trace))
        .route("/v1/capture", post(capture))
        .route("/v1/clock", post(advance_clock))
        .route("/v1/reload", post(reload))
        .route("/v1/addresses", post(set_address))
        .fallback(unknown)
        .with_state(state)
}

/// Those that change nothing, not even which programs packets meet.
pub fn reading_router(state: Arc<State>) -> Router {
    reading(Audience::Remote)
        .fallback(unknown)
        .with_state(state)
}

fn reading(audience: Audience) -> Router<Arc<State>> {
    Router::new()
        .route(
            "/v1/openapi.json",
            get(async move || Json(openapi::document(audience))),
        )
        .route("/v1/subscribers", get(subscribers))
        .route("/v1/blocks", get(blocks))
        .route("/v1/mappings", get(mappings))
        .route("/v1/pools", get(pools))
        .route("/v1/drops", get(drops))
        .route("/v1/rules", get(rules))
        .route("/v1/status", get(status))
        .route("/v1/ietf-nat", get(ietf_nat))
        .route("/v1/log/who", get(log_who))
        .route("/v1/peaks", get(peaks))
        .route("/v1/explain", get(explain))
        .route("/v1/top", get(top))
}

async fn subscribers(Shared(state): Daemon, asked: Asked) -> Result<Response, Refusal> {
    let (selection, part) = resolve(&state, asked, Keys::SUBSCRIBERS)?;
    read(move || view_of(&state).subscribers(selection, part, state.now_tick())).await
}

async fn blocks(Shared(state): Daemon, asked: Asked) -> Result<Response, Refusal> {
    let (selection, part) = resolve(&state, asked, Keys::BLOCKS)?;
    read(move || view_of(&state).blocks(selection, part)).await
}

async fn mappings(Shared(state): Daemon, asked: Asked) -> Result<Response, Refusal> {
    let (selection, part) = resolve(&state, asked, Keys::MAPPINGS)?;
    read(move || view_of(&state).mappings(selection, part, state.now_tick())).await
}

async fn pools(Shared(state): Daemon, asked: Asked) -> Result<Response, Refusal> {
    let (selection, _) = resolve(&state, asked, Keys::POOLS)?;
    read(move || {
        let stats = state.stats().clone();
        whole(view::pools(&state.geometry, &stats, selection))
    })
    .await
}

async fn drops(Shared(state): Daemon, asked: Asked) -> Result<Response, Refusal> {
    let Ask(query) = asked?;
    let (selection, _) = query.resolve(Keys::DROPS, &state.geometry)?;
    let all = query.wants_all()?;
    // Where there is but one, all is its own.
    let realm = selection
        .realm
        .filter(|_| state.geometry.realms.count() > 1);
    read(move || {
        if let Some(realm) = realm.map(usize::from) {
            let fast_path = (state.fast_path_realms)();
            let slow_path = state.stats().realm_drops.clone();
            let of = |drops: &[RealmDrops]| drops.get(realm).copied().unwrap_or(RealmDrops::ZERO);
            return whole(view::drops_of_realm(&of(&fast_path), &of(&slow_path), all));
        }
        let slow_path = state.stats().slow_path;
        whole(view::drops(&(state.fast_path_counters)(), &slow_path, all))
    })
    .await
}

async fn rules(Shared(state): Daemon) -> Result<Response, Refusal> {
    read(move || whole(view::rules(&state.rule_hits(), &state.geometry.realms))).await
}

async fn mirrors(Shared(state): Daemon) -> Result<Response, Refusal> {
    read(move || whole(view::mirrors(&state))).await
}

async fn status(Shared(state): Daemon) -> Result<Response, Refusal> {
    read(move || view::status(&state)).await
}

async fn ietf_nat(Shared(state): Daemon) -> Result<Response, Refusal> {
    read(move || view::ietf_nat(&state)).await
}

/// How many subscribers had how many ports in use at most.
async fn peaks(Shared(state): Daemon) -> Result<Response, Refusal> {
    read(move || {
        // The engine waits for the lock: copy, and count then.
        let peaks = state.peaks().clone();
        let [tcp, udp, icmp] = [0, 1, 2].map(|protocol| peaks.counts(protocol));
        PeaksRow {
            since: Utc(state.started_unix_ms).to_string(),
            tcp,
            udp,
            icmp,
        }
    })
    .await
}

/// Who had a port when, by the mapping log.
async fn log_who(
    Shared(state): Daemon,
    asked: Result<Ask<Asking>, QueryRejection>,
) -> Result<Response, Refusal> {
    let Ask(asked) = asked?;
    let answer = tokio::task::spawn_blocking(move || {
        let now_ms = clock::unix_ms(&state);
        enquiry::answer(&state.config.config.log.directory, &asked, now_ms)
    });
    match answer.await {
        Ok(Ok(row)) => Ok(Json(row).into_response()),
        Ok(Err(error @ EnquiryError::Malformed { .. })) => {
            Err(Refusal::bad_request(error.to_string()))
        }
        Ok(Err(error)) => Err(Refusal {
            status: StatusCode::INTERNAL_SERVER_ERROR,
            error: format!("{:#}", anyhow::Error::from(error)),
        }),
        Err(error) => Err(Refusal {
            status: StatusCode::INTERNAL_SERVER_ERROR,
            error: error.to_string(),
        }),
    }
}

/// What changes from moment to moment.
async fn top(Shared(state): Daemon, asked: Asked) -> Result<Response, Refusal> {
    let (_, part) = resolve(&state, asked, Keys::TOP)?;
    read(move || view::top(&state, part.limit)).await
}

/// What would happen to a packet.
async fn explain(
    Shared(state): Daemon,
    asked: Result<Ask<ExplainQuery>, QueryRejection>,
) -> Result<Response, Refusal> {
    let Ask(query) = asked?;
    let packet: Packet = query.packet.parse().map_err(refusal)?;
    let side = query.side()?;
    let asked = query.realm.as_deref();
    let realm = asked.map(|name| super::query::realm(name, &state.geometry));
    let realm = realm.transpose()?.unwrap_or(0);
    let explained = move || explain::explain(&state, &packet, side, realm);
    let answer = tokio::task::spawn_blocking(explained).await;
    match answer {
        Ok(Ok(explanation)) => Ok(Json(explanation).into_response()),
        Ok(Err(error)) => Err(Refusal {
            status: StatusCode::SERVICE_UNAVAILABLE,
            error: error.to_string(),
        }),
        Err(error) => Err(Refusal::died(&error)),
    }
}

/// Packets of the fast path, a line of JSON each, until the client goes or has seen enough.
async fn trace(
    Shared(state): Daemon,
    peer: Asker,
    asked: Result<Ask<WatchQuery>, QueryRejection>,
) -> Result<Response, Refusal> {
    let Ask(query) = asked?;
    let (filter, bounds) = query.trace()?;
    let whose = query.realm(&state.geometry)?;
    let whose = whose.map(|realm| Whose { realm, filter });
    note(&peer, "trace");
    let wiring = state.wiring.get().ok_or(WatchError::Starting)?;
    let owners = Owners::of(&state, wiring);
    let clock = Clock::now();
    let teller = move |heard: &Heard<'_>| {
        let line = match heard {
            Heard::Packet(seen) if is_of_another(whose, owners.as_ref(), seen) => return None,
            Heard::Packet(seen) => {
                let realm = owners.as_ref().and_then(|owners| owners.realm_of(seen));
                TraceLine::Packet(seen.row(clock.time_of(seen.at_ns), realm))
            }
            Heard::Missed(missed) => TraceLine::Missed { missed: *missed },
        };
        let mut text = serde_json::to_vec(&line).ok()?;
        text.push(b'\n');
        Some(text)
    };
    let (client, told) = Client::new(filter, bounds, Box::new(teller));
    state.watch.watch(Box::new(client)).await?;
    Ok(streamed("application/x-ndjson", Vec::new(), told))
}

/// Packets of the fast path as a pcapng file, until the client goes or has seen enough.
async fn capture(
    Shared(state): Daemon,
    peer: Asker,
    asked: Result<Ask<WatchQuery>, QueryRejection>,
    body: String,
) -> Result<Response, Refusal> {
    let Ask(query) = asked?;
    let (filter, bounds, framing) = query.capture()?;
    let whose = query.realm(&state.geometry)?;
    let whose = whose.map(|realm| Whose { realm, filter });
    let request: CaptureRequest = match body.trim() {
        "" => CaptureRequest::default(),
        body => serde_json::from_str(body).map_err(|error| {
            refusal(format!(
                "{error}; the body can be {{\"key\": \"64 hexadecimal digits\"}}"
            ))
        })?,
    };
    let addresses = request.key.as_ref().map(CryptoPan::new);
    let redaction = Redaction {
        // With other addresses, a payload must be asked for: it may tell the old ones.
        payload: framing.payload.or(addresses.as_ref().map(|_| 0)),
        addresses,
    };
    note(&peer, "capture");
    let wiring = state.wiring.get().ok_or(WatchError::Starting)?;
    let owners = Owners::of(&state, wiring);
    let mut capture = Capture::new(wiring, framing.side, redaction);
    let header = capture.header();
    let teller = move |heard: &Heard<'_>| match heard {
        Heard::Packet(seen) if is_of_another(whose, owners.as_ref(), seen) => None,
        Heard::Packet(seen) => {
            let realm = owners.as_ref().and_then(|owners| owners.realm_of(seen));
            capture.tell(seen, realm)
        }
        Heard::Missed(missed) => Some(capture.miss(*missed)),
    };
    let (client, told) = Client::new(filter, bounds, Box::new(teller));
    state.watch.watch(Box::new(client)).await?;
    Ok(streamed("application/x-pcapng", header, told))
}

/// True for a packet of no subscriber who is asked for.
fn is_of_another(whose: Option<Whose>, owners: Option<&Owners>, seen: &Seen) -> bool {
    match (whose, owners) {
        (Some(whose), Some(owners)) => !whose.has(owners, seen),
        _ => false,
    }
}

/// An answer that goes on as long as there is something to tell.
fn streamed(kind: &'static str, first: Vec<u8>, told: mpsc::Receiver<Vec<u8>>) -> Response {
    let first = futures::stream::iter((!first.is_empty()).then_some(first));
    let rest = futures::stream::unfold(told, |mut told| async move {
        let bytes = told.recv().await?;
        Some((bytes, told))
    });
    let body = first.chain(rest).map(Ok::<_, std::convert::Infallible>);
    ([(header::CONTENT_TYPE, kind)], Body::from_stream(body)).into_response()
}

/// Who asks, if the kernel says.
type Asker = Option<Extension<ConnectInfo<Peer>>>;

/// Whoever looks into others' packets, or has the configuration read that may mirror them, is on record.
fn note(asker: &Asker, what: &'static str) {
    let (uid, pid) = asker.as_ref().map_or((None, None), |asker| {
        let Peer { uid, pid } = asker.0.0;
        (uid, pid)
    });
    tracing::info!(what, uid, pid, "asked for at the control socket");
}

fn refusal(error: impl std::fmt::Display) -> Refusal {
    Refusal::bad_request(error.to_string())
}

/// Moves the data plane's clock forward, for tests: idle mappings and holds
/// end without waiting. Only in a daemon that was started for tests.
async fn advance_clock(Shared(state): Daemon, body: String) -> Result<Response, Refusal> {
    if !state.is_test_clock {
        return Err(Refusal {
            status: StatusCode::FORBIDDEN,
            error: "the clock cannot be moved: the daemon was not started with --test-clock".into(),
        });
    }
    let request: ClockRequest = serde_json::from_str(&body).map_err(|error| {
        Refusal::bad_request(format!(
            "{error}; the body must be {{\"advance_secs\": SECONDS}}"
        ))
    })?;
    if request.advance_secs > MAX_ADVANCE_SECS {
        let error = format!("advance_secs must be at most {MAX_ADVANCE_SECS}, which is 30 days");
        return Err(Refusal::bad_request(error));
    }
    if let Some(settings) = state.memory.settings.get(0) {
        let advance_ns = u64::from(request.advance_secs) * 1_000_000_000;
        settings.clock_offset_ns.add(advance_ns);
    }
    let clock_offset_secs = state.memory.clock_offset_ns() / 1_000_000_000;
    Ok(Json(ClockAnswer { clock_offset_secs }).into_response())
}

/// Has the daemon read its configuration again.
async fn reload(Shared(state): Daemon, peer: Asker, body: String) -> Result<Response, Refusal> {
    let request: ReloadRequest = match body.trim() {
        "" => ReloadRequest::default(),
        body => serde_json::from_str(body).map_err(|error| {
            Refusal::bad_request(format!(
                "{error}; the body can be {{\"dry_run\": true, \"allow_disruption\": true}}"
            ))
        })?,
    };
    note(&peer, "reload");
    let answer = tokio::task::spawn_blocking(move || reload::reload(&state, request)).await;
    match answer {
        Ok(Ok(answer)) => Ok(Json(answer).into_response()),
        Ok(Err(error)) => Err(Refusal::bad_request(format!("{error:#}"))),
        Err(error) => Err(Refusal {
            status: StatusCode::INTERNAL_SERVER_ERROR,
            error: error.to_string(),
        }),
    }
}

/// Takes an external address out of use, or into use again.
async fn set_address(Shared(state): Daemon, body: String) -> Result<Response, Refusal> {
    let request: AddressRequest = serde_json::from_str(&body).map_err(|error| {
        Refusal::bad_request(format!(
            "{error}; the body must be {{\"address\": ADDRESS, \"standing\": \"quarantined\", \"drained\" or null}}"
        ))
    })?;
    let shapes = state.geometry.pools.iter().enumerate();
    let mut of_address = shapes.filter(|(_, shape)| shape.has(request.address));
    let Some((number, shape)) = of_address.next() else {
        return Err(Refusal {
            status: StatusCode::NOT_FOUND,
            error: format!("{} is an address of no pool", request.address),
        });
    };
    let pool = shape.name.clone();
    let answer = tokio::task::spawn_blocking(move || {
        state
            .geometry
            .withheld
            .set(request.address, request.standing)?;
        let selection = Selection {
            pool: Some(number as u16),
            external: Some(request.address),
            ..Selection::default()
        };
        let all = Part {
            limit: usize::MAX,
            cursor: 0,
        };
        let blocks = view_of(&state).blocks(selection, all).rows;
        let subscribers: BTreeSet<_> = blocks
            .iter()
            .map(|block| (block.realm.clone(), block.inside))
            .collect();
        Ok::<_, std::io::Error>(subscribers.len() as u64)
    });
    match answer.await {
        Ok(Ok(subscribers)) => Ok(Json(AddressAnswer { pool, subscribers }).into_response()),
        Ok(Err(error)) => Err(Refusal {
            status: StatusCode::INTERNAL_SERVER_ERROR,
            error: format!("it cannot be remembered, so nothing was changed: {error}"),
        }),
        Err(error) => Err(Refusal {
            status: StatusCode::INTERNAL_SERVER_ERROR,
            error: error.to_string(),
        }),
    }
}

async fn unknown() -> Refusal {
    Refusal {
        status: StatusCode::NOT_FOUND,
        error: "no such endpoint; there are /v1/subscribers, /v1/blocks, /v1/mappings, /v1/pools, \
                /v1/drops, /v1/status, /v1/log/who, /v1/explain, /v1/mirrors, /v1/trace, /v1/capture, /v1/top, /v1/openapi.json and /v1/reload"
            .into(),
    }
}

fn view_of(state: &State) -> View<'_> {
    View {
        memory: &state.memory,
        geometry: &state.geometry,
    }
}

/// An answer that has no further part.
fn whole<T>(rows: Vec<T>) -> Page<T> {
    Page {
        rows,
        next_cursor: None,
    }
}

fn resolve(state: &State, asked: Asked, keys: Keys) -> Result<(Selection, Part), Refusal> {
    let Ask(query) = asked?;
    Ok(query.resolve(keys, &state.geometry)?)
}

/// Walks the tables where it does not keep other tasks waiting.
async fn read<T, F>(walk: F) -> Result<Response, Refusal>
where
    T: Serialize + Send + 'static,
    F: FnOnce() -> T + Send + 'static,
{
    match tokio::task::spawn_blocking(walk).await {
        Ok(rows) => Ok(Json(rows).into_response()),
        Err(error) => Err(Refusal::died(&error)),
    }
}

/// An answer other than 200.
struct Refusal {
    status: StatusCode,
    error: String,
}

impl Refusal {
    /// The task that was to answer ended without one.
    fn died(error: &tokio::task::JoinError) -> Self {
        tracing::error!(%error, "a request failed");
        Self {
            status: StatusCode::INTERNAL_SERVER_ERROR,
            error: "the daemon could not answer; its log says why".into(),
        }
    }

    fn bad_request(error: String) -> Self {
        Self {
            status: StatusCode::BAD_REQUEST,
            error,
        }
    }
}

impl From<WatchError> for Refusal {
    fn from(error: WatchError) -> Self {
        let status = match error {
            WatchError::Full => StatusCode::CONFLICT,
            _ => StatusCode::SERVICE_UNAVAILABLE,
        };
        Self {
            status,
            error: error.to_string(),
        }
    }
}

impl From<QueryError> for Refusal {
    fn from(error: QueryError) -> Self {
        let status = if error.is_not_found() {
            StatusCode::NOT_FOUND
        } else {
            StatusCode::BAD_REQUEST
        };
        Self {
            status,
            error: error.to_string(),
        }
    }
}

impl From<QueryRejection> for Refusal {
    fn from(rejection: QueryRejection) -> Self {
        Self::bad_request(rejection.body_text())
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let body = Failure { error: self.error };
        (self.status, Json(body)).into_response()
    }
}
