//! The first directory of a TIFF, of a BigTIFF, or of an EXIF block, which is a small TIFF: its entries, read where
//! they stand.

/// The most entries that are looked at.
const MAX_ENTRIES: usize = 4096;

/// The types of values, by their number in an entry.
mod kind {
    pub(super) const SHORT: u16 = 3;
    pub(super) const LONG: u16 = 4;
    pub(super) const RATIONAL: u16 = 5;
    pub(super) const SIGNED_BYTE: u16 = 6;
    pub(super) const SIGNED_SHORT: u16 = 8;
    pub(super) const SIGNED_LONG: u16 = 9;
    pub(super) const SIGNED_RATIONAL: u16 = 10;
    pub(super) const FLOAT: u16 = 11;
    pub(super) const DOUBLE: u16 = 12;
    pub(super) const IFD: u16 = 13;
    pub(super) const LONG8: u16 = 16;

    /// Bytes of one value.
    pub(super) const fn size(kind: u16) -> Option<usize> {
        match kind {
            1 | 2 | SIGNED_BYTE | 7 => Some(1),
            SHORT | SIGNED_SHORT => Some(2),
            LONG | SIGNED_LONG | FLOAT | IFD => Some(4),
            RATIONAL | SIGNED_RATIONAL | DOUBLE | LONG8 => Some(8),
            _ => None,
        }
    }
}

/// The first directory of a file.
pub(super) struct Directory<'a> {
    bytes: &'a [u8],
    order: Order,
    first: usize,
    entries: usize,
}

/// How the numbers of a file are written.
#[derive(Debug, Clone, Copy)]
struct Order {
    little: bool,
    /// Whether places and counts have 64 bits: BigTIFF.
    big: bool,
}

/// The values of one entry.
pub(super) struct Entry<'a> {
    kind: u16,
    data: &'a [u8],
    order: Order,
}

impl<'a> Directory<'a> {
    /// None where the bytes do not begin as a TIFF, or end before their first directory.
    pub(super) fn first(bytes: &'a [u8]) -> Option<Self> {
        let (little, magic) = match bytes.first_chunk::<4>()? {
            [b'I', b'I', low, high] => (true, u16::from_le_bytes([*low, *high])),
            [b'M', b'M', high, low] => (false, u16::from_be_bytes([*high, *low])),
            _ => return None,
        };
        let big = match magic {
            42 => false,
            43 => true,
            _ => return None,
        };
        let order = Order { little, big };
        let start = order.offset(bytes, if big { 8 } else { 4 })?;
        let (entries, first) = if big {
            (order.u64(bytes, start)?, start.checked_add(8)?)
        } else {
            (u64::from(order.u16(bytes, start)?), start.checked_add(2)?)
        };
        let entries = usize::try_from(entries).unwrap_or(usize::MAX).min(MAX_ENTRIES);
        Some(Self { bytes, order, first, entries })
    }

    /// The first entry of a tag whose values are within the file.
    pub(super) fn entry(&self, tag: u16) -> Option<Entry<'a>> {
        let step = if self.order.big { 20 } else { 12 };
        let places = (0..self.entries).map_while(|entry| self.first.checked_add(entry.checked_mul(step)?));
        let tags = places.map_while(|at| Some((at, self.order.u16(self.bytes, at)?)));
        tags.filter(|(_, found)| *found == tag).find_map(|(at, _)| self.values(at))
    }

    /// Whether the file holds all entries of the directory.
    pub(super) fn is_whole(&self) -> bool {
        let step = if self.order.big { 20 } else { 12 };
        let end = self.entries.checked_mul(step).and_then(|length| self.first.checked_add(length));
        end.is_some_and(|end| end <= self.bytes.len())
    }

    /// Whether there is an entry of a tag, wherever its values are.
    pub(super) fn names(&self, tag: u16) -> bool {
        let step = if self.order.big { 20 } else { 12 };
        (0..self.entries).any(|entry| self.order.u16(self.bytes, self.first + entry * step) == Some(tag))
    }

    /// The first value of a tag, if it is a whole number from 0 to 2³² − 1.
    pub(super) fn number(&self, tag: u16) -> Option<u32> {
        self.entry(tag)?.numbers().next()
    }

    /// Where in the file the value of a tag stands, if it is a single whole number, and that number in its place: none
    /// where it does not fit there.
    pub(super) fn replacement(&self, tag: u16, number: u32) -> Option<(usize, Vec<u8>)> {
        let entry = self.entry(tag)?;
        let little = match (entry.kind, entry.data.len()) {
            (kind::SHORT, 2) => u16::try_from(number).ok()?.to_le_bytes().to_vec(),
            (kind::LONG, 4) => number.to_le_bytes().to_vec(),
            (kind::LONG8, 8) => u64::from(number).to_le_bytes().to_vec(),
            _ => return None,
        };
        let bytes = if self.order.little { little } else { little.into_iter().rev().collect() };
        // The values are a part of the file.
        let place = (entry.data.as_ptr() as usize).checked_sub(self.bytes.as_ptr() as usize)?;
        Some((place, bytes))
    }

    fn values(&self, at: usize) -> Option<Entry<'a>> {
        let (order, bytes) = (self.order, self.bytes);
        // An entry that is cut off holds nothing, even where its value is still there.
        bytes.get(at..at.checked_add(if order.big { 20 } else { 12 })?)?;
        let kind = order.u16(bytes, at.checked_add(2)?)?;
        let count = order.offset(bytes, at.checked_add(4)?)?;
        let (field, room) = if order.big { (at.checked_add(12)?, 8) } else { (at.checked_add(8)?, 4) };
        let size = count.checked_mul(kind::size(kind)?)?;
        let start = if size > room { order.offset(bytes, field)? } else { field };
        let data = bytes.get(start..start.checked_add(size)?)?;
        (!data.is_empty()).then_some(Entry { kind, data, order })
    }
}

