//! Just enough of an HTTP/1.1 client for a node's admin address: one connection, one request at a time.
//!
//! Deliberately absent: redirects, chunked bodies, TLS. A node's admin address uses none of them.

use std::io::{self, Write as _};
use std::net::{TcpStream, ToSocketAddrs as _};
use std::time::Duration;

/// How long a node may take to accept, or to answer.
const CONNECT_WAIT: Duration = Duration::from_secs(2);
const ANSWER_WAIT: Duration = Duration::from_secs(10);

/// The largest answer taken: the status of very many groups.
const BODY_BYTES_MAX: usize = 1 << 30;
const HEAD_BYTES_MAX: usize = 64 << 10;

/// Why there is no answer.
#[derive(Debug)]
pub(crate) enum HttpError {
    /// Nothing was sent: trying again is safe.
    Connect(io::Error),
    /// Something may have been done.
    Exchange(io::Error),
}

impl std::fmt::Display for HttpError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Connect(e) => write!(f, "cannot connect: {e}"),
            Self::Exchange(e) => write!(f, "no answer: {e}"),
        }
    }
}

/// An answer: its status code; the body is in the client's buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Answer<'a> {
    pub(crate) status: u16,
    pub(crate) body: &'a [u8],
}

/// A connection to one endpoint, opened when needed and again after an error.
#[derive(Debug)]
pub(crate) struct Client {
    endpoint: String,
    stream: Option<TcpStream>,
    buffer: Vec<u8>,
}

impl Client {
    pub(crate) fn new(endpoint: &str) -> Self {
        Self { endpoint: endpoint.to_owned(), stream: None, buffer: Vec::new() }
    }

    pub(crate) fn get(&mut self, path: &str) -> Result<Answer<'_>, HttpError> {
        self.request("GET", path, &[])
    }

    pub(crate) fn post(&mut self, path: &str, body: &[u8]) -> Result<Answer<'_>, HttpError> {
        self.request("POST", path, body)
    }

    fn request(&mut self, method: &str, path: &str, body: &[u8]) -> Result<Answer<'_>, HttpError> {
        let mut stream = match self.stream.take() {
            Some(stream) => stream,
            None => connect(&self.endpoint).map_err(HttpError::Connect)?,
        };
        self.buffer.clear();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: {}\r\nContent-Length: {}\r\n\r\n",
            self.endpoint,
            body.len()
        );
        self.buffer.extend_from_slice(head.as_bytes());
        self.buffer.extend_from_slice(body);
        stream.write_all(&self.buffer).map_err(HttpError::Exchange)?;
        self.buffer.clear();
        let head = read_answer(&mut stream, &mut self.buffer).map_err(HttpError::Exchange)?;
        if head.keep {
            self.stream = Some(stream);
        }
        Ok(Answer { status: head.status, body: &self.buffer[head.start..head.end] })
    }
}

fn connect(endpoint: &str) -> io::Result<TcpStream> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in endpoint.to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, CONNECT_WAIT) {
            Ok(stream) => {
                stream.set_nodelay(true)?;
                stream.set_read_timeout(Some(ANSWER_WAIT))?;
                stream.set_write_timeout(Some(ANSWER_WAIT))?;
                return Ok(stream);
            }
            Err(e) => last = e,
        }
    }
    Err(last)
}

/// What the head of an answer says, and where its body lies in the buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Head {
    status: u16,
    start: usize,
    end: usize,
    keep: bool,
}

fn read_answer(stream: &mut impl io::Read, buffer: &mut Vec<u8>) -> io::Result<Head> {
    let head = loop {
        if let Some(head) = parse_head(buffer)? {
            break head;
        }
        if buffer.len() > HEAD_BYTES_MAX {
            return Err(bad("the head of the answer does not end"));
        }
        let mut chunk = [0; 4096];
        let count = stream.read(&mut chunk)?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        buffer.extend_from_slice(&chunk[..count]);
    };
    let have = buffer.len();
    if have > head.end {
        return Err(bad("more came than was announced"));
    }
    buffer.resize(head.end, 0);
    stream.read_exact(&mut buffer[have..])?;
    Ok(head)
}

