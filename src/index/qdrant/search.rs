//! Nearest items.

use std::cmp::Ordering;

use qdrant_client::qdrant::{QueryPoints, ScoredPoint, SearchParams};

use super::{
    collection::QdrantCollection,
    filter::{except, translate},
    payload::{ADDED, ID, METADATA, id_of, integer_of, metadata_of, vector_of},
    physical::{nearest, score},
    request::{has_id, only, uuid_of, vectors},
};
use crate::{
    error::Result,
    index::{Hit, Query, rules::admit},
};

/// Items of one score that are looked through for the first ones added; of more, any come.
const MOST_EQUAL: usize = 16_384;

impl QdrantCollection {
    pub(super) async fn nearest(&self, query: Query) -> Result<Vec<Hit>> {
        let spec = &self.entry.spec;
        let vector = admit(spec, query.vector)?;
        let mut filter = translate(query.filter.as_ref());
        if let Some(id) = &query.exclude {
            filter = Some(except(filter, has_id(&[uuid_of(id)])));
        }
        let fields: &[&str] = if query.with_metadata { &[ID, ADDED, METADATA] } else { &[ID, ADDED] };
        let mut request = QueryPoints {
            collection_name: self.physical(),
            query: nearest(&vector),
            filter,
            params: Some(SearchParams { exact: Some(query.exact), ..SearchParams::default() }),
            with_payload: only(fields),
            with_vectors: vectors(query.with_vector),
            ..QueryPoints::default()
        };
        let limit = query.limit.get();
        let mut found = self.first(&mut request, limit).await?;
        self.shared.options.metrics.count_search(spec.name.as_str(), "qdrant");
        for point in &mut found {
            point.score = score(spec.metric, point.score);
        }
        // Qdrant orders equal scores as it likes
        found.sort_by(better);
        found.truncate(limit);
        found.retain(|point| query.min_score.is_none_or(|least| point.score >= least));
        found.into_iter().map(|point| hit(point, query.with_metadata, query.with_vector)).collect()
    }

    /// At least the items that come first, and as many more as have the score of the last of them.
    async fn first(&self, request: &mut QueryPoints, limit: usize) -> Result<Vec<ScoredPoint>> {
        let mut wanted = limit + 1;
        loop {
            request.limit = Some(wanted as u64);
            let answer = self.call(|node| {
                let request = request.clone();
                async move { node.points().query(request).await }
            });
            let found = answer.await?.result;
            let cut = found.len() >= wanted && wanted > limit && found[limit - 1].score == found[wanted - 1].score;
            if !cut || wanted >= MOST_EQUAL {
                return Ok(found);
            }
            wanted = (wanted * 4).min(MOST_EQUAL);
        }
    }
}

fn better(a: &ScoredPoint, b: &ScoredPoint) -> Ordering {
    let added = |point: &ScoredPoint| integer_of(&point.payload, ADDED);
    b.score.total_cmp(&a.score).then_with(|| added(a).cmp(&added(b)))
}

fn hit(point: ScoredPoint, with_metadata: bool, with_vector: bool) -> Result<Hit> {
    Ok(Hit {
        id: id_of(&point.payload)?,
        score: point.score,
        metadata: if with_metadata { Some(metadata_of(&point.payload)?) } else { None },
        vector: if with_vector { Some(vector_of(point.vectors)?) } else { None },
    })
}
