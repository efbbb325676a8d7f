//! A TCP proxy that fails on purpose.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

/// What becomes of a connection.
#[derive(Debug, Clone, Copy)]
pub enum Mode {
    /// It is broken off once something comes.
    Reset,
    /// It is held and never answered.
    Silence,
    /// It is passed on, the answers late by so much.
    Forward(Duration),
    /// It is passed on, and broken off after so many bytes of answers.
    CutAfter(usize),
}

pub struct Proxy {
    addr: SocketAddr,
    mode: Arc<Mutex<Mode>>,
    connections: Arc<AtomicUsize>,
}

impl Proxy {
    /// Passes on to `target`, a host and a port, where the mode says so.
    pub async fn start(mode: Mode, target: Option<String>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let mode = Arc::new(Mutex::new(mode));
        let connections = Arc::new(AtomicUsize::new(0));
        let (now, count) = (Arc::clone(&mode), Arc::clone(&connections));
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                count.fetch_add(1, Ordering::SeqCst);
                let mode = *now.lock().unwrap();
                tokio::spawn(handle(client, mode, target.clone()));
            }
        });
        Self { addr, mode, connections }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// For connections to come.
    pub fn set(&self, mode: Mode) {
        *self.mode.lock().unwrap() = mode;
    }

    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

/// An address where nobody listens.
pub async fn closed() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    format!("http://{}", listener.local_addr().unwrap())
}

async fn handle(mut client: TcpStream, mode: Mode, target: Option<String>) {
    let mut buffer = vec![0; 16 << 10];
    match mode {
        Mode::Reset => {
            let _ = client.read(&mut buffer).await;
            reset(client);
        }
        Mode::Silence => while client.read(&mut buffer).await.is_ok_and(|read| read > 0) {},
        Mode::Forward(late) => pass_on(client, target.unwrap(), late, usize::MAX).await,
        Mode::CutAfter(bytes) => pass_on(client, target.unwrap(), Duration::ZERO, bytes).await,
    }
}

async fn pass_on(client: TcpStream, target: String, late: Duration, mut left: usize) {
    let server = TcpStream::connect(target).await.unwrap();
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let requests = tokio::spawn(async move { tokio::io::copy(&mut from_client, &mut to_server).await });
    let mut buffer = vec![0; 16 << 10];
    while let Ok(read) = from_server.read(&mut buffer).await {
        if read == 0 {
            break;
        }
        tokio::time::sleep(late).await;
        if to_client.write_all(&buffer[..read.min(left)]).await.is_err() {
            break;
        }
        left = left.saturating_sub(read);
        if left == 0 {
            break;
        }
    }
    requests.abort();
    let _ = requests.await;
}

/// Closes with a reset instead of an orderly end.
fn reset(client: TcpStream) {
    let _ = client.set_zero_linger();
    drop(client);
}
