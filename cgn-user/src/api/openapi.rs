//! `/v1/openapi.json`: the API in the words of OpenAPI 3.1, made of what the endpoints really take and
//! answer. Pure.

use schemars::{JsonSchema, Schema, SchemaGenerator, generate::SchemaSettings};
use serde_json::{Map, Value, json};

use super::query::{DEFAULT_LIMIT, Keys, MAX_LIMIT};
use super::rows::{
    AddressAnswer, AddressRequest, BlockRow, CaptureRequest, ClockAnswer, ClockRequest, DropRow,
    Explanation, Failure, MappingRow, MirrorRow, Page, PeaksRow, PoolRow, ReloadAnswer,
    ReloadRequest, RuleRow, Status, SubscriberRow, Top, TraceLine,
};
use crate::maplog::query::AnswerRow;

/// Where definitions of types are, in the document.
const DEFINITIONS: &str = "/components/schemas";

/// Who may ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Audience {
    /// Whoever has a certificate.
    Remote,
    /// Whoever can open the socket.
    Local,
}

/// Of an endpoint, what the document says.
pub struct Endpoint {
    pub path: &'static str,
    audience: Audience,
    summary: &'static str,
    keys: Keys,
    /// Keys that must be given.
    required: &'static [&'static str],
    /// What POST takes; None: it is GET.
    takes: Option<Describe>,
    kind: &'static str,
    answers: Describe,
}

type Describe = fn(&mut SchemaGenerator) -> Schema;

fn of<T: JsonSchema>(generator: &mut SchemaGenerator) -> Schema {
    generator.subschema_for::<T>()
}

const JSON: &str = "application/json";
const NO_KEYS: Keys = Keys(&[]);

const fn get(path: &'static str, keys: Keys, answers: Describe, summary: &'static str) -> Endpoint {
    Endpoint {
        path,
        audience: Audience::Remote,
        summary,
        keys,
        required: &[],
        takes: None,
        kind: JSON,
        answers,
    }
}

const fn post(
    path: &'static str,
    takes: Describe,
    answers: Describe,
    summary: &'static str,
) -> Endpoint {
    Endpoint {
        audience: Audience::Local,
        takes: Some(takes),
        ..get(path, NO_KEYS, answers, summary)
    }
}

/// All but this document itself.
pub const ENDPOINTS: [Endpoint; 18] = [
    get(
        "/v1/subscribers",
        Keys::SUBSCRIBERS,
        of::<Page<SubscriberRow>>,
        "Who has a block, or was refused one",
    ),
    get(
        "/v1/blocks",
        Keys::BLOCKS,
        of::<Page<BlockRow>>,
        "Which ports belong to whom",
    ),
    get(
        "/v1/mappings",
        Keys::MAPPINGS,
        of::<Page<MappingRow>>,
        "Which inside endpoint has which external one",
    ),
    get(
        "/v1/pools",
        Keys::POOLS,
        of::<Page<PoolRow>>,
        "Pools of the configuration",
    ),
    get(
        "/v1/drops",
        Keys::DROPS,
        of::<Page<DropRow>>,
        "Why packets were not translated",
    ),
    get("/v1/rules", NO_KEYS, of::<Page<RuleRow>>, "Access lists"),
    get("/v1/status", NO_KEYS, of::<Status>, "The daemon"),
    get(
        "/v1/ietf-nat",
        NO_KEYS,
        of::<Map<String, Value>>,
        "Configuration and state by RFC 8512, as RFC 7951 writes it",
    ),
    get(
        "/v1/peaks",
        NO_KEYS,
        of::<PeaksRow>,
        "How many ports subscribers had in use",
    ),
    get(
        "/v1/top",
        Keys::TOP,
        of::<Top>,
        "What changes from moment to moment",
    ),
    Endpoint {
        required: &["external", "protocol"],
        ..get(
            "/v1/log/who",
            Keys::WHO,
            of::<AnswerRow>,
            "Who had a port when, by the mapping log",
        )
    },
    Endpoint {
        required: &["packet"],
        ..get(
            "/v1/explain",
            Keys::EXPLAIN,
            of::<Explanation>,
            "What would happen to a packet",
        )
    },
    // Whose packets are mirrored is not everybody's to know.
    Endpoint {
        audience: Audience::Local,
        ..get(
            "/v1/mirrors",
            NO_KEYS,
            of::<Page<MirrorRow>>,
            "Copies of packets",
        )
    },
    Endpoint {
        audience: Audience::Local,
        kind: "application/x-ndjson",
        ..get(
            "/v1/trace",
            Keys::TRACE,
            of::<TraceLine>,
            "Packets as the fast path sees them, an object in each line",
        )
    },
    Endpoint {
        keys: Keys::CAPTURE,
        kind: "application/x-pcapng",
        ..post(
            "/v1/capture",
            of::<CaptureRequest>,
            of::<Vec<u8>>,
            "The same as a file",
        )
    },
    post(
        "/v1/reload",
        of::<ReloadRequest>,
        of::<ReloadAnswer>,
        "Read the configuration again",
    ),
    post(
        "/v1/addresses",
        of::<AddressRequest>,
        of::<AddressAnswer>,
        "Take an external address out of use, or into it",
    ),
    post(
        "/v1/clock",
        of::<ClockRequest>,
        of::<ClockAnswer>,
        "Move the clock, for tests only",
    ),
];