/// The head, once it is complete.
fn parse_head(bytes: &[u8]) -> io::Result<Option<Head>> {
    let mut headers = [httparse::EMPTY_HEADER; 32];
    let mut answer = httparse::Response::new(&mut headers);
    let httparse::Status::Complete(start) = answer.parse(bytes).map_err(|e| bad(&e.to_string()))?
    else {
        return Ok(None);
    };
    let field = |name: &str| {
        let found = answer.headers.iter().find(|header| header.name.eq_ignore_ascii_case(name));
        found.and_then(|header| std::str::from_utf8(header.value).ok()).map(str::trim)
    };
    let length = match field("content-length") {
        Some(text) => text.parse::<usize>().map_err(|e| bad(&e.to_string()))?,
        None => return Err(bad("an answer without Content-Length")),
    };
    if length > BODY_BYTES_MAX {
        return Err(bad("an answer of more than 1 GiB"));
    }
    let keep = field("connection").is_none_or(|value| !value.eq_ignore_ascii_case("close"));
    Ok(Some(Head { status: answer.code.unwrap_or(0), start, end: start + length, keep }))
}

fn bad(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why.to_owned())
}

/// `bytes` in hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digits = bytes.iter().flat_map(|b| [b >> 4, b & 15]);
    digits.map(|digit| char::from(DIGITS[usize::from(digit)])).collect()
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;
    use std::net::{Ipv4Addr, TcpListener};

    use super::*;

    #[test]
    fn an_answer_is_read_whole_however_it_is_cut() {
        let whole = b"HTTP/1.1 421 Misdirected\r\ncontent-length: 12\r\n\r\n{\"leader\":2}";
        for cut in 1..whole.len() {
            let mut parts = whole[..cut].chain(&whole[cut..]);
            let mut buffer = Vec::new();
            let head = read_answer(&mut parts, &mut buffer).unwrap();
            assert_eq!((head.status, head.keep), (421, true));
            assert_eq!(&buffer[head.start..head.end], b"{\"leader\":2}");
            assert!(read_answer(&mut &whole[..cut], &mut Vec::new()).is_err(), "cut at {cut}");
        }
    }

    #[test]
    fn nonsense_is_an_error() {
        for bytes in [
            &b"SSH-2.0\r\n\r\n"[..],
            b"HTTP/1.1 200 OK\r\n\r\n",
            b"HTTP/1.1 200 OK\r\ncontent-length: x\r\n\r\n",
        ] {
            assert!(read_answer(&mut &bytes[..], &mut Vec::new()).is_err());
        }
    }

    #[test]
    fn a_connection_serves_several_requests() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap().to_string();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let (mut stream, _) = listener.accept().unwrap();
                for _ in 0..2 {
                    let mut seen = Vec::new();
                    while !seen.ends_with(b"body") {
                        let mut byte = [0];
                        stream.read_exact(&mut byte).unwrap();
                        seen.push(byte[0]);
                    }
                    assert!(seen.starts_with(b"POST /v1/x HTTP/1.1\r\n"));
                    stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").unwrap();
                }
            });
            let mut client = Client::new(&address);
            for _ in 0..2 {
                let answer = client.post("/v1/x", b"body").unwrap();
                assert_eq!((answer.status, answer.body), (200, &b"ok"[..]));
            }
        });
        let mut client = Client::new(&address);
        drop(listener);
        assert!(matches!(client.get("/"), Err(HttpError::Connect(_))));
    }

    #[test]
    fn hexadecimal_is_lower_case() {
        assert_eq!(hex(&[0, 0xab, 0x1f]), "00ab1f");
    }
}
