//! t-SNE: a plane in which near vectors stay near (van der Maaten and Hinton 2008), by Barnes-Hut trees (van der Maaten
//! 2014).
//!
//! Distances in such a plane have no unit, and those between groups mean little. It begins with the principal
//! components, which keeps the large shape and makes it repeatable (Kobak and Berens 2019).

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use bhtsne::{Neighbor, tSNE};

use crate::{
    error::{Error, Result},
    threads::take_background_priority,
};

/// The perplexity: how many neighbours a vector is attracted by, on average; fewer where there are less than three times
/// as many others.
const PERPLEXITY: f32 = 30.0;
/// Steps of the descent, a quarter of them with attraction exaggerated.
const ITERATIONS: usize = 1000;
/// The factor of that exaggeration.
const EXAGGERATION: f32 = 12.0;
/// The least rate of the descent; else it is the number of vectors by the exaggeration (Belkina et al. 2019). The
/// library's own choice is a quarter of that, since its gradient goes without the factor 4 of the paper.
const LEAST_RATE: f32 = 200.0;
/// The ratio of width to distance up to which a cell of points repels as one.
const THETA: f32 = 0.5;
/// The fewest vectors that are moved: fewer have no neighbourhoods to speak of.
const FEWEST: usize = 10;
/// The spread along x of the points that the descent begins with, as in scikit-learn.
const FIRST_SPREAD: f64 = 1e-4;

/// Moves points, given in the order of the vectors, until the neighbours of each are those of its vector by L2 distance,
/// as far as a plane has room for them. The same vectors and points always give the same result on the same machine;
/// less than ten are returned as they are. It takes one thread beside the caller's, which waits.
///
/// The result is none where the work was abandoned.
///
/// # Errors
/// `internal` if the system has no thread to give.
pub fn keep_neighbours(
    vectors: &[&[f32]],
    start: &[[f64; 2]],
    abandoned: impl Fn() -> bool + Send + Sync,
) -> Result<Option<Vec<[f64; 2]>>> {
    let deviation = (start.iter().map(|[x, _]| x * x).sum::<f64>() / start.len().max(1) as f64).sqrt();
    if vectors.len() < FEWEST || deviation == 0.0 {
        return Ok(Some(start.to_vec()));
    }
    let scaled = scaled(vectors, deviation);
    let vectors: &[&[f32]] = &scaled.iter().map(Vec::as_slice).collect::<Vec<_>>();
    let first: Vec<f32> = start.iter().flatten().map(|at| (at / deviation * FIRST_SPREAD) as f32).collect();
    let others = vectors.len() - 1;
    let perplexity = PERPLEXITY.min(others as f32 / 3.0);
    let Some(neighbours) = neighbours(vectors, others.min((3.0 * PERPLEXITY) as usize), &abandoned) else {
        return Ok(None);
    };
    let descend = || {
        tSNE::<f32, &[f32]>::new(vectors)
            .perplexity(perplexity)
            .epochs(ITERATIONS)
            .learning_rate((vectors.len() as f32 / EXAGGERATION).max(LEAST_RATE))
            .initial_embedding(first)
            .epoch_callback(|_, _| {
                if abandoned() {
                    // The library's loop has no other way out.
                    resume_unwind(Box::new(Abandoned));
                }
            })
            // The library compares half the width of a cell.
            .barnes_hut_with_neighbors(THETA / 2.0, &neighbours)
            .embedding()
    };
    let points = match catch_unwind(AssertUnwindSafe(|| on_one_thread(descend))) {
        Ok(points) => points?,
        Err(panic) if panic.is::<Abandoned>() => return Ok(None),
        Err(panic) => resume_unwind(panic),
    };
    let (points, _) = points.as_chunks::<2>();
    Ok(Some(points.iter().map(|point| point.map(f64::from)).collect()))
}

/// The vectors from the first one on, by their spread: the map is the same, and no square of a distance overflows.
fn scaled(vectors: &[&[f32]], deviation: f64) -> Vec<Vec<f32>> {
    let origin = vectors[0];
    let from_origin = |(at, zero): (&f32, &f32)| ((f64::from(*at) - f64::from(*zero)) / deviation) as f32;
    vectors.iter().map(|vector| vector.iter().zip(origin).map(from_origin).collect()).collect()
}

/// The payload of the panic that ends a descent early.
struct Abandoned;

