//! How a node is linked into the graph ("INSERT" of arXiv 1603.09320).
//!
//! A walk finds candidates in each layer that the node is in, the neighbours among them are chosen ([`select`](super::select)), and
//! links go both ways. A neighbour whose list is full chooses again among its neighbours and the node. Any number of
//! threads may add nodes at once: a list is changed under its lock, one at a time, and links are stored as
//! [`layout`](super::layout) says.

use std::sync::atomic::Ordering;

use super::{
    kernel::{Kernel, Task},
    layout::{Layout, NONE, TOP_LEVEL, View},
    row::Query,
    search::{Near, STARTS, Scratch, Walk, salt_of},
    select::Choice,
};

/// A node that is there but for its links.
pub(super) struct Insert<'a> {
    pub(super) layout: &'a Layout,
    pub(super) view: View<'a>,
    pub(super) node: u32,
    /// Its vector.
    pub(super) query: &'a Query,
    /// A query for the vectors of others.
    pub(super) other: Query,
    /// Candidates kept in each layer.
    pub(super) expansion: usize,
    pub(super) scratch: &'a mut Scratch,
}

impl Task for Insert<'_> {
    type Output = ();

    #[inline(always)]
    fn run<K: Kernel>(self, kernel: K) {
        let Self { layout, view, node, query, mut other, expansion, scratch } = self;
        let Some((top, entry)) = view.entry() else { return };
        let (level, connectivity) = (view.level(node), view.most_links(TOP_LEVEL));
        let mut walk = Walk { kernel, view, query, salt: salt_of(node), scratch };
        let highest = level.min(top);
        if highest == 0 {
            walk.enter(top, entry);
        } else {
            let start = walk.descend(entry, top, highest);
            walk.start_at(start);
        }
        for layer in (0..=highest).rev() {
            walk.layer(layer, expansion);
            let candidates: Vec<Near> = walk.found().filter(|near| near.node != node).collect();
            walk.start_at_found(STARTS);
            let choice = Choice { kernel, view, scratch: walk.scratch, most: connectivity };
            let neighbours = choice.among(&candidates, query.to_itself(), &mut other);
            for &neighbour in &neighbours {
                link(&mut walk, layout, Link { from: node, to: neighbour, layer }, &mut other);
            }
            for &neighbour in &neighbours {
                link(&mut walk, layout, Link { from: neighbour, to: node, layer }, &mut other);
            }
        }
        if level > top {
            layout.raise(node);
        }
    }
}

#[derive(Debug, Clone, Copy)]
struct Link {
    from: u32,
    to: u32,
    layer: usize,
}

/// Adds a link to the list of a node; where the list is full, its node chooses again.
#[inline(always)]
fn link<K: Kernel>(walk: &mut Walk<'_, K>, layout: &Layout, link: Link, other: &mut Query) {
    let Link { from, to, layer } = link;
    let _lock = layout.lock(from);
    let mut links = Vec::with_capacity(walk.view.most_links(layer) + 1);
    for place in walk.view.places(from, layer) {
        match place.load(Ordering::Acquire) {
            NONE => return place.store(to, Ordering::Release),
            present if present == to => return,
            present => links.push(present),
        }
    }
    links.push(to);
    // other threads may have linked nodes that the walk's view does not have
    let moment = layout.moment();
    let view = moment.view();
    other.set_to(view.row(from), view.stats(from));
    let itself = other.to_itself();
    let scratch = &mut *walk.scratch;
    scratch.nodes.clear();
    scratch.nodes.extend_from_slice(&links);
    Walk { kernel: walk.kernel, view, query: other, salt: 0, scratch }.compare();
    let distances = walk.scratch.distances.iter().copied().zip(links);
    let mut candidates: Vec<_> = distances.map(|(distance, node)| Near { distance, node }).collect();
    let tag = |candidate: &Near| candidate.node ^ salt_of(from);
    candidates.sort_unstable_by(|a, b| a.distance.total_cmp(&b.distance).then(tag(a).cmp(&tag(b))));
    let choice = Choice { kernel: walk.kernel, view, scratch: walk.scratch, most: view.most_links(layer) };
    let chosen = choice.among(&candidates, itself, other);
    let links = chosen.into_iter().chain(std::iter::repeat(NONE));
    for (place, link) in view.places(from, layer).zip(links) {
        place.store(link, Ordering::Release);
    }
}
