"""Files that say which way up they are: in EXIF blocks of every form, in XMP, and in places that do not count."""

import itertools
import struct
import zlib

from images import draw, encoded

ORIENTATION, MAKE, EXIF_DIRECTORY, MAKER_NOTE = 0x0112, 0x010F, 0x8769, 0x927C
MARK = b"Exif\0\0"
XMP_MARK = b"http://ns.adobe.com/xap/1.0/\0"
XMP_FORMS = [
    b'<x tiff:Orientation="6"/>',
    b"<x tiff:Orientation='6'/>",
    b"<tiff:Orientation>6</tiff:Orientation>",
    b"<tiff:Orientation>\n6</tiff:Orientation>",
    b'<x tiff:Orientation = "6"/>',
    b'<x tiff:Orientation="60"/>',
    b'<x tiff:Orientation="9"/>',
    b'<x exif:Orientation="6"/>',
    b'<x tiff:Orientation=""/><y tiff:Orientation="3"/>',
]


def block(entries, order="<", start=8, following=0):
    """An EXIF block without its mark: a small TIFF whose first directory has these entries."""
    at = start + 2 + 12 * len(entries) + 4
    directory, behind = struct.pack(order + "H", len(entries)), b""
    for tag, kind, count, payload in entries:
        if len(payload) > 4:
            payload, behind = struct.pack(order + "I", at + len(behind)), behind + payload
        directory += struct.pack(order + "HHI", tag, kind, count) + payload.ljust(4, b"\0")
    mark = b"II" if order == "<" else b"MM"
    header = mark + struct.pack(order + "HI", 42, start)
    return header + bytes(start - 8) + directory + struct.pack(order + "I", following) + behind


FORMS = {1: "B", 3: "H", 4: "I", 5: "I", 6: "b", 8: "h", 9: "i", 10: "i", 11: "f", 12: "d"}


def oriented(number, order="<", kind=3, **options):
    """A block with an orientation, as a number of that type (2 is text, 7 bytes)."""
    if kind in FORMS:
        payload = struct.pack(order + FORMS[kind], number)
        payload += struct.pack(order + "I", 1) if kind in (5, 10) else b""
    else:
        payload = str(number).encode() + b"\0" if kind == 2 else bytes([number])
    count = len(payload) if kind in (2, 7) else 1
    return block([(ORIENTATION, kind, count, payload)], order, **options)


def segment(payload, marker=0xE1):
    return bytes([0xFF, marker]) + struct.pack(">H", len(payload) + 2) + payload


def jpeg(*payloads, body=None, at=20):
    """A JPEG with these APP1 segments behind its JFIF header."""
    body = body or encoded(draw(31, 18, 4), "JPEG", quality=90)
    return body[:at] + b"".join(map(segment, payloads)) + body[at:]


def jpegs():
    for number, order, kind in itertools.product(range(11), "<>", (*FORMS, 2, 7)):
        yield f"exif-{number}-{order}-type{kind}", jpeg(MARK + oriented(number, order, kind))
    for number in (255, 256, 65535):
        yield f"exif-{number}", jpeg(MARK + oriented(number))
    six, nothing = oriented(6), block([(MAKE, 2, 4, b"abc\0")])
    short = lambda *values: (ORIENTATION, 3, len(values), struct.pack(f"<{len(values)}H", *values))
    yield "exif-two-values", jpeg(MARK + block([short(6, 3)]))
    yield "exif-no-value", jpeg(MARK + block([short()]))
    yield "exif-twice", jpeg(MARK + block([short(6), short(3)]))
    yield "exif-far", jpeg(MARK + oriented(6, start=16))
    yield "exif-marked-twice", jpeg(MARK + MARK + six)
    yield "exif-other-magic", jpeg(MARK + b"II\x2b\0" + six[4:])
    yield "exif-no-order", jpeg(MARK + b"XX" + six[2:])
    yield "exif-small-letters", jpeg(b"exif\0\0" + six)
    for length in (8, 12, 18, 20, 21, 22, 25):
        yield f"exif-cut-{length}", jpeg(MARK + six[:length])
    for first in (1, 14, 20):
        yield f"exif-split-{first}", jpeg(MARK + six[:first], MARK + six[first:])
    yield "exif-two-blocks", jpeg(MARK + six, MARK + oriented(3))
    yield "exif-second-block", jpeg(MARK + nothing, MARK + oriented(3))
    body = jpeg()
    yield "exif-first", jpeg(MARK + six, at=2)
    yield "exif-last", jpeg(MARK + six, at=body.index(b"\xff\xda"))
    yield "exif-behind", body + segment(MARK + six)
    yield "exif-in-app3", body[:20] + segment(MARK + six, 0xE3) + body[20:]
    progressive = encoded(draw(31, 18, 4), "JPEG", progressive=True)
    second = progressive.index(b"\xff\xda", progressive.index(b"\xff\xda") + 2)
    yield "exif-between-scans", jpeg(MARK + six, body=progressive, at=second)
    yield from elsewhere(six)
    for at, form in enumerate(XMP_FORMS):
        packet = XMP_MARK + form
        yield f"xmp-{at}", jpeg(packet)
        for number in (0, 1, 9):
            yield f"xmp-{at}-beside-{number}", jpeg(MARK + oriented(number), packet)
        yield f"xmp-{at}-beside-none", jpeg(MARK + nothing, packet)
    yield "xmp-two", jpeg(XMP_MARK + XMP_FORMS[0], XMP_MARK + XMP_FORMS[8])


