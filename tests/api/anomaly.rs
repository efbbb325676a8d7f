use serde_json::json;

use crate::{
    harness::{AUTOENCODER, CONTRASTIVE, DENOISER, Server},
    images::{data_uri, file_of, painted, png, size_of, uri},
};

#[tokio::test]
async fn scores_are_the_errors_of_the_reconstruction() {
    let server = Server::start().await;
    let body = json!({"model": AUTOENCODER, "images": [uri(1)]});
    let reconstruction = server.post("/v1/reconstruct", body.clone()).await.ok()["data"][0].clone();
    let score = async |query: &str| {
        let list = server.post(&format!("/v1/anomaly{query}"), body.clone()).await.ok();
        let entry = list["data"][0].clone();
        assert!(entry.get("map").is_none());
        (entry["score"].as_f64().unwrap(), entry["metric"].as_str().unwrap().to_owned())
    };
    let mse = reconstruction["mse"].as_f64().unwrap();
    assert_eq!(score("").await, (mse, "mse".to_owned()));
    assert_eq!(score("?metric=mse&map=none").await, (mse, "mse".to_owned()));
    let ssim = reconstruction["ssim"].as_f64().unwrap();
    assert_eq!(score("?metric=ssim").await, (1.0 - ssim, "ssim".to_owned()));
    assert!(score("?metric=l1").await.0 > 0.0);
}

#[tokio::test]
async fn maps_come_in_five_formats_at_the_size_of_the_image() {
    let server = Server::start().await;
    for (map, media, magic) in [
        ("png", "image/png", &b"\x89PNG"[..]),
        ("png16", "image/png", b"\x89PNG"),
        ("heat", "image/png", b"\x89PNG"),
        ("overlay", "image/png", b"\x89PNG"),
        ("npy", "application/x-npy", b"\x93NUMPY"),
    ] {
        let body = json!({"model": AUTOENCODER, "images": [uri(1)], "map": map});
        let list = server.post("/v1/anomaly", body.clone()).await.ok();
        let file = file_of(&list["data"][0]["map"], media);
        assert!(file.starts_with(magic), "{map}");
        if media == "image/png" {
            assert_eq!(size_of(&file), (16, 16));
        }
        let bare = server.post_accepting("/v1/anomaly", media, body).await;
        assert_eq!(bare.header("content-type"), media);
        assert_eq!(bare.body, file);
        let shape = bare.headers.get("x-latentd-shape").map(|shape| shape.to_str().unwrap());
        assert_eq!(shape, (map == "npy").then_some("16,16"), "{map}");
        if map == "npy" {
            assert!(String::from_utf8_lossy(&file).contains("'shape': (16, 16, )"));
        }
    }
}

#[tokio::test]
async fn a_bare_map_is_of_the_accepted_type() {
    let server = Server::start().await;
    let body = json!({"model": AUTOENCODER, "images": [uri(1)]});
    assert!(server.post_accepting("/v1/anomaly", "image/png", body.clone()).await.body.starts_with(b"\x89PNG"));
    assert!(server.post_accepting("/v1/anomaly", "application/x-npy", body).await.body.starts_with(b"\x93NUMPY"));
    for (map, accept) in [("npy", "image/png"), ("png", "application/x-npy"), ("none", "image/png")] {
        let body = json!({"model": AUTOENCODER, "images": [uri(1)], "map": map});
        server.post_accepting("/v1/anomaly", accept, body).await.refused(406, "not_acceptable");
    }
}

#[tokio::test]
async fn unknown_metrics_and_maps_are_refused() {
    let server = Server::start().await;
    for query in ["metric=far", "map=jpeg"] {
        let body = json!({"model": AUTOENCODER, "images": [uri(1)]});
        server.post(&format!("/v1/anomaly?{query}"), body).await.refused(400, "invalid_request");
    }
}

#[tokio::test]
async fn a_model_without_a_reconstruction_scores_nothing() {
    let server = Server::start().await;
    let body = json!({"model": CONTRASTIVE, "images": [uri(1)]});
    server.post("/v1/anomaly", body).await.refused(422, "capability_not_supported");
}

/// The score of an image under more options.
async fn score_with(server: &Server, options: serde_json::Value) -> f64 {
    let mut body = json!({"model": DENOISER, "images": [uri(1)]});
    body.as_object_mut().unwrap().extend(options.as_object().unwrap().clone());
    server.post("/v1/anomaly", body).await.ok()["data"][0]["score"].as_f64().unwrap()
}

#[tokio::test]
async fn a_map_is_pooled_and_smoothed_as_asked() {
    let server = Server::start().await;
    let score = async |options| score_with(&server, options).await;
    for metric in ["mse", "l1", "ssim", "gms"] {
        let pooled = async |pooling: &str| score(json!({"metric": metric, "pooling": pooling})).await;
        let (mean, top, max) = (pooled("mean").await, pooled("top:0.1").await, pooled("max").await);
        assert_eq!(score(json!({"metric": metric})).await, mean);
        assert!(mean < top && top < max, "{metric}: {mean} {top} {max}");
        let smooth = score(json!({"metric": metric, "pooling": "max", "sigma": 1.5})).await;
        assert!(smooth < max && smooth > 0.0, "{metric}: {smooth} {max}");
    }
    for (options, part) in [("pooling=median", "top:SHARE"), ("sigma=65", "`sigma`"), ("overlap=3", "`tile`")] {
        let body = json!({"model": DENOISER, "images": [uri(1)]});
        let detail = server.post(&format!("/v1/anomaly?{options}"), body).await.refused(400, "invalid_request");
        assert!(detail.contains(part), "{detail}");
    }
}

