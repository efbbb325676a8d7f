//! What the graph finds, of data that graphs find hard.

use std::{
    collections::HashSet,
    sync::atomic::{AtomicBool, AtomicU32, Ordering},
    thread,
};

use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use roaring::RoaringBitmap;

use super::{
    hnsw::{Hnsw, Shape, Wanted},
    row::NodeRow,
};
use crate::{domain::Metric, index::embedded::quantized::codes::Encoded};

const DIMENSION: usize = 24;
const NEAREST: usize = 10;

fn shape(metric: Metric) -> Shape {
    Shape { metric, dimension: DIMENSION, connectivity: 12, expansion_add: 60, expansion_search: 48 }
}

/// Vectors around as many centres as there are clusters, one cluster's after another's.
fn clustered(clusters: usize, of_each: usize) -> Vec<Vec<f32>> {
    let mut random = ChaCha8Rng::seed_from_u64(11);
    let mut vectors = Vec::new();
    for _ in 0..clusters {
        let centre: Vec<f32> = (0..DIMENSION).map(|_| random.random_range(-1.0..1.0)).collect();
        for _ in 0..of_each {
            vectors.push(centre.iter().map(|number| number + random.random_range(-0.3..0.3)).collect());
        }
    }
    vectors
}

fn row(vector: &[f32]) -> NodeRow {
    let Encoded { codes, stats, .. } = Encoded::new(vector);
    NodeRow::new(codes, stats.scale())
}

/// Adds the vectors in this order; the slot of each is its place.
fn graph_of(metric: Metric, vectors: &[Vec<f32>], order: &[usize]) -> Hnsw {
    let graph = Hnsw::new(shape(metric));
    for &at in order {
        graph.add(&row(&vectors[at]), at as u32).unwrap();
    }
    graph
}

fn in_order(vectors: &[Vec<f32>]) -> Vec<usize> {
    (0..vectors.len()).collect()
}

/// The slots that a search finds, nearest first.
fn found(graph: &Hnsw, vector: &[f32], wanted: &Wanted<'_>) -> Vec<u32> {
    let proposals = graph.search(&row(vector), wanted).unwrap();
    assert!(proposals.is_sorted_by_key(|proposal| proposal.distance));
    proposals.into_iter().map(|proposal| proposal.slot).collect()
}

fn score(metric: Metric, a: &[f32], b: &[f32]) -> f32 {
    let pairs = a.iter().zip(b);
    match metric {
        Metric::Cosine | Metric::Dot => pairs.map(|(a, b)| a * b).sum(),
        Metric::Euclid => -pairs.map(|(a, b)| (a - b) * (a - b)).sum::<f32>(),
    }
}

/// The share of the nearest among the first `2 · NEAREST` that the graph finds: an item that is as near as the last of
/// them counts too.
fn recall(graph: &Hnsw, vectors: &[Vec<f32>], allowed: Option<&RoaringBitmap>) -> f64 {
    let metric = graph.shape().metric;
    let (mut hits, mut all) = (0, 0);
    for query in vectors.iter().step_by(vectors.len() / 50) {
        let passing = |at: &usize| allowed.is_none_or(|allowed| allowed.contains(*at as u32));
        let mut scores: Vec<f32> =
            (0..vectors.len()).filter(passing).map(|at| score(metric, query, &vectors[at])).collect();
        scores.sort_by(|a, b| b.total_cmp(a));
        scores.truncate(NEAREST);
        let wanted = Wanted { count: 2 * NEAREST, expansion: 48, allowed };
        let slots = found(graph, query, &wanted);
        assert!(slots.iter().all(|&slot| passing(&(slot as usize))), "what does not pass is not found");
        let distinct: HashSet<u32> = slots.into_iter().take(2 * NEAREST).collect();
        let near = |slot: &&u32| score(metric, query, &vectors[**slot as usize]) >= scores[scores.len() - 1];
        hits += distinct.iter().filter(near).count().min(scores.len());
        all += scores.len();
    }
    f64::from(hits as u32) / f64::from(all as u32)
}

#[test]
fn clustered_vectors_are_found_in_every_metric_in_whatever_order_they_came() {
    let vectors = clustered(20, 30);
    let mut shuffled = in_order(&vectors);
    shuffled.sort_by_key(|at| at.wrapping_mul(7919) % vectors.len());
    for metric in [Metric::Cosine, Metric::Dot, Metric::Euclid] {
        for (name, order) in [("cluster by cluster", in_order(&vectors)), ("mixed", shuffled.clone())] {
            let recall = recall(&graph_of(metric, &vectors, &order), &vectors, None);
            assert!(recall > 0.97, "{metric:?}, {name}: {recall}");
        }
    }
}

