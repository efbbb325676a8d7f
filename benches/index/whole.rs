//! The index in this process: filling, scanning, the graph, filters, writing beside searching.

use std::time::{Duration, Instant};

use latentd::domain::Filter;
use serde_json::json;

use crate::{
    NEAREST, Options,
    data::{Data, write_truth},
    mebibytes,
    opened::Opened,
    resident, row, size_of,
};

pub(crate) async fn measure(options: &Options) {
    let data = Data::draw(options.items, options);
    data.write(&options.folder);
    let (items, dimension) = (options.items, options.dimension);
    println!("{items} vectors of {dimension}, cosine, the {NEAREST} nearest, {} queries\n", options.queries);
    println!("| what | figure |\n| --- | --- |");

    let scanned = Opened::new(options, u64::MAX).await;
    let started = Instant::now();
    scanned.fill(&data).await;
    row("filling, 1,000 a batch, items/s", format!("{:.0}", items as f64 / started.elapsed().as_secs_f64()));
    let truth = data.nearest(|_| true);
    write_truth(&options.folder, &truth);
    let scan = scanned.answers(&data.queries, None).await;
    scan.report("scan", &truth);
    let memory = resident();
    row("scan: resident", mebibytes(memory));
    drop(scanned);

    let started = Instant::now();
    let graph = Opened::new(options, items as u64 / 2).await;
    row("opening without a graph", format!("{:.2} s", started.elapsed().as_secs_f64()));
    let started = Instant::now();
    graph.settled().await;
    row("building the graph", format!("{:.1} s", started.elapsed().as_secs_f64()));
    // it takes a second of the other core, once in a minute
    graph.checked().await;
    let found = graph.answers(&data.queries, None).await;
    found.report("graph", &truth);
    for (name, key, share) in [("filter keeping 10 %", "tenth", 10), ("filter keeping 1 %", "hundredth", 100)] {
        let filter = Filter::try_from(json!({"must": [{"key": key, "match": 3}]})).unwrap();
        let truth = data.nearest(|id| id % share == 3);
        graph.answers(&data.queries, Some(&filter)).await.report(name, &truth);
    }
    row("graph: resident", mebibytes(resident()));
    for rate in [Some(options.write_rate), None] {
        graph.while_writing(&data, Duration::from_secs(options.seconds), rate).await;
        graph.settled().await;
    }
    drop(graph);
    row("on the disk", mebibytes(size_of(&options.folder.join("index"))));
    let started = Instant::now();
    let reopened = Opened::new(options, items as u64 / 2).await;
    row("opening with a saved graph", format!("{:.2} s", started.elapsed().as_secs_f64()));
    let form = reopened.collection.info().await.unwrap();
    row("form then", format!("{}: {}", form.form, form.form_reason));
}
