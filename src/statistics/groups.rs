//! Connected components by union-find: what a chain of links joins is one group.

use std::{collections::HashMap, hash::Hash};

/// A union-find structure over things linked in pairs.
#[derive(Debug)]
pub struct Groups<T> {
    numbers: HashMap<T, usize>,
    /// The parent of each thing in its tree; a root is its own parent.
    parents: Vec<usize>,
    /// The size and the links of each root's tree.
    links: Vec<Links>,
}

/// The lowest and the highest score of a group's links.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Links {
    size: usize,
    lowest: f32,
    highest: f32,
}

/// A group: its members in the order in which they were first linked.
#[derive(Debug, Clone, PartialEq)]
pub struct Group<T> {
    pub members: Vec<T>,
    /// The lowest score of the links among the members.
    pub lowest: f32,
    /// The highest score of the links among the members.
    pub highest: f32,
}

impl<T> Default for Groups<T> {
    fn default() -> Self {
        Self { numbers: HashMap::new(), parents: Vec::new(), links: Vec::new() }
    }
}

impl<T: Eq + Hash + Clone> Groups<T> {
    /// Joins two things by a link of this score.
    pub fn link(&mut self, a: &T, b: &T, score: f32) {
        let (a, b) = (self.number(a), self.number(b));
        let (a, b) = (self.root(a), self.root(b));
        let (lesser, greater) = if self.links[a].size < self.links[b].size { (a, b) } else { (b, a) };
        let below = self.links[lesser];
        let links = &mut self.links[greater];
        links.lowest = links.lowest.min(below.lowest).min(score);
        links.highest = links.highest.max(below.highest).max(score);
        if lesser != greater {
            links.size += below.size;
            self.parents[lesser] = greater;
        }
    }

    fn number(&mut self, thing: &T) -> usize {
        if let Some(number) = self.numbers.get(thing) {
            return *number;
        }
        let number = self.parents.len();
        self.numbers.insert(thing.clone(), number);
        self.parents.push(number);
        self.links.push(Links { size: 1, lowest: f32::INFINITY, highest: f32::NEG_INFINITY });
        number
    }

    /// The root of a thing's tree; each look-up halves the path that the next one walks.
    fn root(&mut self, mut at: usize) -> usize {
        while self.parents[at] != at {
            self.parents[at] = self.parents[self.parents[at]];
            at = self.parents[at];
        }
        at
    }

    /// Every group, the largest first, of equal ones the one with the best link.
    #[must_use]
    pub fn into_groups(mut self) -> Vec<Group<T>> {
        let mut things: Vec<(usize, T)> = self.numbers.drain().map(|(thing, number)| (number, thing)).collect();
        things.sort_unstable_by_key(|(number, _)| *number);
        let mut groups: HashMap<usize, Group<T>> = HashMap::new();
        for (number, thing) in things {
            let root = self.root(number);
            let Links { lowest, highest, .. } = self.links[root];
            let group = groups.entry(root).or_insert_with(|| Group { members: Vec::new(), lowest, highest });
            group.members.push(thing);
        }
        let mut groups: Vec<(usize, Group<T>)> = groups.into_iter().collect();
        groups.sort_unstable_by(|(a_root, a), (b_root, b)| {
            let by_size = b.members.len().cmp(&a.members.len());
            by_size.then(b.highest.total_cmp(&a.highest)).then(a_root.cmp(b_root))
        });
        groups.into_iter().map(|(_, group)| group).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chains_of_links_are_groups_the_largest_first() {
        let mut groups = Groups::default();
        for (a, b, score) in [(1, 2, 0.9), (5, 6, 0.99), (3, 4, 0.95), (2, 3, 0.97), (2, 1, 0.9)] {
            groups.link(&a, &b, score);
        }
        let found = groups.into_groups();
        assert_eq!(found[0], Group { members: vec![1, 2, 3, 4], lowest: 0.9, highest: 0.97 });
        assert_eq!(found[1], Group { members: vec![5, 6], lowest: 0.99, highest: 0.99 });
        assert_eq!(found.len(), 2);
        assert!(Groups::<u8>::default().into_groups().is_empty());
    }

    #[test]
    fn a_long_chain_is_one_group() {
        let mut groups = Groups::default();
        (0..10_000).rev().for_each(|at| groups.link(&at, &(at + 1), 1.0));
        let found = groups.into_groups();
        assert_eq!((found.len(), found[0].members.len()), (1, 10_001));
    }
}