/// Runs the work in a pool of one thread: the library takes whatever pool it finds itself in, by default one of all cores.
fn on_one_thread<T: Send>(work: impl FnOnce() -> T + Send) -> Result<T> {
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(1)
        .thread_name(|_| "latentd-map".to_owned())
        .start_handler(|_| take_background_priority())
        .build()
        .map_err(|error| Error::internal("cannot start the thread of a map").with_source(error))?;
    Ok(pool.install(work))
}

/// The nearest others of each vector, every pair compared: the trees of the library are built by chance, and in many
/// dimensions they compare all but as many.
fn neighbours(vectors: &[&[f32]], count: usize, abandoned: impl Fn() -> bool) -> Option<Vec<Vec<Neighbor<f32>>>> {
    let mut all = Vec::with_capacity(vectors.len());
    for (at, vector) in vectors.iter().enumerate() {
        if abandoned() {
            return None;
        }
        let others = vectors.iter().enumerate().filter(|(other, _)| *other != at);
        let mut row: Vec<Neighbor<f32>> =
            others.map(|(index, other)| Neighbor { index, distance: squared_distance(vector, other) }).collect();
        let nearer =
            |a: &Neighbor<f32>, b: &Neighbor<f32>| a.distance.total_cmp(&b.distance).then(a.index.cmp(&b.index));
        if count < row.len() {
            row.select_nth_unstable_by(count, nearer);
            row.truncate(count);
        }
        row.sort_unstable_by(nearer);
        // What all squared distances of a row have in common cancels out of its distribution, but would not out of the
        // library's sums of exp(−βd²), which come to nothing where neighbours are about as far as each other.
        let nearest = row.first().map_or(0.0, |neighbour| neighbour.distance);
        row.iter_mut().for_each(|neighbour| neighbour.distance = (neighbour.distance - nearest).sqrt());
        all.push(row);
    }
    Some(all)
}

/// The squared L2 distance, summed in lanes so that the compiler vectorises it.
fn squared_distance(a: &[f32], b: &[f32]) -> f32 {
    let (a_lanes, a_rest) = a.as_chunks::<16>();
    let (b_lanes, b_rest) = b.as_chunks::<16>();
    let mut sums = [0.0_f32; 16];
    for (a, b) in a_lanes.iter().zip(b_lanes) {
        (0..16).for_each(|lane| {
            let apart = a[lane] - b[lane];
            sums[lane] += apart * apart;
        });
    }
    let rest = a_rest.iter().zip(b_rest).map(|(a, b)| (a - b) * (a - b)).sum::<f32>();
    sums.iter().sum::<f32>() + rest
}

#[cfg(test)]
mod tests {
    use rand::{RngExt as _, SeedableRng as _};
    use rand_chacha::ChaCha8Rng;

    use super::*;
    use crate::statistics::{Moments, project};

    /// Vectors around as many corners of a cube as there are groups, with room between them.
    fn groups(count: usize, dimension: usize, groups: usize) -> Vec<Vec<f32>> {
        let mut random = ChaCha8Rng::seed_from_u64(7);
        let mut draw =
            |scale: f32| -> Vec<f32> { (0..dimension).map(|_| scale * random.random_range(-1.0..1.0)).collect() };
        let centres: Vec<Vec<f32>> = (0..groups).map(|_| draw(2.0)).collect();
        let around = |at: usize| centres[at % groups].iter().zip(draw(0.5)).map(|(a, b)| a + b).collect();
        (0..count).map(around).collect()
    }

    fn refs(vectors: &[Vec<f32>]) -> Vec<&[f32]> {
        vectors.iter().map(Vec::as_slice).collect()
    }

    fn principal(vectors: &[&[f32]]) -> Vec<[f64; 2]> {
        project(vectors, Moments::of(vectors.iter().copied(), vectors[0].len()).mean()).points
    }

    fn kept(vectors: &[&[f32]]) -> Vec<[f64; 2]> {
        keep_neighbours(vectors, &principal(vectors), || false).unwrap().unwrap()
    }

    /// For each row, the others from the nearest on.
    fn by_distance(count: usize, distance: impl Fn(usize, usize) -> f64) -> Vec<Vec<usize>> {
        let row = |at: usize| {
            let mut others: Vec<usize> = (0..count).filter(|&other| other != at).collect();
            others.sort_by(|&a, &b| distance(at, a).total_cmp(&distance(at, b)));
            others
        };
        (0..count).map(row).collect()
    }

