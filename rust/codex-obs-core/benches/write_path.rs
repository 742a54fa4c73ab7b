//! The parts of the way of a row, without Python: framing a call, the ring, and encoding. `cargo bench -p codex-obs-core`.

use std::path::Path;

use codex_obs_core::encode::number::push_f64;
use codex_obs_core::encode::row::RowEncoder;
use codex_obs_core::fs;
use codex_obs_core::journal::cursor::Cursor;
use codex_obs_core::journal::frame::{Call, Frame, FrameBuilder, Template, seal};
use codex_obs_core::journal::identity::Identity;
use codex_obs_core::journal::memory::Backing;
use codex_obs_core::journal::ring::{Appended, Ring};
use codex_obs_core::record::Tags;
use codex_obs_core::record::json_string::push_json_string;
use divan::counter::ItemsCount;
use divan::{Bencher, black_box};

const WIDTHS: [usize; 3] = [1, 8, 32];
const RING_BYTES: u64 = 8 << 20;
const MAX_FRAME_BYTES: usize = 2 << 20;

fn main() {
    divan::main();
}

fn names(width: usize) -> Vec<String> {
    (0..width).map(|index| format!("train/metric_{index}")).collect()
}

fn call(tags: &Tags) -> Call<'_> {
    Call { timestamp: 1_763_713_000_000_000, step: Some(12_345), split: "train", dataset: None, tags }
}

fn value(index: usize) -> f64 {
    0.1 + index as f64 / 7.0
}

fn build(builder: &mut FrameBuilder, names: &[String]) {
    builder.begin(&call(&Tags::default()), MAX_FRAME_BYTES);
    for (index, name) in names.iter().enumerate() {
        builder.float(name, value(index));
    }
    builder.finish();
}

#[divan::bench(args = WIDTHS)]
fn frame_built_row_by_row(bencher: Bencher<'_, '_>, width: usize) {
    let (names, mut builder) = (names(width), FrameBuilder::default());
    bencher.counter(ItemsCount::new(width)).bench_local(|| build(&mut builder, black_box(&names)));
}

#[divan::bench(args = WIDTHS)]
fn frame_filled_from_a_template(bencher: Bencher<'_, '_>, width: usize) {
    let (names, mut builder) = (names(width), FrameBuilder::default());
    let template = Template::new(&call(&Tags::default()), &names, MAX_FRAME_BYTES).expect("it fits into one frame");
    let mut fill = |step| {
        let numbers = (0..width).map(|index| Some(value(index)));
        let filled = builder.fill(black_box(&template), 1_763_713_000_000_000, Some(step), numbers);
        builder.finish();
        filled
    };
    assert!(fill(12_345));
    bencher.counter(ItemsCount::new(width)).bench_local(|| fill(12_345));
}

#[divan::bench(args = WIDTHS)]
fn checksum_of_a_frame(bencher: Bencher<'_, '_>, width: usize) {
    let mut builder = FrameBuilder::default();
    build(&mut builder, &names(width));
    bencher.bench_local(|| seal(black_box(builder.bytes_mut()), 7, 0));
}

fn ring(folder: &Path, backing: Backing) -> Ring {
    let path = folder.join("journal");
    let file = fs::open_read_write(&path, 0o600).expect("a new file in an empty folder");
    Ring::create(file, &path, RING_BYTES, backing, &Identity::default()).expect("there is room for a journal")
}

/// Appends the same call until a quarter of the ring is full, and then takes all of it out, which is part of the time.
fn through_the_ring(bencher: Bencher<'_, '_>, backing: Backing, width: usize) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (ring, mut builder, mut cursor) = (ring(folder.path(), backing), FrameBuilder::default(), Cursor::default());
    build(&mut builder, &names(width));
    bencher.counter(ItemsCount::new(width)).bench_local(|| {
        let (appended, outcome) = ring.append(&mut ring.lock(), builder.bytes_mut());
        assert!(outcome.is_ok() && appended != Appended::Full);
        if ring.published() - cursor.position > RING_BYTES / 4 {
            while let Some((frame, next)) = ring.frame(&mut cursor) {
                assert!(frame.verify(cursor.sequence));
                cursor = next;
            }
            ring.release(cursor.position);
        }
    });
}

#[divan::bench(args = WIDTHS)]
fn mapped_ring_in_and_out(bencher: Bencher<'_, '_>, width: usize) {
    through_the_ring(bencher, Backing::Mapped, width);
}

#[divan::bench(args = WIDTHS)]
fn mirrored_ring_in_and_out(bencher: Bencher<'_, '_>, width: usize) {
    through_the_ring(bencher, Backing::Mirrored, width);
}

#[divan::bench(args = WIDTHS)]
fn rows_encoded(bencher: Bencher<'_, '_>, width: usize) {
    let mut builder = FrameBuilder::default();
    build(&mut builder, &names(width));
    seal(builder.bytes_mut(), 0, 0);
    let bytes = builder.bytes_mut().to_vec();
    let (mut encoder, mut lines, mut manifest) = (RowEncoder::new("bench", false), Vec::new(), Vec::new());
    let mut encode = || {
        lines.clear();
        let (frame, _) = Frame::parse(black_box(&bytes)).expect("a finished frame");
        let call = frame.metrics().expect("a frame of metrics");
        encoder.call(&call);
        for (name, value) in call.rows() {
            encoder.row(name, &value, &mut lines, &mut manifest);
        }
        lines.len()
    };
    assert!(encode() > 200 * width);
    bencher.counter(ItemsCount::new(width)).bench_local(encode);
}

#[divan::bench(args = [0.5, 0.1, 123_456.789, 1e-7, 0.310_309_886_183_790_7])]
fn float_text(bencher: Bencher<'_, '_>, number: f64) {
    let mut out = Vec::with_capacity(32);
    bencher.bench_local(|| {
        out.clear();
        push_f64(&mut out, black_box(number));
    });
}

#[divan::bench(args = ["train/loss", "größe", "a name of some length with a \"quote\" in it"])]
fn name_escaped(bencher: Bencher<'_, '_>, name: &str) {
    let mut out = Vec::with_capacity(128);
    bencher.bench_local(|| {
        out.clear();
        push_json_string(&mut out, black_box(name));
    });
}
