//! Measurements of the best batch: when they are made, and that they never overlap.

use super::*;
use crate::batch::{policy::QUIET, worker::Turn};

fn search() -> BatchSearch {
    BatchSearch::new(vec![Tensor { shape: vec![1, 2], data: vec![0.5, 1.0] }])
}

/// The measurements of these queues, on a thread of their own.
fn measure(benches: &[&Bench]) -> std::thread::JoinHandle<()> {
    let searches = benches.iter().map(|bench| (bench.queue.clone(), search())).collect();
    let measurements = BatchMeasurements::new(searches, Instant::now());
    std::thread::spawn(move || measurements.run())
}

fn wait_until(what: impl Fn() -> bool) {
    let since = Instant::now();
    while !what() {
        assert!(since.elapsed() < Duration::from_secs(20), "it does not come to that");
        std::thread::yield_now();
    }
}

#[tokio::test]
async fn a_graph_is_measured_when_nothing_has_been_asked_of_it_for_a_while() {
    let (bench, mut workers) = setup(&[Act::Double], 4, 16).unspawned();
    let worker = &mut workers[0];
    let since = Instant::now();
    let pending = bench.submit(1.0);
    assert_eq!(worker.turn(since), Turn::Worked);
    pending.answer().await.unwrap();
    let measuring = measure(&[&bench]);
    wait_until(|| bench.queue.0.is_offered());
    assert_eq!(worker.turn(since + QUIET / 2), Turn::Idle);
    assert_eq!(worker.turn(Instant::now() + QUIET), Turn::Worked);
    measuring.join().unwrap();
    assert!(bench.script.batches.lock().unwrap().len() > 2 * 6, "all sizes are tried");
    let text = bench.metrics.render();
    assert!(text.contains(&format!("latentd_max_batch{{model=\"m\",graph=\"encoder\"}} {}", bench.queue.max_batch())));
}

#[test]
fn two_graphs_are_measured_one_after_the_other() {
    let (first, second) = (bench(&[Act::Double], 4, 16), bench(&[Act::Double], 4, 16));
    first.script.close();
    let measuring = measure(&[&first, &second]);
    assert!(first.script.wait_until_held());
    assert!(!second.queue.0.is_offered() && second.script.runs.load(Ordering::SeqCst) == 0);
    first.script.open();
    second.script.wait_for_runs(1);
    let runs = first.script.runs.load(Ordering::SeqCst);
    measuring.join().unwrap();
    assert_eq!(first.script.runs.load(Ordering::SeqCst), runs, "the first was done before the second began");
}

#[tokio::test]
async fn a_measurement_gives_way_to_an_item_and_goes_on_when_the_graph_is_idle_again() {
    let bench = bench(&[Act::Double], 4, 16);
    bench.script.close();
    let measuring = measure(&[&bench]);
    assert!(bench.script.wait_until_held());
    let pending = bench.submit(3.0);
    bench.script.open();
    assert_eq!(pending.answer().await.unwrap().outputs, tensor(6.0));
    let batches = bench.script.batches.lock().unwrap().clone();
    assert_eq!(batches[..2], [1, 1], "one run of the measurement, then the item");
    tokio::task::spawn_blocking(move || measuring.join().unwrap()).await.unwrap();
    assert!(bench.script.batches.lock().unwrap().contains(&32));
}

#[test]
fn a_graph_of_which_something_is_always_asked_does_not_keep_the_others_from_being_measured() {
    let (busy, mut workers) = setup(&[Act::Double], 4, 16).unspawned();
    let idle = bench(&[Act::Double], 4, 16);
    let _pending = busy.submit(1.0);
    let measuring = measure(&[&busy, &idle]);
    idle.script.wait_for_runs(1);
    busy.queue.close();
    while workers[0].turn(Instant::now()) != Turn::Ended {}
    measuring.join().unwrap();
    assert_eq!(*busy.script.batches.lock().unwrap(), [1], "it was never measured");
}

#[test]
fn a_failing_run_ends_the_measurement_and_the_batch_stays_what_it_is() {
    let bench = bench(&[Act::Fail("no memory")], 4, 16);
    measure(&[&bench]).join().unwrap();
    assert_eq!((bench.queue.max_batch(), bench.script.runs.load(Ordering::SeqCst)), (4, 1));
}

#[test]
fn closing_a_queue_ends_its_measurement() {
    let (bench, mut workers) = setup(&[Act::Double], 4, 16).unspawned();
    let measurements =
        BatchMeasurements::new(vec![(bench.queue.clone(), search())], Instant::now() + Duration::from_secs(3600));
    let measuring = std::thread::spawn(move || measurements.run());
    wait_until(|| bench.queue.0.is_offered());
    bench.queue.close();
    assert_eq!(workers[0].turn(Instant::now()), Turn::Ended);
    measuring.join().unwrap();
}
