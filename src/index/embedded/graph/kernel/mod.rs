//! Integer inner products of a query's codes with rows of the graph: the innermost loop of every walk.
//!
//! A row holds a vector's codes with 128 added, so that they are bytes without a sign: instructions that multiply bytes
//! take one operand without a sign and one with it. Rows and queries come in whole lines of 64 bytes, each aligned to a
//! line of the processor's cache; what is beyond the dimension is code 0. Every kernel computes modulo 2³² and so gives
//! the same products to the bit.
//!
//! [`Processor::detect`] takes the widest kernel that the processor has. A [`Task`] is compiled once for each kernel as a
//! whole, so that its inner loops hold no calls.

#[cfg(target_arch = "aarch64")]
mod arm;
#[cfg(target_arch = "x86_64")]
mod x86;

/// Codes of a line.
pub(super) const LINE: usize = 64;
/// What is added to a code in a row.
const SHIFT: u8 = 128;

/// A part of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C, align(64))]
pub(super) struct RowLine(pub(super) [u8; LINE]);

/// A part of a query's codes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C, align(64))]
struct CodeLine([i8; LINE]);

/// The lines that a vector takes.
pub(super) const fn lines(dimension: usize) -> usize {
    dimension.div_ceil(LINE)
}

/// The byte that stands for a code in a row.
pub(super) const fn shifted(code: i8) -> u8 {
    code.cast_unsigned() ^ SHIFT
}

/// The code that a byte of a row stands for.
pub(super) const fn code(byte: u8) -> i8 {
    (byte ^ SHIFT).cast_signed()
}

/// The codes that rows are compared with.
#[derive(Debug, Clone, Default)]
pub(super) struct Codes {
    lines: Vec<CodeLine>,
    /// What the 128 of the rows add to a product.
    offset: i32,
}

impl Codes {
    pub(super) fn new(codes: &[i8]) -> Self {
        let (whole, rest) = codes.as_chunks::<LINE>();
        let mut lines: Vec<_> = whole.iter().map(|codes| CodeLine(*codes)).collect();
        if !rest.is_empty() {
            let mut last = [0; LINE];
            last[..rest.len()].copy_from_slice(rest);
            lines.push(CodeLine(last));
        }
        let sum: i32 = codes.iter().map(|&code| i32::from(code)).sum();
        Self { lines, offset: sum * i32::from(SHIFT) }
    }

    /// Becomes the codes of a row.
    #[inline(always)]
    pub(super) fn set_to(&mut self, row: &[RowLine]) {
        self.lines.clear();
        let mut sum = 0;
        for line in row {
            let codes = line.0.map(code);
            sum += codes.iter().map(|&code| i32::from(code)).sum::<i32>();
            self.lines.push(CodeLine(codes));
        }
        self.offset = sum * i32::from(SHIFT);
    }
}

/// One way to compute products.
pub(super) trait Kernel: Copy {
    /// The inner products of the codes with those of rows, which have as many lines.
    fn products<const N: usize>(self, codes: &Codes, rows: [&[RowLine]; N]) -> [i32; N];

    /// Asks for the line of the cache at this place, which is read soon.
    fn prefetch<T>(self, place: &T);
}

/// What any processor can.
#[derive(Debug, Clone, Copy)]
pub(super) struct Plain;

impl Kernel for Plain {
    #[inline(always)]
    fn products<const N: usize>(self, codes: &Codes, rows: [&[RowLine]; N]) -> [i32; N] {
        rows.map(|row| {
            let mut sum = 0_i32;
            for (codes, row) in codes.lines.iter().zip(row) {
                let products = codes.0.iter().zip(&row.0).map(|(&code, &byte)| i32::from(code) * i32::from(byte));
                sum = sum.wrapping_add(products.sum());
            }
            sum.wrapping_sub(codes.offset)
        })
    }

    #[inline(always)]
    fn prefetch<T>(self, _: &T) {}
}

/// Work that walks through rows.
pub(super) trait Task {
    type Output;

    /// Does the work; `#[inline(always)]`, and so is all that it calls for each row.
    fn run<K: Kernel>(self, kernel: K) -> Self::Output;
}