def elsewhere(six):
    """An orientation in the note of a camera's maker, in the directory of EXIF, and in that of the thumbnail."""
    second = 8 + 2 + 12 + 4
    pointing = block([(EXIF_DIRECTORY, 4, 1, struct.pack("<I", second))])
    note = struct.pack("<HHHII", 1, MAKER_NOTE, 7, len(six), second + 2 + 12 + 4) + bytes(4)
    directory = struct.pack("<HHHIHH", 1, ORIENTATION, 3, 1, 6, 0) + bytes(4)
    yield "exif-in-maker-note", jpeg(MARK + pointing + note + six)
    yield "exif-in-exif-directory", jpeg(MARK + pointing + directory)
    yield "exif-of-thumbnail", jpeg(MARK + block([(MAKE, 2, 4, b"abc\0")], following=second) + directory)


def pngs(chunk):
    body = encoded(draw(31, 18, 4), "PNG")
    pixels, end = body.index(b"IDAT") - 4, body.index(b"IEND") - 4
    put = lambda at, *chunks: body[:at] + b"".join(chunk(name, payload) for name, payload in chunks) + body[at:]
    for number, order, (name, at) in itertools.product((0, 1, 3, 6, 8, 9), "<>", (("before", pixels), ("behind", end))):
        yield f"exif-{number}-{order}-{name}", put(at, (b"eXIf", oriented(number, order)))
    yield "exif-marked", put(pixels, (b"eXIf", MARK + oriented(6)))

    def raw(name, payload):
        return f"\n{name}\n{len(payload):8}\n{payload.hex()}\n".encode()

    profile, key = raw("exif", MARK + oriented(6)), b"Raw profile type exif\0"
    packet, xmp = XMP_FORMS[0], b"XML:com.adobe.xmp\0"
    yield "exif-text", put(pixels, (b"tEXt", key + profile))
    yield "exif-text-behind", put(end, (b"tEXt", key + profile))
    yield "exif-deflated-text", put(pixels, (b"zTXt", key + b"\0" + zlib.compress(profile)))
    yield "exif-beside-text", put(pixels, (b"eXIf", oriented(3)), (b"tEXt", key + profile))
    yield "exif-app1", put(pixels, (b"tEXt", b"Raw profile type APP1\0" + raw("APP1", MARK + oriented(6))))
    yield "xmp", put(pixels, (b"iTXt", xmp + bytes(4) + packet))
    yield "xmp-behind", put(end, (b"iTXt", xmp + bytes(4) + packet))
    yield "xmp-deflated", put(pixels, (b"iTXt", xmp + b"\1" + bytes(3) + zlib.compress(packet)))
    yield "xmp-text", put(pixels, (b"tEXt", xmp + packet))
    yield "xmp-profile", put(pixels, (b"zTXt", b"Raw profile type xmp\0\0" + zlib.compress(raw("xmp", packet))))


def webps():
    for number, lossless in itertools.product((0, 1, 3, 6, 8, 9), (False, True)):
        for name, exif in (("marked", MARK + oriented(number)), ("big", oriented(number, ">")), ("bare", oriented(number))):
            yield f"exif-{number}-l{lossless:d}-{name}", encoded(draw(31, 18, number), "WEBP", lossless=lossless, exif=exif)
    yield "xmp", encoded(draw(31, 18, 1), "WEBP", lossless=True, xmp=XMP_FORMS[0])
    frames = [draw(20, 14, seed) for seed in range(2)]
    yield "exif-frames", encoded(frames[0], "WEBP", save_all=True, append_images=frames[1:], lossless=True, exif=oriented(6))
