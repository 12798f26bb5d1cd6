//! The listener over real loopback sockets.

use super::*;
use crate::http::{Method, ask};

fn echo() -> Server {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    Server::start(listener, |request| match request.path.as_str() {
        "/panic" => panic!("a handler that panics ends its own connection only"),
        _ => Response::bytes([request.path.as_bytes(), b" ", &request.body].concat()),
    })
    .unwrap()
}

fn talk(server: &Server, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(server.address()).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    stream.write_all(bytes).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn requests_on_one_connection_are_answered_in_order() {
    let server = echo();
    let two = b"POST /a HTTP/1.1\r\nContent-Length: 3\r\n\r\nxyzGET /b HTTP/1.1\r\n\r\n";
    let answer = talk(&server, two);
    assert_eq!(answer.matches("HTTP/1.1 200 OK").count(), 2, "{answer}");
    assert!(answer.contains("/a xyzHTTP/1.1") && answer.ends_with("/b "), "{answer}");
    server.stop(Duration::from_secs(5));
}

#[test]
fn a_request_in_two_pieces_with_expect_is_served() {
    let server = echo();
    let mut stream = TcpStream::connect(server.address()).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    stream.write_all(b"POST /c HTTP/1.1\r\nExpect: 100-continue\r\nContent-Le").unwrap();
    stream.write_all(b"ngth: 2\r\nConnection: close\r\n\r\n").unwrap();
    let mut said = [0; 25];
    stream.read_exact(&mut said).unwrap();
    assert_eq!(&said, b"HTTP/1.1 100 Continue\r\n\r\n");
    stream.write_all(b"ok").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.ends_with("/c ok"), "{answer}");
    server.stop(Duration::from_secs(5));
}

#[test]
fn what_is_not_understood_is_refused_with_a_reason() {
    let server = echo();
    let cases: &[(&[u8], &str)] = &[
        (b"\x16\x03\x01 this is TLS\r\n\r\n", "HTTP/1.1 400"),
        (b"POST / HTTP/1.1\r\nContent-Length: 9000000\r\n\r\n", "HTTP/1.1 413"),
        (b"PUT / HTTP/1.1\r\n\r\n", "HTTP/1.1 405"),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "HTTP/1.1 501"),
    ];
    for (bytes, status) in cases {
        let answer = talk(&server, bytes);
        assert!(answer.starts_with(status), "{answer}");
        assert!(answer.contains("{\"error\":"), "{answer}");
    }
    let long = format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(20_000));
    assert!(talk(&server, long.as_bytes()).starts_with("HTTP/1.1 431"));
    server.stop(Duration::from_secs(5));
}

#[test]
fn a_panicking_handler_leaves_the_listener_alive() {
    let server = echo();
    assert_eq!(talk(&server, b"GET /panic HTTP/1.1\r\n\r\n"), "");
    let endpoint = server.address().to_string();
    let answer = ask(&endpoint, Method::Get, "/still", b"", Duration::from_secs(5)).unwrap();
    assert_eq!((answer.status, answer.body.as_slice()), (200, b"/still ".as_slice()));
    server.stop(Duration::from_secs(5));
}

#[test]
fn one_connection_too_many_is_told_so() {
    let server = echo();
    let mut open = Vec::new();
    for _ in 0..CONNECTIONS_MAX {
        let mut stream = TcpStream::connect(server.address()).unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
        // Its answer shows that its thread is there and counted.
        stream.read_exact(&mut [0; 12]).unwrap();
        open.push(stream);
    }
    assert!(talk(&server, b"").starts_with("HTTP/1.1 503"));
    drop(open);
    server.stop(Duration::from_secs(5));
}

#[test]
fn stopping_does_not_wait_for_idle_connections() {
    let server = echo();
    let mut idle = TcpStream::connect(server.address()).unwrap();
    idle.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    idle.read_exact(&mut [0; 12]).unwrap();
    let clock = Clock::new();
    server.stop(Duration::from_secs(20));
    assert!(clock.now().0 < 1_000_000 + 15_000_000, "stopped by its limit only");
}
