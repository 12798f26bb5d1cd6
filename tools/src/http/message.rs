//! Requests and responses as data, and how bytes become a request; no sockets in here.

use std::fmt;

use crate::api::unhex;

/// The most bytes of a request's first line and headers.
pub const HEAD_BYTES_MAX: usize = 16 << 10;

/// The most bytes of a request's body.
pub const BODY_BYTES_MAX: usize = 8 << 20;

/// The most headers of a request.
const HEADERS_MAX: usize = 64;

/// What a request wants to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// Reads.
    Get,
    /// Changes something.
    Post,
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Get => "GET",
            Self::Post => "POST",
        })
    }
}

/// One request, read completely.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Its method.
    pub method: Method,
    /// Its path, decoded, without the query.
    pub path: String,
    /// The query's names and values, decoded, in order.
    pub query: Vec<(String, String)>,
    /// Its body.
    pub body: Vec<u8>,
}

impl Request {
    /// The first value of `name` in the query.
    #[must_use]
    pub fn query(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }
}

/// One response, about to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// The status code.
    pub status: u16,
    /// The value of `Content-Type`.
    pub content_type: &'static str,
    /// Its body.
    pub body: Vec<u8>,
}

impl Response {
    /// A response of plain text.
    #[must_use]
    pub fn text(status: u16, text: impl Into<String>) -> Self {
        let body = text.into().into_bytes();
        Self { status, content_type: "text/plain; charset=utf-8", body }
    }

    /// A response of bytes.
    #[must_use]
    pub fn bytes(body: Vec<u8>) -> Self {
        Self { status: 200, content_type: "application/octet-stream", body }
    }

    /// A JSON response.
    ///
    /// # Panics
    /// When `value` has no JSON form, which plain structs always have.
    #[must_use]
    pub fn json(status: u16, value: &impl serde::Serialize) -> Self {
        let mut body = serde_json::to_vec(value).expect("plain data has a JSON form");
        body.push(b'\n');
        Self { status, content_type: "application/json", body }
    }

    /// Status line, headers and body.
    pub(super) fn encode(&self, keep_alive: bool) -> Vec<u8> {
        let head = format!(
            "HTTP/1.1 {} {}\r\nContent-Type: {}\r\nContent-Length: {}\r\nConnection: {}\r\n\r\n",
            self.status,
            reason(self.status),
            self.content_type,
            self.body.len(),
            if keep_alive { "keep-alive" } else { "close" },
        );
        let mut bytes = Vec::with_capacity(head.len() + self.body.len());
        bytes.extend_from_slice(head.as_bytes());
        bytes.extend_from_slice(&self.body);
        bytes
    }
}

const fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        202 => "Accepted",
        400 => "Bad Request",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        409 => "Conflict",
        413 => "Content Too Large",
        421 => "Misdirected Request",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        503 => "Service Unavailable",
        505 => "HTTP Version Not Supported",
        _ => "Status",
    }
}

/// Why bytes are not a request that is served; the connection is closed after saying so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Malformed {
    /// Not HTTP/1.x at all.
    Syntax,
    /// First line and headers are over [`HEAD_BYTES_MAX`], or there are too many headers.
    HeadTooLarge,
    /// The body is over [`BODY_BYTES_MAX`].
    BodyTooLarge,
    /// `Content-Length` is not a number, or is given twice with different values.
    Length,
    /// `Transfer-Encoding` is not spoken here.
    TransferEncoding,
    /// A method other than GET and POST.
    Method,
    /// A path that is not valid UTF-8 once decoded, or with broken percent signs.
    Path,
}

impl Malformed {
    /// What the client is told.
    #[must_use]
    pub fn response(self) -> Response {
        let (status, text) = match self {
            Self::Syntax => (400, "this is not an HTTP/1.1 request"),
            Self::HeadTooLarge => (431, "the request's head is over 16 KiB or 64 headers"),
            Self::BodyTooLarge => (413, "the request's body is over 8 MiB"),
            Self::Length => (400, "Content-Length is not one number"),
            Self::TransferEncoding => {
                (501, "Transfer-Encoding is not supported; send Content-Length")
            }
            Self::Method => (405, "only GET and POST are served"),
            Self::Path => (400, "the path is not percent-encoded UTF-8"),
        };
        Response::json(status, &crate::api::ErrorReport::new(text))
    }
}

/// A request's head: all of it but the body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) method: Method,
    pub(super) path: String,
    pub(super) query: Vec<(String, String)>,
    /// The bytes of the head, up to and with the empty line.
    pub(super) bytes: usize,
    /// The bytes of the body; at most [`BODY_BYTES_MAX`].
    pub(super) body_bytes: usize,
    pub(super) keep_alive: bool,
    /// The client waits to be told that its body is wanted.
    pub(super) expects_continue: bool,
}

