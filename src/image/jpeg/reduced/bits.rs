//! The entropy-coded data of a scan: bits, and the codes of ITU-T T.81, annex F, that they make up.

/// Bits of a code that are looked up; the few longer ones are searched for.
const LOOKUP: u32 = 10;

/// Beyond any coefficient: the block ends.
const END: u32 = 64;

/// The bits of a scan, without what was stuffed into them. Where they end, zeros follow, and it is known how many.
pub(super) struct Bits<'a> {
    bytes: &'a [u8],
    at: usize,
    /// The next bits, from the most significant one.
    buffer: u64,
    /// How many of them are there. Behind them may lie others, which the next bytes say once more.
    count: u32,
    /// Zeros that were put behind the last bit.
    made_up: u32,
}

impl<'a> Bits<'a> {
    pub(super) const fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0, buffer: 0, count: 0, made_up: 0 }
    }

    /// Sees to it that a code and the bits behind it are there: at most 16 and 15.
    #[inline(always)]
    fn fill(&mut self) {
        if self.count < 32 {
            match self.bytes.get(self.at..).and_then(|rest| rest.first_chunk()) {
                Some(next) if !holds_ff(u64::from_ne_bytes(*next)) => {
                    self.buffer |= u64::from_be_bytes(*next) >> self.count;
                    let taken = (63 - self.count) / 8;
                    self.at += taken as usize;
                    self.count += 8 * taken;
                }
                _ => self.fill_slowly(),
            }
        }
    }

    #[cold]
    fn fill_slowly(&mut self) {
        // what lies behind the bits that are there would be said a second time
        self.buffer &= !(u64::MAX >> self.count);
        while self.count <= 56 {
            let byte = match (self.bytes.get(self.at), self.bytes.get(self.at + 1)) {
                (Some(0xff), Some(0x00)) => {
                    self.at += 2;
                    0xff
                }
                (Some(0xff), Some(0xff)) => {
                    self.at += 1;
                    continue;
                }
                (Some(0xff), _) | (None, _) => {
                    self.made_up += 8;
                    0
                }
                (Some(&byte), _) => {
                    self.at += 1;
                    byte
                }
            };
            self.buffer |= u64::from(byte) << (56 - self.count);
            self.count += 8;
        }
    }

    #[inline(always)]
    const fn skip(&mut self, bits: u32) {
        self.buffer <<= bits;
        self.count -= bits;
    }

    /// Whether more was read than is there.
    pub(super) const fn overran(&self) -> bool {
        self.made_up > self.count
    }

    /// Steps over a restart marker, which has to be next but for the bits that fill up the last byte.
    #[must_use]
    pub(super) fn restart(&mut self) -> bool {
        if self.overran() {
            return false;
        }
        // bytes that are in the buffer already are none of a marker's, so there has to be less than a byte of them
        let whole = self.count.saturating_sub(self.made_up) / 8;
        let next = self.bytes.get(self.at..).unwrap_or_default();
        let fill = next.iter().take_while(|byte| **byte == 0xff).count();
        let code = next.get(fill).copied().unwrap_or_default();
        if whole > 0 || fill == 0 || !(0xd0..=0xd7).contains(&code) {
            return false;
        }
        *self = Self { at: self.at + fill + 1, ..Self::new(self.bytes) };
        true
    }

    /// The difference of a first coefficient to that of the block before; none where no code begins so.
    #[inline(always)]
    pub(super) fn difference(&mut self, codes: &Codes) -> Option<i32> {
        self.fill();
        let code = self.code(codes)?;
        Some(self.value(code))
    }

    /// The place of the next coefficient that is not zero, counted from the last one, and its value: for the end of a
    /// block, a place beyond it.
    #[inline(always)]
    pub(super) fn coefficient(&mut self, codes: &Codes) -> Option<(u32, i32)> {
        self.fill();
        let code = self.code(codes)?;
        Some((code.advance(), self.value(code)))
    }

    /// As [`coefficient`](Self::coefficient), for one whose value does not matter.
    #[inline(always)]
    pub(super) fn step_over(&mut self, codes: &Codes) -> Option<u32> {
        self.fill();
        let code = self.code(codes)?;
        self.skip(code.total());
        Some(code.advance())
    }

    #[inline(always)]
    fn code(&self, codes: &Codes) -> Option<Code> {
        let code = codes.short[(self.buffer >> (64 - LOOKUP)) as usize];
        if code.total() > 0 { Some(code) } else { codes.long(self.buffer) }
    }

    /// Takes a code, and the number behind it: of `size` bits, the lower half of which stands for negative ones.
    #[inline(always)]
    const fn value(&mut self, code: Code) -> i32 {
        let size = code.size();
        let behind = self.buffer << (code.total() - size);
        self.skip(code.total());
        if size == 0 {
            return 0;
        }
        let bits = (behind >> (64 - size)) as i32;
        let lowest = (1 << size) - 1;
        if behind >> 63 == 1 { bits } else { bits - lowest }
    }
}

