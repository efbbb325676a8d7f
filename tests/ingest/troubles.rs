use std::{
    fs,
    time::{Duration, Instant},
};

use serde_json::Value;

use crate::{
    server::{MODEL, Server, fill, ingest, run},
    stub::{Stub, problem, stored},
};

#[tokio::test]
async fn a_corrupt_image_is_reported_and_the_others_are_in() {
    let server = Server::start().await;
    let folder = server.folder("set");
    fill(&folder, &["a"], 20);
    fs::write(folder.join("a/0007.png"), "this is no image").unwrap();
    let report = folder.join("report.ndjson").display().to_string();
    let path = folder.display().to_string();
    let first = run(ingest(&server.url, &["--model", MODEL, "--report", &report, &path])).await;
    assert_eq!((first.code, first.counts()), (Some(1), [19, 0, 1]), "{first:?}");
    let text = fs::read_to_string(&report).unwrap();
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 1);
    assert_eq!(lines[0]["code"], "invalid_image");
    assert!(lines[0]["file"].as_str().unwrap().ends_with("a/0007.png"));
    assert_eq!(lines[0]["id"], blake3::hash(b"this is no image").to_hex().as_str());
    assert!(!lines[0]["message"].as_str().unwrap().is_empty());

    // alone in its request, it is the request that is refused
    let alone = server.folder("alone");
    fs::write(alone.join("x.png"), "nor is this").unwrap();
    let second = run(ingest(&server.url, &[&alone.display().to_string()])).await;
    assert_eq!((second.code, second.counts()), (Some(1), [0, 0, 1]), "{second:?}");
    assert!(second.stderr.contains("x.png: invalid_image"), "{second:?}");
}

#[tokio::test]
async fn what_cannot_begin_says_why_with_exit_code_2() {
    let folder = tempfile::tempdir().unwrap();
    fill(folder.path(), &["a"], 1);
    let path = folder.path().display().to_string();
    // a port that was free a moment ago
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let down = run(ingest(&format!("http://{closed}"), &[&path])).await;
    assert_eq!(down.code, Some(2), "{down:?}");
    assert!(down.stderr.contains("unavailable") && down.stderr.contains("onnect"), "{down:?}");

    let server = Server::start().await;
    for (arguments, part) in [
        (vec![path.as_str()], "there is no collection c; --model NAME makes it"),
        (vec!["--model", "none", &path], "model_not_found"),
        (vec!["--store", "original", &path], "--model"),
        (vec!["/none/at/all"], "cannot read /none/at/all"),
        (vec![], "PATHS"),
        (vec!["--concurrency", "many", &path], "many"),
    ] {
        let refused = run(ingest(&server.url, &arguments)).await;
        assert_eq!(refused.code, Some(2), "{refused:?}");
        assert!(refused.stderr.contains(part), "{refused:?}");
    }
    assert_eq!(run(ingest(&server.url, &["--model", MODEL, &path])).await.code, Some(0));
    let other = run(ingest(&server.url, &["--model", "other", &path])).await;
    assert!(other.code == Some(2) && other.stderr.contains("is of the model tiny-contrastive"), "{other:?}");
}

#[tokio::test]
async fn a_model_whose_space_has_changed_is_told_before_any_id_is_looked_up() {
    let folder = tempfile::tempdir().unwrap();
    fill(folder.path(), &["a"], 2);
    let stub = Stub::with_space("m@2", |_, seen| stored(seen));
    let refused = run(ingest(&stub.url, &[&folder.path().display().to_string()])).await;
    assert_eq!(refused.code, Some(2), "{refused:?}");
    assert!(refused.stderr.contains("of the space m@1, and the model m now gives m@2"), "{refused:?}");
    assert!(stub.seen().iter().all(|seen| !seen.line.ends_with("/items")), "{:?}", stub.seen());
}

#[tokio::test]
async fn an_address_with_the_version_is_that_of_the_server() {
    let folder = tempfile::tempdir().unwrap();
    fill(folder.path(), &["a"], 2);
    let stub = Stub::start(|_, seen| stored(seen));
    let done = run(ingest(&format!("{}/v1", stub.url), &[&folder.path().display().to_string()])).await;
    assert_eq!((done.code, done.counts()), (Some(0), [2, 0, 0]), "{done:?}");
}

