mod by_hand;
mod inline;
mod measuring;

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use super::{message::Message, policy::BatchRules, *};
use crate::{
    error::{Error, ErrorKind},
    runtime::fake::{Act, FakeRunner, Script},
    telemetry::{Metrics, metrics::GraphLabels},
};

struct Bench {
    queue: GraphQueue,
    workers: Option<Workers>,
    script: Arc<Script>,
    metrics: Arc<Metrics>,
}

/// What a queue under test is made of; its sessions do what the script says.
struct Setup {
    options: QueueOptions,
    script: Arc<Script>,
    standby: Vec<Opener>,
    metrics: Arc<Metrics>,
}

fn setup(acts: &[Act], max_batch: usize, capacity: usize) -> Setup {
    let labels = GraphLabels { model: "m".to_owned(), graph: "encoder" };
    let run_limit = Duration::from_secs(60);
    let options = QueueOptions { labels, capacity, max_batch, threads: 1, run_limit, any_thread: true };
    Setup { options, script: Script::new(acts), standby: Vec::new(), metrics: Arc::default() }
}

impl Setup {
    /// The queue and its workers, without threads.
    fn unspawned(self) -> (Bench, Vec<Worker>) {
        let Self { options, script, standby, metrics } = self;
        let sessions = Sessions { open: vec![FakeRunner::new(&script)], standby };
        let watchdog = Watchdog::start().unwrap();
        let (queue, workers) = GraphQueue::new(options, sessions, &RunPermits::new(2), &watchdog, &metrics);
        (Bench { queue, workers: None, script, metrics }, workers)
    }

    fn spawned(self) -> Bench {
        let (bench, workers) = self.unspawned();
        let workers = Some(Workers::spawn(&bench.queue, workers).unwrap());
        Bench { workers, ..bench }
    }
}

fn bench(acts: &[Act], max_batch: usize, capacity: usize) -> Bench {
    setup(acts, max_batch, capacity).spawned()
}

fn tensor(value: f32) -> Vec<Tensor> {
    vec![Tensor { shape: vec![2], data: vec![value, -value] }]
}

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(10)
}

impl Bench {
    fn submit(&self, value: f32) -> Pending {
        self.submit_until(value, soon())
    }

    fn submit_until(&self, value: f32, deadline: Instant) -> Pending {
        self.queue.submit(tensor(value), deadline, self.permit())
    }

    fn permit(&self) -> Permit {
        self.queue.admit(1, soon()).unwrap().pop().unwrap()
    }

    async fn run(&self, value: f32) -> Answer {
        self.queue.run(tensor(value), soon(), self.permit()).await.unwrap()
    }

    /// Makes the first run, which takes so long at least: from then on the queue knows what an item takes.
    async fn first_run_takes(&self, length: Duration) {
        self.script.close();
        let slow = self.submit(0.0);
        self.script.wait_for_runs(1);
        std::thread::sleep(length); // the run itself is what is timed
        self.script.open();
        slow.answer().await.unwrap();
    }

