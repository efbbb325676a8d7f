use async_trait::async_trait;

use super::*;
use crate::index::conformance::{Home, conformance_suite};

/// Where a cluster is to be tested: its nodes, separated by commas.
const NODES: &str = "LATENTD_TEST_QDRANT_URL";

/// A name of its own in a cluster; its collections go with the test.
struct Namespace(QdrantOptions);

impl Namespace {
    fn new() -> Self {
        let nodes = std::env::var(NODES).unwrap_or_else(|_| panic!("{NODES} is not set"));
        let nodes: Vec<String> = nodes.split(',').map(|node| node.trim().to_owned()).collect();
        let copies = if nodes.len() > 1 { 2 } else { 1 };
        Self(QdrantOptions {
            shard_number: nodes.len() as u32,
            nodes,
            prefix: format!("test-{}", uuid::Uuid::new_v4().simple()),
            replication_factor: copies,
            request_timeout: Duration::from_secs(30),
            ..QdrantOptions::default()
        })
    }
}

#[async_trait]
impl Home for Namespace {
    async fn open(&self) -> Arc<dyn IndexEngine> {
        Arc::new(QdrantEngine::connect(self.0.clone()).unwrap())
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let options = self.0.clone();
        let cleared = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let engine = QdrantEngine::connect(options).unwrap();
                for entry in catalogue::all(&engine.shared).await.unwrap() {
                    physical::drop_collection(&engine.shared, &entry.physical).await.unwrap();
                }
                let catalogue = format!("{}.catalogue", engine.shared.options.prefix);
                physical::drop_collection(&engine.shared, &catalogue).await.unwrap();
            });
        });
        let _ = cleared.join();
    }
}

conformance_suite!(
    #[ignore = "needs a live Qdrant: LATENTD_TEST_QDRANT_URL=http://…"]
    Namespace::new()
);
