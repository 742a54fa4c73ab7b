//! Whole numbers of one metric in few bytes: steps, which mostly rise evenly, and times, which lie close together.

/// Stands for a step or a time that a row has not. A row that has this very number counts as one without.
pub const ABSENT: i64 = i64::MIN;

/// The smallest and the largest of some numbers; the other way round while there is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Bounds {
    pub(super) low: i64,
    pub(super) high: i64,
}

impl Bounds {
    pub(super) const NONE: Self = Self { low: i64::MAX, high: i64::MIN };

    #[inline]
    pub(super) fn add(&mut self, number: i64) {
        self.low = self.low.min(number);
        self.high = self.high.max(number);
    }

    pub(super) fn of(numbers: impl Iterator<Item = i64>) -> Self {
        let mut bounds = Self::NONE;
        numbers.filter(|&number| number != ABSENT).for_each(|number| bounds.add(number));
        bounds
    }

    /// Whether some of what lies between `start` and `stop` may lie within.
    pub(super) fn meets(self, start: i64, stop: i64) -> bool {
        self.low <= stop && self.high >= start
    }
}

/// The numbers of consecutive rows of one metric; those that are stored stand in the columns of their [`Block`](super::Block).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Column {
    /// The first one and what is added for each row.
    Even { first: i64, stride: i64 },
    /// The smallest one; how much larger each one is stands from `at` on.
    Near { base: i64, at: u32 },
    /// They stand from `at` on as they are.
    Far { at: u32 },
}

/// Stored numbers.
#[derive(Debug, Default)]
pub(super) struct Store {
    pub(super) near: Vec<u32>,
    pub(super) far: Vec<i64>,
}

impl Store {
    /// Keeps `numbers`, which are not empty.
    pub(super) fn keep(&mut self, numbers: &[i64]) -> Column {
        let first = numbers.first().copied().unwrap_or(ABSENT);
        let stride = numbers.get(1).map_or(0, |second| second.wrapping_sub(first));
        if numbers.windows(2).all(|pair| pair[1].wrapping_sub(pair[0]) == stride) {
            return Column::Even { first, stride };
        }
        let (low, high) = numbers.iter().fold((first, first), |(low, high), &one| (low.min(one), high.max(one)));
        if high.checked_sub(low).is_some_and(|width| u32::try_from(width).is_ok()) {
            let at = self.near.len() as u32;
            self.near.extend(numbers.iter().map(|number| (number - low) as u32));
            return Column::Near { base: low, at };
        }
        let at = self.far.len() as u32;
        self.far.extend_from_slice(numbers);
        Column::Far { at }
    }

    /// Gives `each` the index and the number of every one of `count` rows that has one.
    #[inline]
    pub(super) fn each(&self, column: Column, count: usize, mut each: impl FnMut(usize, i64)) {
        let mut present = |index, number| {
            if number != ABSENT {
                each(index, number);
            }
        };
        match column {
            Column::Even { first, stride } => {
                let mut number = first;
                for index in 0..count {
                    present(index, number);
                    number = number.wrapping_add(stride);
                }
            }
            Column::Near { base, at } => {
                let stored = &self.near[at as usize..at as usize + count];
                stored.iter().enumerate().for_each(|(index, &more)| present(index, base + i64::from(more)));
            }
            Column::Far { at } => {
                let stored = &self.far[at as usize..at as usize + count];
                stored.iter().enumerate().for_each(|(index, &number)| present(index, number));
            }
        }
    }

    /// Every one of `count` numbers, [`ABSENT`] ones too.
    pub(super) fn all(&self, column: Column, count: usize) -> Vec<i64> {
        let mut numbers = vec![ABSENT; count];
        self.each(column, count, |index, number| numbers[index] = number);
        numbers
    }

    /// Bytes of memory.
    pub(super) fn held(&self) -> usize {
        self.near.capacity() * size_of::<u32>() + self.far.capacity() * size_of::<i64>()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn kept(numbers: &[i64]) -> (Column, usize, Vec<i64>) {
        let mut store = Store::default();
        // Something stands before.
        store.keep(&[7, 9, 8]);
        store.keep(&[0, i64::MAX, 5]);
        let column = store.keep(numbers);
        (column, store.near.len() + 2 * store.far.len() - 9, store.all(column, numbers.len()))
    }

    #[test]
    fn even_steps_take_no_room_and_close_times_take_four_bytes() {
        assert_eq!(kept(&[5, 15, 25]), (Column::Even { first: 5, stride: 10 }, 0, vec![5, 15, 25]));
        assert_eq!(kept(&[ABSENT; 3]).1, 0);
        assert_eq!(kept(&[5, 15, 26]).1, 3);
        assert_eq!(kept(&[5, 15, 1 << 40]).1, 6);
        assert_eq!(kept(&[5, 15, 26, ABSENT]).1, 8);
    }

    proptest! {
        #[test]
        fn numbers_come_back_as_they_were(numbers in prop::collection::vec(prop_oneof![any::<i64>(), 0..9_i64], 1..9)) {
            prop_assert_eq!(kept(&numbers).2, numbers);
        }
    }
}