#[cfg(unix)]
#[tokio::test]
async fn a_pipe_among_the_images_is_named_and_the_others_are_in() {
    let folder = tempfile::tempdir().unwrap();
    fill(folder.path(), &["a"], 2);
    let made = std::process::Command::new("mkfifo").arg(folder.path().join("a/pipe.png")).status().unwrap();
    assert!(made.success());
    let stub = Stub::start(|_, seen| stored(seen));
    let done = run(ingest(&stub.url, &[&folder.path().display().to_string()])).await;
    assert_eq!((done.code, done.counts()), (Some(1), [2, 0, 1]), "{done:?}");
    assert!(done.stderr.contains("pipe.png: unreadable: skipped: it is not a regular file"), "{done:?}");
}

#[tokio::test]
async fn a_busy_server_is_left_alone_for_as_long_as_it_says() {
    let stub = Stub::start(|before, seen| match before {
        1 | 2 => problem(429, "overloaded", "retry-after: 7\r\nretry-after-ms: 400\r\n"),
        _ => stored(seen),
    });
    let folder = tempfile::tempdir().unwrap();
    fill(folder.path(), &["a"], 100);
    let path = folder.path().display().to_string();
    let done = run(ingest(&stub.url, &[&path])).await;
    assert_eq!((done.code, done.counts()), (Some(0), [100, 0, 0]), "{done:?}");
    let uploads = stub.uploads();
    // two were refused and sent again
    assert_eq!(uploads.iter().map(|upload| upload.images).sum::<usize>(), 100 + uploads[1].images + uploads[2].images);
    let pause = uploads[1..].windows(2).map(|pair| pair[1].at - pair[0].at).max().unwrap();
    assert!(pause >= Duration::from_millis(350) && pause < Duration::from_secs(5), "{pause:?}");
}

#[tokio::test]
async fn the_key_of_the_environment_is_sent_as_a_bearer_token() {
    let stub = Stub::start(|_, seen| stored(seen));
    let folder = tempfile::tempdir().unwrap();
    fill(folder.path(), &["a"], 2);
    let mut command = ingest(&stub.url, &[&folder.path().display().to_string()]);
    command.env("LATENTD_API_KEY", "s3cret");
    let done = run(command).await;
    assert_eq!(done.code, Some(0), "{done:?}");
    assert!(stub.seen().iter().all(|seen| seen.headers.contains("authorization: bearer s3cret")));
    assert!(!done.stderr.contains("s3cret") && !done.stdout.contains("s3cret"));
    let open = run(ingest(&stub.url, &[&folder.path().display().to_string()])).await;
    assert_eq!(open.code, Some(0));
    assert!(stub.seen().last().is_some_and(|seen| !seen.headers.contains("authorization")));
}

#[tokio::test]
async fn a_refused_key_and_a_full_disk_end_the_run() {
    let folder = tempfile::tempdir().unwrap();
    fill(folder.path(), &["a"], 3);
    let path = folder.path().display().to_string();
    for (status, code) in [(401, "unauthorized"), (507, "storage_full")] {
        let stub = Stub::start(move |_, _| problem(status, code, ""));
        let ended = run(ingest(&stub.url, &[&path])).await;
        assert_eq!(ended.code, Some(2), "{ended:?}");
        assert!(ended.stderr.contains(code) && ended.stderr.contains("by script"), "{ended:?}");
    }
}

#[tokio::test]
async fn a_server_that_is_silent_for_a_moment_is_waited_for_and_for_long_is_given_up() {
    let folder = tempfile::tempdir().unwrap();
    fill(folder.path(), &["a"], 5);
    let path = folder.path().display().to_string();
    let flaky = Stub::start(|before, seen| match before {
        0 => None,
        1 => problem(503, "unavailable", ""),
        2 => problem(500, "internal", ""),
        _ => stored(seen),
    });
    let done = run(ingest(&flaky.url, &[&path])).await;
    assert_eq!((done.code, done.counts()), (Some(0), [5, 0, 0]), "{done:?}");
    let gone = Stub::start(|_, _| None);
    let started = Instant::now();
    let ended = run(ingest(&gone.url, &["--patience", "1", &path])).await;
    assert_eq!(ended.code, Some(2), "{ended:?}");
    assert!(ended.stderr.contains("run the command again"), "{ended:?}");
    assert!(started.elapsed() < Duration::from_secs(20));
}

#[tokio::test]
async fn images_at_which_the_server_fails_are_found_one_by_one() {
    let folder = tempfile::tempdir().unwrap();
    fill(folder.path(), &["a"], 3);
    let stub =
        Stub::start(|_, seen| if seen.images > 1 { problem(413, "payload_too_large", "") } else { stored(seen) });
    let done = run(ingest(&stub.url, &[&folder.path().display().to_string()])).await;
    assert_eq!((done.code, done.counts()), (Some(0), [3, 0, 0]), "{done:?}");
    assert_eq!(stub.uploads().iter().map(|upload| upload.images).collect::<Vec<_>>().len(), 5);
}