/// The kernel of this processor.
#[derive(Debug, Clone, Copy)]
pub(super) enum Processor {
    #[cfg(target_arch = "x86_64")]
    Avx512(x86::Avx512),
    #[cfg(target_arch = "x86_64")]
    Avx2(x86::Avx2),
    #[cfg(target_arch = "aarch64")]
    Dot(arm::Dot),
    #[cfg(target_arch = "aarch64")]
    Neon(arm::Neon),
    #[cfg_attr(target_arch = "aarch64", expect(dead_code, reason = "every such processor has NEON"))]
    Plain(Plain),
}

impl Processor {
    pub(super) fn detect() -> Self {
        #[cfg(target_arch = "x86_64")]
        {
            let avx512 = x86::Avx512::detect().map(Self::Avx512);
            avx512.or_else(|| x86::Avx2::detect().map(Self::Avx2)).unwrap_or(Self::Plain(Plain))
        }
        #[cfg(target_arch = "aarch64")]
        {
            arm::Dot::detect().map_or(Self::Neon(arm::Neon), Self::Dot)
        }
        #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
        {
            Self::Plain(Plain)
        }
    }

    /// Does the work with this kernel.
    pub(super) fn run<T: Task>(self, task: T) -> T::Output {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Avx512(kernel) => kernel.run(task),
            #[cfg(target_arch = "x86_64")]
            Self::Avx2(kernel) => kernel.run(task),
            #[cfg(target_arch = "aarch64")]
            Self::Dot(kernel) => kernel.run(task),
            #[cfg(target_arch = "aarch64")]
            Self::Neon(kernel) => task.run(kernel),
            Self::Plain(kernel) => task.run(kernel),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every kernel that this processor has.
    fn kernels() -> Vec<Processor> {
        #[cfg(target_arch = "x86_64")]
        let special = [x86::Avx512::detect().map(Processor::Avx512), x86::Avx2::detect().map(Processor::Avx2)];
        #[cfg(target_arch = "aarch64")]
        let special = [arm::Dot::detect().map(Processor::Dot), Some(Processor::Neon(arm::Neon))];
        #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
        let special: [Option<Processor>; 0] = [];
        special.into_iter().flatten().chain([Processor::detect()]).collect()
    }

    /// The products with all rows, one and four at a time.
    struct Products<'a>(&'a Codes, &'a [Vec<RowLine>; 4]);

    impl Task for Products<'_> {
        type Output = [[i32; 4]; 2];

        #[inline(always)]
        fn run<K: Kernel>(self, kernel: K) -> Self::Output {
            let Self(codes, rows) = self;
            kernel.prefetch(&rows[0][0]);
            let four = kernel.products(codes, [&rows[0], &rows[1], &rows[2], &rows[3]]);
            [four, [0, 1, 2, 3].map(|at: usize| kernel.products(codes, [&rows[at][..]])[0])]
        }
    }

    fn row(codes: &[i8]) -> Vec<RowLine> {
        let mut lines = vec![RowLine([shifted(0); LINE]); lines(codes.len())];
        for (at, &code) in codes.iter().enumerate() {
            lines[at / LINE].0[at % LINE] = shifted(code);
        }
        lines
    }

    #[test]
    fn every_kernel_gives_the_products_of_the_definition() {
        for dimension in [1, 15, 63, 64, 65, 128, 200, 768, 4096] {
            let codes =
                |seed: i32| -> Vec<i8> { (0..dimension).map(|at| ((at * 31 + seed * 57) % 239 - 119) as i8).collect() };
            let extremes = [vec![119; dimension as usize], vec![-119; dimension as usize]];
            let vectors = [codes(1), codes(2), extremes[0].clone(), extremes[1].clone()];
            let rows = vectors.each_ref().map(|codes| row(codes));
            for query in [codes(3), extremes[0].clone(), extremes[1].clone()] {
                let product = |vector: &Vec<i8>| -> i32 {
                    query.iter().zip(vector).map(|(&a, &b)| i32::from(a) * i32::from(b)).sum()
                };
                let expected = vectors.each_ref().map(product);
                let mut same = Codes::default();
                same.set_to(&row(&query));
                for codes in [&Codes::new(&query), &same] {
                    assert_eq!(Products(codes, &rows).run(Plain), [expected; 2], "plain, {dimension}");
                    for kernel in kernels() {
                        assert_eq!(kernel.run(Products(codes, &rows)), [expected; 2], "{kernel:?}, {dimension}");
                    }
                }
            }
        }
    }
}
