use super::*;

fn map(data: &[f32]) -> ErrorMap {
    ErrorMap { width: u32::try_from(data.len()).unwrap(), height: 1, data: data.to_vec() }
}

fn read(png: &[u8]) -> ::image::DynamicImage {
    ::image::load_from_memory_with_format(png, ::image::ImageFormat::Png).unwrap()
}

#[test]
fn the_eight_bit_map_is_scaled_to_its_own_maximum() {
    let image = read(&map(&[0.0, 0.1, 0.2]).png().unwrap());
    assert_eq!(image.color(), ::image::ColorType::L8);
    assert_eq!(image.as_bytes(), [0, 128, 255]);
}

#[test]
fn a_map_without_errors_is_black() {
    assert_eq!(read(&map(&[0.0, 0.0]).png().unwrap()).as_bytes(), [0, 0]);
    let image = Plane { width: 2, height: 1, channels: 1, data: vec![0.2, 0.8] };
    assert_eq!(read(&map(&[0.0, 0.0]).overlay(&image).unwrap()).as_bytes(), [51, 51, 51, 204, 204, 204]);
}

#[test]
fn the_sixteen_bit_map_has_a_fixed_scale_and_big_endian_samples() {
    let file = map(&[0.0, 0.25, 1.0, 1.7, f32::NAN, -0.1]).png16().unwrap();
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
fn the_overlay_is_the_image_where_nothing_is_strange_and_hot_where_most_is() {
    let image = Plane { width: 2, height: 1, channels: 3, data: vec![0.2, 0.2, 0.4, 0.4, 0.6, 0.6] };
    let image = read(&map(&[0.0, 0.01]).overlay(&image).unwrap());
    assert_eq!(image.color(), ::image::ColorType::Rgb8);
    assert_eq!(image.as_bytes(), [51, 102, 153, 255, 255, 191]);
}

#[test]
fn an_overlay_over_an_image_of_another_size_is_refused() {
    let image = Plane { width: 1, height: 1, channels: 3, data: vec![0.0; 3] };
    assert!(map(&[0.0, 0.5]).overlay(&image).is_err());
}
