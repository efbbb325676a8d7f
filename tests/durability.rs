//! Acknowledged means there after `kill -9`: a real process is killed during writes, again and again, and every
//! acknowledged write must be found afterwards, every acknowledged deletion stay deleted, whether the collection is
//! scanned or has a graph. A disk without room refuses writes and loses nothing either.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "what a test takes for granted is a part of what it proves"
)]

#[path = "support/files.rs"]
mod files;
#[path = "support/server.rs"]
mod server;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use self::server::{Server, client, give_model};

/// How often the server is killed; `make soak` asks for more.
fn rounds() -> u64 {
    std::env::var("LATENTD_TEST_KILLS").ok().and_then(|text| text.parse().ok()).unwrap_or(20)
}

const WRITERS: u64 = 4;
const IDS: u64 = 24;
const DIMENSION: usize = 16;

/// What the metrics say of how often the graph of `c` was saved.
const SAVES: &str = "latentd_index_graph_save_seconds_count{collection=\"c\"}";

/// Settings under which a few dozen items have a graph that is built, saved and replaced all the time.
const WITH_GRAPH: [&str; 5] = [
    "index.scan_items=8",
    "index.filter_scan_items=2",
    "index.graph_save_operations=20",
    "index.graph_save_seconds=1",
    "index.graph_rebuild_percent=20",
];

/// What a writer knows of one id: the state last acknowledged, and the one in flight when the server died.
#[derive(Debug, Clone, Default)]
struct Known {
    acknowledged: Option<u64>,
    in_flight: Option<Option<u64>>,
}

type Ledger = BTreeMap<String, Known>;

/// A writer with ids of its own, so that the order of its writes is known. Ends when the server dies.
async fn write(
    client: reqwest::Client,
    base: String,
    writer: u64,
    mut ledger: Ledger,
    mut version: u64,
) -> (Ledger, u64) {
    let mut random = writer.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ version;
    loop {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        version += 1;
        let deletes = random >> 62 == 0;
        let count = 1 + (random >> 40) % 6;
        let ids: Vec<String> =
            (0..count).map(|at| format!("{writer}/{}", (random >> 20).wrapping_add(at) % IDS)).collect();
        let state = (!deletes).then_some(version);
        for id in &ids {
            ledger.entry(id.clone()).or_default().in_flight = Some(state);
        }
        let (path, body) = if deletes {
            ("items/delete", json!({ "ids": ids }))
        } else {
            let item = |id: &String| json!({"id": id, "vector": vector(version), "metadata": {"version": version}});
            ("items", json!({ "items": ids.iter().map(item).collect::<Vec<_>>() }))
        };
        let sent = client.post(format!("{base}/v1/collections/c/{path}")).json(&body).send().await;
        let answer = match sent {
            Ok(answer) if answer.status() == 200 => answer.bytes().await.map(drop),
            Ok(answer) => panic!("{path} answered {}: {}", answer.status(), answer.text().await.unwrap_or_default()),
            Err(error) => Err(error),
        };
        if answer.is_err() {
            return (ledger, version);
        }
        for id in &ids {
            let known = ledger.entry(id.clone()).or_default();
            *known = Known { acknowledged: state, in_flight: None };
        }
    }
}

fn vector(version: u64) -> Vec<f32> {
    (0..DIMENSION).map(|at| ((version as usize * 31 + at * 7) % 97) as f32 + 1.0).collect()
}

/// Compares what the server has with what it acknowledged; returns how many ids were acknowledged.
async fn check(client: &reqwest::Client, base: &str, ledger: &mut Ledger) -> usize {
    let mut acknowledged = 0;
    for (id, known) in ledger {
        let path = id.replace('/', "%2F");
        let answer = client.get(format!("{base}/v1/collections/c/items/{path}")).send().await.unwrap();
        let found = match answer.status().as_u16() {
            404 => None,
            200 => answer.json::<Value>().await.unwrap()["metadata"]["version"].as_u64(),
            other => panic!("item {id} answered {other}"),
        };
        let as_acknowledged = found == known.acknowledged;
        let as_in_flight = known.in_flight.is_some_and(|state| found == state);
        assert!(as_acknowledged || as_in_flight, "{id} is {found:?}, but known is {known:?}");
        acknowledged += usize::from(known.acknowledged.is_some());
        *known = Known { acknowledged: found, in_flight: None };
    }
    acknowledged
}