/// Whether one of the bytes is 0xff.
#[inline(always)]
const fn holds_ff(word: u64) -> bool {
    const ONES: u64 = 0x0101_0101_0101_0101;
    // the usual search for a byte of zero, in the complement
    let word = !word;
    word.wrapping_sub(ONES) & !word & (ONES << 7) != 0
}

/// What a code stands for.
#[derive(Debug, Clone, Copy, Default)]
struct Code(u32);

impl Code {
    const fn new(length: u32, symbol: u8) -> Self {
        let (run, size) = (symbol as u32 >> 4, symbol as u32 & 15);
        let advance = match (run, size) {
            (15, 0) => 16,
            (_, 0) => END,
            _ => run + 1,
        };
        Self((length + size) | advance << 8 | size << 16)
    }

    /// Bits of the code and behind it.
    const fn total(self) -> u32 {
        self.0 & 0xff
    }

    /// Coefficients on to the one that it codes.
    const fn advance(self) -> u32 {
        (self.0 >> 8) & 0xff
    }

    /// Bits of the value behind it.
    const fn size(self) -> u32 {
        self.0 >> 16
    }
}

/// A table of Huffman codes.
pub(super) struct Codes {
    short: Box<[Code; 1 << LOOKUP]>,
    /// For each length beyond those: the first code of a greater length, of 16 bits, and what is to be added to a code
    /// of this length for the place of its symbol.
    long: [(u32, u32, i32); 16 - LOOKUP as usize],
    symbols: Vec<u8>,
}

impl Codes {
    /// From the number of codes of each length and the symbols in their order; none if that cannot be.
    pub(super) fn new(counts: &[u8; 16], symbols: &[u8]) -> Option<Self> {
        if counts.iter().map(|count| usize::from(*count)).sum::<usize>() != symbols.len() {
            return None;
        }
        let mut short = Box::new([Code::default(); 1 << LOOKUP]);
        let mut long = [(0, 0, 0); 16 - LOOKUP as usize];
        let (mut code, mut place) = (0_u32, 0_usize);
        for (length, &count) in (1_u32..).zip(counts) {
            let (first, last) = (code, code + u32::from(count));
            if last > 1 << length {
                return None;
            }
            if let Some(at) = length.checked_sub(LOOKUP + 1) {
                long[at as usize] = (last << (16 - length), length, place as i32 - first as i32);
            } else {
                for (code, &symbol) in (first..last).zip(&symbols[place..]) {
                    let shift = LOOKUP - length;
                    short[(code << shift) as usize..((code + 1) << shift) as usize].fill(Code::new(length, symbol));
                }
            }
            place += usize::from(count);
            code = last << 1;
        }
        Some(Self { short, long, symbols: symbols.to_vec() })
    }

    #[cold]
    fn long(&self, buffer: u64) -> Option<Code> {
        let bits = (buffer >> 48) as u32;
        let &(_, length, offset) = self.long.iter().find(|(limit, ..)| bits < *limit)?;
        let place = (bits >> (16 - length)) as i32 + offset;
        let symbol = usize::try_from(place).ok().and_then(|place| self.symbols.get(place))?;
        Some(Code::new(length, *symbol))
    }
}