/// The document of those endpoints that one may ask.
#[must_use]
pub fn document(audience: Audience) -> Value {
    let settings = SchemaSettings::draft2020_12().for_serialize();
    let settings = settings.with(|settings| settings.definitions_path = DEFINITIONS.into());
    let mut generator = settings.into_generator();
    let mut paths = Map::new();
    let endpoints = ENDPOINTS.iter();
    for endpoint in
        endpoints.filter(|endpoint| audience == Audience::Local || endpoint.audience == audience)
    {
        paths.insert(endpoint.path.to_owned(), endpoint.describe(&mut generator));
    }
    json!({
        "openapi": "3.1.0",
        "info": {"title": "Control API of the CGN", "version": env!("CARGO_PKG_VERSION")},
        "paths": paths,
        "components": {"schemas": generator.take_definitions(true)},
    })
}

impl Endpoint {
    fn describe(&self, generator: &mut SchemaGenerator) -> Value {
        let parameters = self.keys.0.iter().map(|key| {
            json!({
                "name": key, "in": "query", "required": self.required.contains(key), "schema": value_of(key),
            })
        });
        let failure = of::<Failure>(generator);
        let failed = json!({
            "description": "What is wrong, and what would be right", "content": {JSON: {"schema": failure}},
        });
        let answer = match self.kind {
            "application/x-pcapng" => json!({}),
            _ => (self.answers)(generator).to_value(),
        };
        let mut operation = json!({
            "summary": self.summary,
            "parameters": parameters.collect::<Vec<_>>(),
            "responses": {
                "200": {"description": "The answer", "content": {self.kind: {"schema": answer}}},
                "default": failed,
            },
        });
        let Some(takes) = self.takes else {
            return json!({"get": operation});
        };
        // What need not be sent is answered all the same, so the same type is two schemas.
        let settings = SchemaSettings::draft2020_12().for_deserialize();
        let settings = settings.with(|settings| settings.inline_subschemas = true);
        let body = takes(&mut settings.into_generator());
        operation["requestBody"] = json!({"content": {JSON: {"schema": body}}});
        json!({"post": operation})
    }
}

/// What the value of a key must be.
fn value_of(key: &str) -> Value {
    let number =
        |least: u64, most: u64| json!({"type": "integer", "minimum": least, "maximum": most});
    let words = |words: &[&str]| json!({"type": "string", "enum": words});
    match key {
        "subscriber" => json!({"type": "string", "format": "ipv4"}),
        "protocol" => words(&["tcp", "udp", "icmp"]),
        "side" => words(&["inside", "outside"]),
        "all" => json!({"type": "boolean"}),
        "limit" => {
            let mut limit = number(1, MAX_LIMIT as u64);
            limit["default"] = json!(DEFAULT_LIMIT);
            limit
        }
        "port" | "snap" => number(0, u64::from(u16::MAX)),
        "skew" => number(0, u64::from(u32::MAX)),
        "seconds" => number(0, 86_400),
        "rate" => number(1, 100_000),
        "cursor" | "count" => number(0, u64::MAX),
        _ => json!({"type": "string"}),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A reference to a type that the document lacks would be no schema.
    #[test]
    fn every_type_that_is_referred_to_is_there() {
        for audience in [Audience::Local, Audience::Remote] {
            let document = document(audience);
            let text = document.to_string();
            let references = text.split("\"$ref\":\"#").skip(1);
            let mut count = 0;
            for reference in references {
                let pointer = reference.split('"').next().unwrap();
                assert!(document.pointer(pointer).is_some(), "{pointer}");
                count += 1;
            }
            assert!(count > 10, "{text}");
        }
    }

    #[test]
    fn who_comes_from_afar_is_told_of_what_he_may_read() {
        let paths = |audience| document(audience)["paths"].as_object().unwrap().clone();
        let (local, remote) = (paths(Audience::Local), paths(Audience::Remote));
        assert_eq!(local.len(), ENDPOINTS.len());
        assert!(
            remote
                .values()
                .all(|path| path.get("get").is_some() && path.get("post").is_none())
        );
        assert!(remote.contains_key("/v1/status") && !remote.contains_key("/v1/trace"));
    }
}
