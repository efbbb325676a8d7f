use std::{
    process::{Child, Command},
    time::{Duration, Instant},
};

use crate::server::{MODEL, Run, Server, fill, ingest, run};

const IMAGES: u32 = 400;

/// Begins a slow run and waits until the server has some of the images.
async fn under_way(server: &Server, path: &str) -> Child {
    let child = ingest(&server.url, &["--model", MODEL, "--concurrency", "1", path]).spawn().unwrap();
    let deadline = Instant::now() + Duration::from_secs(60);
    while !has_items(server).await {
        assert!(Instant::now() < deadline, "nothing arrived");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    child
}

async fn has_items(server: &Server) -> bool {
    server.find("c").await.is_some_and(|described| described["count"].as_u64() > Some(0))
}

/// The second run brings what the first had not.
async fn completes(server: &Server, path: &str) {
    let before = server.count("c").await;
    assert!(before > 0 && before < u64::from(IMAGES), "{before} were in before: the test proves nothing");
    let second = run(ingest(&server.url, &[path])).await;
    assert_eq!(second.code, Some(0), "{second:?}");
    let [added, present, failed] = second.counts();
    assert_eq!((added + present, present, failed), (u64::from(IMAGES), before, 0), "{second:?}");
    assert_eq!(server.count("c").await, u64::from(IMAGES));
}

#[tokio::test]
async fn a_killed_run_is_resumed_by_the_next() {
    let server = Server::start().await;
    let folder = server.folder("set");
    fill(&folder, &["a"], IMAGES);
    let path = folder.display().to_string();
    let mut child = under_way(&server, &path).await;
    child.kill().unwrap();
    child.wait().unwrap();
    // what it had sent may still be on its way through the server
    let mut count = server.count("c").await;
    loop {
        tokio::time::sleep(Duration::from_millis(300)).await;
        let now = server.count("c").await;
        if now == count {
            break;
        }
        count = now;
    }
    completes(&server, &path).await;
}

#[tokio::test]
async fn an_interrupted_run_finishes_what_is_under_way_and_says_so() {
    let server = Server::start().await;
    let folder = server.folder("set");
    fill(&folder, &["a"], IMAGES);
    let path = folder.display().to_string();
    let child = under_way(&server, &path).await;
    let told = Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(told.success());
    let first = Run::of(tokio::task::spawn_blocking(move || child.wait_with_output().unwrap()).await.unwrap());
    assert_eq!(first.code, Some(130), "{first:?}");
    assert!(first.stderr.contains("interrupted"), "{first:?}");
    assert_eq!(first.counts()[0], server.count("c").await, "what it counts as added is in");
    completes(&server, &path).await;
}
