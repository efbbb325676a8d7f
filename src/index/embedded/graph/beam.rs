//! The nearest nodes that a walk has found, and which ones it has been at.

/// A bit of a key that is no part of its order: the node was expanded.
const EXPANDED: u64 = 1 << 31;

/// Orders nodes by distance, and at equal distance by their tag, which is less than 2³¹.
#[inline(always)]
pub(super) fn key(distance: f32, tag: u32) -> u64 {
    let bits = distance.to_bits();
    // of negative numbers the greater bits are the lesser number
    let ordered = if bits >> 31 == 1 { !bits } else { bits | 1 << 31 };
    u64::from(ordered) << 32 | u64::from(tag)
}

/// The distance of a key.
#[inline(always)]
pub(super) fn distance_of(key: u64) -> f32 {
    let ordered = (key >> 32) as u32;
    f32::from_bits(if ordered >> 31 == 1 { ordered ^ 1 << 31 } else { !ordered })
}

/// The tag of a key.
#[inline(always)]
pub(super) fn tag_of(key: u64) -> u32 {
    (key & (EXPANDED - 1)) as u32
}

/// The keys of the nearest nodes so far, nearest first, each with a mark once its node was expanded.
#[derive(Debug, Default)]
pub(super) struct Beam {
    keys: Vec<u64>,
    keep: usize,
}

impl Beam {
    /// Empties it; it keeps so many from now on.
    pub(super) fn clear(&mut self, keep: usize) {
        self.keys.clear();
        self.keys.reserve(keep + 1);
        self.keep = keep;
    }

    /// Nearest first.
    pub(super) fn keys(&self) -> impl ExactSizeIterator<Item = u64> {
        self.keys.iter().map(|key| key & !EXPANDED)
    }

    /// What a key has to be below to come in.
    #[inline(always)]
    pub(super) fn limit(&self) -> u64 {
        match self.keys.last() {
            Some(last) if self.keys.len() >= self.keep => last & !EXPANDED,
            _ => u64::MAX,
        }
    }

    /// Takes a key that is below the limit in; returns its place.
    #[inline(always)]
    pub(super) fn insert(&mut self, key: u64) -> usize {
        if self.keys.len() >= self.keep {
            self.keys.pop();
        }
        let at = self.keys.partition_point(|&other| other & !EXPANDED < key);
        self.keys.insert(at, key);
        at
    }

    /// The place and the key of the first node from a place on that was not expanded.
    #[inline(always)]
    pub(super) fn next(&self, from: usize) -> Option<(usize, u64)> {
        let keys = self.keys.iter().enumerate().skip(from);
        keys.map(|(at, &key)| (at, key)).find(|(_, key)| key & EXPANDED == 0)
    }

    /// Marks the node at a place as expanded.
    #[inline(always)]
    pub(super) fn mark(&mut self, at: usize) {
        self.keys[at] |= EXPANDED;
    }
}

/// The nodes that a walk has been at: a bit of each, cleared word by word, so that a walk through a large graph costs no
/// more than what it went through.
#[derive(Debug, Default)]
pub(super) struct Visited {
    words: Vec<u64>,
    touched: Vec<u32>,
}

impl Visited {
    /// Forgets all; nodes are below `nodes` from now on.
    pub(super) fn clear(&mut self, nodes: u32) {
        for &word in &self.touched {
            self.words[word as usize] = 0;
        }
        self.touched.clear();
        let words = (nodes as usize).div_ceil(64);
        if words > self.words.len() {
            self.words.resize(words, 0);
        }
    }

    /// Notes a node; true if it is new.
    #[inline(always)]
    pub(super) fn insert(&mut self, node: u32) -> bool {
        let (at, bit) = (node / 64, 1 << (node % 64));
        let word = &mut self.words[at as usize];
        if *word == 0 {
            self.touched.push(at);
        }
        let new = *word & bit == 0;
        *word |= bit;
        new
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_in_the_order_of_distances_and_give_them_back() {
        let distances = [f32::NEG_INFINITY, -3e38, -1.5, -1e-40, 0.0, 1e-40, 0.5, 7.0, f32::INFINITY];
        assert!(distances.map(|distance| key(distance, 5)).is_sorted_by(|a, b| a < b));
        for distance in distances {
            assert_eq!(distance_of(key(distance, 9)), distance);
            assert_eq!(tag_of(key(distance, (1 << 31) - 1) | EXPANDED), (1 << 31) - 1);
        }
        assert!(key(1.0, 3) < key(1.0, 4));
    }

    #[test]
    fn a_beam_keeps_the_nearest_in_order_and_remembers_which_were_expanded() {
        let mut beam = Beam::default();
        beam.clear(3);
        for tag in [5, 2, 9] {
            assert_eq!(beam.limit(), u64::MAX);
            beam.insert(key(tag as f32, tag));
        }
        beam.mark(0);
        assert_eq!(beam.next(0).map(|(at, key)| (at, tag_of(key))), Some((1, 5)));
        assert_eq!(beam.limit(), key(9.0, 9));
        assert_eq!(beam.insert(key(1.0, 1)), 0);
        assert_eq!(beam.keys().map(tag_of).collect::<Vec<_>>(), [1, 2, 5]);
        assert_eq!(beam.next(1).map(|(at, key)| (at, tag_of(key))), Some((2, 5)), "the second is the one expanded");
        beam.clear(3);
        assert_eq!((beam.keys().len(), beam.next(0)), (0, None));
    }

    #[test]
    fn a_node_is_new_once_until_all_are_forgotten() {
        let mut visited = Visited::default();
        for _ in 0..3 {
            visited.clear(200);
            assert!([0, 63, 64, 199].into_iter().all(|node| visited.insert(node)));
            assert!(![0, 63, 64, 199].into_iter().any(|node| visited.insert(node)));
        }
        visited.clear(1000);
        assert!(visited.insert(999) && visited.insert(0));
    }
}