/// The values of a map of 16 × 16 pixels under more options.
async fn map_with(server: &Server, options: serde_json::Value) -> Vec<f32> {
    let mut body = json!({"model": DENOISER, "images": [uri(1)], "map": "npy"});
    body.as_object_mut().unwrap().extend(options.as_object().unwrap().clone());
    let list = server.post("/v1/anomaly", body).await.ok();
    let file = file_of(&list["data"][0]["map"], "application/x-npy");
    let values = &file[file.len() - 16 * 16 * 4..];
    values.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()
}

#[tokio::test]
async fn only_the_region_of_interest_counts() {
    let server = Server::start().await;
    let score = async |options| score_with(&server, options).await;
    let whole = score(json!({"pooling": "max"})).await;
    assert_eq!(score(json!({"pooling": "max", "roi": [0, 0, 16, 16]})).await, whole);
    let mask =
        |bright: fn(u32, u32) -> bool| data_uri(&painted(16, |x, y| if bright(x, y) { [255; 3] } else { [0; 3] }));
    let (left, right) = (json!({"roi": [0, 0, 8, 16]}), json!({"roi": mask(|x, _| x >= 8)}));
    let (left_map, right_map) = (map_with(&server, left.clone()).await, map_with(&server, right).await);
    for (at, (left, right)) in left_map.iter().zip(&right_map).enumerate() {
        let outside = if at % 16 < 8 { right } else { left };
        assert_eq!(*outside, 0.0, "{at}");
    }
    let halves = score(left).await + score(json!({"roi": mask(|x, _| x >= 8)})).await;
    assert!((halves / 2.0 - score(json!({})).await).abs() < 1e-6, "{halves}");
    let small = data_uri(&painted(8, |_, _| [255; 3]));
    for (roi, part) in [
        (json!(small), "8 × 8 pixels and the image 16 × 16"),
        (json!([8, 8, 9, 8]), "reaches out"),
        (json!(mask(|_, _| false)), "no bright pixel"),
        (json!([1, 2]), "[left, top, width, height]"),
    ] {
        let body = json!({"model": DENOISER, "images": [uri(1)], "roi": roi});
        let detail = server.post("/v1/anomaly", body).await.refused(400, "invalid_request");
        assert!(detail.contains(part), "{detail}");
    }
}

#[tokio::test]
async fn a_region_of_interest_comes_in_a_query_and_in_a_form_too() {
    let server = Server::start().await;
    let expected = score_with(&server, json!({"roi": [0, 0, 8, 16]})).await;
    let of = |answer: crate::harness::Answer| answer.ok()["data"][0]["score"].as_f64().unwrap();
    let path = format!("/v1/anomaly?model={DENOISER}&roi=0,0,8,16");
    assert_eq!(of(server.post_raw(&path, "image/png", png(1)).await), expected);
    let mask = painted(16, |x, _| if x < 8 { [255; 3] } else { [0; 3] });
    for roi in [mask, b"0,0,8,16".to_vec()] {
        let image = png(1);
        let parts: [(&str, &[u8]); 3] = [("image", &image), ("model", DENOISER.as_bytes()), ("roi", &roi)];
        assert_eq!(of(server.post_form("/v1/anomaly", &parts).await), expected);
    }
}

#[tokio::test]
async fn one_tile_that_is_the_image_gives_the_map_of_the_image() {
    let server = Server::start().await;
    let (whole, tiled) = (map_with(&server, json!({})).await, map_with(&server, json!({"tile": 64})).await);
    for (whole, tiled) in whole.iter().zip(&tiled) {
        assert!((whole - tiled).abs() < 1e-6, "{whole} {tiled}");
    }
    let score = score_with(&server, json!({"tile": 64, "pooling": "max"})).await;
    assert!((score - f64::from(tiled.iter().copied().fold(0.0, f32::max))).abs() < 1e-7);
}

#[tokio::test]
async fn regions_lie_where_the_image_is_strange() {
    let server = Server::start().await;
    // A bright square on black: the blur of the model is wrong at its edges.
    let square =
        data_uri(&painted(64, |x, y| if (24..40).contains(&x) && (24..40).contains(&y) { [255; 3] } else { [0; 3] }));
    let regions = async |options: serde_json::Value| {
        let mut body = json!({"model": DENOISER, "images": [square], "regions": true});
        body.as_object_mut().unwrap().extend(options.as_object().unwrap().clone());
        server.post("/v1/anomaly", body).await.ok()["data"][0]["regions"].as_array().unwrap().clone()
    };
    let found = regions(json!({})).await;
    assert_eq!(found.len(), 1, "{found:?}");
    let bounds: Vec<u64> = found[0]["box"].as_array().unwrap().iter().map(|side| side.as_u64().unwrap()).collect();
    let (left, right) = (bounds[0], bounds[0] + bounds[2]);
    assert!((12..=26).contains(&left) && (38..=52).contains(&right), "{bounds:?}");
    let (peak, mean, area) = (&found[0]["peak"], &found[0]["mean"], found[0]["area"].as_u64().unwrap());
    assert!(peak.as_f64().unwrap() > mean.as_f64().unwrap() && area > 0 && area <= bounds[2] * bounds[3]);
    assert!(regions(json!({"min_area": area + 1})).await.is_empty());
    assert!(regions(json!({"min_peak": 2.0})).await.is_empty());
    assert!(regions(json!({"pixel_threshold": 2.0})).await.is_empty());
    let body = json!({"model": DENOISER, "images": [square], "min_area": 3});
    let detail = server.post("/v1/anomaly", body).await.refused(400, "invalid_request");
    assert!(detail.contains("`min_area` is about regions"), "{detail}");
}
