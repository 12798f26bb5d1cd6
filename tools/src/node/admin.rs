//! Which path is answered by what: the table of the admin listener.
//!
//! | path | answer |
//! |---|---|
//! | `GET /healthz` | 200 `ok`, or 503 with the reason |
//! | `GET /metrics` | counters for Prometheus |
//! | `GET /v1/status`, `/v1/cluster` | this node; all nodes and their admin addresses |
//! | `GET /v1/groups`, `/v1/groups/ID` | replicas on this node |
//! | `GET /v1/groups/ID/digest`, `/v1/groups/ID/log?from=&to=` | its state's digest; its log without payloads |
//! | `POST /v1/groups/ID/transfer?to=NODE` | starts a hand-over of its leadership |
//! | `POST /v1/groups/ID/propose` | raw commands, where the machine is not the key-value store |
//! | `… /v1/kv/…` | see [`super::kv`] |
//!
//! A request for a group that another node leads is answered with 421 and that node's id; 503 comes with the
//! outcome of the write. The listener has no authentication and so stays on loopback unless told otherwise.

use kontiki::Engine;
use kontiki::error::RequestError;

use super::served::Served;
use super::{kv, prometheus};
use crate::api::{DigestReport, ErrorReport};
use crate::disk;
use crate::http::{Method, Request, Response};

/// The most blocks of a log that one answer holds.
const LOG_BLOCKS_MAX: usize = 10_000;

/// Answers one request.
pub(super) fn answer(served: &Served, request: &Request) -> Response {
    let path: Vec<&str> = request.path.split('/').filter(|part| !part.is_empty()).collect();
    if path == ["healthz"] {
        return match served.trouble() {
            None => Response::text(200, "ok\n"),
            Some(reason) => Response::text(503, reason + "\n"),
        };
    }
    let Some(engine) = served.engine() else {
        return problem(503, "starting: the store is being opened");
    };
    use Method::{Get, Post};
    match (request.method, path.as_slice()) {
        (Get, ["metrics"]) => Response {
            content_type: "text/plain; version=0.0.4; charset=utf-8",
            ..Response::text(200, prometheus::text(engine, served.uptime_s()))
        },
        (Get, ["v1", "status"]) => match engine.status() {
            Ok(status) => Response::json(200, &served.node_report(status)),
            Err(error) => refused(&error),
        },
        (Get, ["v1", "cluster"]) => Response::json(200, &served.cluster_report()),
        (Get, ["v1", "groups"]) => json(engine.group_statuses()),
        (_, ["v1", "groups", id, rest @ ..]) => match id.parse() {
            Ok(group) => of_group(served, engine, group, rest, request),
            Err(_) => problem(400, format!("`{id}` is no group id")),
        },
        (_, ["v1", "kv", call]) => match served.store() {
            Some(store) => kv::answer(store, call, request),
            None => {
                let machine = served.machine().name();
                problem(409, format!("this node serves the state machine `{machine}`, not `kv`"))
            }
        },
        (Post, ["metrics"] | ["v1", "status" | "cluster" | "groups"]) => {
            problem(405, "only GET here")
        }
        _ => problem(404, format!("no such path: {}", request.path)),
    }
}

fn of_group(
    served: &Served,
    engine: &Engine,
    group: u64,
    rest: &[&str],
    request: &Request,
) -> Response {
    match (request.method, rest) {
        (Method::Get, []) => json(engine.group_status(group)),
        (Method::Get, ["digest"]) => json(engine.digest(group).map(|(digest, index)| {
            DigestReport { group, node: engine.node_id(), index, digest: format!("{digest:016x}") }
        })),
        (Method::Get, ["log"]) => log(served, group, request),
        (Method::Post, ["transfer"]) => match request.query("to").map(str::parse) {
            Some(Ok(to)) => match engine.transfer_leader(group, to) {
                Ok(()) => Response::json(202, &serde_json::json!({ "group": group, "to": to })),
                Err(error) => refused(&error),
            },
            _ => problem(400, "give the node to hand over to: ?to=NODE"),
        },
        (Method::Post, ["propose"]) if served.store().is_some() => {
            problem(409, "this node serves the state machine `kv`; write through /v1/kv")
        }
        (Method::Post, ["propose"]) => kv::propose(engine, group, &request.body),
        (_, [] | ["digest" | "log" | "transfer" | "propose"]) => {
            problem(405, "the other method here")
        }
        _ => problem(404, format!("no such path: {}", request.path)),
    }
}

/// The log of a group, read from the directory that this very process writes: a view for operators, and slow.
fn log(served: &Served, group: u64, request: &Request) -> Response {
    let Some(_alone) = served.reading.try_lock() else {
        return problem(503, "busy: the log is being read for another request");
    };
    let number = |name: &str, default: u64| match request.query(name) {
        None => Ok(default),
        Some(text) => text.parse().map_err(|_| problem(400, format!("{name}={text} is no index"))),
    };
    let (from, to) = match (number("from", 0), number("to", u64::MAX)) {
        (Ok(from), Ok(to)) => (from, to),
        (Err(response), _) | (_, Err(response)) => return response,
    };
    match disk::log(&served.dir, group, from..=to, LOG_BLOCKS_MAX) {
        Ok(Some(report)) => Response::json(200, &report),
        Ok(None) => refused(&RequestError::UnknownGroup),
        Err(error) => problem(500, error.to_string()),
    }
}

fn json<T: serde::Serialize>(result: Result<T, RequestError>) -> Response {
    match result {
        Ok(value) => Response::json(200, &value),
        Err(error) => refused(&error),
    }
}

/// An answer that is not the engine's.
pub(super) fn problem(status: u16, error: impl Into<String>) -> Response {
    Response::json(status, &ErrorReport::new(error))
}

/// What the engine said no with.
pub(super) fn refused(error: &RequestError) -> Response {
    Response::json(status_of(error), &ErrorReport::of(error))
}

/// The status that tells a client what to do about `error`.
pub(super) const fn status_of(error: &RequestError) -> u16 {
    match error {
        RequestError::NotLeader { .. } => 421,
        RequestError::UnknownGroup => 404,
        RequestError::Busy
        | RequestError::Transferring
        | RequestError::LeaderLost
        | RequestError::Stopped => 503,
    }
}
