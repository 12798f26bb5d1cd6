//! One request, one response: what `raftctl` needs of an admin listener.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

use super::message::Method;

/// The most bytes of a response that are read.
const RESPONSE_BYTES_MAX: usize = 256 << 20;

/// What came back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// The body.
    pub body: Vec<u8>,
}

/// Why nothing came back.
#[derive(Debug)]
pub enum ClientError {
    /// The endpoint is not `host:port`, or the host is unknown.
    Resolve(String),
    /// Nothing accepts there, or not in time.
    Connect(io::Error),
    /// The connection broke, or the answer took too long.
    Io(io::Error),
    /// Something answers there that does not speak HTTP.
    NotHttp,
}

impl fmt::Display for ClientError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Resolve(why) => write!(f, "cannot be resolved: {why}"),
            Self::Connect(e) => write!(f, "cannot be reached: {e}"),
            Self::Io(e)
                if matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) =>
            {
                f.write_str("did not answer in time")
            }
            Self::Io(e) => write!(f, "broke off: {e}"),
            Self::NotHttp => {
                f.write_str("does not speak HTTP; is this the admin address of a node?")
            }
        }
    }
}

impl std::error::Error for ClientError {}

/// Sends one request to `endpoint` (`host:port`) and reads the answer; `limit` holds for each step.
///
/// # Errors
/// When no whole answer came back; an answer that says "no" is an [`Answer`].
pub fn ask(
    endpoint: &str,
    method: Method,
    target: &str,
    body: &[u8],
    limit: Duration,
) -> Result<Answer, ClientError> {
    let mut stream = connect(endpoint, limit)?;
    stream.set_read_timeout(Some(limit)).map_err(ClientError::Io)?;
    stream.set_write_timeout(Some(limit)).map_err(ClientError::Io)?;
    let head = format!(
        "{method} {target} HTTP/1.1\r\nHost: {endpoint}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    let request = [head.as_bytes(), body].concat();
    stream.write_all(&request).map_err(ClientError::Io)?;
    let mut bytes = Vec::new();
    let mut chunk = vec![0; 64 << 10];
    loop {
        if let Some(answer) = parse(&bytes)? {
            return Ok(answer);
        }
        match stream.read(&mut chunk) {
            Ok(0) if bytes.is_empty() => {
                return Err(ClientError::Io(io::ErrorKind::UnexpectedEof.into()));
            }
            Ok(0) => return Err(ClientError::NotHttp),
            Ok(count) => bytes.extend_from_slice(&chunk[..count]),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(ClientError::Io(e)),
        }
    }
}

fn connect(endpoint: &str, limit: Duration) -> Result<TcpStream, ClientError> {
    let addresses = endpoint.to_socket_addrs().map_err(|e| ClientError::Resolve(e.to_string()))?;
    let mut last = None;
    for address in addresses {
        match TcpStream::connect_timeout(&address, limit) {
            Ok(stream) => return Ok(stream),
            Err(e) => last = Some(e),
        }
    }
    Err(last.map_or_else(|| ClientError::Resolve("no address".to_owned()), ClientError::Connect))
}

/// The answer at the beginning of `bytes`, once it is whole.
fn parse(bytes: &[u8]) -> Result<Option<Answer>, ClientError> {
    let mut headers = [httparse::EMPTY_HEADER; 64];
    let mut response = httparse::Response::new(&mut headers);
    let head = match response.parse(bytes) {
        Ok(httparse::Status::Complete(head)) => head,
        Ok(httparse::Status::Partial) if bytes.len() < 64 << 10 => return Ok(None),
        Ok(_) | Err(_) => return Err(ClientError::NotHttp),
    };
    let length = response.headers.iter().find(|h| h.name.eq_ignore_ascii_case("content-length"));
    let length =
        length.and_then(|h| std::str::from_utf8(h.value).ok()?.trim().parse::<usize>().ok());
    let (Some(length), Some(status)) = (length, response.code) else {
        return Err(ClientError::NotHttp);
    };
    if length > RESPONSE_BYTES_MAX {
        return Err(ClientError::NotHttp);
    }
    let body = bytes.get(head..head + length);
    Ok(body.map(|body| Answer { status, body: body.to_vec() }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_taken_when_it_is_whole() {
        let text = b"HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\nno";
        for end in 0..text.len() {
            assert!(parse(&text[..end]).unwrap().is_none(), "{end} bytes");
        }
        assert_eq!(parse(text).unwrap().unwrap(), Answer { status: 404, body: b"no".to_vec() });
        assert!(matches!(parse(b"SSH-2.0-OpenSSH_9.2\r\n"), Err(ClientError::NotHttp)));
    }

    #[test]
    fn a_bad_endpoint_says_why() {
        let error = |endpoint| {
            ask(endpoint, Method::Get, "/", b"", Duration::from_secs(2)).unwrap_err().to_string()
        };
        assert!(error("nonsense").starts_with("cannot be resolved"), "{}", error("nonsense"));
        // Port 1 on loopback is nobody's.
        assert!(error("127.0.0.1:1").starts_with("cannot be reached"), "{}", error("127.0.0.1:1"));
    }
}
