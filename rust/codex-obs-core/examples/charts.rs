//! Writes an event file and an offline run with so many rows, and says how fast: `cargo run --release --example charts -- DIR [ROWS]`.

use std::path::{Path, PathBuf};
use std::time::Instant;

use codex_obs_core::file_destination::OwnFile;
use codex_obs_core::fs::create_folder;
use codex_obs_core::paths::Stream;
use codex_obs_core::tensorboard::events::{Events, Moment};
use codex_obs_core::wandb::group::{Group, number};
use codex_obs_core::wandb::message::Run;
use codex_obs_core::wandb::names;
use codex_obs_core::wandb::writer::{Writer, timestamp};

const START: i64 = 1_700_000_000_000_000;
const METRICS: [&str; 8] = ["loss", "accuracy", "lr", "grad_norm", "entropy", "kl", "value_loss", "fps"];
const MODE: u32 = 0o600;
const BATCH_BYTES: usize = 1 << 20;

fn main() -> codex_obs_core::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let folder = PathBuf::from(arguments.next().unwrap_or_else(|| ".".to_owned()));
    let rows: i64 = arguments.next().and_then(|text| text.parse().ok()).unwrap_or(1_000_000);
    timed("tensorboard", rows, || tensorboard(&folder.join("tensorboard"), rows))?;
    timed("wandb", rows, || wandb(&folder.join("wandb"), rows))
}

fn timed(name: &str, rows: i64, write: impl FnOnce() -> codex_obs_core::Result<()>) -> codex_obs_core::Result<()> {
    let start = Instant::now();
    write()?;
    println!("{name}: {:.2} million rows per second", rows as f64 / start.elapsed().as_secs_f64() / 1e6);
    Ok(())
}

/// A value that differs from row to row, some of them odd.
fn value(row: i64) -> f64 {
    match row {
        1 => f64::NAN,
        2 => f64::INFINITY,
        3 => -1e300,
        _ => row as f64 / 7.0,
    }
}

fn tensorboard(folder: &Path, rows: i64) -> codex_obs_core::Result<()> {
    create_folder(folder, MODE)?;
    let mut events = Events::default();
    events.head("example", START);
    let mut file = OwnFile::create(&folder.join("events.out.tfevents.0.codex_obs"), &events.records, MODE)?;
    events.records.clear();
    for row in 0..rows {
        let (step, metric) = (row / 8, METRICS[(row % 8) as usize]);
        events.scalar(Moment { split: "train", metric, step, micros: START + step * 1000 }, value(row));
        if events.records.bytes().len() > BATCH_BYTES || row + 1 == rows {
            file.append(&events.records)?;
            events.records.clear();
        }
    }
    Ok(())
}

fn wandb(folder: &Path, rows: i64) -> codex_obs_core::Result<()> {
    let run_id = names::run_id("example", &Stream::main());
    let folder = folder.join(names::folder(&run_id, START));
    create_folder(&folder, MODE)?;
    let mut writer = Writer::new(START);
    writer.head(&Run { run_id: run_id.clone(), start_time: Some(timestamp(START)), ..Run::default() });
    let mut file = OwnFile::create(&folder.join(format!("run-{run_id}.wandb")), &writer.records, MODE)?;
    writer.written();
    for step in 0..(rows + 7) / 8 {
        let values = (step * 8..rows.min(step * 8 + 8)).map(|row| {
            let metric = METRICS[(row % 8) as usize];
            (format!("train/{metric}"), number(value(row)))
        });
        writer.group(Group { micros: START + step * 1000, step, values: values.collect() });
        if writer.records.bytes().len() > BATCH_BYTES {
            file.append(&writer.records)?;
            writer.written();
        }
    }
    writer.end(0, START + rows / 8 * 1000);
    file.append(&writer.records)
}
