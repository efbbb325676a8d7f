//! The metric `knn`: how far the vector of an image is from those of a collection.

use std::sync::Arc;

use futures_util::future::join_all;

use super::Scored;
use crate::{
    anomaly::settings::Neighbours,
    domain::{CollectionName, Embedding, Metric, TopK},
    error::{Error, Result},
    index::{Collection, Query},
    model::{Model, VectorOptions},
    pipeline::{Context, EmbedRequest, Image, encoder_of},
    service::Service,
};

impl Service {
    /// Scores images by the mean distance to the nearest items of a collection.
    ///
    /// # Errors
    /// `capability_not_supported` for a model that does not embed; `collection_not_found`; `space_mismatch` for a
    /// collection of other vectors than the model's.
    pub(super) async fn score_by_neighbours(
        &self,
        ctx: &Context,
        model: &Arc<Model>,
        images: Vec<Image>,
        neighbours: &Neighbours,
    ) -> Result<Vec<Result<Scored>>> {
        encoder_of(model)?;
        let name: CollectionName = neighbours.collection.parse()?;
        let collection = self.open_for(ctx, &name, Some(model.space_key())).await?;
        let limit = TopK::new(neighbours.k as usize)?;
        let request = EmbedRequest { images, options: VectorOptions::default(), stored: None, hash: false };
        let embedded = self.pipeline.embed(ctx, model, request).await?;
        let distance = embedded.into_iter().map(|embedded| {
            let collection = Arc::clone(&collection);
            async move { distance(collection.as_ref(), embedded?.vector, limit).await.map(Scored::without_map) }
        });
        Ok(join_all(distance).await)
    }
}

/// The mean distance to the nearest items: 1 − cosine, the Euclidean distance, or minus the inner product, by the metric
/// of the collection.
async fn distance(collection: &dyn Collection, vector: Vec<f32>, limit: TopK) -> Result<f64> {
    let spec = collection.spec();
    let vector = Embedding::of_dimension(vector, spec.dimension)?;
    // Approximate neighbours would make scores that change while a graph is built.
    let query = Query { exact: true, with_metadata: false, ..Query::nearest(vector, limit) };
    let hits = collection.search(query).await?;
    if hits.is_empty() {
        let text = format!("the collection {} has no items to compare with", spec.name);
        return Err(Error::invalid_request(text));
    }
    let one = if spec.metric == Metric::Cosine { 1.0 } else { 0.0 };
    Ok(hits.iter().map(|hit| one - f64::from(hit.score)).sum::<f64>() / hits.len() as f64)
}
