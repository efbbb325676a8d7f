//! Scores by what other models know than the image that they make: detectors, memories, collections.

use image::{GrayImage, ImageFormat, Luma};
use serde_json::{Value, json};

use crate::{
    harness::{AUTOENCODER, CONTRASTIVE, Server},
    images::{data_uri, file_of, painted, uri},
};

/// A detector in the form of Anomalib's exports: the mean over channels of |x − 0.5|, and its maximum.
const DETECTOR: &str = "tiny-detector";
/// Mean colours of 2 × 2 squares, compared with five greys.
const MEMORY: &str = "tiny-memory";
/// How far a grey pixel is from those around it, at 128 × 128.
const SPOTS: &str = "tiny-spots";

async fn entry(server: &Server, body: Value) -> Value {
    server.post("/v1/anomaly", body).await.ok()["data"][0].clone()
}

fn score_of(entry: &Value) -> f64 {
    entry["score"].as_f64().unwrap()
}

/// One colour, but for one pixel.
fn with_a_spot() -> String {
    data_uri(&painted(8, |x, y| if (x, y) == (5, 2) { [255; 3] } else { [140; 3] }))
}

#[tokio::test]
async fn a_detector_scores_by_what_its_graph_gives() {
    let server = Server::with(&[DETECTOR], |_| ()).await;
    let model = server.get(&format!("/v1/models/{DETECTOR}")).await.ok();
    assert_eq!((&model["family"], &model["capabilities"]), (&json!("anomaly"), &json!(["score"])));
    let body = |options: Value| {
        let mut body = json!({"model": DETECTOR, "images": [with_a_spot()]});
        body.as_object_mut().unwrap().extend(options.as_object().unwrap().clone());
        body
    };
    let own = entry(&server, body(json!({}))).await;
    assert_eq!(own["metric"], "graph");
    assert!((score_of(&own) - 0.5).abs() < 1e-6, "{own}");
    let far = f64::from(140_u8) / 255.0 - 0.5;
    let mean = score_of(&entry(&server, body(json!({"pooling": "mean"}))).await);
    assert!((mean - (63.0 * far + 0.5) / 64.0).abs() < 1e-6, "{mean}");
    let found = entry(&server, body(json!({"regions": true, "map": "heat"}))).await;
    assert_eq!(found["regions"].as_array().unwrap().len(), 1);
    let region = &found["regions"][0];
    assert_eq!((&region["box"], &region["area"]), (&json!([5, 2, 1, 1]), &json!(1)));
    assert!(file_of(&found["map"], "image/png").starts_with(b"\x89PNG"));
    let detail =
        server.post("/v1/anomaly", body(json!({"metric": "mse"}))).await.refused(422, "capability_not_supported");
    assert!(detail.contains("it scores by graph"), "{detail}");
}

#[tokio::test]
async fn a_detector_with_a_map_alone_is_scored_by_its_maximum() {
    let server = Server::with(&[SPOTS], |_| ()).await;
    let body = json!({"model": SPOTS, "images": [uri(1)]});
    let max = json!({"model": SPOTS, "images": [uri(1)], "pooling": "max"});
    assert_eq!(entry(&server, body).await, entry(&server, max).await);
    let own = json!({"model": SPOTS, "images": [uri(1)], "pooling": "own"});
    let detail = server.post("/v1/anomaly", own).await.refused(400, "invalid_request");
    assert!(detail.contains("a map and no score"), "{detail}");
}

#[tokio::test]
async fn an_image_for_which_a_graph_gives_nan_has_its_own_error() {
    let server = Server::with(&["tiny-nan"], |_| ()).await;
    let black = data_uri(&painted(8, |x, _| if x == 0 { [0; 3] } else { [90; 3] }));
    let body = json!({"model": "tiny-nan", "images": [uri(1), black]});
    let list = server.post("/v1/anomaly", body).await.ok();
    assert_eq!((list["data"].as_array().unwrap().len(), &list["errors"][0]["index"]), (1, &json!(1)), "{list}");
    let message = list["errors"][0]["message"].as_str().unwrap();
    assert!(message.contains("not finite (NaN or infinite)"), "{message}");
    assert_eq!(list["errors"][0]["code"], "invalid_image");
}

