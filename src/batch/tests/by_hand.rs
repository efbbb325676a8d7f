//! A queue whose worker has no thread: the test makes it do one task after the other.

use super::*;
use crate::batch::{policy::STANDBY_AFTER, worker::Turn};

/// A queue with a single worker.
fn single(acts: &[Act], max_batch: usize) -> (Bench, Worker) {
    let (bench, mut workers) = setup(acts, max_batch, 16).unspawned();
    (bench, workers.pop().unwrap())
}

#[tokio::test]
async fn a_worker_has_nothing_to_do_until_an_item_comes_and_then_takes_all_there_are() {
    let (bench, mut worker) = single(&[Act::Double], 4);
    assert_eq!(worker.turn(Instant::now()), Turn::Idle);
    let pending: Vec<_> = (0..6).map(|at| bench.submit(at as f32)).collect();
    assert_eq!([worker.turn(Instant::now()), worker.turn(Instant::now())], [Turn::Worked, Turn::Worked]);
    assert_eq!(worker.turn(Instant::now()), Turn::Idle);
    assert_eq!(*bench.script.batches.lock().unwrap(), [4, 2]);
    for (at, pending) in pending.into_iter().enumerate() {
        assert_eq!(pending.answer().await.unwrap().outputs, tensor(2.0 * at as f32));
    }
}

#[tokio::test]
async fn items_of_other_shapes_wait_for_a_run_of_their_own() {
    let (bench, mut worker) = single(&[Act::Double], 8);
    let wide = || vec![Tensor { shape: vec![3], data: vec![1.0, 2.0, 3.0] }];
    let (first, second) = (bench.submit(1.0), bench.submit(2.0));
    let other = bench.queue.submit(wide(), soon(), bench.permit());
    let last = bench.submit(4.0);
    while worker.turn(Instant::now()) == Turn::Worked {}
    assert_eq!(*bench.script.batches.lock().unwrap(), [2, 1, 1]);
    assert_eq!(other.answer().await.unwrap().outputs[0].data, [2.0, 4.0, 6.0]);
    assert_eq!((first.answer().await.unwrap().batch, second.answer().await.unwrap().batch), (2, 2));
    assert_eq!(last.answer().await.unwrap().outputs, tensor(8.0));
}

#[tokio::test]
async fn a_cancelled_item_costs_no_run() {
    let (bench, mut worker) = single(&[Act::Double], 8);
    drop(bench.submit(1.0));
    assert_eq!(worker.turn(Instant::now()), Turn::Worked);
    assert_eq!(bench.script.runs.load(Ordering::SeqCst), 0);
    bench.all_permits_come_back(16).await;
}

#[test]
fn a_closed_queue_ends_its_worker_only_when_every_admitted_item_is_done() {
    let (bench, mut worker) = single(&[Act::Double], 8);
    let permit = bench.permit();
    bench.queue.close();
    assert_eq!(worker.turn(Instant::now()), Turn::Idle, "an item is still to come");
    let _pending = bench.queue.submit(tensor(1.0), soon(), permit);
    assert_eq!([worker.turn(Instant::now()), worker.turn(Instant::now())], [Turn::Worked, Turn::Ended]);
}

#[test]
fn a_standby_session_is_opened_when_an_item_has_waited_while_all_others_are_busy() {
    let mut setup = setup(&[Act::Double], 1, 16);
    let script = Arc::clone(&setup.script);
    setup.standby.push(Box::new(move || Ok(FakeRunner::new(&script))));
    let (bench, mut workers) = setup.unspawned();
    let mut standby = workers.pop().unwrap();
    // The other worker has not come to its first task: its session counts as busy.
    let _pending = bench.submit(1.0);
    assert_eq!(standby.turn(Instant::now() - STANDBY_AFTER), Turn::Idle);
    assert_eq!(bench.queue.0.idle(), (0, 1));
    assert_eq!(standby.turn(Instant::now() + STANDBY_AFTER), Turn::Worked);
    assert_eq!((bench.queue.0.idle(), bench.script.runs.load(Ordering::SeqCst)), ((0, 0), 1));
}

#[test]
fn no_standby_session_is_opened_while_another_is_idle() {
    let mut setup = setup(&[Act::Double], 1, 16);
    setup.standby.push(Box::new(|| Err(Error::internal("it was opened"))));
    let (bench, mut workers) = setup.unspawned();
    let (mut standby, mut first) = (workers.pop().unwrap(), workers.pop().unwrap());
    assert_eq!(first.turn(Instant::now()), Turn::Idle);
    let _pending = bench.submit(1.0);
    assert_eq!(standby.turn(Instant::now() + Duration::from_secs(1)), Turn::Idle);
    bench.queue.close();
    assert_eq!(standby.turn(Instant::now()), Turn::Ended);
}
