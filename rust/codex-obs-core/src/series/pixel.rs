//! What a chart draws: a range of an axis in parts of equal width, and what the rows in each part were.

use super::column::Bounds;

/// What the values of some rows are.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Values {
    /// The smallest finite value; `NaN` if there is none, as in the three below.
    pub min: f64,
    /// The largest finite value.
    pub max: f64,
    /// The first finite value.
    pub first: f64,
    /// The last finite value.
    pub last: f64,
    /// Rows with a number, finite or not.
    pub count: u64,
    /// Rows that are not a number.
    pub nan: u64,
    /// Rows with positive infinity.
    pub positive_infinity: u64,
    /// Rows with negative infinity.
    pub negative_infinity: u64,
}

impl Values {
    pub(super) const NONE: Self = Self {
        min: f64::NAN,
        max: f64::NAN,
        first: f64::NAN,
        last: f64::NAN,
        count: 0,
        nan: 0,
        positive_infinity: 0,
        negative_infinity: 0,
    };

    /// Counts one, whose place among the others the caller knows.
    #[inline]
    pub(super) fn count(&mut self, value: f64) {
        self.count += 1;
        if value.is_finite() {
            self.widen(value, value);
        } else {
            self.nan += u64::from(value.is_nan());
            self.positive_infinity += u64::from(value == f64::INFINITY);
            self.negative_infinity += u64::from(value == f64::NEG_INFINITY);
        }
    }

    /// The same with all of `other`.
    pub(super) fn count_all(&mut self, other: &Self) {
        self.widen(other.min, other.max);
        self.count += other.count;
        self.nan += other.nan;
        self.positive_infinity += other.positive_infinity;
        self.negative_infinity += other.negative_infinity;
    }

    /// What is no number gives way.
    #[inline]
    fn widen(&mut self, min: f64, max: f64) {
        self.min = self.min.min(min);
        self.max = self.max.max(max);
    }
}

/// Who is shown the rows of a metric, in the order in which they were logged.
pub(super) trait Visitor {
    /// A row.
    fn row(&mut self, x: i64, value: f64);

    /// Rows that are kept together.
    fn rows(&mut self, xs: Bounds, values: &Values);
}

/// What the rows are whose x lies in one part of a range.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pixel {
    /// The smallest x of its rows.
    pub first_x: i64,
    /// The largest x of its rows.
    pub last_x: i64,
    /// Their values. The first is that with the smallest x, and of several rows there the one that was logged first; the last is
    /// that with the largest x, and of several the one that was logged last.
    pub values: Values,
    /// Where the first and the last finite value stand.
    ends: (i64, i64),
}

impl Pixel {
    const NONE: Self = Self { first_x: i64::MAX, last_x: i64::MIN, values: Values::NONE, ends: (i64::MAX, i64::MIN) };

    /// Adds a row that was logged after those that were added.
    #[inline]
    fn add(&mut self, x: i64, value: f64) {
        self.values.count(value);
        self.widen(x, x);
        if value.is_finite() {
            self.end_with((x, value), (x, value));
        }
    }

    /// Adds rows that were logged after those that were added.
    fn add_all(&mut self, xs: Bounds, values: &Values) {
        self.values.count_all(values);
        self.widen(xs.low, xs.high);
        if !values.first.is_nan() {
            self.end_with((xs.low, values.first), (xs.high, values.last));
        }
    }

    #[inline]
    fn widen(&mut self, first: i64, last: i64) {
        self.first_x = self.first_x.min(first);
        self.last_x = self.last_x.max(last);
    }

    #[inline]
    fn end_with(&mut self, first: (i64, f64), last: (i64, f64)) {
        if first.0 < self.ends.0 || self.values.first.is_nan() {
            (self.ends.0, self.values.first) = first;
        }
        if last.0 >= self.ends.1 {
            (self.ends.1, self.values.last) = last;
        }
    }
}

/// A range of an axis in parts of equal width.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grid {
    /// The first x.
    pub start: i64,
    /// The last x, which belongs to the range. A range that ends before it starts is empty.
    pub stop: i64,
    /// How many parts; at least one.
    pub pixels: u32,
}

impl Grid {
    /// How many different x there are.
    fn width(&self) -> u128 {
        u128::try_from(i128::from(self.stop) - i128::from(self.start) + 1).unwrap_or(0)
    }

    /// Which part an x of the range lies in.
    fn part(&self, x: i64) -> u32 {
        let distance = x.abs_diff(self.start);
        // The quotient is less than the number of parts.
        (u128::from(distance) * u128::from(self.pixels) / self.width()) as u32
    }

