use std::{
    sync::{Arc, atomic::AtomicUsize, mpsc},
    thread,
};

use super::*;
use crate::error::ErrorKind;

fn pool(threads: usize) -> CpuPool {
    CpuPool::new(threads).unwrap()
}

#[tokio::test]
async fn a_job_runs_on_a_named_thread_and_answers() {
    let pool = pool(2);
    let name = pool.run(|| thread::current().name().map(str::to_owned)).await.unwrap();
    assert!(name.unwrap().starts_with("latentd-cpu-"));
}

#[tokio::test]
async fn a_panic_is_an_internal_error_and_the_thread_serves_on() {
    let pool = pool(1);
    let error = pool.run(|| -> u32 { panic!("a bad image of {} pixels", 3) }).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Internal);
    assert!(error.message().contains("a bad image of 3 pixels"), "{error}");
    assert_eq!(pool.run(|| 5).await.unwrap(), 5);
}

#[tokio::test]
async fn a_job_nobody_waits_for_never_runs() {
    let pool = pool(1);
    let (release, blocked) = mpsc::channel::<()>();
    let (begun, has_begun) = mpsc::channel();
    let ran = Arc::new(AtomicUsize::new(0));
    let blocking = pool.run(move || {
        begun.send(()).unwrap();
        blocked.recv().unwrap();
    });
    let counted = Arc::clone(&ran);
    let (blocking, ()) = tokio::join!(blocking, async {
        // The first poll of the block above has queued it; this one is behind it.
        let abandoned = pool.run(move || counted.fetch_add(1, Ordering::SeqCst));
        has_begun.recv().unwrap();
        tokio::select! {
            biased;
            _ = abandoned => panic!("the only thread is busy"),
            () = std::future::ready(()) => {}
        }
        assert_eq!(pool.waiting(), 1);
        release.send(()).unwrap();
    });
    blocking.unwrap();
    pool.run(|| ()).await.unwrap();
    assert_eq!(ran.load(Ordering::SeqCst), 0);
}

/// Notes which span is entered on which thread.
struct Entered(mpsc::Sender<(Option<String>, &'static str)>);

impl<S> tracing_subscriber::Layer<S> for Entered
where
    S: tracing::Subscriber + for<'a> tracing_subscriber::registry::LookupSpan<'a>,
{
    fn on_enter(&self, id: &tracing::span::Id, context: tracing_subscriber::layer::Context<'_, S>) {
        let name = context.span(id).unwrap().name();
        self.0.send((thread::current().name().map(str::to_owned), name)).unwrap();
    }
}

#[tokio::test]
async fn a_job_runs_in_the_span_of_its_caller() {
    use tracing::Instrument as _;
    use tracing_subscriber::layer::SubscriberExt as _;

    let (sender, entered) = mpsc::channel();
    let _guard = tracing::subscriber::set_default(tracing_subscriber::registry().with(Entered(sender)));
    let pool = pool(1);
    pool.run(|| ()).instrument(tracing::info_span!("request")).await.unwrap();
    assert!(entered.try_iter().any(|(thread, span)| thread.as_deref() == Some("latentd-cpu-0") && span == "request"));
}

#[tokio::test]
async fn jobs_run_side_by_side_up_to_the_number_of_threads() {
    let pool = pool(2);
    let meet = Arc::new(std::sync::Barrier::new(2));
    let other = Arc::clone(&meet);
    let (first, second) =
        tokio::join!(pool.run(move || meet.wait().is_leader()), pool.run(move || other.wait().is_leader()));
    assert_ne!(first.unwrap(), second.unwrap());
}

#[tokio::test]
async fn dropping_the_pool_ends_its_threads_even_from_one_of_its_own_jobs() {
    let pool = Arc::new(pool(2));
    let (done, is_done) = mpsc::channel();
    let inner = Arc::clone(&pool);
    pool.run(move || {
        thread::spawn(move || drop(inner)).join().unwrap();
        done.send(()).unwrap();
    })
    .await
    .unwrap();
    is_done.recv().unwrap();
    drop(pool);
}

#[tokio::test]
async fn dropping_the_pool_waits_for_the_running_job_and_skips_the_waiting_ones() {
    let pool = pool(1);
    let (begun, has_begun) = mpsc::channel();
    let ended = Arc::new(AtomicUsize::new(0));
    let (first, second) = (Arc::clone(&ended), Arc::clone(&ended));
    let mut running = Box::pin(pool.run_with(Priority::Foreground, move |cancelled| {
        begun.send(()).unwrap();
        while !cancelled.is_set() {
            thread::yield_now();
        }
        first.fetch_add(1, Ordering::SeqCst);
    }));
    let mut waiting = Box::pin(pool.run(move || second.fetch_add(10, Ordering::SeqCst)));
    assert!(futures_util::poll!(&mut running).is_pending());
    has_begun.recv().unwrap();
    assert!(futures_util::poll!(&mut waiting).is_pending());
    drop((running, waiting));
    drop(pool);
    assert_eq!(ended.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_long_job_learns_that_its_caller_has_gone() {
    let pool = pool(1);
    let (begun, has_begun) = mpsc::channel();
    let (stopped, has_stopped) = mpsc::channel();
    let mut job = Box::pin(pool.run_with(Priority::Background, move |cancelled| {
        begun.send(()).unwrap();
        while !cancelled.is_set() {
            thread::yield_now();
        }
        stopped.send(()).unwrap();
    }));
    assert!(futures_util::poll!(&mut job).is_pending());
    has_begun.recv().unwrap();
    drop(job);
    has_stopped.recv().unwrap();
}

#[tokio::test]
async fn work_of_the_background_holds_no_thread_of_the_foreground() {
    let pool = pool(1);
    let (release, blocked) = mpsc::channel::<()>();
    let behind = pool.background(move || {
        blocked.recv().unwrap();
        thread::current().name().map(str::to_owned)
    });
    let (behind, ()) = tokio::join!(behind, async {
        assert_eq!(pool.run(|| 5).await.unwrap(), 5);
        release.send(()).unwrap();
    });
    assert_eq!(behind.unwrap().as_deref(), Some("latentd-cpu-bg-0"));
}
