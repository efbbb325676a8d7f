use serde_json::json;

use crate::harness::{CONTRASTIVE, Server};

#[tokio::test]
async fn a_server_with_a_model_lives_and_is_ready() {
    let server = Server::start().await;
    assert_eq!(server.get("/livez").await.ok(), json!({"status": "live", "version": env!("CARGO_PKG_VERSION")}));
    assert_eq!(server.get("/readyz").await.ok(), json!({"status": "ready"}));
}

#[tokio::test]
async fn a_server_without_models_lives_and_is_not_ready() {
    let server = Server::with(&[], |_| ()).await;
    assert_eq!(server.get("/livez").await.status, 200);
    let answer = server.get("/readyz").await;
    answer.refused(503, "unavailable");
    assert!(!answer.json()["reasons"].as_array().unwrap().is_empty());
}

#[tokio::test]
async fn metrics_count_requests_by_route_and_never_by_path() {
    let server = Server::start().await;
    server.get(&format!("/v1/models/{CONTRASTIVE}")).await.ok();
    server.get("/made/up").await.refused(404, "route_not_found");
    let answer = server.get("/metrics").await;
    assert_eq!(answer.status, 200);
    assert!(answer.header("content-type").starts_with("application/openmetrics-text"));
    let text = answer.text();
    assert!(
        text.contains(r#"latentd_requests_total{route="/v1/models/{model}",method="GET",status="200"} 1"#),
        "{text}"
    );
    assert!(text.contains(r#"latentd_requests_total{route="unmatched",method="GET",status="404"} 1"#));
    assert!(!text.contains("made/up"));
    assert!(text.contains(&format!(r#"latentd_build_info{{version="{}"}} 1"#, env!("CARGO_PKG_VERSION"))), "{text}");
    assert!(text.contains("latentd_request_duration_seconds_bucket"));
    assert!(text.ends_with("# EOF\n"));
}
