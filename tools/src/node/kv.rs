//! The key-value calls over HTTP: for tests, load generators and first steps; embedders call the library.
//!
//! | call | |
//! |---|---|
//! | `POST put?key=HEX`, body = value | one write, answered when applied |
//! | `POST delete?key=HEX` | one removal |
//! | `GET get?key=HEX` | the value as bytes; linearizable. 404 when there is none |
//! | `GET scan?start=HEX&end=HEX&limit=N` | pairs in key order |
//! | `POST batch`, body = repeated (u32 key length, u32 value length, key, value), little-endian | many independent puts, pipelined |
//!
//! A batch is no transaction: each put stands for itself, and the answer says which ones failed and how.

use std::ops::Range;

use kontiki::error::{Outcome, RequestError, SubmitError};
use kontiki::kvstore::CallError;
use kontiki::{CompletionQueue, Engine, Store, Submission};

use super::admin::{problem, refused, status_of};
use crate::api::{BatchError, BatchReport, ErrorReport, ScanItem, ScanReport, hex, unhex};
use crate::http::{Method, Request, Response};

/// The most pairs of one scan, and how many it returns when nobody says.
const SCAN_MAX: usize = 10_000;
const SCAN_DEFAULT: usize = 100;

/// Answers the call `call`, the last part of the path.
pub(super) fn answer(store: &Store, call: &str, request: &Request) -> Response {
    let key = || match request.query("key").map(unhex) {
        Some(Some(key)) => Ok(key),
        _ => Err(problem(400, "give the key in hexadecimal: ?key=HEX")),
    };
    match (request.method, call) {
        (Method::Post, "put") => match key() {
            Ok(key) => applied(store.put(&key, &request.body)),
            Err(response) => response,
        },
        (Method::Post, "delete") => match key() {
            Ok(key) => applied(store.delete(&key)),
            Err(response) => response,
        },
        (Method::Get, "get") => match key().map(|key| store.get(&key)) {
            Ok(Ok(Some(value))) => Response::bytes(value),
            Ok(Ok(None)) => problem(404, "no such key"),
            Ok(Err(error)) => failed(&error),
            Err(response) => response,
        },
        (Method::Get, "scan") => scan(store, request),
        (Method::Post, "batch") => batch(store, &request.body),
        (_, "put" | "delete" | "get" | "scan" | "batch") => problem(405, "the other method here"),
        _ => problem(404, format!("no such call: {call}")),
    }
}

fn applied(result: Result<kontiki::Applied, CallError>) -> Response {
    match result {
        Ok(applied) => Response::json(200, &serde_json::json!({ "index": applied.index.0 })),
        Err(error) => failed(&error),
    }
}

fn failed(error: &CallError) -> Response {
    let status = match error {
        CallError::Request(error) => return refused(error),
        CallError::Submit(SubmitError::Busy | SubmitError::Stopped) => 503,
        CallError::Submit(SubmitError::TooLarge { .. } | SubmitError::Full) => 413,
        CallError::Command(_) | CallError::SpansRanges => 400,
        CallError::State(_) => 500,
    };
    Response::json(status, &report(error))
}

fn report(error: &CallError) -> ErrorReport {
    if let CallError::Request(error) = error {
        return ErrorReport::of(error);
    }
    let outcome = match error.outcome() {
        Outcome::NotApplied => "not_applied",
        Outcome::Applied => "applied",
        Outcome::Unknown => "unknown",
    };
    ErrorReport { outcome: Some(outcome.to_owned()), ..ErrorReport::new(error.to_string()) }
}

fn scan(store: &Store, request: &Request) -> Response {
    let bound = |name: &str| match request.query(name) {
        None | Some("") => Ok(None),
        Some(text) => match unhex(text) {
            Some(bytes) => Ok(Some(bytes)),
            None => Err(problem(400, format!("{name} is not hexadecimal"))),
        },
    };
    let (start, end) = match (bound("start"), bound("end")) {
        (Ok(start), Ok(end)) => (start.unwrap_or_default(), end),
        (Err(response), _) | (_, Err(response)) => return response,
    };
    let limit = match request.query("limit").map(str::parse) {
        None => SCAN_DEFAULT,
        Some(Ok(limit @ 1..=SCAN_MAX)) => limit,
        Some(_) => return problem(400, format!("limit is not between 1 and {SCAN_MAX}")),
    };
    match store.scan(&start, end.as_deref(), limit) {
        Ok(page) => {
            let item =
                |(key, value): &(Vec<u8>, Vec<u8>)| ScanItem { key: hex(key), value: hex(value) };
            let items = page.entries.iter().map(item).collect();
            Response::json(200, &ScanReport { items, next: page.next.as_deref().map(hex) })
        }
        Err(error) => failed(&error),
    }
}

fn batch(store: &Store, body: &[u8]) -> Response {
    let puts = match pairs(body) {
        Ok(puts) => puts,
        Err(why) => return problem(400, why),
    };
    let mut many = Many::default();
    for (tag, (key, value)) in puts.into_iter().enumerate() {
        let (key, value) = (&body[key], &body[value]);
        if let Err(error) = store.push_put(&mut many.submission, tag as u64, key, value) {
            many.fail([tag as u64], report(&error));
        }
    }
    many.run(store.engine())
}

