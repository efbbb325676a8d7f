use super::*;

fn size(width: u32, height: u32) -> Size {
    Size { width, height }
}

#[test]
fn twice_the_samples_that_are_needed_remain_on_both_sides() {
    for (from, to, expected) in [
        (size(4032, 3024), size(224, 224), 4),
        (size(4032, 3584), size(224, 224), 8),
        (size(4032, 3583), size(224, 224), 4),
        (size(640, 480), size(224, 224), 1),
        (size(640, 480), size(32, 32), 4),
        (size(32, 32), size(32, 32), 1),
        (size(16, 16), size(32, 32), 1),
        (size(65_535, 1), size(1, 1), 1),
    ] {
        assert_eq!(Shrink::between(from, to).factor(), expected, "{from:?} to {to:?}");
    }
}

#[test]
fn a_file_is_shrunk_by_no_more_than_either_way_up_allows() {
    let header = |format| Header { format, width: 4000, height: 1000, weight: 3, frame: None };
    let to = |_| size(256, 64);
    assert_eq!(Shrink::between(size(4000, 1000), size(256, 64)).factor(), 4);
    assert_eq!(Shrink::of_file(&header(Format::Jpeg), to).factor(), 1);
    assert_eq!(Shrink::of_file(&header(Format::Jpeg), |_| size(64, 64)).factor(), 4);
    assert_eq!(Shrink::of_file(&header(Format::Png), |_| size(64, 64)), Shrink::NONE);
}