/// Looks for a whole head at the beginning of `bytes`; `None` when more bytes are needed.
pub(super) fn parse_head(bytes: &[u8]) -> Result<Option<Head>, Malformed> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut request = httparse::Request::new(&mut headers);
    let length = match request.parse(bytes) {
        Ok(httparse::Status::Complete(length)) if length <= HEAD_BYTES_MAX => length,
        Ok(httparse::Status::Partial) if bytes.len() < HEAD_BYTES_MAX => return Ok(None),
        Ok(_) | Err(httparse::Error::TooManyHeaders) => return Err(Malformed::HeadTooLarge),
        Err(_) => return Err(Malformed::Syntax),
    };
    let method = match request.method {
        Some("GET") => Method::Get,
        Some("POST") => Method::Post,
        _ => return Err(Malformed::Method),
    };
    let (path, query) = split_target(request.path.unwrap_or("/"))?;
    let mut body_bytes = None;
    let mut keep_alive = request.version == Some(1);
    let mut expects_continue = false;
    for header in request.headers.iter() {
        let value = std::str::from_utf8(header.value).unwrap_or("").trim();
        let is = |name: &str| header.name.eq_ignore_ascii_case(name);
        if is("content-length") {
            // A sign or a blank is no digit: `parse` alone would take `+5`.
            let digits = !value.is_empty() && value.bytes().all(|b| b.is_ascii_digit());
            let length = value.parse::<u64>().ok().filter(|_| digits).ok_or(Malformed::Length)?;
            if body_bytes.is_some_and(|before| before != length) {
                return Err(Malformed::Length);
            }
            body_bytes = Some(length);
        } else if is("transfer-encoding") {
            return Err(Malformed::TransferEncoding);
        } else if is("connection") {
            let says = |word: &str| value.split(',').any(|v| v.trim().eq_ignore_ascii_case(word));
            keep_alive = (keep_alive || says("keep-alive")) && !says("close");
        } else if is("expect") {
            expects_continue = value.eq_ignore_ascii_case("100-continue");
        }
    }
    let body_bytes = usize::try_from(body_bytes.unwrap_or(0)).unwrap_or(usize::MAX);
    if body_bytes > BODY_BYTES_MAX {
        return Err(Malformed::BodyTooLarge);
    }
    Ok(Some(Head { method, path, query, bytes: length, body_bytes, keep_alive, expects_continue }))
}

/// A decoded path, and the names and values of its query.
type Target = (String, Vec<(String, String)>);

fn split_target(target: &str) -> Result<Target, Malformed> {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let pairs = query.split('&').filter(|pair| !pair.is_empty()).map(|pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        Ok((decode(name)?, decode(value)?))
    });
    Ok((decode(path)?, pairs.collect::<Result<_, _>>()?))
}

/// Undoes percent-encoding.
fn decode(text: &str) -> Result<String, Malformed> {
    let mut parts = text.split('%');
    let mut bytes = parts.next().unwrap_or("").as_bytes().to_vec();
    for part in parts {
        let byte = part.get(..2).and_then(unhex).ok_or(Malformed::Path)?;
        bytes.extend_from_slice(&byte);
        bytes.extend_from_slice(&part.as_bytes()[2..]);
    }
    String::from_utf8(bytes).map_err(|_| Malformed::Path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(text: &str) -> Result<Option<Head>, Malformed> {
        parse_head(text.as_bytes())
    }

    #[test]
    fn a_whole_head_is_understood() {
        let text = "POST /v1/kv/put?key=00ff&x=a%20b HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello";
        let head = head(text).unwrap().unwrap();
        assert_eq!((head.method, head.path.as_str()), (Method::Post, "/v1/kv/put"));
        assert_eq!(head.query, [("key".into(), "00ff".into()), ("x".into(), "a b".into())]);
        assert_eq!((head.bytes, head.body_bytes), (text.len() - 5, 5));
        assert!(head.keep_alive && !head.expects_continue);
    }

    #[test]
    fn every_prefix_of_a_head_asks_for_more() {
        let text = "GET /healthz HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n";
        for end in 0..text.len() {
            assert_eq!(head(&text[..end]), Ok(None), "{end} bytes");
        }
        assert!(!head(text).unwrap().unwrap().keep_alive);
    }

    #[test]
    fn limits_are_checked_before_anything_is_read() {
        let post = |headers: &str| head(&format!("POST / HTTP/1.1\r\n{headers}\r\n\r\n")).map(drop);
        assert_eq!(post("Content-Length: 8388609"), Err(Malformed::BodyTooLarge));
        assert_eq!(post("Content-Length: 99999999999999999999999"), Err(Malformed::Length));
        assert_eq!(post("Content-Length: 18446744073709551615"), Err(Malformed::BodyTooLarge));
        assert_eq!(post("Content-Length: +5"), Err(Malformed::Length));
        assert_eq!(post("Content-Length: 5\r\nContent-Length: 6"), Err(Malformed::Length));
        assert_eq!(post("Transfer-Encoding: chunked"), Err(Malformed::TransferEncoding));
        assert_eq!(post(&"a: b\r\n".repeat(65)), Err(Malformed::HeadTooLarge));
        assert_eq!(
            head(&format!("GET /{}", "x".repeat(HEAD_BYTES_MAX))),
            Err(Malformed::HeadTooLarge)
        );
        assert_eq!(head("DELETE / HTTP/1.1\r\n\r\n"), Err(Malformed::Method));
        assert_eq!(head("GET /%zz HTTP/1.1\r\n\r\n"), Err(Malformed::Path));
        assert_eq!(head("GET /%ff HTTP/1.1\r\n\r\n"), Err(Malformed::Path));
        assert_eq!(head("\u{1}\u{2}\u{3}\u{4}"), Err(Malformed::Syntax));
    }

    #[test]
    fn the_old_version_closes_unless_asked() {
        assert!(!head("GET / HTTP/1.0\r\n\r\n").unwrap().unwrap().keep_alive);
        assert!(
            head("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n").unwrap().unwrap().keep_alive
        );
    }
}
