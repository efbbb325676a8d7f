use super::*;

fn input(channels: Channels) -> InputSpec {
    InputSpec { width: 32, height: 32, channels, bgr: false, background: Background::WHITE, orientation: true }
}

#[test]
fn the_sections_read_as_the_manifest_writes_them() {
    let input: InputSpec =
        toml::from_str("width = 32\nheight = 24\nchannels = \"gray\"\nbackground = \"#0a141E\"\norientation = false")
            .unwrap();
    assert_eq!((input.width, input.height, input.channels.count()), (32, 24, 1));
    assert_eq!((input.background, input.orientation), (Background([10, 20, 30]), false));
    let spec: PreprocessSpec = toml::from_str(
        "resize = \"shortest-edge\"\nedge = 256\nfilter = \"lanczos\"\ncrop = \"center\"\nrescale = 0.5\nmean = [0.5]\nstd = [0.25]",
    )
    .unwrap();
    assert_eq!((spec.resize, spec.edge, spec.filter), (Resize::ShortestEdge, Some(256), FilterKind::Lanczos));
    assert_eq!((spec.crop, spec.rescale), (Crop::Center, 0.5));
}

#[test]
fn what_is_omitted_has_the_documented_default() {
    let input: InputSpec = toml::from_str("width = 8\nheight = 8\nchannels = \"rgb\"").unwrap();
    assert_eq!((input.background, input.orientation), (Background::WHITE, true));
    let spec: PreprocessSpec = toml::from_str("").unwrap();
    assert_eq!(spec, PreprocessSpec::default());
    assert_eq!((spec.resize, spec.filter, spec.crop), (Resize::Exact, FilterKind::Bicubic, Crop::None));
    assert_eq!(spec.rescale, 1.0 / 255.0);
    assert!(spec.violations(&input).is_empty() && input.violations().is_empty());
}

#[test]
fn unknown_keys_and_values_are_errors() {
    assert!(toml::from_str::<PreprocessSpec>("resise = \"exact\"").is_err());
    assert!(toml::from_str::<PreprocessSpec>("resize = \"stretch\"").is_err());
    assert!(toml::from_str::<InputSpec>("width = 8\nheight = 8\nchannels = \"rgb\"\ndepth = 3").is_err());
}

#[test]
fn a_colour_is_a_hash_and_six_digits() {
    for wrong in ["", "ffffff", "#fff", "#gggggg", "#+fffff", "#1234567", "white"] {
        let error = wrong.parse::<Background>().unwrap_err();
        assert!(error.contains("#rrggbb"), "{error}");
    }
    assert_eq!("#a0B1c2".parse::<Background>().unwrap().to_string(), "#a0b1c2");
}

#[test]
fn serialising_and_reading_back_changes_nothing() {
    let spec = PreprocessSpec { mean: Some(vec![0.4914, 0.4822, 0.4465]), ..Default::default() };
    let json = serde_json::to_value(&spec).unwrap();
    assert_eq!(serde_json::from_value::<PreprocessSpec>(json).unwrap(), spec);
    let input = input(Channels::Rgb);
    let json = serde_json::to_value(&input).unwrap();
    assert_eq!(json["background"], "#ffffff");
    assert_eq!(serde_json::from_value::<InputSpec>(json).unwrap(), input);
}

#[test]
fn every_violation_is_reported_and_starts_with_its_key() {
    let spec = PreprocessSpec {
        resize: Resize::ShortestEdge,
        edge: Some(0),
        rescale: f64::NAN,
        mean: Some(vec![0.5, f32::INFINITY]),
        std: Some(vec![0.0, 1.0, 1.0]),
        ..Default::default()
    };
    let found = spec.violations(&input(Channels::Rgb));
    assert_eq!(found.len(), 6, "{found:#?}");
    assert!(found.iter().all(|line| line.starts_with("preprocess.")));
    let unused = PreprocessSpec { edge: Some(32), ..Default::default() };
    assert!(unused.violations(&input(Channels::Gray)).is_empty(), "an edge may stand beside another resize");
}