impl<'a> Entry<'a> {
    /// The bytes of all values.
    pub(super) const fn data(&self) -> &'a [u8] {
        self.data
    }

    /// The values as far as they are whole numbers from 0 to 2³² − 1.
    pub(super) fn numbers(&self) -> impl Iterator<Item = u32> + '_ {
        let order = self.order;
        let size = kind::size(self.kind).unwrap_or(1);
        self.data.chunks_exact(size).map_while(move |value| match self.kind {
            1 => value.first().copied().map(u32::from),
            kind::SHORT => order.u16(value, 0).map(u32::from),
            kind::LONG | kind::IFD => order.u32(value, 0),
            kind::LONG8 => u32::try_from(order.u64(value, 0)?).ok(),
            _ => None,
        })
    }

    /// The first value, if it is a number of any type; bytes and text are none.
    pub(super) fn real(&self) -> Option<f64> {
        let (order, data) = (self.order, self.data);
        Some(match self.kind {
            kind::SHORT => f64::from(order.u16(data, 0)?),
            kind::LONG | kind::IFD => f64::from(order.u32(data, 0)?),
            kind::LONG8 => order.u64(data, 0)? as f64,
            kind::SIGNED_BYTE => f64::from(data.first()?.cast_signed()),
            kind::SIGNED_SHORT => f64::from(order.u16(data, 0)?.cast_signed()),
            kind::SIGNED_LONG => f64::from(order.u32(data, 0)?.cast_signed()),
            kind::FLOAT => f64::from(f32::from_bits(order.u32(data, 0)?)),
            kind::DOUBLE => f64::from_bits(order.u64(data, 0)?),
            kind::RATIONAL => f64::from(order.u32(data, 0)?) / f64::from(order.u32(data, 4)?),
            kind::SIGNED_RATIONAL => {
                f64::from(order.u32(data, 0)?.cast_signed()) / f64::from(order.u32(data, 4)?.cast_signed())
            }
            _ => return None,
        })
    }
}

impl Order {
    fn u16(self, bytes: &[u8], at: usize) -> Option<u16> {
        let raw = array(bytes, at)?;
        Some(if self.little { u16::from_le_bytes(raw) } else { u16::from_be_bytes(raw) })
    }

    fn u32(self, bytes: &[u8], at: usize) -> Option<u32> {
        let raw = array(bytes, at)?;
        Some(if self.little { u32::from_le_bytes(raw) } else { u32::from_be_bytes(raw) })
    }

    fn u64(self, bytes: &[u8], at: usize) -> Option<u64> {
        let raw = array(bytes, at)?;
        Some(if self.little { u64::from_le_bytes(raw) } else { u64::from_be_bytes(raw) })
    }

    fn offset(self, bytes: &[u8], at: usize) -> Option<usize> {
        if self.big { usize::try_from(self.u64(bytes, at)?).ok() } else { usize::try_from(self.u32(bytes, at)?).ok() }
    }
}

fn array<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at.checked_add(N)?)?.try_into().ok()
}
