use super::*;

const TEXT: &str = r#"
manifest = 1
family = "contrastive"
[input]
width = 8
height = 8
channels = "rgb"
[graphs.encoder]
file = "encoder.onnx"
inputs = { image = "image" }
outputs = { embedding = "out" }
"#;

fn key_of(text: &str) -> SpaceKey {
    key("m", &Manifest::parse(text).unwrap(), &blake3::hash(b"bytes"))
}

#[test]
fn the_canonical_text_is_this() {
    let text = canonical(&Manifest::parse(TEXT).unwrap(), &blake3::hash(b"bytes"));
    let expected = format!(
        "latentd-space=1\npreprocessing={PREPROCESSING_VERSION}\ngraph={}\ninput.width=8\ninput.height=8\n\
         input.channels=rgb\ninput.background=#ffffff\ninput.orientation=true\npreprocess.resize=exact\n\
         preprocess.edge=0\npreprocess.filter=bicubic\npreprocess.crop=none\npreprocess.rescale=3f70101010101010\n\
         preprocess.mean=00000000,00000000,00000000\npreprocess.std=3f800000,3f800000,3f800000\noutput=out\n\
         pooling=none\nnormalize=true\n",
        blake3::hash(b"bytes").to_hex()
    );
    assert_eq!(text, expected);
}

#[test]
fn defaults_that_are_spelled_out_change_nothing() {
    let spelled = TEXT
        .replace("channels = \"rgb\"", "channels = \"rgb\"\nbackground = \"#FFFFFF\"\norientation = true")
        + "[preprocess]\nresize = \"exact\"\nfilter = \"bicubic\"\ncrop = \"none\"\nrescale = 0.00392156862745098\n\
           mean = [0, 0.0, -0.0]\nstd = [1, 1, 1]\n[embedding]\noutput = \"embedding\"\npooling = \"none\"\nnormalize = true\n";
    assert_eq!(key_of(&spelled), key_of(TEXT));
}

#[test]
fn what_does_not_change_vectors_does_not_change_the_key() {
    for (from, to) in [
        ("encoder.onnx", "other.onnx"),
        ("family", "description = \"x\"\nlicense = \"y\"\nrequired = true\nfamily"),
        ("[input]", "[runtime]\nmax_batch = 3\n[golden]\natol = 0.5\n[embedding]\nmetric = \"dot\"\n[input]"),
    ] {
        assert_eq!(key_of(&TEXT.replace(from, to)), key_of(TEXT), "{to}");
    }
}

#[test]
fn what_changes_vectors_changes_the_key() {
    let mut keys = vec![key_of(TEXT)];
    for (from, to) in [
        ("width = 8", "width = 9"),
        ("channels = \"rgb\"", "channels = \"rgb\"\norientation = false"),
        ("channels = \"rgb\"", "channels = \"rgb\"\nbackground = \"#000000\""),
        ("[input]", "[preprocess]\nfilter = \"bilinear\"\n[input]"),
        ("[input]", "[preprocess]\nmean = [0.5, 0.5, 0.5]\n[input]"),
        ("[input]", "[preprocess]\nstd = [0.5, 0.5, 0.5]\n[input]"),
        ("[input]", "[preprocess]\nrescale = 1.0\n[input]"),
        ("[input]", "[embedding]\nnormalize = false\n[input]"),
        ("\"out\"", "\"other\""),
    ] {
        keys.push(key_of(&TEXT.replace(from, to)));
    }
    keys.push(key("m", &Manifest::parse(TEXT).unwrap(), &blake3::hash(b"other bytes")));
    let distinct: std::collections::BTreeSet<&str> = keys.iter().map(SpaceKey::as_str).collect();
    assert_eq!(distinct.len(), keys.len(), "{keys:?}");
}

#[test]
fn the_hash_of_a_graph_covers_its_external_data_and_no_file_name() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, bytes: &[u8]| std::fs::write(folder.path().join(name), bytes).unwrap();
    let hash = |graph: &str, location: &str, offset, length| {
        let external = ExternalData { location: location.to_owned(), offset, length };
        let onnx = OnnxFile { external: [external].into(), ..OnnxFile::default() };
        hash_graph(folder.path(), &folder.path().canonicalize().unwrap().join(graph), &onnx)
    };
    write("a.onnx", b"graph");
    write("b.onnx", b"graph");
    write("a.data", b"0123456789");
    write("b.data", b"0123456789");
    write("c.data", b"012345678X");
    let first = hash("a.onnx", "a.data", 0, None).unwrap();
    assert_eq!(hash("b.onnx", "b.data", 0, Some(10)).unwrap(), first);
    assert_ne!(hash("a.onnx", "c.data", 0, None).unwrap(), first);
    assert_eq!(hash("a.onnx", "c.data", 2, Some(4)).unwrap(), hash("a.onnx", "a.data", 2, Some(4)).unwrap());
    assert!(hash("a.onnx", "a.data", 8, Some(4)).unwrap_err().contains("ends before byte 12"));
    assert!(hash("a.onnx", "none.data", 0, None).unwrap_err().contains("none.data is not there"));
    assert!(hash("a.onnx", "../a.data", 0, None).unwrap_err().contains("leaves the model's folder"));
    assert!(hash("a.onnx", "/etc/passwd", 0, None).unwrap_err().contains("leaves the model's folder"));
}