#[tokio::test]
async fn patches_are_compared_with_the_memory_of_the_model() {
    let server = Server::with(&[MEMORY], |_| ()).await;
    let score = async |colour: [u8; 3]| {
        let image = data_uri(&painted(8, |x, y| if x < 2 && y < 2 { colour } else { [255; 3] }));
        let entry = entry(&server, json!({"model": MEMORY, "images": [image], "pooling": "max"})).await;
        assert_eq!(entry["metric"], "patch-knn");
        score_of(&entry)
    };
    // White is in the memory; red is nearest to a dark grey, √(¾² + 2 · ¼²) away. The corner is a patch of its own, whose
    // distance stands in the map's corner as it is.
    assert!(score([255; 3]).await < 1e-6);
    let expected = (0.75_f64.powi(2) + 2.0 * 0.25_f64.powi(2)).sqrt();
    let red = score([255, 0, 0]).await;
    assert!((red - expected).abs() < 1e-5, "{red} {expected}");
    let embedded = server.post("/v1/embeddings", json!({"model": MEMORY, "images": [uri(1)]})).await.ok();
    assert_eq!(embedded["data"][0]["embedding"].as_array().unwrap().len(), 48);
}

#[tokio::test]
async fn a_vector_is_compared_with_those_of_a_collection() {
    let server = Server::start().await;
    let path = server.collection("good", CONTRASTIVE).await;
    let items: Vec<Value> = (0..6).map(|n| json!({"id": format!("i{n}"), "image": uri(n)})).collect();
    server.post(&format!("{path}/items"), json!({"items": items})).await.ok();
    let body = |image: u32, k: u32| json!({"model": CONTRASTIVE, "images": [uri(image)], "metric": "knn", "collection": "good", "k": k});
    assert!(score_of(&entry(&server, body(3, 1)).await).abs() < 1e-4);
    let found = server.post(&format!("{path}/search"), json!({"image": uri(30), "limit": 3, "exact": true})).await.ok();
    let nearest: Vec<f64> =
        found["data"].as_array().unwrap().iter().map(|hit| 1.0 - hit["score"].as_f64().unwrap()).collect();
    let expected = nearest.iter().sum::<f64>() / 3.0;
    let given = score_of(&entry(&server, body(30, 3)).await);
    assert!((given - expected).abs() < 1e-6, "{given} {expected}");
    for (change, status, code) in [
        (json!({"collection": "none"}), 404, "collection_not_found"),
        (json!({"collection": null}), 400, "invalid_request"),
        (json!({"model": AUTOENCODER}), 409, "space_mismatch"),
        (json!({"map": "png"}), 400, "invalid_request"),
        (json!({"k": 0}), 400, "invalid_request"),
    ] {
        let mut body = body(1, 1);
        body.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        server.post("/v1/anomaly", body).await.refused(status, code);
    }
}

#[tokio::test]
async fn hidden_patches_are_scored_under_the_masks_of_several_draws() {
    let server = Server::with(&["tiny-mae", AUTOENCODER], |_| ()).await;
    let body = |model: &str, metric: &str| json!({"model": model, "images": [uri(1)], "metric": metric});
    let hidden = entry(&server, body("tiny-mae", "hidden")).await;
    assert_eq!(entry(&server, body("tiny-mae", "hidden")).await, hidden);
    assert!(score_of(&hidden) > 0.0);
    server.post("/v1/anomaly", body(AUTOENCODER, "hidden")).await.refused(422, "capability_not_supported");
}

