use super::*;
use crate::image::Channels;

fn map(data: &[f32]) -> ErrorMap {
    ErrorMap { width: u32::try_from(data.len()).unwrap(), height: 1, data: data.to_vec() }
}

fn read(png: &[u8]) -> ::image::DynamicImage {
    ::image::load_from_memory_with_format(png, ::image::ImageFormat::Png).unwrap()
}

#[test]
fn the_eight_bit_map_is_scaled_to_its_own_maximum() {
    let image = read(&map(&[0.0, 0.1, 0.2]).png(Scale::OwnMaximum).unwrap());
    assert_eq!(image.color(), ::image::ColorType::L8);
    assert_eq!(image.as_bytes(), [0, 128, 255]);
}

#[test]
fn a_map_without_errors_is_black() {
    assert_eq!(read(&map(&[0.0, 0.0]).png(Scale::OwnMaximum).unwrap()).as_bytes(), [0, 0]);
    let image = Pixels { width: 2, height: 1, channels: Channels::Gray, data: vec![51, 204] };
    let overlay = map(&[0.0, 0.0]).overlay(&image, Scale::OwnMaximum).unwrap();
    assert_eq!(read(&overlay).as_bytes(), [51, 51, 51, 204, 204, 204]);
}

#[test]
fn the_sixteen_bit_map_has_a_fixed_scale_and_big_endian_samples() {
    let file = map(&[0.0, 0.25, 1.0, 1.7, f32::NAN, -0.1]).png16(Scale::OwnMaximum).unwrap();
    let image = read(&file);
    assert_eq!(image.color(), ::image::ColorType::L16);
    assert_eq!(image.into_luma16().into_raw(), [0, 16384, 65535, 65535, 0, 0]);
}

#[test]
fn the_array_is_height_by_width() {
    let map = ErrorMap { width: 2, height: 3, data: vec![0.5; 6] };
    assert!(String::from_utf8_lossy(&map.npy()).contains("'shape': (3, 2, )"));
}

#[test]
fn one_scale_makes_the_maps_of_two_images_compare() {
    let half = |map: ErrorMap| read(&map.png(Scale::UpTo(0.4)).unwrap()).as_bytes().to_vec();
    assert_eq!(half(map(&[0.0, 0.2])), [0, 128]);
    assert_eq!(half(map(&[0.4, 0.8])), [255, 255]);
    let wide = map(&[0.2, 0.8]).png16(Scale::UpTo(0.8)).unwrap();
    assert_eq!(read(&wide).into_luma16().into_raw(), [16384, 65535]);
}

#[test]
fn a_heat_map_goes_from_the_first_colour_to_the_last() {
    let image = read(&map(&[0.0, 0.5]).heat(Scale::OwnMaximum).unwrap());
    assert_eq!(image.as_bytes(), [colour(0.0), colour(1.0)].concat());
}

#[test]
fn the_overlay_is_the_image_where_nothing_is_strange_and_hot_where_most_is() {
    let image = Pixels { width: 2, height: 1, channels: Channels::Rgb, data: vec![51, 102, 153, 51, 102, 153] };
    let image = read(&map(&[0.0, 0.01]).overlay(&image, Scale::OwnMaximum).unwrap());
    assert_eq!(image.color(), ::image::ColorType::Rgb8);
    assert_eq!(image.as_bytes(), [[51, 102, 153], colour(1.0)].concat());
}

#[test]
fn an_overlay_over_an_image_of_another_size_is_refused() {
    let image = Pixels { width: 1, height: 1, channels: Channels::Rgb, data: vec![0; 3] };
    assert!(map(&[0.0, 0.5]).overlay(&image, Scale::OwnMaximum).is_err());
}
