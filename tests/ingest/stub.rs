//! A server that answers by script.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    sync::{Arc, Mutex},
    time::Instant,
};

/// A request as the stub saw it.
#[derive(Debug, Clone)]
pub struct Seen {
    pub at: Instant,
    /// Method and path, without the query.
    pub line: String,
    pub headers: String,
    pub images: usize,
}

/// Status, further header lines, body; or none to hang up.
pub type Answer = Option<(u16, String, String)>;

/// The space of the collection `c`.
const SPACE: &str = "m@1";

pub struct Stub {
    pub url: String,
    seen: Arc<Mutex<Vec<Seen>>>,
}

impl Stub {
    /// Answers every upload by `script`, which is told how many there were before, and all else as a server would that
    /// has the collection `c` of the model `m` and no items.
    pub fn start(script: impl Fn(usize, &Seen) -> Answer + Send + Sync + 'static) -> Self {
        Self::with_space(SPACE, script)
    }

    /// The same, where the model's space is this one.
    pub fn with_space(space: &'static str, script: impl Fn(usize, &Seen) -> Answer + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let seen: Arc<Mutex<Vec<Seen>>> = Arc::default();
        let (noted, script) = (Arc::clone(&seen), Arc::new(script));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (noted, script) = (Arc::clone(&noted), Arc::clone(&script));
                std::thread::spawn(move || serve(stream.unwrap(), &noted, space, script.as_ref()));
            }
        });
        Self { url, seen }
    }

    pub fn uploads(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().iter().filter(|seen| seen.line.starts_with("POST")).cloned().collect()
    }

    pub fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }
}

/// The answer to an upload of which all is stored.
pub fn stored(seen: &Seen) -> Answer {
    let entry = |index: usize| format!("{{\"index\":{index},\"id\":\"x\",\"created\":true}}");
    let data: Vec<String> = (0..seen.images).map(entry).collect();
    Some((200, String::new(), format!("{{\"collection\":\"c\",\"data\":[{}],\"errors\":[]}}", data.join(","))))
}

/// A problem document.
pub fn problem(status: u16, code: &str, headers: &str) -> Answer {
    Some((status, headers.to_owned(), format!("{{\"code\":\"{code}\",\"detail\":\"by script\",\"status\":{status}}}")))
}

fn serve(mut stream: TcpStream, noted: &Mutex<Vec<Seen>>, space: &str, script: &dyn Fn(usize, &Seen) -> Answer) {
    let Some(seen) = read(&stream) else { return };
    let uploads = {
        let mut noted = noted.lock().unwrap();
        let before = noted.iter().filter(|seen| seen.line.starts_with("POST")).count();
        noted.push(seen.clone());
        before
    };
    let ok = |body: &str| Some((200, String::new(), body.to_owned()));
    let answer = match seen.line.as_str() {
        "GET /v1/collections/c" => ok(&format!(r#"{{"name":"c","model":"m","space_key":"{SPACE}"}}"#)),
        "GET /v1/models/m" => {
            ok(&format!(r#"{{"id":"m","space_key":"{space}","limits":{{"body_bytes":33554432,"images":64}}}}"#))
        }
        "GET /v1/collections/c/items" => ok(r#"{"data":[],"cursor":null}"#),
        "POST /v1/collections/c/items" => script(uploads, &seen),
        other => panic!("the stub has no route {other}"),
    };
    let Some((status, headers, body)) = answer else { return };
    let length = body.len();
    let head = format!("HTTP/1.1 {status} X\r\ncontent-length: {length}\r\nconnection: close\r\n{headers}\r\n");
    let _ = stream.write_all(format!("{head}{body}").as_bytes());
}

fn read(stream: &TcpStream) -> Option<Seen> {
    let mut reader = BufReader::new(stream);
    let mut head = Vec::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        if line == "\r\n" {
            break;
        }
        head.push(line.trim().to_ascii_lowercase());
    }
    let length = head.iter().find_map(|line| line.strip_prefix("content-length: ")).and_then(|text| text.parse().ok());
    let mut body = vec![0; length.unwrap_or(0)];
    reader.read_exact(&mut body).ok()?;
    let mark = b"name=\"image\"";
    let images = body.windows(mark.len()).filter(|window| window == mark).count();
    let mut words = head[0].split(' ');
    let (method, target) = (words.next()?.to_ascii_uppercase(), words.next()?);
    // A proxy is asked for whole addresses.
    let target = target.strip_prefix("http://latentd.invalid").unwrap_or(target);
    let line = format!("{method} {}", target.split('?').next()?);
    Some(Seen { at: Instant::now(), line, headers: head[1..].join("\n"), images })
}
