use super::*;
use crate::image::fixtures::{image, input};

fn stored(channels: u8, data: &[u8]) -> Decoded {
    let width = u32::try_from(data.len() / usize::from(channels)).unwrap();
    Decoded { data: data.to_vec(), ..image(width, 1, channels, 0) }
}

#[test]
fn every_orientation_equals_that_of_the_image_crate() {
    for (width, height) in [(7, 5), (1, 9), (70, 33)] {
        for tag in 1..=8 {
            let orientation = Orientation::from_exif(tag).unwrap();
            let decoded = Decoded { orientation, ..image(width, height, 3, 3) };
            let mut theirs = ::image::DynamicImage::ImageRgb8(
                ::image::RgbImage::from_raw(width, height, decoded.data.clone()).unwrap(),
            );
            theirs.apply_orientation(orientation);
            let ours = decoded.to_pixels(&input(1, 1, Channels::Rgb));
            assert_eq!((ours.width, ours.height), (theirs.width(), theirs.height()), "tag {tag}");
            assert_eq!(ours.data, theirs.into_bytes(), "tag {tag}");
        }
    }
}

#[test]
fn a_model_that_ignores_orientation_sees_the_image_as_stored() {
    let decoded = Decoded { orientation: Orientation::Rotate90, ..image(4, 3, 3, 0) };
    let ignoring = InputSpec { orientation: false, ..input(1, 1, Channels::Rgb) };
    let pixels = decoded.to_pixels(&ignoring);
    assert_eq!((pixels.width, pixels.height, pixels.data), (4, 3, decoded.data));
}

#[test]
fn grey_is_pillows_luma() {
    let grey = |rgb: [u8; 3]| stored(3, &rgb).to_pixels(&input(1, 1, Channels::Gray)).data[0];
    assert_eq!(grey([255, 0, 0]), 76);
    assert_eq!(grey([0, 255, 0]), 150);
    assert_eq!(grey([0, 0, 255]), 29);
    assert_eq!(grey([12, 200, 99]), 132);
    for value in 0..=255 {
        assert_eq!(grey([value; 3]), value);
    }
}

#[test]
fn transparent_pixels_show_the_background_and_half_transparent_ones_a_mixture() {
    let mut on_blue = input(1, 1, Channels::Rgb);
    on_blue.background = Background([0, 0, 255]);
    let rgba = stored(4, &[200, 100, 50, 0, 200, 100, 50, 128, 200, 100, 50, 255]);
    assert_eq!(rgba.to_pixels(&on_blue).data, [0, 0, 255, 100, 50, 152, 200, 100, 50]);
    let grey_alpha = stored(2, &[80, 0, 80, 255]);
    assert_eq!(grey_alpha.to_pixels(&on_blue).data, [0, 0, 255, 80, 80, 80]);
    let gray = InputSpec { channels: Channels::Gray, ..on_blue };
    assert_eq!(grey_alpha.to_pixels(&gray).data, [29, 80]);
    assert_eq!(rgba.to_pixels(&gray).data, [29, luma([100, 50, 152]), luma([200, 100, 50])]);
}

#[test]
fn grey_images_have_three_equal_channels_for_a_colour_model() {
    assert_eq!(stored(1, &[7, 9]).to_pixels(&input(1, 1, Channels::Rgb)).data, [7, 7, 7, 9, 9, 9]);
    assert_eq!(stored(1, &[7, 9]).to_pixels(&input(1, 1, Channels::Gray)).data, [7, 9]);
}
