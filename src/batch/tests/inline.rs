//! Inline runs: which items are run by the thread that asks, on an idle session.

use super::*;
use crate::batch::policy::LOOK_EVERY;

impl Bench {
    /// Whether the last run was made by this thread.
    fn ran_inline(&self) -> bool {
        *self.script.ran_on.lock().unwrap() == Some(std::thread::current().id())
    }

    /// Runs items until one is run by this thread: how long a run takes has to be known, and has to be short.
    async fn run_until_inline(&self) {
        let since = Instant::now();
        while !self.ran_inline() {
            assert!(since.elapsed() < Duration::from_secs(10), "no run was made by the thread that asked");
            assert_eq!(self.run(1.0).await.outputs[0].data, [2.0, -2.0]);
        }
    }
}

#[tokio::test]
async fn a_lone_item_whose_run_is_short_is_run_by_the_thread_that_asks() {
    let bench = bench(&[Act::Double], 4, 16);
    bench.run(1.0).await;
    assert!(!bench.ran_inline(), "how long it takes was not known");
    bench.run_until_inline().await;
}

#[tokio::test]
async fn an_item_beside_others_waits_for_the_worker() {
    let bench = bench(&[Act::Double], 4, 16);
    bench.run_until_inline().await;
    let other = bench.queue.admit(1, soon()).unwrap();
    bench.run(1.0).await;
    assert!(!bench.ran_inline());
    drop(other);
    bench.run_until_inline().await;
}

#[tokio::test]
async fn an_item_whose_run_is_long_waits_for_the_worker() {
    let bench = bench(&[Act::Double], 4, 16);
    bench.first_run_takes(Duration::from_millis(20)).await;
    bench.run(1.0).await;
    assert!(!bench.ran_inline());
}

#[tokio::test]
async fn items_that_come_together_are_not_run_one_by_one() {
    let bench = bench(&[Act::Double], 4, 16);
    bench.run_until_inline().await;
    let before = bench.script.batches.lock().unwrap().len();
    bench.script.close();
    let opener = std::thread::spawn({
        let script = Arc::clone(&bench.script);
        move || {
            script.wait_for_runs(before + 1);
            std::thread::sleep(Duration::from_millis(20)); // The others are to come meanwhile.
            script.open();
        }
    });
    futures_util::future::join_all((0..4).map(|value| bench.run(value as f32))).await;
    opener.join().unwrap();
    assert!(bench.script.batches.lock().unwrap()[before..].len() < 4);
}

#[tokio::test]
async fn one_of_many_lone_items_looks_for_others_and_after_some_were_there_each_does() {
    let bench = bench(&[Act::Double], 4, 64);
    bench.run_until_inline().await;
    // How many were not ready at once, as those are that let others come in first; and whether this thread ran them all.
    let run = async |items: u32| {
        let (mut looks, mut inline) = (0, true);
        for _ in 0..items {
            let mut running = std::pin::pin!(bench.run(1.0));
            if futures_util::poll!(&mut running).is_pending() {
                looks += 1;
                running.await;
            }
            inline &= bench.ran_inline();
        }
        (looks, inline)
    };
    let since = Instant::now();
    run(LOOK_EVERY).await;
    while run(4 * LOOK_EVERY).await != (4, true) {
        assert!(since.elapsed() < Duration::from_secs(10), "lone items looked for others more or less often");
    }
    let other = bench.queue.admit(1, soon()).unwrap();
    while bench.queue.0.concurrency.alone() > 0 {
        bench.run(1.0).await;
    }
    drop(other);
    assert_eq!(run(LOOK_EVERY / 2).await.0, LOOK_EVERY / 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_comes_during_an_inline_run_is_served_when_its_session_is_back() {
    let bench = Arc::new(bench(&[Act::Double], 4, 16));
    let inline = tokio::spawn({
        let bench = Arc::clone(&bench);
        async move {
            bench.run_until_inline().await;
            bench.script.close();
            bench.run(1.0).await
        }
    });
    assert!(bench.script.wait_until_held());
    let waiting = bench.submit(3.0);
    bench.script.open();
    assert_eq!(waiting.answer().await.unwrap().outputs[0].data, [6.0, -6.0]);
    assert_eq!(inline.await.unwrap().outputs[0].data, [2.0, -2.0]);
}

#[tokio::test]
async fn a_panic_in_an_inline_run_is_one_failed_item() {
    let bench = bench(&[Act::Double, Act::Panic, Act::Double], 4, 16);
    bench.run(1.0).await;
    let failed = bench.queue.run(tensor(1.0), soon(), bench.permit()).await;
    assert_eq!(failed.unwrap_err().chain(), "a run panicked: scripted panic");
    assert_eq!(bench.run(1.0).await.outputs[0].data, [2.0, -2.0]);
    bench.all_permits_come_back(16).await;
}
