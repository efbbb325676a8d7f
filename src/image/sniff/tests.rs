use super::*;

fn kind(bytes: &[u8]) -> ErrorKind {
    sniff(bytes).unwrap_err().kind()
}

#[test]
fn text_archives_and_nothing_are_no_images() {
    for bytes in [
        &b""[..],
        b"hello",
        b"{\"image\": 1}",
        b"PK\x03\x04",
        b"BMW is a car maker",
        b"BM",
        b"RIFF....WAVE",
        b"\0\0\0\0",
    ] {
        assert_eq!(kind(bytes), ErrorKind::InvalidImage, "{}", bytes.escape_ascii());
    }
    assert!(sniff(b"").unwrap_err().message().contains("empty"));
    assert!(sniff(b"hello").unwrap_err().message().starts_with("not an image"));
}

#[test]
fn images_of_other_formats_are_unsupported_by_name() {
    for (bytes, name) in [
        (&b"\0\0\0\x20ftypavif"[..], "AVIF"),
        (b"\0\0\0\x18ftypheic", "HEIC"),
        (b"\0\0\0\x18ftypmif1", "HEIC"),
        (b"\xff\x0a\xfa\x7f", "JPEG XL"),
        (b"\0\0\x01\0\x01\0", "ICO"),
        (b"8BPS\0\x01", "PSD"),
        (b"%PDF-1.7", "PDF"),
        (b"P6\n2 2\n255\n", "PNM"),
        (b"qoif\0", "QOI"),
        (b"<?xml version=\"1.0\"?>\n<!-- c -->\n<svg xmlns=\"\">", "SVG"),
        (b"\xef\xbb\xbf <svg/>", "SVG"),
    ] {
        let error = sniff(bytes).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::UnsupportedMediaType, "{name}");
        assert!(error.message().starts_with(name), "{error}");
    }
}

#[test]
fn videos_and_web_pages_are_no_images() {
    assert_eq!(kind(b"\0\0\0\x18ftypisom"), ErrorKind::InvalidImage);
    assert_eq!(kind(b"<html><body>svg</body></html>"), ErrorKind::InvalidImage);
}

#[test]
fn the_readable_formats_are_known_by_their_magic() {
    for (bytes, format) in [
        (&b"\xff\xd8\xff\xe0"[..], Format::Jpeg),
        (b"\x89PNG\r\n\x1a\n", Format::Png),
        (b"RIFF\0\0\0\0WEBPVP8 ", Format::WebP),
        (b"GIF89a", Format::Gif),
        (b"BM\0\0\0\0\0\0\0\0\x36\0\0\0\x28\0\0\0", Format::Bmp),
        (b"II*\0", Format::Tiff),
        (b"MM\0*", Format::Tiff),
    ] {
        assert_eq!(sniff(bytes).unwrap(), format);
    }
}