#[tokio::test]
async fn scores_are_combined_by_the_p_values_of_a_calibration() {
    let server = Server::with(&[DETECTOR], |_| ()).await;
    let scores = json!([{"metric": "graph", "pooling": "max"}, {"metric": "graph", "pooling": "mean"}]);
    let normals: Vec<String> =
        (0..60_u8).map(|n| data_uri(&painted(8, |x, _| [120 + n / 4 + x as u8 * (n % 3); 3]))).collect();
    let body = json!({"images": normals, "scores": scores});
    let path = format!("/v1/models/{DETECTOR}/calibrations/both");
    let made = server.put(&path, body).await.json();
    assert_eq!((&made["metric"], &made["count"]), (&json!("combined"), &json!(30)), "{made}");
    let judged = async |image: String, options: Value| {
        let mut body = json!({"model": DETECTOR, "images": [image], "calibration": "both", "false_positive_rate": 0.1});
        body.as_object_mut().unwrap().extend(options.as_object().unwrap().clone());
        server.post("/v1/anomaly", body).await
    };
    let normal = judged(normals[7].clone(), json!({})).await.ok()["data"][0].clone();
    let strange = judged(with_a_spot(), json!({"scores": scores, "map": "png"})).await.ok()["data"][0].clone();
    assert_eq!((&normal["verdict"], &strange["verdict"]), (&json!("ok"), &json!("anomalous")), "{normal} {strange}");
    // Both parts lie above all 30 that make p-values.
    assert!(score_of(&strange) > 2.0 * 31.0_f64.ln() && score_of(&normal) < score_of(&strange), "{strange}");
    assert!(strange["map"].is_string());
    let other = json!({"scores": [{"metric": "graph", "pooling": "max"}, {"metric": "graph", "pooling": "top:0.5"}]});
    judged(with_a_spot(), other).await.refused(409, "calibration_stale");
    let body = json!({"model": DETECTOR, "images": [with_a_spot()], "scores": scores});
    let detail = server.post("/v1/anomaly", body).await.refused(400, "invalid_request");
    assert!(detail.contains("name a `calibration`"), "{detail}");
}

/// A grey image of soft waves with a bright spot.
fn waves(width: u32, height: u32, spot: [u32; 4]) -> Vec<u8> {
    let [left, top, wide, high] = spot;
    let image = GrayImage::from_fn(width, height, |x, y| {
        let within = (left..left + wide).contains(&x) && (top..top + high).contains(&y);
        let wave = (f64::from(x) / 300.0).sin() * 20.0 + (f64::from(y) / 200.0).cos() * 20.0;
        Luma([if within { 230 } else { (120.0 + wave) as u8 }])
    });
    let mut file = std::io::Cursor::new(Vec::new());
    image.write_to(&mut file, ImageFormat::Png).unwrap();
    file.into_inner()
}

#[tokio::test]
async fn a_defect_across_the_border_of_tiles_of_a_large_image_is_one_region_in_its_place() {
    let server = Server::with(&[SPOTS], |config| {
        config.limits.deadline_ms = 600_000;
        // Less than the decoded image and all its tiles would take at once.
        config.limits.decoded_in_flight_bytes = 256 << 20;
    })
    .await;
    // Tiles of 128 pixels begin every 110 to 112 of them: these borders lie within the spot.
    let spot = [1190, 870, 90, 60];
    let image = waves(4000, 3000, spot);
    let options = "tile=128&overlap=16&regions=true&min_area=20";
    let path = format!("/v1/anomaly?model={SPOTS}&{options}");
    let list = server.post_raw(&path, "image/png", image).await.ok();
    let regions = list["data"][0]["regions"].as_array().unwrap();
    assert_eq!(regions.len(), 1, "{regions:?}");
    let bounds: Vec<i64> = regions[0]["box"].as_array().unwrap().iter().map(|side| side.as_i64().unwrap()).collect();
    for (given, drawn) in bounds.iter().zip(spot) {
        assert!((given - i64::from(drawn)).abs() <= 4, "{bounds:?} {spot:?}");
    }
    let metrics = server.get("/metrics").await.text();
    assert!(metrics.contains("latentd_decoded_bytes_in_flight 0"), "{metrics}");
}