    /// From 0 to 1, which stands for no intruder among the nearest points of any (Venna and Kaski 2001); scikit-learn's
    /// `trustworthiness` is the same.
    fn trustworthiness(vectors: &[&[f32]], points: &[[f64; 2]], nearest: usize) -> f64 {
        let count = vectors.len();
        let before = by_distance(count, |a, b| f64::from(squared_distance(vectors[a], vectors[b])));
        let after =
            by_distance(count, |a, b| (points[a][0] - points[b][0]).powi(2) + (points[a][1] - points[b][1]).powi(2));
        let intrusion = |at: usize| -> usize {
            let rank = |other: &usize| 1 + before[at].iter().position(|found| found == other).unwrap();
            after[at][..nearest].iter().map(|other| rank(other).saturating_sub(nearest)).sum()
        };
        let sum: usize = (0..count).map(intrusion).sum();
        1.0 - 2.0 * sum as f64 / (count * nearest * (2 * count - 3 * nearest - 1)) as f64
    }

    #[test]
    fn trustworthiness_is_that_of_scikit_learn() {
        // trustworthiness([[0, 0], [1, 0], [0, 2], [3, 3], [5, 1], [2, 6]], [[0, 0], [4, 1], [1, 0], [2, 2], [9, 1],
        // [3, 0]], n_neighbors=2) of scikit-learn 1.9.1
        let vectors = [[0.0, 0.0], [1.0, 0.0], [0.0, 2.0], [3.0, 3.0], [5.0, 1.0], [2.0, 6.0]].map(|row| row.to_vec());
        let points = [[0.0, 0.0], [4.0, 1.0], [1.0, 0.0], [2.0, 2.0], [9.0, 1.0], [3.0, 0.0]];
        assert!((trustworthiness(&refs(&vectors), &points, 2) - 0.533_333_333_333).abs() < 1e-9);
    }

    #[test]
    fn neighbours_stay_neighbours_where_principal_components_mix_them() {
        let vectors = groups(240, 32, 20);
        let vectors = refs(&vectors);
        let (before, after) = (principal(&vectors), kept(&vectors));
        let (flat, kept) = (trustworthiness(&vectors, &before, 10), trustworthiness(&vectors, &after, 10));
        assert!(kept > 0.95 && 1.0 - kept < (1.0 - flat) / 2.0, "{kept} after {flat}");
    }

    #[test]
    fn the_same_vectors_give_the_same_map() {
        let vectors = groups(60, 5, 3);
        assert_eq!(kept(&refs(&vectors)), kept(&refs(&vectors)));
    }

    #[test]
    fn vectors_far_from_each_other_and_all_as_far_make_a_map_too() {
        // e^(−βd²) of these is nothing in single precision
        let mut vectors = groups(60, 200, 2);
        for scale in [1e3, 1e27, 1e-38] {
            vectors.iter_mut().flatten().for_each(|value| *value *= scale);
            let vectors = refs(&vectors);
            let kept = kept(&vectors);
            let nearest = by_distance(60, |a, b| (kept[a][0] - kept[b][0]).hypot(kept[a][1] - kept[b][1]));
            let apart = |(at, others): (usize, &Vec<usize>)| others[..20].iter().all(|other| other % 2 == at % 2);
            assert!(nearest.iter().enumerate().all(apart), "at a scale of {scale}");
        }
    }

    #[test]
    fn copies_and_few_vectors_are_points_as_well() {
        let mut vectors = groups(40, 4, 2);
        vectors[1..20].fill(groups(1, 4, 1).remove(0));
        assert!(kept(&refs(&vectors)).iter().flatten().all(|at| at.is_finite()));
        assert_eq!(kept(&refs(&vec![vec![1.0, 2.0]; 30])), vec![[0.0; 2]; 30]);
        let few = groups(9, 4, 2);
        assert_eq!(kept(&refs(&few)), principal(&refs(&few)));
        assert!(kept(&refs(&groups(10, 4, 2))).iter().flatten().all(|at| at.is_finite()));
        assert_eq!(keep_neighbours(&[], &[], || false).unwrap(), Some(Vec::new()));
    }

    #[test]
    fn what_nobody_waits_for_ends_early() {
        let vectors = groups(40, 4, 2);
        let vectors = refs(&vectors);
        let asked = std::sync::atomic::AtomicUsize::new(0);
        let abandoned = || asked.fetch_add(1, std::sync::atomic::Ordering::Relaxed) > 60;
        assert_eq!(keep_neighbours(&vectors, &principal(&vectors), abandoned).unwrap(), None);
        assert_eq!(asked.into_inner(), 62);
    }
}
