//! The index in this process: filling, scanning, the graph, filters, writing beside searching; and usearch alone.

use std::time::{Duration, Instant};

use latentd::domain::Filter;
use serde_json::json;

use crate::{
    NEAREST, Options,
    answers::Answers,
    data::{Data, write_truth},
    mebibytes,
    opened::Opened,
    resident, row, size_of,
};

/// Turns of the graph and usearch.
const ROUNDS: usize = 7;
/// Recalls this near are equal: five more of 10,000 items.
const EQUAL: f64 = 0.0005;

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
    let recall = found.recall(&truth);
    for (name, key, share) in [("filter keeping 10 %", "tenth", 10), ("filter keeping 1 %", "hundredth", 100)] {
        let filter = Filter::try_from(json!({"must": [{"key": key, "match": 3}]})).unwrap();
        let truth = data.nearest(|id| id % share == 3);
        graph.answers(&data.queries, Some(&filter)).await.report(name, &truth);
    }
    row("graph: resident", mebibytes(resident()));
    if !options.skip_usearch {
        let usearch = usearch_alone(&data, &truth, recall);
        by_turns(&graph, &usearch, &data).await;
    }
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

/// usearch in this process with f32 vectors and the same settings, at growing expansions until it finds about as much.
fn usearch_alone(data: &Data, truth: &[Vec<u32>], recall: f64) -> usearch::Index {
    let index = usearch::Index::new(&usearch::IndexOptions {
        dimensions: data.vectors[0].dimension(),
        metric: usearch::MetricKind::Cos,
        quantization: usearch::ScalarKind::F32,
        connectivity: 16,
        expansion_add: 100,
        expansion_search: 64,
        multi: false,
    })
    .unwrap();
    index.reserve(data.vectors.len()).unwrap();
    let started = Instant::now();
    for (key, vector) in (0_u64..).zip(&data.vectors) {
        index.add(key, vector.as_slice()).unwrap();
    }
    row("usearch alone, f32: building", format!("{:.1} s", started.elapsed().as_secs_f64()));
    for expansion in [16, 24, 32, 48, 64, 96, 128, 192, 256] {
        index.change_expansion_search(expansion);
        let answers = ask(&index, data);
        answers.report(&format!("usearch alone, f32, expansion {expansion}"), truth);
        if answers.recall(truth) >= recall - EQUAL {
            break;
        }
    }
    index
}

fn ask(index: &usearch::Index, data: &Data) -> Answers {
    let mut answers = Answers::default();
    for query in &data.queries {
        let started = Instant::now();
        let found = index.search(query.as_slice(), NEAREST).unwrap();
        answers.times.push(started.elapsed());
        answers.found.push(found.keys.iter().map(|&key| key as u32).collect());
    }
    answers
}

/// Ours and usearch one after the other, several times: what the machine does beside hits both.
async fn by_turns(graph: &Opened, usearch: &usearch::Index, data: &Data) {
    let mut ratios = Vec::new();
    for _ in 0..ROUNDS {
        let ours = graph.answers(&data.queries, None).await.rate();
        ratios.push(ours / ask(usearch, data).rate());
    }
    ratios.sort_by(f64::total_cmp);
    let (least, middle, most) = (ratios[0], ratios[ROUNDS / 2], ratios[ROUNDS - 1]);
    row(
        "graph: searches per second, of usearch's at the last expansion, by turns",
        format!("{middle:.2} ({least:.2} … {most:.2})"),
    );
}