    /// A worker answers before it drops the message: the last permit may be on its way.
    async fn all_permits_come_back(&self, count: usize) {
        let all = async {
            while self.queue.admit(count, soon()).is_err() {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(5), all).await.unwrap();
    }
}

#[tokio::test]
async fn each_item_gets_its_own_outputs_back() {
    let bench = bench(&[Act::Double], 4, 16);
    let pending: Vec<_> = (0..10).map(|at| bench.submit(at as f32)).collect();
    for (at, pending) in pending.into_iter().enumerate() {
        let answer = pending.answer().await.unwrap();
        assert_eq!(answer.outputs, tensor(2.0 * at as f32));
    }
}

#[tokio::test]
async fn a_batch_is_what_gathered_while_the_worker_was_busy() {
    let bench = bench(&[Act::Double], 4, 16);
    bench.script.close();
    let first = bench.submit(0.0);
    bench.script.wait_for_runs(1);
    let rest: Vec<_> = (1..7).map(|at| bench.submit(at as f32)).collect();
    bench.script.open();
    first.answer().await.unwrap();
    for pending in rest {
        pending.answer().await.unwrap();
    }
    assert_eq!(*bench.script.batches.lock().unwrap(), [1, 4, 2]);
}

#[tokio::test]
async fn items_are_admitted_whole_or_not_at_all_and_a_full_queue_says_when_to_retry() {
    let bench = bench(&[Act::Double], 4, 4);
    let held = bench.queue.admit(3, soon()).unwrap();
    let refused = bench.queue.admit(2, soon()).err().unwrap();
    assert_eq!(refused.kind(), ErrorKind::Overloaded);
    assert!(refused.retry_after().is_some());
    drop(held);
    assert_eq!(bench.queue.admit(4, soon()).unwrap().len(), 4);
    let never = bench.queue.admit(5, soon()).err().unwrap();
    assert_eq!(never.kind(), ErrorKind::PayloadTooLarge);
    assert!(never.message().contains("limits.queue_items"), "{never}");
}

#[tokio::test]
async fn an_estimated_wait_beyond_the_deadline_is_refused_at_once() {
    let bench = bench(&[Act::Double], 1, 100);
    bench.first_run_takes(Duration::from_millis(60)).await;
    assert!(bench.queue.estimated_wait() >= Duration::from_millis(50));
    let _inside = bench.queue.admit(1, soon()).unwrap();
    let refused = bench.queue.admit(50, Instant::now() + Duration::from_millis(500)).err().unwrap();
    assert_eq!(refused.kind(), ErrorKind::Overloaded);
    assert!(refused.retry_after().unwrap() >= Duration::from_millis(1500), "{:?}", refused.retry_after());
    assert!(bench.queue.admit(1, soon()).is_ok());
}

#[tokio::test]
async fn cancelled_and_late_items_are_never_computed() {
    let bench = bench(&[Act::Double], 8, 16);
    bench.script.close();
    let first = bench.submit(0.0);
    bench.script.wait_for_runs(1);
    let cancelled = bench.submit(1.0);
    let late = bench.submit_until(2.0, Instant::now() + Duration::from_millis(1));
    let wanted = bench.submit(3.0);
    drop(cancelled);
    assert_eq!(late.answer().await.unwrap_err().kind(), ErrorKind::DeadlineExceeded);
    bench.script.open();
    first.answer().await.unwrap();
    assert_eq!(wanted.answer().await.unwrap().batch, 1);
    assert_eq!(*bench.script.batches.lock().unwrap(), [1, 1]);
    assert!(
        bench.metrics.render().contains("latentd_dropped_total{model=\"m\",work=\"graph\",reason=\"client_gone\"}")
    );
}

#[tokio::test]
async fn no_run_begins_for_an_item_that_would_be_late_while_others_wait() {
    let bench = bench(&[Act::Double], 1, 16);
    bench.first_run_takes(Duration::from_millis(200)).await;
    bench.script.close();
    let running = bench.submit(1.0);
    bench.script.wait_for_runs(2);
    let hopeless = bench.submit_until(2.0, Instant::now() + Duration::from_millis(100));
    let wanted = bench.submit(3.0);
    bench.script.open();
    running.answer().await.unwrap();
    assert_eq!(hopeless.answer().await.unwrap_err().kind(), ErrorKind::DeadlineExceeded);
    wanted.answer().await.unwrap();
    assert_eq!(*bench.script.batches.lock().unwrap(), [1, 1, 1]);
}

#[tokio::test]
async fn a_batch_grows_no_further_than_its_most_urgent_item_can_wait() {
    let bench = bench(&[Act::Double], 8, 16);
    let now = Instant::now();
    let message = |ms| Message::new(tensor(0.0), now + Duration::from_millis(ms), bench.permit());
    let (mut messages, _pending): (VecDeque<_>, Vec<_>) = [1000, 250, 1000, 1000].into_iter().map(message).unzip();
    let rules = BatchRules { max_batch: 8, item_time: Duration::from_millis(100), now };
    let mut sizes = Vec::new();
    while !messages.is_empty() {
        let taken = rules.take(&mut messages);
        assert!(taken.cancelled.is_empty());
        sizes.push(taken.batch.len());
    }
    assert_eq!(sizes, [2, 2]);
}

#[tokio::test]
async fn an_item_that_spoils_its_batch_fails_alone() {
    let bench = bench(&[Act::Double, Act::FailBatches], 4, 16);
    bench.script.close();
    let first = bench.submit(0.0);
    bench.script.wait_for_runs(1);
    let rest: Vec<_> = (1..4).map(|at| bench.submit(at as f32)).collect();
    bench.script.open();
    first.answer().await.unwrap();
    for pending in rest {
        assert_eq!(pending.answer().await.unwrap().batch, 1);
    }
    assert_eq!(*bench.script.batches.lock().unwrap(), [1, 3, 1, 1, 1]);
}

#[tokio::test]
async fn a_panic_in_a_run_is_one_failed_item_and_the_worker_lives_on() {
    let bench = bench(&[Act::Panic, Act::Fail("broken"), Act::Double], 1, 16);
    let error = bench.submit(1.0).answer().await.unwrap_err();
    assert_eq!(error.chain(), "a run panicked: scripted panic");
    assert_eq!(bench.submit(1.0).answer().await.unwrap_err().chain(), "broken");
    assert!(bench.submit(1.0).answer().await.is_ok());
}

#[tokio::test]
async fn a_run_that_nobody_waits_for_is_ended() {
    let bench = bench(&[Act::Hang, Act::Double], 1, 16);
    let hanging = bench.submit(1.0);
    bench.script.wait_for_runs(1);
    drop(hanging);
    assert!(bench.submit(2.0).answer().await.is_ok());
}

#[tokio::test]
async fn a_run_beyond_the_limit_is_ended_though_its_client_waits() {
    let mut setup = setup(&[Act::Hang, Act::Double], 1, 16);
    setup.options.run_limit = Duration::from_millis(50);
    let bench = setup.spawned();
    let error = bench.submit(1.0).answer().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::DeadlineExceeded);
    assert!(error.message().contains("runtime.run_limit_ms"), "{error}");
    assert!(bench.submit(2.0).answer().await.is_ok());
}

