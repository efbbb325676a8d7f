//! An index that is there, asked whenever `bench/index_peers.py --turns` says so: it takes turns with other libraries, so
//! that what the machine does beside hits all of them.

use std::{
    fs,
    io::{BufRead as _, Write as _},
    path::Path,
};

use crate::{
    Options,
    answers::{percentile, share},
    data::{read_queries, read_truth},
    opened::Opened,
};

/// Answers each line `EXPANSION` with recall, searches a second by the clock and by processor time, p50 and p99.
pub(crate) async fn serve(options: &Options) {
    let (queries, truth) = (read_queries(&options.folder, options.dimension), read_truth(&options.folder));
    let mut open: Option<(usize, Opened)> = None;
    println!("ready");
    for line in std::io::stdin().lock().lines() {
        let expansion: usize = line.unwrap().trim().parse().unwrap();
        if open.as_ref().is_none_or(|(of, _)| *of != expansion) {
            // one process at a time has an index open
            drop(open.take());
            let index = Opened::held_at(expansion, options, options.items as u64 / 2).await;
            index.settled().await;
            index.checked().await;
            open = Some((expansion, index));
        }
        let Some((_, index)) = &open else { unreachable!("it was opened just now") };
        let before = processor_seconds();
        let answers = index.answers(&queries, None).await;
        let seconds = processor_seconds() - before;
        println!(
            "{} {:.0} {:.0} {} {}",
            share(answers.recall(&truth)),
            answers.rate(),
            queries.len() as f64 / seconds,
            percentile(&answers.times, 50),
            percentile(&answers.times, 99)
        );
        std::io::stdout().flush().unwrap();
    }
}

/// What all threads of this process have taken of the processors.
fn processor_seconds() -> f64 {
    let tasks = fs::read_dir(Path::new("/proc/self/task")).unwrap();
    let nanoseconds = tasks.filter_map(|task| {
        // a thread may have ended meanwhile
        let text = fs::read_to_string(task.ok()?.path().join("schedstat")).ok()?;
        text.split(' ').next()?.parse::<f64>().ok()
    });
    nanoseconds.sum::<f64>() / 1e9
}
