//! A call prepared once: text stands in the frame already, time, step and numbers are filled in.

use super::{Call, FLAG_NO_STEP, FrameBuilder, MAX_ROWS, OFFSET_FLAGS, OFFSET_STEP, OFFSET_TIMESTAMP};

/// The finished frame of a call whose values are all numbers, without them.
#[derive(Clone, Debug)]
pub struct Template {
    bytes: Vec<u8>,
    /// Length of the part before the first row.
    prefix: usize,
    /// Where each number stands.
    numbers: Vec<u32>,
}

impl Template {
    /// Prepares calls that differ from `call` in time and step and have a number for each of `names`; `None` if they do not
    /// fit into one frame. Names must already be cut to [`crate::limits::MAX_TEXT_BYTES`].
    #[must_use]
    pub fn new(call: &Call<'_>, names: &[impl AsRef<str>], max_frame_bytes: usize) -> Option<Self> {
        let mut builder = FrameBuilder::default();
        builder.begin(call, max_frame_bytes);
        let mut numbers = Vec::with_capacity(names.len());
        for name in names.iter().map(AsRef::as_ref) {
            builder.float(name, 0.0);
            numbers.push((builder.bytes.len() - name.len() - size_of::<f64>()) as u32);
        }
        builder.finish();
        (builder.rows_before == 0).then_some(Self { bytes: builder.bytes, prefix: builder.prefix, numbers })
    }
}

impl FrameBuilder {
    /// Makes the frame of `template` with these numbers, one for each of its names. Gives `false` at the first that is
    /// `None`, or if there are too few: then the builder must [`begin`](Self::begin) again.
    #[inline]
    pub fn fill(
        &mut self,
        template: &Template,
        timestamp: i64,
        step: Option<i64>,
        mut numbers: impl Iterator<Item = Option<f64>>,
    ) -> bool {
        self.bytes.clear();
        self.bytes.extend_from_slice(&template.bytes);
        let mut put = |at: usize, bytes: [u8; 8]| self.bytes[at..at + 8].copy_from_slice(&bytes);
        for &at in &template.numbers {
            let Some(Some(number)) = numbers.next() else { return false };
            put(at as usize, number.to_le_bytes());
        }
        put(OFFSET_TIMESTAMP, timestamp.to_le_bytes());
        put(OFFSET_STEP, step.unwrap_or(0).to_le_bytes());
        let flags = if step.is_none() { FLAG_NO_STEP } else { 0 };
        self.bytes[OFFSET_FLAGS..OFFSET_FLAGS + 2].copy_from_slice(&flags.to_le_bytes());
        self.start = 0;
        self.rows = template.numbers.len() as u32;
        self.rows_before = 0;
        self.prefix = template.prefix;
        self.max_frame_bytes = usize::MAX;
        self.max_rows = MAX_ROWS;
        self.step = step;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Tags;

    fn call(tags: &Tags) -> Call<'_> {
        Call { timestamp: 7, step: Some(-2), split: "eval", dataset: Some("d"), tags }
    }

    #[test]
    fn a_filled_template_is_the_frame_that_a_builder_makes() {
        let tags = Tags { text: br#"{"a":1}"#.to_vec(), marks: [6; 3] };
        for names in [&["loss"][..], &["loss", "", "größe", "a/rather/long/name"], &[]] {
            let values: Vec<f64> = (0..names.len()).map(|index| 0.5 + index as f64).collect();
            let mut built = FrameBuilder::default();
            built.begin(&call(&tags), usize::MAX);
            for (name, &value) in names.iter().zip(&values) {
                built.float(name, value);
            }
            built.finish();

            let other = Call { timestamp: 0, step: None, ..call(&tags) };
            let template = Template::new(&other, names, usize::MAX).unwrap();
            let mut filled = FrameBuilder::default();
            assert!(filled.fill(&template, 7, Some(-2), values.iter().copied().map(Some)));
            assert_eq!((filled.rows(), filled.step()), (built.rows(), built.step()));
            filled.finish();
            assert_eq!(filled.bytes_mut(), built.bytes_mut());
        }
    }

    #[test]
    fn a_value_that_is_no_number_or_missing_is_refused() {
        let tags = Tags::default();
        let template = Template::new(&call(&tags), &["a", "b"], usize::MAX).unwrap();
        let mut builder = FrameBuilder::default();
        assert!(!builder.fill(&template, 0, None, [Some(1.0), None].into_iter()));
        assert!(!builder.fill(&template, 0, None, [Some(1.0)].into_iter()));
    }

    #[test]
    fn a_call_of_several_frames_has_no_template() {
        let tags = Tags::default();
        assert!(Template::new(&call(&tags), &["a"; 64], 256).is_none());
    }
}