    /// The first and the last x of a part of the range; the other way round where it is narrower than one.
    fn ends(&self, part: u32) -> (i64, i64) {
        let begin = |part: u128| {
            let distance = (part * self.width()).div_ceil(u128::from(self.pixels));
            i128::from(self.start) + distance as i128
        };
        let (first, last) = (begin(u128::from(part)), begin(u128::from(part) + 1) - 1);
        (first as i64, last as i64)
    }
}

/// The pixels of one metric while they are gathered.
#[derive(Debug)]
pub(super) struct Canvas {
    grid: Grid,
    pixels: Vec<Pixel>,
    /// The part that the last row lay in, and its ends.
    part: usize,
    ends: (i64, i64),
}

impl Canvas {
    pub(super) fn new(grid: Grid) -> Self {
        let pixels = if grid.start <= grid.stop { grid.pixels as usize } else { 0 };
        Self { grid, pixels: vec![Pixel::NONE; pixels], part: 0, ends: (i64::MAX, i64::MIN) }
    }

    /// The pixel at an x of the range.
    #[inline]
    fn at(&mut self, x: i64) -> &mut Pixel {
        if x < self.ends.0 || x > self.ends.1 {
            let part = self.grid.part(x);
            self.part = part as usize;
            self.ends = self.grid.ends(part);
        }
        &mut self.pixels[self.part]
    }

    /// Those that have rows, in order, each with the number of its part.
    pub(super) fn filled(self) -> Vec<(u32, Pixel)> {
        (0..).zip(self.pixels).filter(|(_, pixel)| pixel.values.count > 0).collect()
    }
}

impl Visitor for Canvas {
    #[inline]
    fn row(&mut self, x: i64, value: f64) {
        if self.grid.start <= x && x <= self.grid.stop {
            self.at(x).add(x, value);
        }
    }

    /// Rows that are kept together are shown together, where the first of them lies.
    fn rows(&mut self, xs: Bounds, values: &Values) {
        if xs.meets(self.grid.start, self.grid.stop) && self.grid.start <= self.grid.stop {
            self.at(xs.low.max(self.grid.start)).add_all(xs, values);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(grid: Grid) -> Vec<(i64, i64)> {
        (0..grid.pixels).map(|part| grid.ends(part)).collect()
    }

    #[test]
    fn parts_cover_the_range_without_a_gap() {
        let grid = |start, stop, pixels| Grid { start, stop, pixels };
        assert_eq!(parts(grid(0, 9, 4)), [(0, 2), (3, 4), (5, 7), (8, 9)]);
        assert_eq!(parts(grid(5, 6, 3)), [(5, 5), (6, 6), (7, 6)]);
        let whole = parts(grid(i64::MIN, i64::MAX, 3));
        assert_eq!((whole[0].0, whole[2].1), (i64::MIN, i64::MAX));
        for grid in [grid(-7, 100, 13), grid(i64::MIN, i64::MAX, 7), grid(3, 3, 5), grid(0, 2, 9)] {
            let mut next = i128::from(grid.start);
            for (part, (first, last)) in (0..).zip(parts(grid)).filter(|(_, (first, last))| first <= last) {
                assert_eq!(i128::from(first), next);
                assert_eq!((grid.part(first), grid.part(last)), (part, part));
                next = i128::from(last) + 1;
            }
            assert_eq!(next, i128::from(grid.stop) + 1);
        }
    }

    #[test]
    fn a_pixel_knows_what_was_not_finite_and_where_its_ends_are() {
        let mut canvas = Canvas::new(Grid { start: 0, stop: 9, pixels: 1 });
        for (x, value) in [(3, 1.0), (2, f64::NAN), (3, 2.0), (4, -1.0), (4, f64::INFINITY), (11, 9.0), (2, 7.0)] {
            canvas.row(x, value);
        }
        let [(0, pixel)] = canvas.filled()[..] else { panic!("one pixel") };
        let Values { min, max, first, last, count, nan, positive_infinity, negative_infinity } = pixel.values;
        assert_eq!((pixel.first_x, pixel.last_x, count), (2, 4, 6));
        assert_eq!((min, max, first, last), (-1.0, 7.0, 7.0, -1.0));
        assert_eq!((nan, positive_infinity, negative_infinity), (1, 1, 0));
    }

    #[test]
    fn an_empty_range_has_no_pixels() {
        let mut canvas = Canvas::new(Grid { start: 5, stop: 4, pixels: 3 });
        canvas.row(5, 1.0);
        assert_eq!(canvas.filled(), []);
    }
}
