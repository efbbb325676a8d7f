//! What each family serves.

use serde_json::json;

use crate::{
    harness::Server,
    images::{data_uri, file_of, painted, pixels, png, uri},
};

#[tokio::test]
async fn a_variational_model_embeds_with_its_mean_and_reconstructs_from_it() {
    let server = Server::with(&["tiny-vae"], |_| ()).await;
    let body = json!({"model": "tiny-vae", "images": [uri(1)]});
    let embedded = server.post("/v1/embeddings", body.clone()).await.ok();
    assert_eq!(embedded["data"][0]["embedding"].as_array().unwrap().len(), 4);
    let made = server.post("/v1/reconstruct", body.clone()).await.ok();
    assert!(made["data"][0]["image"].as_str().unwrap().starts_with("data:image/png;base64,"));
    assert!(made["data"][0]["mse"].as_f64().unwrap() > 0.0);
    let scored = server.post("/v1/anomaly", body).await.ok();
    assert_eq!(scored["data"][0]["score"], made["data"][0]["mse"]);
}

#[tokio::test]
async fn a_masked_autoencoder_embeds_from_the_whole_image() {
    let server = Server::with(&["tiny-mae"], |_| ()).await;
    let body = json!({"model": "tiny-mae", "images": [uri(1)]});
    let embedded = server.post("/v1/embeddings", body).await.ok();
    assert_eq!(embedded["data"][0]["embedding"].as_array().unwrap().len(), 6);
    let model = server.get("/v1/models/tiny-mae").await.ok();
    assert_eq!(model["capabilities"], json!(["embed", "reconstruct", "inpaint", "score"]));
}

#[tokio::test]
async fn a_masked_autoencoder_reconstructs_every_patch_from_the_others() {
    let server = Server::with(&["tiny-mae"], |_| ()).await;
    let file = painted(8, |x, y| [30 * x as u8, 20 * y as u8, if x < 4 { 200 } else { 10 }]);
    let made = server.post("/v1/reconstruct", json!({"model": "tiny-mae", "images": [data_uri(&file)]})).await.ok();
    assert!(made["data"][0]["mse"].as_f64().unwrap() > 0.0 && made["data"][0]["ssim"].is_number());
    // three of four patches are hidden at a time and take the colour of the fourth
    let (before, after) = (pixels(&file), pixels(&file_of(&made["data"][0]["image"], "image/png")));
    let colour = |patch: usize, channel: usize, of: &[u8]| -> f64 {
        let of_patch = |at: &usize| (at / 8 / 4) * 2 + at % 8 / 4 == patch;
        (0..64).filter(of_patch).map(|at| f64::from(of[at * 3 + channel])).sum::<f64>() / 16.0
    };
    for patch in 0..4 {
        for channel in 0..3 {
            let others = (0..4).filter(|other| *other != patch).map(|other| colour(other, channel, &before));
            assert!((colour(patch, channel, &after) - others.sum::<f64>() / 3.0).abs() < 1.0);
        }
    }
}

#[tokio::test]
async fn a_masked_autoencoder_scores_by_the_error_where_it_could_not_see() {
    let server = Server::with(&["tiny-mae"], |_| ()).await;
    let score = |file: Vec<u8>, metric: &str, map: &str| {
        let body = json!({"model": "tiny-mae", "images": [data_uri(&file)], "metric": metric, "map": map});
        let server = &server;
        async move { server.post("/v1/anomaly", body).await.ok()["data"][0].clone() }
    };
    for metric in ["mse", "l1", "ssim"] {
        let first = score(png(1), metric, "overlay").await;
        assert!(first["score"].as_f64().unwrap() > 0.0 && first["map"].is_string(), "{metric}");
        assert_eq!(score(png(1), metric, "overlay").await, first);
        // of one colour, each patch is what the others say
        let plain = score(painted(8, |_, _| [90, 40, 200]), metric, "none").await;
        assert!(plain["score"].as_f64().unwrap().abs() < 1e-6, "{metric}: {plain}");
    }
}

#[tokio::test]
async fn a_variational_model_scores_by_its_latent_too() {
    let server = Server::with(&["tiny-vae", "tiny-ae"], |_| ()).await;
    let score = |model: &str, metric: &str, map: &str| {
        server.post("/v1/anomaly", json!({"model": model, "images": [uri(1)], "metric": metric, "map": map}))
    };
    let value = |answer: &serde_json::Value| answer["data"][0]["score"].as_f64().unwrap();
    let (kl, elbo) = (score("tiny-vae", "kl", "none").await.ok(), score("tiny-vae", "elbo", "png").await.ok());
    let mse = value(&score("tiny-vae", "mse", "none").await.ok());
    assert_eq!((&kl["data"][0]["metric"], &elbo["data"][0]["metric"]), (&json!("kl"), &json!("elbo")));
    assert!(value(&kl) > 0.0);
    let expected = mse * 192.0 / 2.0 + value(&kl);
    assert!((value(&elbo) - expected).abs() < 1e-4 * expected, "{} {expected}", value(&elbo));
    assert!(elbo["data"][0]["map"].is_string());
    let detail = score("tiny-vae", "kl", "png").await.refused(400, "invalid_request");
    assert!(detail.contains("no map"), "{detail}");
    for metric in ["kl", "elbo"] {
        let detail = score("tiny-ae", metric, "none").await.refused(422, "capability_not_supported");
        assert!(detail.contains("mse, l1, ssim"), "{detail}");
    }
}
