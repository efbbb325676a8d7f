use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

use super::*;
use crate::{
    error::ErrorKind,
    image::{
        Decoded,
        decode::decode as decode_whole,
        fixtures::sample,
        jpeg::{frame, scaled},
        resize::Size,
        shrink::Shrink,
    },
};

/// Those of the samples that are sequential, in one scan and not CMYK.
const SAMPLES: [(&str, Colours); 8] = [
    ("420.jpg", Colours::YCbCr),
    ("422.jpg", Colours::YCbCr),
    ("444.jpg", Colours::YCbCr),
    ("grey.jpg", Colours::Grey),
    ("restarts.jpg", Colours::YCbCr),
    ("rgb.jpg", Colours::Rgb),
    ("thumbnail.jpg", Colours::YCbCr),
    ("trailing.jpg", Colours::YCbCr),
];

fn wanted(frame: &Frame, colours: Colours, factor: u32) -> Wanted {
    let size = |side| Size { width: side, height: side };
    let shrink = Shrink::between(size(2 * factor), size(1));
    assert_eq!(shrink.factor(), factor);
    Wanted { colours, shrink, size: Size { width: shrink.side(frame.width), height: shrink.side(frame.height) } }
}

fn mean_difference(a: &[u8], b: &[u8]) -> f64 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| f64::from(a.abs_diff(*b))).sum::<f64>() / a.len() as f64
}

/// The mean of the pixels that become one, of a whole image.
fn averaged(whole: &Decoded, factor: u32) -> Vec<u8> {
    let (width, height, factor) = (whole.width as usize, whole.height as usize, factor as usize);
    let channels = usize::from(whole.channels);
    let mut out = Vec::new();
    for (row, column) in (0..height).step_by(factor).flat_map(|row| (0..width).step_by(factor).map(move |x| (row, x))) {
        for channel in 0..channels {
            let rows = row..height.min(row + factor);
            let places = rows.flat_map(|y| (column..width.min(column + factor)).map(move |x| y * width + x));
            let levels: Vec<u32> = places.map(|at| u32::from(whole.data[at * channels + channel])).collect();
            out.push((levels.iter().sum::<u32>() as f64 / levels.len() as f64).round() as u8);
        }
    }
    out
}

#[test]
fn reduced_pixels_are_near_the_means_of_whole_ones_and_no_further_than_those_of_another_decoder() {
    for (name, colours) in SAMPLES {
        let file = sample(name);
        let frame = frame(&file).unwrap();
        let whole = decode_whole(&file, u64::MAX).unwrap();
        for factor in [2, 4, 8] {
            let wanted = wanted(&frame, colours, factor);
            let ours = decode(&file, &frame, &wanted).unwrap().expect("a sequential file in one scan");
            let theirs = scaled::by_library(&file, &frame, &wanted).unwrap();
            let means = averaged(&whole, factor);
            let (ours, theirs) = (mean_difference(&ours, &means), mean_difference(&theirs, &means));
            println!("{name} at 1/{factor}: {ours:.1} from the means, jpeg-decoder {theirs:.1}");
            assert!(ours <= 5.0 && ours <= theirs + 0.05, "{name} at 1/{factor}: {ours} beside {theirs}");
        }
    }
}

#[test]
fn an_eighth_is_the_mean_of_each_block() {
    let file = sample("grey.jpg");
    let frame = frame(&file).unwrap();
    let whole = decode_whole(&file, u64::MAX).unwrap();
    let eighth = decode(&file, &frame, &wanted(&frame, Colours::Grey, 8)).unwrap().unwrap();
    let (width, reduced_width) = (frame.width as usize, (frame.width as usize).div_ceil(8));
    for (row, column) in (0..frame.height as usize / 8).flat_map(|row| (0..width / 8).map(move |column| (row, column)))
    {
        let levels =
            (0..64).map(|at| f64::from(whole.data[(row * 8 + at / 8) * width + column * 8 + at % 8])).sum::<f64>();
        let found = f64::from(eighth[row * reduced_width + column]);
        // each of the 64 was cut off at black and white and rounded
        assert!((levels / 64.0 - found).abs() <= 2.0, "{row}, {column}: {found} of {}", levels / 64.0);
    }
}

#[test]
fn progressive_files_and_those_of_several_scans_are_left_to_another_decoder() {
    for name in ["progressive.jpg", "progressive-grey.jpg"] {
        let file = sample(name);
        let frame = frame(&file).unwrap();
        assert!(decode(&file, &frame, &wanted(&frame, Colours::YCbCr, 4)).unwrap().is_none());
    }
    let file = sample("420.jpg");
    let partial = Frame { partial: true, ..frame(&file).unwrap() };
    assert!(decode(&file, &partial, &wanted(&partial, Colours::YCbCr, 4)).unwrap().is_none());
}

#[test]
fn a_file_without_its_tables_is_left_to_another_decoder() {
    for (marker, name) in [(0xc4, "codes"), (0xdb, "scales")] {
        let mut file = sample("420.jpg");
        let frame = frame(&file).unwrap();
        let at = file.windows(2).position(|pair| pair == [0xff, marker]).unwrap();
        file[at + 1] = 0xe5;
        let found = decode(&file, &frame, &wanted(&frame, Colours::YCbCr, 2)).unwrap();
        assert!(found.is_none(), "without {name}");
    }
}

#[test]
fn a_scan_that_breaks_off_anywhere_is_refused() {
    for (name, colours) in SAMPLES {
        let file = sample(name);
        let frame = frame(&file).unwrap();
        let scan = file.windows(2).rposition(|pair| pair == [0xff, SOS]).unwrap() + 14;
        let end = file.windows(2).position(|pair| pair == [0xff, 0xd9]).filter(|end| *end > scan).unwrap_or(file.len());
        // the last bytes may be nothing but what fills them up
        for cut in (scan..end - 2).step_by(7) {
            let found = decode(&file[..cut], &frame, &wanted(&frame, colours, 4));
            assert_eq!(found.err().map(|error| error.kind()), Some(ErrorKind::InvalidImage), "{name} cut at {cut}");
        }
    }
}

#[test]
fn whatever_is_changed_in_a_file_its_decoding_ends_with_pixels_or_an_error() {
    let mut random = ChaCha8Rng::seed_from_u64(5);
    let mut decoded = 0;
    for (name, colours) in SAMPLES {
        let file = sample(name);
        let frame = frame(&file).unwrap();
        for round in 0..300 {
            let mut changed = file.clone();
            for _ in 0..random.random_range(1..4) {
                let at = random.random_range(2..changed.len());
                changed[at] = random.random();
            }
            let wanted = wanted(&frame, colours, [2, 4, 8][round % 3]);
            if let Ok(Some(pixels)) = decode(&changed, &frame, &wanted) {
                assert_eq!(pixels.len(), wanted.samples(), "{name}");
                decoded += 1;
            }
        }
    }
    assert!(decoded > 100, "{decoded} of the changed files were decoded: the others prove little");
}
