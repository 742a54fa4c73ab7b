//! Samples of the machine as metrics, which MLflow's page of system metrics shows.

use super::Mlflow;
use super::batch::{Batch, Source};
use crate::deliver::destination::Answer;
use crate::deliver::samples::Tally;
use crate::follow::point::Point;
use crate::paths::Stream;
use crate::wait::Wait;

impl Mlflow {
    pub(super) fn send_samples(&mut self, stream: &Stream, lines: &[Box<str>], wait: &Wait) -> Answer {
        let Some(id) = self.run_id.clone() else { return self.unprepared() };
        let (mut tally, kept) = match self.lane(stream) {
            Ok(lane) => (lane.tally, lane.sample_batch.take()),
            Err(answer) => return answer,
        };
        let points: Vec<Point> =
            lines.iter().filter_map(|line| tally.next(line)).flat_map(|sample| sample.points(stream)).collect();
        let kept = kept.filter(|batch| matches!(batch.source(), Source::Metrics(own) if *own == points));
        let batch = kept.unwrap_or_else(|| Batch::of_metrics(&points, &id, &mut self.names));
        let (answer, left) = self.send_metrics(stream, batch, points.len(), &id, wait);
        if let Ok(lane) = self.lane(stream) {
            if matches!(answer, Answer::Taken { .. }) {
                lane.tally = tally;
            }
            lane.sample_batch = left;
        }
        answer
    }

    /// What is kept of a stream's samples with the place in them, so that their numbers go on.
    pub(super) fn tally(&self, stream: &Stream) -> Option<String> {
        let tally = self.streams.get(stream)?.tally;
        (tally != Tally::default()).then(|| serde_json::to_string(&tally).ok()).flatten()
    }
}
