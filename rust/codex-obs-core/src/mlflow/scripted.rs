//! A server for tests that does as it is told, byte for byte.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rustls::{ServerConfig, ServerConnection, StreamOwned};

/// Time between two bytes of a drip.
const DRIP: Duration = Duration::from_millis(20);

/// A request as it arrived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// `POST /path HTTP/1.1` and the headers.
    pub head: String,
    /// The body.
    pub body: Vec<u8>,
    /// Index of its connection.
    pub connection: usize,
}

impl Request {
    /// The path that was asked for.
    pub fn path(&self) -> &str {
        self.head.split(' ').nth(1).unwrap_or_default()
    }

    /// A header's value.
    pub fn header(&self, name: &str) -> Option<&str> {
        let lines = self.head.lines().filter_map(|line| line.split_once(':'));
        lines.into_iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
    }

    /// The body as JSON.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

/// What to do with a request.
#[derive(Clone, Debug)]
pub enum Action {
    /// These bytes, and the connection stays open.
    Say(Vec<u8>),
    /// These bytes, and the connection is closed.
    SayAndClose(Vec<u8>),
    /// These bytes, the last of them one by one and for ever.
    Drip(Vec<u8>),
    /// These bytes again and again after the first.
    Flood(Vec<u8>, Vec<u8>),
    /// Nothing, for ever.
    Hold,
}

/// A reply with a status, headers and a body.
pub fn reply(status: &str, headers: &str, body: &str) -> Action {
    let length = body.len();
    Action::Say(format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\n{headers}\r\n{body}").into_bytes())
}

/// MLflow's usual reply.
pub fn fine() -> Action {
    reply("200 OK", "Content-Type: application/json\r\n", "{}")
}

/// MLflow's complaint.
pub fn complaint(status: u16, code: &str, message: &str) -> Action {
    let message = serde_json::to_string(message).unwrap();
    let body = format!("{{\"error_code\": \"{code}\", \"message\": {message}}}");
    reply(&format!("{status} No"), "Content-Type: application/json\r\n", &body)
}

type Script = dyn FnMut(usize, &Request) -> Action + Send;

/// How connections are taken.
#[derive(Clone, Default)]
pub struct Door {
    /// TLS, if it is spoken.
    pub tls: Option<Arc<ServerConfig>>,
    /// Bytes of a connection's first request after which it is reset.
    pub reset_after: Option<usize>,
}

/// The server; it ends when it is dropped.
pub struct Server {
    address: SocketAddr,
    requests: Arc<Mutex<Vec<Request>>>,
    is_over: Arc<AtomicBool>,
    /// Dropped to end what holds or drips.
    _stop: Sender<()>,
    listening: Option<JoinHandle<()>>,
}

struct Shared {
    script: Arc<Mutex<Box<Script>>>,
    requests: Arc<Mutex<Vec<Request>>>,
    is_over: Arc<AtomicBool>,
}

impl Server {
    /// A server that asks `script` what to do with the n-th request, from 0.
    pub fn start(script: impl FnMut(usize, &Request) -> Action + Send + 'static) -> Self {
        Self::start_behind(&Door::default(), script)
    }

    /// The same behind a door.
    pub fn start_behind(door: &Door, script: impl FnMut(usize, &Request) -> Action + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let is_over = Arc::new(AtomicBool::new(false));
        let (stop, stopped) = channel();
        let stopped = Arc::new(Mutex::new(stopped));
        let shared = Arc::new(Shared {
            script: Arc::new(Mutex::new(Box::new(script))),
            requests: Arc::clone(&requests),
            is_over: Arc::clone(&is_over),
        });
        let door = door.clone();
        let listening = thread::spawn(move || {
            for (number, stream) in listener.incoming().enumerate() {
                if shared.is_over.load(Ordering::Acquire) {
                    return;
                }
                let Ok(stream) = stream else { continue };
                let (shared, stopped, door) = (Arc::clone(&shared), Arc::clone(&stopped), door.clone());
                thread::spawn(move || serve_behind(&door, stream, number, &shared, &stopped));
            }
        });
        Self { address, requests, is_over, _stop: stop, listening: Some(listening) }
    }

    /// `127.0.0.1:port`
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What has arrived so far.
    pub fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Release: pairs with the acquire in the loop of `start_behind`, which this connection wakes.
        self.is_over.store(true, Ordering::Release);
        let _ = TcpStream::connect(self.address);
        if let Some(listening) = self.listening.take() {
            let _ = listening.join();
        }
    }
}

fn serve_behind(door: &Door, mut stream: TcpStream, number: usize, shared: &Shared, stopped: &Mutex<Receiver<()>>) {
    if let Some(bytes) = door.reset_after {
        // Closing while bytes are unread makes the kernel send a reset.
        let mut some = vec![0; bytes];
        let _ = stream.read_exact(&mut some);
        let _ = stream.peek(&mut [0]);
        return;
    }
    match &door.tls {
        None => serve(&mut stream, number, shared, stopped),
        Some(config) => {
            let connection = ServerConnection::new(Arc::clone(config)).unwrap();
            serve(&mut StreamOwned::new(connection, stream), number, shared, stopped);
        }
    }
}

fn serve(stream: &mut (impl Read + Write), number: usize, shared: &Shared, stopped: &Mutex<Receiver<()>>) {
    while let Some(request) = read_request(stream, number) {
        let count = {
            let mut requests = shared.requests.lock().unwrap_or_else(PoisonError::into_inner);
            requests.push(request.clone());
            requests.len() - 1
        };
        let action = (shared.script.lock().unwrap_or_else(PoisonError::into_inner))(count, &request);
        let wait = |time| {
            let stopped = stopped.lock().unwrap_or_else(PoisonError::into_inner);
            stopped.recv_timeout(time) != Err(RecvTimeoutError::Disconnected)
        };
        let is_open = match action {
            Action::Say(bytes) => stream.write_all(&bytes).is_ok(),
            Action::SayAndClose(bytes) => {
                let _ = stream.write_all(&bytes);
                false
            }
            Action::Drip(bytes) => {
                let (last, first) = bytes.split_last().unwrap();
                let mut goes_on = stream.write_all(first).is_ok();
                while goes_on {
                    goes_on = stream.write_all(&[*last]).is_ok() && stream.flush().is_ok() && wait(DRIP);
                }
                false
            }
            Action::Flood(first, again) => {
                let mut goes_on = stream.write_all(&first).is_ok();
                while goes_on {
                    goes_on = stream.write_all(&again).is_ok();
                }
                false
            }
            Action::Hold => {
                while wait(Duration::from_secs(1)) {}
                false
            }
        };
        if !is_open || stream.flush().is_err() {
            return;
        }
    }
}

fn read_request(stream: &mut impl Read, connection: usize) -> Option<Request> {
    let mut bytes = Vec::new();
    let mut buffer = [0; 8192];
    loop {
        if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
            let mut body = bytes.split_off(end + 4);
            let request = Request { head, body: Vec::new(), connection };
            let length = request.header("content-length").map_or(0, |length| length.parse().unwrap());
            while body.len() < length {
                let count = stream.read(&mut buffer).ok().filter(|count| *count > 0)?;
                body.extend_from_slice(&buffer[..count]);
            }
            return Some(Request { body, ..request });
        }
        let count = stream.read(&mut buffer).ok().filter(|count| *count > 0)?;
        bytes.extend_from_slice(&buffer[..count]);
    }
}
