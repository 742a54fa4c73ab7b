//! Curves against a plain model, and runs that change between two looks.

use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::path::Path;

use proptest::prelude::*;

use super::*;
use crate::scan::Segment;

/// A row: key, step, seconds, value.
type Row = (u8, Option<i64>, Option<i64>, f64);

fn line((key, step, seconds, value): Row) -> String {
    let mut line = format!(r#"{{"metric":"m{key}","split":"train""#);
    let mut field = |name: &str, text: String| write!(line, r#","{name}":{text}"#).expect("a string takes everything");
    if let Some(step) = step {
        field("step", step.to_string());
    }
    if let Some(seconds) = seconds {
        field("timestamp", seconds.to_string());
    }
    match value {
        value if value.is_finite() => field("value", value.to_string()),
        value if value.is_nan() => field("tags", r#"{"nonfinite":"NaN"},"value":null"#.to_owned()),
        value if value > 0.0 => field("tags", r#"{"nonfinite":"Infinity"},"value":null"#.to_owned()),
        _ => field("value", "-Infinity".to_owned()),
    }
    line + "}\n"
}

fn lines(rows: &[Row]) -> String {
    rows.iter().copied().map(line).collect()
}

fn append(path: &Path, text: &str) {
    let file = fs::OpenOptions::new().create(true).append(true).open(path);
    file.and_then(|mut file| file.write_all(text.as_bytes())).expect("a temporary file can be written");
}

fn key(number: u8) -> Key {
    Key {
        stream: MAIN.to_owned(),
        split: "train".to_owned(),
        metric: format!("m{number}"),
        dataset: None,
        run_id: None,
    }
}

fn look(series: &mut Series, directory: &Path) -> Report {
    let snapshot = Snapshot::of_directory(directory, &[]).expect("there is a log");
    series.refresh(snapshot, |_| false, &mut |_| true).expect("it can be read")
}

/// What a pixel shows, with what is no number as nothing.
type Shown = (u32, [i64; 2], [Option<u64>; 4], [u64; 4]);

fn shown(pixels: &[(u32, Pixel)]) -> Vec<Shown> {
    let bits = |value: f64| (!value.is_nan()).then(|| (value + 0.0).to_bits());
    let one = |&(place, pixel): &(u32, Pixel)| {
        let Pixel { first_x, last_x, values, .. } = pixel;
        let Values { min, max, first, last, count, nan, positive_infinity, negative_infinity } = values;
        let values = [min, max, first, last].map(bits);
        (place, [first_x, last_x], values, [count, nan, positive_infinity, negative_infinity])
    };
    pixels.iter().map(one).collect()
}

/// The same, said plainly.
fn model(rows: &[Row], number: u8, axis: Axis, grid: Grid) -> Vec<Shown> {
    let place = |(key, step, seconds, value): &Row| {
        let x = match axis {
            Axis::Step => *step,
            Axis::Time => seconds.map(|seconds| seconds * 1_000_000),
        }?;
        (*key == number && (grid.start..=grid.stop).contains(&x)).then_some((x, *value))
    };
    let rows: Vec<(i64, f64)> = rows.iter().filter_map(place).collect();
    let width = i128::from(grid.stop) - i128::from(grid.start) + 1;
    let part = |x: i64| (i128::from(x) - i128::from(grid.start)) * i128::from(grid.pixels) / width;
    let of_part = |wanted: u32| {
        let mut within: Vec<(i64, f64)> =
            rows.iter().copied().filter(|&(x, _)| part(x) == i128::from(wanted)).collect();
        // Stable: rows with the same x stay in the order in which they were logged.
        within.sort_by_key(|&(x, _)| x);
        let finite: Vec<f64> = within.iter().map(|row| row.1 + 0.0).filter(|value| value.is_finite()).collect();
        let mut sorted = finite.clone();
        sorted.sort_by(f64::total_cmp);
        let ends = [sorted.first(), sorted.last(), finite.first(), finite.last()];
        let count = |of: fn(f64) -> bool| within.iter().filter(|row| of(row.1)).count() as u64;
        let counts =
            [within.len() as u64, count(f64::is_nan), count(|v| v == f64::INFINITY), count(|v| v == f64::NEG_INFINITY)];
        let xs = [within.first()?.0, within.last()?.0];
        Some((wanted, xs, ends.map(|value| value.map(|value| value.to_bits())), counts))
    };
    if width > 0 { (0..grid.pixels).filter_map(of_part).collect() } else { Vec::new() }
}

fn row() -> impl Strategy<Value = Row> {
    let value = prop_oneof![
        8 => -1e3..1e3_f64,
        1 => Just(f64::NAN),
        1 => Just(f64::INFINITY),
        1 => Just(f64::NEG_INFINITY),
        1 => Just(0.0),
    ];
    let step = prop_oneof![6 => 0..60_i64, 1 => any::<i64>().prop_map(|step| step.max(i64::MIN + 1))];
    (0..3_u8, prop::option::weighted(0.9, step), prop::option::weighted(0.9, 0..10_000_i64), value)
}

/// Rows that are logged before the next look, and what happens to the files then.
fn story() -> impl Strategy<Value = Vec<(Vec<Row>, bool, bool)>> {
    prop::collection::vec((prop::collection::vec(row(), 0..40), any::<bool>(), any::<bool>()), 1..6)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn every_pixel_shows_its_rows_however_often_it_is_looked(
        story in story(),
        start in -3..70_i64,
        width in 0..80_i64,
        pixels in 1..40_u32,
    ) {
        let directory = tempfile::tempdir().expect("a temporary folder can be made");
        let log = directory.path().join("metrics.ndjson");
        let mut series = Series::default();
        let mut logged: Vec<Row> = Vec::new();
        let mut rotated = 0;
        let mut half = String::new();
        for (rows, is_torn, is_rotated) in story {
            append(&log, &half);
            append(&log, &lines(&rows));
            logged.extend(&rows);
            half.clear();
            if is_torn {
                let text = line((0, Some(1), Some(1), 2.0));
                let (begun, rest) = text.split_at(text.len() / 2);
                append(&log, begun);
                rest.clone_into(&mut half);
            }
            look(&mut series, directory.path());
            for axis in [Axis::Step, Axis::Time] {
                let all: Vec<Key> = (0..3).map(key).collect();
                let (first, last) = series.range(&all, axis).unwrap_or((0, -1));
                let unit = if axis == Axis::Step { 1 } else { 100_000_000 };
                let zoomed = Grid { start: start * unit, stop: (start + width) * unit, pixels };
                for grid in [Grid { start: first, stop: last, pixels }, zoomed] {
                    let drawn = series.pixels(&all, axis, grid).expect("a usual number of pixels");
                    for (number, drawn) in (0..).zip(drawn) {
                        prop_assert_eq!(shown(&drawn), model(&logged, number, axis, grid));
                    }
                }
            }
            if is_torn {
                logged.push((0, Some(1), Some(1), 2.0));
            }
            if is_rotated && half.is_empty() {
                for number in (1..=rotated).rev() {
                    let name = |number| directory.path().join(format!("metrics.ndjson.{number}"));
                    fs::rename(name(number), name(number + 1)).expect("a shard can be renamed");
                }
                fs::rename(&log, directory.path().join("metrics.ndjson.1")).expect("a shard can be renamed");
                append(&log, "");
                rotated += 1;
            }
        }
    }
}

#[test]
fn one_row_among_a_hundred_thousand_is_seen() {
    let directory = tempfile::tempdir().expect("a temporary folder can be made");
    let rows = (0..100_000).map(|step| (0, Some(step), None, if step == 54_321 { 9e9 } else { 1.0 }));
    append(&directory.path().join("metrics.ndjson"), &lines(&rows.collect::<Vec<_>>()));
    let mut series = Series::default();
    look(&mut series, directory.path());
    let drawn = series.pixels(&[key(0)], Axis::Step, Grid { start: 0, stop: 99_999, pixels: 1000 });
    let drawn = drawn.expect("a usual number of pixels").remove(0);
    let spikes: Vec<u32> = drawn.iter().filter(|(_, pixel)| pixel.values.max > 1.0).map(|&(place, _)| place).collect();
    assert_eq!((drawn.len(), spikes), (1000, vec![543]));
    assert!(series.held() < 100_000 * 9, "a value takes eight bytes, a step that rises evenly none: {}", series.held());
}

#[test]
fn a_run_that_is_too_large_shows_true_extremes_and_its_single_rows_where_it_is_looked_at_closely() {
    let directory = tempfile::tempdir().expect("a temporary folder can be made");
    let log = directory.path().join("metrics.ndjson");
    let limit = 100_000;
    let mut series = Series::new(limit);
    let mut logged: Vec<Row> = Vec::new();
    for part in 0..10_i64 {
        let value = |step: i64| if step == 3 { f64::NAN } else { ((step * 7_919) % 10_007) as f64 };
        let rows: Vec<Row> =
            (part * 4000..(part + 1) * 4000).map(|step| (0, Some(step), Some(step), value(step))).collect();
        append(&log, &lines(&rows));
        append(&log, &line((1, Some(part), None, 1.0)));
        logged.extend(rows);
        look(&mut series, directory.path());
    }
    assert!(series.held() < 2 * limit, "{}", series.held());
    let whole = Grid { start: 0, stop: 39_999, pixels: 50 };
    let narrow = Grid { start: 20_000, stop: 20_099, pixels: 50 };
    for axis in [Axis::Step, Axis::Time] {
        let scale = if axis == Axis::Step { 1 } else { 1_000_000 };
        let scaled = |grid: Grid| Grid { start: grid.start * scale, stop: grid.stop * scale, pixels: grid.pixels };
        let drawn = series.pixels(&[key(0)], axis, scaled(whole)).expect("a usual number of pixels").remove(0);
        assert!(!series.is_coarse(&[key(0)], axis, scaled(whole)) && drawn.len() == 50);
        assert_eq!(drawn.iter().map(|(_, pixel)| pixel.values.count).sum::<u64>(), 40_000);
        for (_, pixel) in &drawn {
            let only = Grid { start: pixel.first_x, stop: pixel.last_x, pixels: 1 };
            assert_eq!(shown(&[(0, *pixel)]), model(&logged, 0, axis, only));
        }
        assert!(
            series.is_coarse(&[key(0)], axis, scaled(narrow)) && !series.is_coarse(&[key(1)], axis, scaled(narrow))
        );
        let snapshot = Snapshot::of_directory(directory.path(), &[]).expect("there is a log");
        let again = series.read_again(snapshot, &[key(0)], axis, scaled(narrow), &mut |_| true);
        let again = again.expect("it can be read").expect("it is little");
        let drawn = again.pixels(&[key(0)], axis, scaled(narrow)).expect("a usual number of pixels").remove(0);
        assert_eq!(shown(&drawn), model(&logged, 0, axis, scaled(narrow)));
    }
    assert_eq!(series.keys()[1].1.numbers, 10);
}

#[test]
fn what_was_read_is_not_read_again() {
    let directory = tempfile::tempdir().expect("a temporary folder can be made");
    let log = directory.path().join("metrics.ndjson");
    let mut series = Series::default();
    let rows: Vec<Row> = (0..1000).map(|step| (0, Some(step), None, 1.0)).collect();
    append(&log, &lines(&rows));
    assert_eq!(look(&mut series, directory.path()).rows, 1000);
    assert_eq!(look(&mut series, directory.path()).rows, 0);
    append(&log, &lines(&rows[..3]));
    append(&log, r#"{"metric":"m0","split":"train","ste"#);
    assert_eq!(look(&mut series, directory.path()).rows, 3);
    append(&log, "p\":5,\"value\":2}\n");
    fs::rename(&log, directory.path().join("metrics.ndjson.1")).expect("a shard can be renamed");
    append(&log, &lines(&rows[..7]));
    assert_eq!(look(&mut series, directory.path()).rows, 8);
    assert_eq!(series.keys()[0].1.numbers, 1011);
}

#[test]
fn what_is_gone_or_was_written_anew_is_forgotten() {
    let directory = tempfile::tempdir().expect("a temporary folder can be made");
    let log = directory.path().join("metrics.ndjson");
    let old = directory.path().join("metrics.ndjson.1");
    let rows = |key| (0..50).map(|step| (key, Some(step), None, 1.0)).collect::<Vec<Row>>();
    append(&old, &lines(&rows(0)));
    append(&log, &lines(&rows(1)));
    let mut series = Series::default();
    let counted = |series: &Series| {
        series.keys().into_iter().map(|(key, counts)| (key.metric.clone(), counts.numbers)).collect::<Vec<_>>()
    };
    look(&mut series, directory.path());
    fs::remove_file(&old).expect("it is there");
    look(&mut series, directory.path());
    assert_eq!(counted(&series), [("m1".to_owned(), 50)]);
    // Another program writes more than there was into the same file.
    fs::write(&log, lines(&rows(2)) + &lines(&rows(2))).expect("it can be written");
    look(&mut series, directory.path());
    assert_eq!(counted(&series), [("m2".to_owned(), 100)]);
    fs::write(&log, lines(&rows(1)[..3])).expect("it can be written");
    look(&mut series, directory.path());
    assert_eq!(counted(&series), [("m1".to_owned(), 3)]);
}

#[test]
fn rows_that_become_superseded_are_left_out() {
    let directory = tempfile::tempdir().expect("a temporary folder can be made");
    let log = directory.path().join("metrics.ndjson");
    append(&log, &lines(&(0..50).map(|step| (0, Some(step), None, 1.0)).collect::<Vec<_>>()));
    let mut series = Series::default();
    look(&mut series, directory.path());
    let end = fs::metadata(&log).expect("it is there").len();
    append(&log, &lines(&(30..40).map(|step| (0, Some(step), None, 2.0)).collect::<Vec<_>>()));
    let mut snapshot = Snapshot::of_directory(directory.path(), &[]).expect("there is a log");
    let segment = |start, superseded_from| Segment { start, session: None, superseded_from };
    snapshot.sources[0].segments = vec![segment(0, Some(30)), segment(end, None)];
    let mut again = |snapshot: &Snapshot| {
        series.refresh(snapshot.clone(), |_| false, &mut |_| true).expect("it can be read");
        series.keys()[0].1.numbers
    };
    assert_eq!(again(&snapshot), 40);
    assert_eq!(again(&snapshot), 40);
}
