//! Nodes of Qdrant started from a binary, on the loopback address.

use std::{
    fs::File,
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command},
    time::{Duration, Instant},
};

struct Ports {
    http: u16,
    grpc: u16,
    peers: u16,
}

pub struct Node {
    process: Option<Child>,
    ports: Ports,
    folder: PathBuf,
    binary: PathBuf,
    /// The first node of the cluster; none of a node by itself.
    first: Option<u16>,
}

/// A cluster; its nodes end and their data go with it.
pub struct Cluster {
    pub nodes: Vec<Node>,
    _home: tempfile::TempDir,
}

impl Cluster {
    pub async fn start(binary: &str, count: usize) -> Self {
        let home = tempfile::tempdir().unwrap();
        let mut nodes: Vec<Node> = Vec::new();
        for number in 0..count {
            let ports = free_ports();
            let first = (count > 1).then(|| nodes.first().map_or(ports.peers, |node| node.ports.peers));
            let folder = home.path().join(format!("node-{number}"));
            std::fs::create_dir_all(&folder).unwrap();
            let mut node = Node { process: None, ports, folder, binary: binary.into(), first };
            node.start().await;
            nodes.push(node);
        }
        Self { nodes, _home: home }
    }

    pub fn urls(&self) -> Vec<String> {
        self.nodes.iter().map(Node::url).collect()
    }
}

impl Node {
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.ports.grpc)
    }

    /// Starts and waits until it is ready.
    pub async fn start(&mut self) {
        let log = File::options().create(true).append(true).open(self.folder.join("log")).unwrap();
        let mut command = Command::new(&self.binary);
        command
            .current_dir(&self.folder)
            .env("QDRANT__TELEMETRY_DISABLED", "true")
            .env("QDRANT__SERVICE__HOST", "127.0.0.1")
            .env("QDRANT__SERVICE__HTTP_PORT", self.ports.http.to_string())
            .env("QDRANT__SERVICE__GRPC_PORT", self.ports.grpc.to_string())
            .env("QDRANT__STORAGE__STORAGE_PATH", self.folder.join("storage"))
            .env("QDRANT__STORAGE__SNAPSHOTS_PATH", self.folder.join("snapshots"))
            .env("QDRANT__STORAGE__WAL__WAL_CAPACITY_MB", "4")
            .stdout(log.try_clone().unwrap())
            .stderr(log);
        if let Some(first) = self.first {
            let peers = self.ports.peers;
            command.env("QDRANT__CLUSTER__ENABLED", "true").env("QDRANT__CLUSTER__P2P__PORT", peers.to_string());
            command.args(["--uri", &format!("http://127.0.0.1:{peers}")]);
            if first != peers {
                command.args(["--bootstrap", &format!("http://127.0.0.1:{first}")]);
            }
        }
        self.process = Some(command.spawn().expect("the qdrant binary starts"));
        let (client, deadline) = (crate::server::client(), Instant::now() + Duration::from_secs(60));
        let url = format!("http://127.0.0.1:{}/readyz", self.ports.http);
        while !client.get(&url).send().await.is_ok_and(|answer| answer.status() == 200) {
            assert!(Instant::now() < deadline, "the node did not become ready:\n{}", tail(&self.folder.join("log")));
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// By SIGKILL.
    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().unwrap();
            process.wait().unwrap();
        }
    }

    /// Kilobytes of memory that the process holds, and bytes on the disk.
    pub fn size(&self) -> (u64, u64) {
        let resident = resident_kilobytes(self.process.as_ref().unwrap().id());
        (resident, bytes_under(&self.folder.join("storage")))
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Of a process by its number.
pub fn resident_kilobytes(id: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{id}/status")).unwrap_or_default();
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    resident.and_then(|rest| rest.trim().strip_suffix(" kB")?.trim().parse().ok()).unwrap_or(0)
}

/// Blocks in use, since logs are files with holes.
pub fn bytes_under(folder: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt as _;
    let entries = std::fs::read_dir(folder).into_iter().flatten().filter_map(Result::ok);
    entries
        .map(|entry| {
            let path = entry.path();
            if path.is_dir() { bytes_under(&path) } else { entry.metadata().map_or(0, |file| file.blocks() * 512) }
        })
        .sum()
}

fn free_ports() -> Ports {
    let listeners: Vec<_> = (0..3).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
    let port = |at: usize| listeners[at].local_addr().unwrap().port();
    Ports { http: port(0), grpc: port(1), peers: port(2) }
}

fn tail(log: &Path) -> String {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<_> = text.lines().rev().take(30).collect();
    lines.into_iter().rev().collect::<Vec<_>>().join("\n")
}
