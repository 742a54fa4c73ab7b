//! Summarises a run as often as asked and says how fast: `cargo run --release --example summarize -- DIR [TIMES]`.

use std::path::PathBuf;
use std::time::Instant;

use codex_obs_core::clock::Clock;
use codex_obs_core::reading::summarize;

fn main() -> codex_obs_core::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let paths = [PathBuf::from(arguments.next().unwrap_or_else(|| ".".to_owned()))];
    let times: u32 = arguments.next().and_then(|text| text.parse().ok()).unwrap_or(3);
    for _ in 0..times {
        let start = Instant::now();
        let (table, report) = summarize(&paths, false, &Clock::System, &mut |_| true)?;
        let seconds = start.elapsed().as_secs_f64();
        println!("{} groups, {} rows, {} skipped, {seconds:.3} s", table.num_rows(), report.rows, report.skipped);
    }
    Ok(())
}