#[tokio::test]
async fn closing_finishes_what_was_admitted_and_admits_nothing_more() {
    let mut bench = bench(&[Act::Double], 2, 16);
    bench.script.close();
    let pending: Vec<_> = (0..5).map(|at| bench.submit(at as f32)).collect();
    let workers = bench.workers.take().unwrap();
    bench.queue.close();
    assert_eq!(bench.queue.admit(1, soon()).err().unwrap().kind(), ErrorKind::Unavailable);
    bench.script.open();
    tokio::task::spawn_blocking(move || drop(workers)).await.unwrap();
    for pending in pending {
        assert!(pending.answer().await.is_ok());
    }
}

#[tokio::test]
async fn an_item_admitted_before_closing_and_submitted_after_it_is_computed() {
    let mut bench = bench(&[Act::Double], 2, 16);
    let permit = bench.queue.admit(1, soon()).unwrap().pop().unwrap();
    let workers = bench.workers.take().unwrap();
    let closing = tokio::task::spawn_blocking(move || drop(workers));
    while bench.queue.admit(1, soon()).is_ok() {
        tokio::task::yield_now().await;
    }
    let pending = bench.queue.submit(vec![Tensor { shape: vec![1], data: vec![3.0] }], soon(), permit);
    assert_eq!(pending.answer().await.unwrap().outputs[0].data, [6.0]);
    closing.await.unwrap();
}

#[tokio::test]
async fn an_idle_queue_takes_work_whatever_its_estimate_says() {
    let bench = bench(&[Act::Double], 1, 100);
    bench.first_run_takes(Duration::from_millis(60)).await;
    let short = || Instant::now() + Duration::from_millis(5);
    // the worker may still hold the last permit
    let admitted = async {
        loop {
            match bench.queue.admit(1, short()) {
                Ok(permits) => break permits,
                Err(_) => tokio::task::yield_now().await,
            }
        }
    };
    let held = tokio::time::timeout(Duration::from_secs(5), admitted).await.unwrap();
    assert_eq!(bench.queue.admit(1, short()).err().unwrap().kind(), ErrorKind::Overloaded);
    drop(held);
}

#[tokio::test]
async fn every_permit_comes_back_whatever_became_of_its_item() {
    let bench = bench(&[Act::Fail("broken"), Act::Double], 2, 4);
    for at in 0..8 {
        let _ = bench.submit(at as f32).answer().await;
    }
    bench.all_permits_come_back(4).await;
}

#[tokio::test]
async fn a_further_session_is_opened_when_all_others_are_busy() {
    let opened = Arc::new(AtomicUsize::new(0));
    let mut setup = setup(&[Act::Double], 1, 16);
    let (script, opens) = (Arc::clone(&setup.script), Arc::clone(&opened));
    setup.standby.push(Box::new(move || {
        opens.fetch_add(1, Ordering::SeqCst);
        Ok(FakeRunner::new(&script))
    }));
    let bench = setup.spawned();
    for value in 0..5 {
        // an answer comes a moment before its worker sleeps again
        while bench.queue.0.idle() != (1, 1) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        bench.submit(value as f32).answer().await.unwrap();
    }
    assert_eq!(opened.load(Ordering::SeqCst), 0, "one at a time needs one session");
    bench.script.close();
    let pending = [bench.submit(1.0), bench.submit(2.0)];
    bench.script.wait_for_runs(7);
    assert_eq!(opened.load(Ordering::SeqCst), 1);
    bench.script.open();
    for pending in pending {
        pending.answer().await.unwrap();
    }
}

#[tokio::test]
async fn where_a_further_session_cannot_be_opened_the_first_serves_on() {
    let tried = Arc::new(AtomicUsize::new(0));
    let mut setup = setup(&[Act::Double], 1, 16);
    let tries = Arc::clone(&tried);
    setup.standby.push(Box::new(move || {
        tries.fetch_add(1, Ordering::SeqCst);
        Err(Error::unavailable("no memory for it"))
    }));
    let bench = setup.spawned();
    bench.script.close();
    let pending: Vec<_> = (0..4).map(|value| bench.submit(value as f32)).collect();
    while tried.load(Ordering::SeqCst) == 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    bench.script.open();
    for pending in pending {
        pending.answer().await.unwrap();
    }
}