fn home_with_one_model() -> tempfile::TempDir {
    let home = tempfile::tempdir().unwrap();
    give_model(home.path(), "tiny-ae");
    home
}

/// Makes the collection `c` of vectors.
async fn make_collection(client: &reqwest::Client, base: &str, dimension: usize) {
    let body = json!({"dimension": dimension, "metric": "cosine"});
    let made = client.put(format!("{base}/v1/collections/c")).json(&body).send().await.unwrap();
    assert_eq!(made.status(), 201);
}

async fn describe(client: &reqwest::Client, base: &str) -> Value {
    client.get(format!("{base}/v1/collections/c")).send().await.unwrap().json().await.unwrap()
}

/// The ids that a search for everything finds.
async fn find_all(client: &reqwest::Client, base: &str, query: &[f32], exact: bool) -> BTreeSet<String> {
    let query = json!({"vector": query, "limit": 1000, "exact": exact});
    let search = client.post(format!("{base}/v1/collections/c/search")).json(&query);
    let found: Value = search.send().await.unwrap().json().await.unwrap();
    found["data"].as_array().unwrap().iter().map(|hit| hit["id"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_acknowledged_is_lost_or_resurrected_by_kill_9() {
    kill_again_and_again(&[], "scan").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_acknowledged_is_lost_or_resurrected_by_kill_9_with_a_graph() {
    kill_again_and_again(&WITH_GRAPH, "graph").await;
}

/// Kills the server during writes and checks what it has after each restart, as found and once this form answers.
async fn kill_again_and_again(settings: &[&str], form: &str) {
    let home = home_with_one_model();
    let client = client();
    let mut server = Server::start(home.path(), settings);
    server.ready().await;
    make_collection(&client, &server.base, DIMENSION).await;
    let mut states: Vec<(Ledger, u64)> = vec![(Ledger::new(), 0); WRITERS as usize];
    let mut checked = 0;
    for round in 0..rounds() {
        let writers: Vec<_> = states
            .drain(..)
            .zip(0..)
            .map(|((ledger, version), writer)| {
                tokio::spawn(write(client.clone(), server.base.clone(), writer, ledger, version))
            })
            .collect();
        if form == "graph" && round % 2 == 0 {
            // so that every other restart finds a graph of the time before, saved while the writes went on
            until_saved(&client, &server.base).await;
        }
        // any moment will do, the more different ones the better
        tokio::time::sleep(Duration::from_millis(40 + round * 37 % 160)).await;
        server.kill();
        for writer in writers {
            states.push(writer.await.unwrap());
        }
        if form == "graph" {
            assert!(saved_graph(home.path()), "round {round}: the graph that was saved is there");
        }
        server = Server::start(home.path(), settings);
        server.ready().await;
        let mut expected = BTreeSet::new();
        for (ledger, _) in &mut states {
            checked += check(&client, &server.base, ledger).await;
            let there = ledger.iter().filter(|(_, known)| known.acknowledged.is_some());
            expected.extend(there.map(|(id, _)| id.clone()));
        }
        let info = describe(&client, &server.base).await;
        assert_eq!(info["count"], expected.len(), "round {round}: the count after the restart");
        for moment in ["at once", "in the form for so many"] {
            for exact in [false, true] {
                let found = find_all(&client, &server.base, &vector(round), exact).await;
                assert_eq!(found, expected, "round {round}: what a search sees {moment}, exact {exact}");
            }
            until(form, async || describe(&client, &server.base).await["form"] == form).await;
        }
        // whenever it was killed, what it had saved is taken up
        assert_eq!(server.logged("the saved graph is of no use"), None, "round {round}");
    }
    server.kill();
    assert!(checked as u64 > rounds() * 10, "only {checked} acknowledged items were checked: the test proved little");
}

/// Whether the only collection of a data folder has a saved graph.
fn saved_graph(home: &Path) -> bool {
    let graphs = std::fs::read_dir(home.join("data/index/graphs")).unwrap();
    graphs.into_iter().any(|graph| graph.unwrap().path().join("current.json").exists())
}

/// Waits until a graph of `c` was saved since the server started.
async fn until_saved(client: &reqwest::Client, base: &str) {
    until("a saved graph", async || {
        let answer = client.get(format!("{base}/metrics")).send().await.unwrap().text().await.unwrap();
        let count = answer.lines().find_map(|line| line.strip_prefix(SAVES)).map(str::trim);
        count.is_some_and(|count| count != "0")
    })
    .await;
}

/// Asks again and again, until it is so.
async fn until(what: &str, is_so: impl AsyncFn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !is_so().await {
        assert!(Instant::now() < deadline, "waited for {what} in vain");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Room for a few megabytes, by the limit on the size of a file.
#[cfg(unix)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_without_room_refuses_writes_and_keeps_what_it_has() {
    let home = home_with_one_model();
    let client = client();
    let server = Server::start_by(with_limited_files(), home.path(), &WITH_GRAPH);
    server.ready().await;
    make_collection(&client, &server.base, WIDE).await;
    let acknowledged = fill_up(&client, &server.base, 0).await;
    assert!(acknowledged.len() > 16);
    for exact in [false, true] {
        assert_eq!(find_all(&client, &server.base, &wide(3), exact).await, acknowledged);
    }
    let url = format!("{}/v1/collections/c/items/0", server.base);
    assert_eq!(client.get(url).send().await.unwrap().status(), 200);
    server.kill();
    let server = Server::start(home.path(), &WITH_GRAPH);
    server.ready().await;
    assert_eq!(find_all(&client, &server.base, &wide(3), false).await, acknowledged);
    let more = add(&client, &server.base, 9_999..10_000).await;
    assert_eq!(more.status(), 200, "with room again, writes go on");
    server.kill();
}

/// A command that starts a server whose files have 6 or 12 MiB at most, as the shell counts.
#[cfg(unix)]
fn with_limited_files() -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -f 12288; exec \"$0\" \"$@\"", env!("CARGO_BIN_EXE_latentd")]);
    command
}

/// A command that starts a server whose data folder is a small file system of its own.
#[cfg(target_os = "linux")]
fn on_a_small_disk(home: &Path) -> Command {
    let data = home.join("data");
    std::fs::create_dir_all(&data).unwrap();
    let script = "mount -t tmpfs -o size=16m none \"$DATA\" && exec \"$0\" \"$@\"";
    let mut command = Command::new("unshare");
    command.args(["--map-root-user", "--mount", "sh", "-c", script, env!("CARGO_BIN_EXE_latentd")]).env("DATA", data);
    command
}

const WIDE: usize = 2048;

fn wide(seed: usize) -> Vec<f32> {
    (0..WIDE).map(|at| ((seed * 31 + at * 7) % 97) as f32 + 1.0).collect()
}

async fn add(client: &reqwest::Client, base: &str, seeds: std::ops::Range<usize>) -> reqwest::Response {
    let item = |seed: usize| json!({"id": seed.to_string(), "vector": wide(seed)});
    let body = json!({"items": seeds.map(item).collect::<Vec<_>>()});
    client.post(format!("{base}/v1/collections/c/items")).json(&body).send().await.unwrap()
}

/// Adds items of these numbers on, sixteen by one request and at the end one by one, until not even one has space.
async fn fill_up(client: &reqwest::Client, base: &str, mut next: usize) -> BTreeSet<String> {
    let mut added = BTreeSet::new();
    for together in [16, 1] {
        let refused = loop {
            let answer = add(client, base, next..next + together).await;
            if answer.status() != 200 {
                break answer;
            }
            added.extend((next..next + together).map(|seed| seed.to_string()));
            next += together;
            assert!(added.len() < 5000, "the disk never became full");
        };
        assert_eq!(refused.status(), 507);
        assert_eq!(refused.json::<Value>().await.unwrap()["code"], "storage_full");
    }
    added
}

/// Fills the disk; deletes by path, by ids and by a filter; fills it again, and drops the collection.
async fn fill_delete_and_drop(command: Command, home: &Path) {
    let client = client();
    let server = Server::start_by(command, home, &[]);
    server.ready().await;
    let base = server.base.clone();
    make_collection(&client, &base, WIDE).await;
    let url = format!("{base}/v1/collections/c");
    let mut there = fill_up(&client, &base, 0).await;
    assert!(there.len() > 64, "{} items fit", there.len());
    for round in 0..3 {
        let mut going: Vec<String> = there.iter().step_by(2).cloned().collect();
        let one = going.pop().unwrap();
        let answer = client.delete(format!("{url}/items/{one}")).send().await.unwrap();
        assert_eq!(answer.status(), 204, "round {round}: {}", answer.text().await.unwrap());
        let rest = going.split_off(going.len() / 2);
        let (by_ids, by_filter) = (json!({ "ids": going }), json!({"filter": {"must": [{"has_id": rest}]}}));
        for (body, count) in [(by_ids, going.len()), (by_filter, rest.len())] {
            let answer = client.post(format!("{url}/items/delete")).json(&body).send().await.unwrap();
            let (status, text) = (answer.status(), answer.text().await.unwrap());
            assert_eq!(status, 200, "round {round}: {text}");
            assert_eq!(serde_json::from_str::<Value>(&text).unwrap()["deleted"], count, "{text}");
        }
        there = there.into_iter().skip(1).step_by(2).collect();
        assert_eq!(find_all(&client, &base, &wide(3), true).await, there, "round {round}");
        let again = fill_up(&client, &base, 10_000 * (round + 1)).await;
        assert!(!again.is_empty(), "round {round}: what was deleted made no space");
        there.extend(again);
    }
    assert_eq!(client.delete(&url).send().await.unwrap().status(), 204);
    make_collection(&client, &base, WIDE).await;
    assert!(fill_up(&client, &base, 0).await.len() > 64, "what was dropped made space");
    server.kill();
}

#[cfg(unix)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deleting_and_dropping_work_when_the_database_may_not_grow() {
    let home = home_with_one_model();
    fill_delete_and_drop(with_limited_files(), home.path()).await;
}

#[cfg(target_os = "linux")]
#[ignore = "mounts a small file system: needs unshare and the right to use it"]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deleting_and_dropping_work_on_a_full_disk() {
    let home = home_with_one_model();
    fill_delete_and_drop(on_a_small_disk(home.path()), home.path()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn images_acknowledged_are_there_after_kill_9_with_the_same_bytes() {
    let home = home_with_one_model();
    let client = client();
    let server = Server::start(home.path(), &[]);
    server.ready().await;
    let url = format!("{}/v1/collections/p", server.base);
    let made = client.put(&url).json(&json!({"model": "tiny-ae", "store": "original"})).send().await.unwrap();
    assert_eq!(made.status(), 201);
    let base = server.base.clone();
    let poster = client.clone();
    let posting = tokio::spawn(async move {
        let mut acknowledged = Vec::new();
        for number in 0_u32.. {
            let image = image(number);
            let url = format!("{base}/v1/collections/p/items?id=n{number}");
            match poster.post(url).body(image.clone()).send().await {
                Ok(answer) if answer.status() == 200 => acknowledged.push((number, image)),
                Ok(answer) => panic!("{}: {}", answer.status(), answer.text().await.unwrap_or_default()),
                Err(_) => break,
            }
        }
        acknowledged
    });
    tokio::time::sleep(Duration::from_millis(400)).await;
    server.kill();
    let acknowledged = posting.await.unwrap();
    assert!(!acknowledged.is_empty());
    let server = Server::start(home.path(), &[]);
    server.ready().await;
    for (number, image) in acknowledged {
        let url = format!("{}/v1/collections/p/items/n{number}/image", server.base);
        let answer = client.get(url).send().await.unwrap();
        assert_eq!(answer.status(), 200);
        assert_eq!(answer.bytes().await.unwrap(), image);
    }
    server.kill();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn images_to_delete_are_deleted_after_a_kill_9() {
    let home = home_with_one_model();
    let client = client();
    let server = Server::start(home.path(), &[]);
    server.ready().await;
    let url = |path: &str| format!("{}/v1/collections/{path}", server.base);
    for name in ["kept", "dropped"] {
        let made = client.put(url(name)).json(&json!({"model": "tiny-ae", "store": "original"})).send().await.unwrap();
        assert_eq!(made.status(), 201);
        for number in 0..12 {
            let posted =
                client.post(url(&format!("{name}/items?id=n{number}"))).body(image(number)).send().await.unwrap();
            assert_eq!(posted.status(), 200, "{}", posted.text().await.unwrap());
        }
    }
    // Nothing can be deleted as long as a folder lies where each image was.
    let images = files::paths_below(&home.path().join("data/images"));
    assert_eq!(images.len(), 24);
    let aside = |image: &Path| image.with_extension("aside");
    for image in &images {
        std::fs::rename(image, aside(image)).unwrap();
        std::fs::create_dir(image).unwrap();
    }
    assert_eq!(client.delete(url("dropped")).send().await.unwrap().status(), 204, "at once, though nothing is deleted");
    let one = client.delete(url("kept/items/n3")).send().await.unwrap();
    assert_eq!(one.status(), 204);
    let filter = json!({"filter": {"must": [{"has_id": ["n4", "n5"]}]}});
    let two = client.post(url("kept/items/delete")).json(&filter).send().await.unwrap();
    assert_eq!(two.status(), 200);
    let replaced = client.post(url("kept/items?id=n6")).body(image(60)).send().await.unwrap();
    assert_eq!(replaced.status(), 200);
    until("pending deletions", async || pending_deletions(&client, &server.base).await == Some(16)).await;
    server.kill();

    for image in &images {
        std::fs::remove_dir(image).unwrap();
        std::fs::rename(aside(image), image).unwrap();
    }
    let server = Server::start(home.path(), &[]);
    server.ready().await;
    until("no pending deletions", async || pending_deletions(&client, &server.base).await == Some(0)).await;
    assert_eq!(files::files_below(&home.path().join("data/images")), 9, "what is named stays, and nothing else");
    for (number, drawn) in [(0, 0), (6, 60), (11, 11)] {
        let url = format!("{}/v1/collections/kept/items/n{number}/image", server.base);
        let answer = client.get(url).send().await.unwrap();
        assert_eq!((answer.status().as_u16(), answer.bytes().await.unwrap().to_vec()), (200, image(drawn)));
    }
    server.kill();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_version_of_a_calibration_that_was_acknowledged_is_there_after_kill_9() {
    let home = home_with_one_model();
    let client = client();
    let path = "v1/models/tiny-ae/calibrations/line-1";
    // The normal images of each version that was acknowledged.
    let mut acknowledged: BTreeMap<u64, u64> = BTreeMap::new();
    for round in 0..4 {
        let server = Server::start(home.path(), &[]);
        server.ready().await;
        for (version, count) in &acknowledged {
            let url = format!("{}/{path}@{version}", server.base);
            let found = client.get(url).send().await.unwrap().json::<Value>().await.unwrap();
            assert_eq!(found["count"], *count, "version {version}: {found}");
        }
        let (base, poster) = (server.base.clone(), client.clone());
        let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
        let writing = tokio::spawn(async move {
            for number in 0_u32.. {
                let first = round == 0 && number == 0;
                let (method, url) =
                    if first { ("PUT", format!("{base}/{path}")) } else { ("POST", format!("{base}/{path}/items")) };
                let seeds = if first { vec![1, 2, 3] } else { vec![number + 4] };
                let parts = seeds.into_iter().map(|seed| reqwest::multipart::Part::bytes(image(seed)));
                let form = parts.fold(reqwest::multipart::Form::new(), |form, part| form.part("image", part));
                let Ok(answer) = poster.request(method.parse().unwrap(), url).multipart(form).send().await else {
                    return;
                };
                assert!(answer.status().is_success(), "{}", answer.text().await.unwrap_or_default());
                let Ok(made) = answer.json::<Value>().await else { return };
                let _ = tell.send((made["version"].as_u64().unwrap(), made["count"].as_u64().unwrap()));
            }
        });
        for _ in 0..10 {
            let (version, count) = told.recv().await.unwrap();
            acknowledged.insert(version, count);
        }
        server.kill();
        writing.await.unwrap();
        while let Some((version, count)) = told.recv().await {
            acknowledged.insert(version, count);
        }
    }
    assert!(acknowledged.len() >= 40);
    let folder = home.path().join("data/calibrations/tiny-ae/line-1");
    let whole =
        files::paths_below(&folder).into_iter().filter(|path| path.extension().is_some_and(|end| end == "json"));
    for path in whole {
        let document: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        assert_eq!(document["format"], 1, "{}", path.display());
    }
}

async fn pending_deletions(client: &reqwest::Client, base: &str) -> Option<u64> {
    let metrics = client.get(format!("{base}/metrics")).send().await.unwrap().text().await.unwrap();
    metrics.lines().find_map(|line| line.strip_prefix("latentd_store_pending_deletions "))?.parse().ok()
}

/// A small uncompressed bitmap, drawn by number.
fn image(number: u32) -> Vec<u8> {
    let (width, height) = (8_u32, 8_u32);
    let size = 54 + width * height * 3;
    let mut bytes = Vec::with_capacity(size as usize);
    bytes.extend(b"BM");
    for value in [size, 0, 54, 40, width, height, 1 | (24 << 16), 0, width * height * 3, 2835, 2835, 0, 0] {
        bytes.extend(value.to_le_bytes());
    }
    bytes.extend((0..width * height * 3).map(|at| (at * (number + 3) % 251) as u8));
    bytes
}
