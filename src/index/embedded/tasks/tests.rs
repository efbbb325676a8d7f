//! What waits for the threads of the index, driven by work that ends when the test says so.

use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::poll;

use super::*;
use crate::index::embedded::EmbeddedEngine;

const MS: Duration = Duration::from_millis(1);

fn engine(folder: &tempfile::TempDir) -> EmbeddedEngine {
    let options = EmbeddedOptions {
        cache_bytes: 1 << 20,
        read_threads: 1,
        max_reads: 2,
        max_writes: 1,
        ..EmbeddedOptions::default()
    };
    EmbeddedEngine::open_without_maintenance(folder.path(), options).unwrap()
}

fn admit(shared: &Shared, bounds: Bounds) -> Result<Option<ReadPermit>> {
    Ok(shared.admit(&[MS], bounds)?.pop().flatten())
}

/// Work that ends when it is told to, and what tells it and tells of its begin.
fn blocking() -> (impl FnOnce() -> Result<()> + Send + 'static, mpsc::Sender<()>, mpsc::Receiver<()>) {
    let (release, blocked) = mpsc::channel::<()>();
    let (begins, begun) = mpsc::channel();
    let work = move || {
        begins.send(()).unwrap();
        blocked.recv().map_err(|_| Error::internal("the test has gone"))
    };
    (work, release, begun)
}

#[tokio::test]
async fn one_read_too_many_is_refused_while_readiness_answers_and_the_background_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let engine = engine(&folder);
    let shared = &engine.shared;
    let (work, release, begun) = blocking();
    let mut running = Box::pin(shared.read(Bounds::default(), admit(shared, Bounds::default()).unwrap(), |_| work()));
    assert!(poll!(&mut running).is_pending());
    begun.recv().unwrap();
    let waiting = admit(shared, Bounds::default()).unwrap();
    let refused = admit(shared, Bounds::default()).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Overloaded);
    assert!(refused.retry_after().is_some() && refused.message().contains("limits.index_reads"), "{refused}");
    assert_eq!(shared.readiness.get(), Ok(()));
    let behind = admit(shared, Bounds::BACKGROUND).unwrap();
    assert_eq!(shared.read(Bounds::BACKGROUND, behind, |_| Ok(5)).await.unwrap(), 5);
    release.send(()).unwrap();
    running.await.unwrap();
    shared.read(Bounds::default(), waiting, |_| Ok(())).await.unwrap();
    assert!(admit(shared, Bounds::until(Instant::now())).is_ok(), "an idle index admits whatever comes");
}

#[tokio::test]
async fn a_read_never_begins_once_its_caller_has_gone_or_its_deadline_has_passed() {
    let folder = tempfile::tempdir().unwrap();
    let engine = engine(&folder);
    let shared = &engine.shared;
    let (work, release, begun) = blocking();
    let mut running = Box::pin(shared.read(Bounds::default(), None, |_| work()));
    assert!(poll!(&mut running).is_pending());
    begun.recv().unwrap();
    let ran = Arc::new(AtomicBool::new(false));
    let note = |ran: &Arc<AtomicBool>| {
        let ran = Arc::clone(ran);
        move |_: &Cancelled| {
            ran.store(true, Ordering::SeqCst);
            Ok(())
        }
    };
    let soon = Bounds::until(Instant::now() + MS);
    let late = shared.read(soon, admit(shared, soon).unwrap(), note(&ran)).await.unwrap_err();
    assert_eq!(late.kind(), ErrorKind::DeadlineExceeded);
    let permit = admit(shared, Bounds::default()).unwrap();
    let mut abandoned = Box::pin(shared.read(Bounds::default(), permit, note(&ran)));
    assert!(poll!(&mut abandoned).is_pending());
    drop(abandoned);
    assert!(admit(shared, Bounds::default()).is_ok() && admit(shared, Bounds::default()).is_ok(), "no place is held");
    release.send(()).unwrap();
    running.await.unwrap();
    shared.read(Bounds::default(), None, |_| Ok(())).await.unwrap();
    assert!(!ran.load(Ordering::SeqCst));
}

#[tokio::test]
async fn one_write_too_many_is_refused_and_an_admitted_one_runs_without_its_caller() {
    let folder = tempfile::tempdir().unwrap();
    let engine = engine(&folder);
    let shared = &engine.shared;
    let (work, release, begun) = blocking();
    let (ends, ended) = oneshot::channel();
    let whole = move || {
        work()?;
        ends.send(()).map_err(|()| Error::internal("the test has gone"))
    };
    let mut running = Box::pin(shared.write(Bounds::default(), whole));
    assert!(poll!(&mut running).is_pending());
    let refused = shared.write(Bounds::default(), || Ok(())).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Overloaded);
    assert!(refused.retry_after().is_some() && refused.message().contains("limits.index_writes"), "{refused}");
    drop(running);
    tokio::task::yield_now().await;
    begun.recv().unwrap();
    release.send(()).unwrap();
    ended.await.unwrap();
}

#[tokio::test]
async fn readiness_follows_a_database_that_is_closed_and_opened_again() {
    let folder = tempfile::tempdir().unwrap();
    let engine = engine(&folder);
    let shared = &engine.shared;
    shared.readiness.set(Err("found broken".to_owned()));
    shared.read(Bounds::default(), None, |_| Ok(())).await.unwrap();
    assert_eq!(shared.readiness.get(), Ok(()), "a read that went well found it open");
    shared.readiness.set(Err("found broken".to_owned()));
    shared.probe().await.unwrap();
    assert_eq!(shared.readiness.get(), Ok(()));
}
