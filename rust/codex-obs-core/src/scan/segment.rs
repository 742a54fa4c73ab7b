//! Parts of a source that one session wrote.

use super::lines::Range;

/// The lines of a source from a place on, up to the next segment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Segment {
    /// Offset of its first line.
    pub start: u64,
    /// Which session of the stream wrote it, if that is known.
    pub session: Option<u64>,
    /// Rows with this step or a later one are superseded.
    pub superseded_from: Option<i64>,
}

/// The parts of `whole` that lie in one segment each. Segments are in order; what is before the first has none.
pub fn parts(whole: Range, segments: &[Segment]) -> impl Iterator<Item = (Range, Segment)> {
    let inner = segments.iter().filter(move |segment| whole.start < segment.start && segment.start < whole.end);
    let first = segments.iter().rfind(|segment| segment.start <= whole.start).copied().unwrap_or_default();
    let starts = std::iter::once((whole.start, first)).chain(inner.clone().map(|segment| (segment.start, *segment)));
    let ends = inner.map(|segment| segment.start).chain(std::iter::once(whole.end));
    starts.zip(ends).map(|((start, segment), end)| (Range { start, end }, segment))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_cut_where_segments_begin() {
        let segment = |start, session| Segment { start, session: Some(session), superseded_from: None };
        let cut = |start, end, segments: &[Segment]| {
            parts(Range { start, end }, segments)
                .map(|(range, segment)| (range.start, range.end, segment.session))
                .collect::<Vec<_>>()
        };
        assert_eq!(cut(0, 10, &[]), [(0, 10, None)]);
        let segments = [segment(0, 1), segment(4, 2), segment(4, 3), segment(10, 4)];
        assert_eq!(cut(0, 10, &segments), [(0, 4, Some(1)), (4, 4, Some(2)), (4, 10, Some(3))]);
        assert_eq!(cut(5, 20, &segments), [(5, 10, Some(3)), (10, 20, Some(4))]);
        assert_eq!(cut(0, 4, &segments[1..]), [(0, 4, None)]);
        assert_eq!(cut(10, u64::MAX, &segments), [(10, u64::MAX, Some(4))]);
    }
}
