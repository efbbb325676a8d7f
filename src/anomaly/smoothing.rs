//! Gaussian smoothing of a map, as `scipy.ndimage.gaussian_filter` does it by default.

/// Where the kernel is cut off, in standard deviations.
const TRUNCATE: f64 = 4.0;

/// The longest standard deviation that is taken, in pixels.
pub const MAX_SIGMA: f64 = 64.0;

/// Smooths `width × height` values, row by row, with a standard deviation in pixels; zero leaves them as they are. The
/// map is mirrored at its edges (d c b a | a b c d | d c b a).
#[must_use]
pub fn gaussian(values: &[f32], width: usize, height: usize, sigma: f64) -> Vec<f32> {
    if sigma <= 0.0 || values.is_empty() {
        return values.to_vec();
    }
    let kernel = kernel(sigma);
    let rows: Vec<&[f32]> = values.chunks_exact(width).collect();
    let mut sums = vec![0.0; width];
    let mut smoothed = Vec::with_capacity(values.len());
    let mut padded = Vec::with_capacity(width + 2 * kernel.len());
    for y in 0..height {
        sums.fill(0.0);
        for (away, weight) in kernel.iter().enumerate() {
            let row = |at: isize| rows[mirrored(at, height)];
            add_pair(&mut sums, *weight, away, [row(y as isize - away as isize), row(y as isize + away as isize)]);
        }
        padded.clear();
        let reach = kernel.len() as isize - 1;
        padded.extend((-reach..width as isize + reach).map(|x| sums[mirrored(x, width)] as f32));
        sums.fill(0.0);
        for (away, weight) in kernel.iter().enumerate() {
            let middle = kernel.len() - 1;
            add_pair(&mut sums, *weight, away, [&padded[middle - away..], &padded[middle + away..]]);
        }
        smoothed.extend(sums.iter().map(|sum| *sum as f32));
    }
    smoothed
}

/// Adds the two lines that are so far away on either side, by their weight; the middle one once.
fn add_pair(sums: &mut [f64], weight: f64, away: usize, [before, after]: [&[f32]; 2]) {
    if away == 0 {
        sums.iter_mut().zip(before).for_each(|(sum, value)| *sum += weight * f64::from(*value));
        return;
    }
    for ((sum, before), after) in sums.iter_mut().zip(before).zip(after) {
        *sum += weight * (f64::from(*before) + f64::from(*after));
    }
}

/// The weights of one half of the kernel, its middle first; the whole sums up to 1.
fn kernel(sigma: f64) -> Vec<f64> {
    let radius = (TRUNCATE * sigma + 0.5) as usize;
    let half: Vec<f64> = (0..=radius).map(|at| (-0.5 * (at as f64 / sigma).powi(2)).exp()).collect();
    let sum = half[0] + 2.0 * half[1..].iter().sum::<f64>();
    half.into_iter().map(|weight| weight / sum).collect()
}

/// The index that a position outside of a line shows. A kernel may be longer than the line, so that it is mirrored many
/// times.
fn mirrored(at: isize, length: usize) -> usize {
    let period = 2 * length as isize;
    let within = at.rem_euclid(period);
    (if within < length as isize { within } else { period - 1 - within }) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn smoothing_equals_that_of_scipy() {
        // scipy.ndimage.gaussian_filter(np.array([[0, 0, 9, 0], [1, 2, 3, 4], [0, 5, 0, 0]], float), 0.8)
        let map = [0.0, 0.0, 9.0, 0.0, 1.0, 2.0, 3.0, 4.0, 0.0, 5.0, 0.0, 0.0];
        let expected = [
            0.499_103_2,
            2.056_834_7,
            4.036_644_5,
            2.566_471_8,
            1.010_936_9,
            2.149_103,
            2.896_935_2,
            2.441_698_6,
            1.238_470_1,
            2.367_236_6,
            1.677_237,
            1.059_328_9,
        ];
        for (ours, theirs) in gaussian(&map, 4, 3, 0.8).iter().zip(expected) {
            assert!((ours - theirs).abs() < 1e-5, "{ours} {theirs}");
        }
    }

    #[test]
    fn a_kernel_longer_than_the_map_keeps_its_mean() {
        let smoothed = gaussian(&[1.0, 2.0, 3.0, 6.0], 2, 2, 20.0);
        assert!(smoothed.iter().all(|value| (value - 3.0).abs() < 1e-4), "{smoothed:?}");
        assert_eq!(gaussian(&[1.0, 2.0], 2, 1, 0.0), [1.0, 2.0]);
    }
}