#[test]
fn what_lies_beside_many_equal_vectors_is_found_and_so_are_they() {
    let mut vectors = clustered(10, 40);
    for at in 0..400 {
        vectors.push(vectors[if at % 2 == 0 { 3 } else { 333 }].clone());
    }
    for metric in [Metric::Euclid, Metric::Dot] {
        let graph = graph_of(metric, &vectors, &in_order(&vectors));
        let recall = recall(&graph, &vectors, None);
        assert!(recall > 0.97, "{metric:?}: {recall}");
        // of the 201 equal ones, nearly all can be reached: they are found once all others of them are gone
        let wanted = Wanted { count: 250, expansion: 250, allowed: None };
        let reached: HashSet<u32> = found(&graph, &vectors[3], &wanted).into_iter().collect();
        let equal = reached.iter().filter(|&&slot| vectors[slot as usize] == vectors[3]).count();
        assert!(equal > 195, "{metric:?}: {equal}");
    }
}

#[test]
fn dimensions_that_outweigh_the_others_cost_little_recall() {
    let mut vectors = clustered(20, 30);
    for (at, vector) in vectors.iter_mut().enumerate() {
        vector[5] = 6.0 + (at % 7) as f32 / 10.0;
    }
    let recall = recall(&graph_of(Metric::Euclid, &vectors, &in_order(&vectors)), &vectors, None);
    assert!(recall > 0.9, "{recall}");
}

#[test]
fn filters_are_searched_through_and_nothing_else_is_found() {
    let vectors = clustered(20, 30);
    let graph = graph_of(Metric::Euclid, &vectors, &in_order(&vectors));
    for every in [2, 10] {
        let allowed: RoaringBitmap = (0..vectors.len() as u32).step_by(every).collect();
        let recall = recall(&graph, &vectors, Some(&allowed));
        assert!(recall > 0.97, "one in {every}: {recall}");
    }
    let allowed = RoaringBitmap::from_iter([17]);
    let wanted = Wanted { count: 5, expansion: 48, allowed: Some(&allowed) };
    assert_eq!(found(&graph, &vectors[500], &wanted), [17], "the only one, however far");
}

#[test]
fn nodes_without_items_are_ways_and_nothing_more() {
    let vectors = clustered(20, 30);
    let graph = graph_of(Metric::Euclid, &vectors, &in_order(&vectors));
    let kept: RoaringBitmap = (0..vectors.len() as u32).filter(|slot| slot % 30 >= 26).collect();
    (0..vectors.len() as u32).filter(|slot| !kept.contains(*slot)).for_each(|node| graph.clear(node));
    let wanted = Wanted { count: 20, expansion: 48, allowed: None };
    for query in vectors.iter().step_by(100) {
        let slots = found(&graph, query, &wanted);
        assert!(slots.len() >= 20 && slots.iter().all(|&slot| kept.contains(slot)), "{slots:?}");
    }
}

#[test]
fn an_empty_graph_and_one_of_one_node_answer() {
    let graph = Hnsw::new(shape(Metric::Cosine));
    let vector = vec![1.0; DIMENSION];
    let wanted = Wanted { count: 3, expansion: 8, allowed: None };
    assert!(found(&graph, &vector, &wanted).is_empty());
    graph.add(&row(&vector), 7).unwrap();
    assert_eq!(found(&graph, &vector, &wanted), [7]);
}

/// Some threads add while others search: every search finds what was there when it began, and the graph is as good as
/// one that a single thread built.
#[test]
fn searches_go_on_beside_several_writers() {
    let vectors = clustered(20, 50);
    let graph = Hnsw::new(shape(Metric::Euclid));
    let (first, next, done) = (400, AtomicU32::new(400), AtomicBool::new(false));
    for (slot, vector) in vectors[..first].iter().enumerate() {
        graph.add(&row(vector), slot as u32).unwrap();
    }
    let searches = thread::scope(|scope| {
        let add = || {
            loop {
                let slot = next.fetch_add(1, Ordering::Relaxed);
                let Some(vector) = vectors.get(slot as usize) else { return };
                graph.add(&row(vector), slot).unwrap();
            }
        };
        let search = || {
            let (mut hits, mut all) = (0, 0);
            while !done.load(Ordering::Relaxed) || all == 0 {
                for (slot, vector) in vectors[..first].iter().enumerate().step_by(7) {
                    let wanted = Wanted { count: 10, expansion: 48, allowed: None };
                    let slots = self::found(&graph, vector, &wanted);
                    assert!(slots.iter().all(|&slot| (slot as usize) < vectors.len()));
                    hits += u32::from(slots.contains(&(slot as u32)));
                    all += 1;
                }
            }
            (hits, all)
        };
        let searching = [scope.spawn(search), scope.spawn(search)];
        let writing = [scope.spawn(add), scope.spawn(add), scope.spawn(add)];
        writing.into_iter().for_each(|thread| thread.join().unwrap());
        done.store(true, Ordering::Relaxed);
        searching.map(|thread| thread.join().unwrap())
    });
    for (hits, all) in searches {
        assert!(f64::from(hits) > 0.98 * f64::from(all), "{hits} of {all}");
    }
    assert_eq!(graph.nodes(), vectors.len());
    let recall = recall(&graph, &vectors, None);
    assert!(recall > 0.97, "{recall}");
}
