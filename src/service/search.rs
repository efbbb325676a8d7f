//! Nearest items.

use std::{sync::Arc, time::Instant};

use futures_util::future::join_all;

use super::{Context, Picture, Service, Stage, pictures::note};
use crate::{
    domain::{CollectionName, Embedding, Filter, ItemId, SpaceKey, TopK},
    error::{Error, Result},
    index::{Collection, CollectionSpec, Hit, Query},
    model::VectorOptions,
    telemetry::metrics::CollectionLabels,
};

/// What to search the neighbours of.
#[derive(Debug)]
pub enum QueryBy {
    Picture(Picture),
    Vector(Vec<f32>),
    /// An item of the collection.
    Id(ItemId),
}

/// One search.
#[derive(Debug)]
pub struct SearchRequest {
    pub by: QueryBy,
    pub limit: TopK,
    pub filter: Option<Filter>,
    pub min_score: Option<f32>,
    pub exact: bool,
    pub with_vector: bool,
    pub with_metadata: bool,
    /// Leaves the item out that a search by id starts from.
    pub exclude_self: bool,
    pub space_key: Option<SpaceKey>,
}

/// What a search found, best first.
#[derive(Debug)]
pub struct Found {
    pub spec: CollectionSpec,
    pub hits: Vec<Hit>,
}

impl Service {
    /// The items nearest to a picture, a vector or another item.
    pub async fn search(&self, ctx: &Context, name: &CollectionName, request: SearchRequest) -> Result<Found> {
        let collection = self.open_in_space(name, request.space_key.as_ref()).await?;
        let hits = self.search_in(ctx, &collection, request).await?;
        Ok(Found { spec: collection.spec().clone(), hits })
    }

    /// Several searches side by side; each has its own result or error, in their order.
    pub async fn search_batch(
        &self,
        ctx: &Context,
        name: &CollectionName,
        requests: Vec<Result<SearchRequest>>,
    ) -> Result<(CollectionSpec, Vec<Result<Vec<Hit>>>)> {
        self.check_count(requests.len(), "queries")?;
        let collection = self.open_in_space(name, None).await?;
        let searches = requests.into_iter().map(async |request| {
            let request = request?;
            self.open_in_space(name, request.space_key.as_ref()).await?;
            self.search_in(ctx, &collection, request).await
        });
        let results = join_all(searches).await;
        Ok((collection.spec().clone(), results))
    }

    async fn search_in(
        &self,
        ctx: &Context,
        collection: &Arc<dyn Collection>,
        request: SearchRequest,
    ) -> Result<Vec<Hit>> {
        let spec = collection.spec();
        let mut exclude = None;
        let vector = match request.by {
            QueryBy::Vector(vector) => vector,
            QueryBy::Picture(picture) => {
                let model = self.model_of(spec)?;
                let items = self.embed(ctx, &model, vec![picture], VectorOptions::default()).await?.items;
                let (_, vector) =
                    items.settle(true)?.good.pop().ok_or_else(|| Error::internal("a picture has no vector"))?;
                vector
            }
            QueryBy::Id(id) => {
                let item = collection.get(&id).await?;
                exclude = request.exclude_self.then_some(id);
                item.vector
            }
        };
        if request.min_score.is_some_and(|score| !score.is_finite()) {
            return Err(Error::invalid_request("min_score is not finite"));
        }
        let query = Query {
            vector: Embedding::of_dimension(vector, spec.dimension)?,
            limit: request.limit,
            filter: request.filter,
            min_score: request.min_score,
            exact: request.exact,
            exclude,
            with_vector: request.with_vector,
            with_metadata: request.with_metadata,
        };
        let started = Instant::now();
        let hits = tokio::time::timeout_at(ctx.deadline.into(), collection.search(query))
            .await
            .map_err(|_| Error::deadline_exceeded("the deadline passed before the index had answered"))??;
        note(ctx, &self.metrics, Stage::Index, started.elapsed());
        let labels = CollectionLabels { collection: spec.name.to_string() };
        self.metrics.index_search_seconds.get_or_create(&labels).observe(started.elapsed().as_secs_f64());
        Ok(hits)
    }
}