/// Proposes raw commands to `group`: the body is repeated (u32 length, command), little-endian.
pub(super) fn propose(engine: &Engine, group: u64, body: &[u8]) -> Response {
    let mut many = Many::default();
    let mut at = 0;
    for tag in 0.. {
        let command = match next(body, &mut at) {
            Ok(Some([command])) => command,
            Ok(None) => break,
            Err(why) => return problem(400, why),
        };
        if let Err(error) = many.submission.push(group, tag, &body[command]) {
            many.fail([tag], report(&CallError::Submit(error)));
        }
    }
    many.run(engine)
}

/// Where a key and its value lie in a batch's body.
type Pair = (Range<usize>, Range<usize>);

fn pairs(body: &[u8]) -> Result<Vec<Pair>, String> {
    let mut pairs = Vec::new();
    let mut at = 0;
    while let Some([key, value]) = next(body, &mut at)? {
        pairs.push((key, value));
    }
    Ok(pairs)
}

/// The next `N` strings: their lengths, then they; `None` at the end of the body.
fn next<const N: usize>(body: &[u8], at: &mut usize) -> Result<Option<[Range<usize>; N]>, String> {
    let start = *at;
    if start == body.len() {
        return Ok(None);
    }
    let cut = || format!("the record at byte {start} is longer than the body");
    let mut place = start + 4 * N;
    let lengths = body.get(start..place).ok_or_else(cut)?;
    let mut fields = [const { 0..0 }; N];
    for (field, length) in fields.iter_mut().zip(lengths.chunks_exact(4)) {
        let length = u32::from_le_bytes([length[0], length[1], length[2], length[3]]) as usize;
        *field = place..place.saturating_add(length);
        place = field.end;
        if place > body.len() {
            return Err(cut());
        }
    }
    *at = place;
    Ok(Some(fields))
}

/// Many independent writes under way at once, and what became of them.
#[derive(Default)]
struct Many {
    submission: Submission,
    report: BatchReport,
    /// The last error of a group, when there was one.
    refused: Option<RequestError>,
}

impl Many {
    fn fail(&mut self, tags: impl IntoIterator<Item = u64>, report: ErrorReport) {
        match self.report.errors.iter_mut().find(|known| known.report == report) {
            Some(known) => known.at.extend(tags),
            None => {
                self.report.errors.push(BatchError { at: tags.into_iter().collect(), report });
            }
        }
    }

    /// Hands all of them over and waits until each is answered.
    fn run(mut self, engine: &Engine) -> Response {
        let queue = CompletionQueue::new();
        let mut open = self.submission.len();
        let submission = std::mem::take(&mut self.submission);
        if let Err((error, _)) = engine.submit(submission, &queue) {
            return failed(&CallError::Submit(error));
        }
        let mut completions = Vec::new();
        while open > 0 {
            queue.drain(&mut completions, None);
            for completion in completions.drain(..) {
                let tags = completion.tags();
                open -= tags.len();
                match completion.result() {
                    Ok(_) => self.report.applied += tags.len() as u64,
                    Err(error) => {
                        self.fail(tags.iter().copied(), ErrorReport::of(&error));
                        self.refused = Some(error);
                    }
                }
            }
        }
        drop(queue);
        self.answer()
    }

    /// 200 when anything was applied or the failures differ; else the status of the failure, so that a client which
    /// asked the wrong node hears of it as it does for a single write.
    fn answer(mut self) -> Response {
        for error in &mut self.report.errors {
            error.at.sort_unstable();
        }
        let alike = self.report.applied == 0 && self.report.errors.len() == 1;
        let status = self.refused.filter(|_| alike).map_or(200, |error| status_of(&error));
        Response::json(status, &self.report)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(key: &[u8], value: &[u8]) -> Vec<u8> {
        let length = |bytes: &[u8]| u32::try_from(bytes.len()).unwrap().to_le_bytes();
        [&length(key), &length(value), key, value].concat()
    }

    #[test]
    fn a_batch_is_cut_into_its_pairs() {
        let body = [record(b"k1", b"v"), record(b"", b""), record(b"key", b"value")].concat();
        let found = pairs(&body).unwrap();
        let text: Vec<_> =
            found.iter().map(|(k, v)| (&body[k.clone()], &body[v.clone()])).collect();
        assert_eq!(text, [(&b"k1"[..], &b"v"[..]), (b"", b""), (b"key", b"value")]);
        assert_eq!(pairs(b"").unwrap(), []);
    }

    #[test]
    fn a_batch_that_is_cut_short_is_refused_whole() {
        let body = [record(b"k1", b"v"), record(b"k2", b"w")].concat();
        for end in 0..body.len() {
            let whole = end == 0 || end == body.len() / 2;
            assert_eq!(pairs(&body[..end]).is_ok(), whole, "{end} bytes");
        }
        assert!(pairs(&[0xff; 8]).is_err());
    }
}
