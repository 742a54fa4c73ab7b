//! One batch until everything in it is stored or refused for good. What the server refuses is found with few requests: it
//! names it, or the batch is halved until the bad one is alone.

use std::collections::HashMap;
use std::time::Duration;

use super::classify::{self, Outcome};
use super::payload::LogBatch;
use super::request_size::RequestSize;
use crate::deliver::names::Names;
use crate::deliver::rejected::Refused;
use crate::error::Result;
use crate::follow::point::Point;
use crate::http::attempts::{Complaint, Halt};
use crate::limits::{EXPORT_LONGEST_BACKOFF, EXPORT_QUICK_ATTEMPTS, EXPORT_SHORTEST_BACKOFF};

/// Bad metrics of one batch up to which the halves that were not looked at are sent in one request. Beyond, they are likely to
/// hold bad ones too.
const FEW_CULPRITS: u32 = 4;
/// Rounds in which the server fails for the batch before that is taken as the batch's fault; between them lies a back-off.
const SUSPICIOUS_ROUNDS: u32 = 2;
/// The same while no metric was ever stored that could be sent again for comparison.
const UNWITNESSED_ROUNDS: u32 = 4;

const METRICS: &str = "metrics";
const PARAMS: &str = "params";
const TAGS: &str = "tags";

/// What carries requests for a batch.
pub trait Carrier {
    /// Sends a `log-batch` request, at most `attempts` times.
    fn send(&mut self, body: &[u8], attempts: u32) -> Outcome;

    /// Sends something that was stored before. If that is accepted, the server works.
    fn probe(&mut self) -> Outcome;

    /// Whether the probe is a metric, and not merely a tag.
    fn has_witness(&self) -> bool;

    /// Keeps what was refused where it can be found again.
    fn keep(&mut self, refused: Refused<'_>, key: &str, complaint: &Complaint) -> Result<()>;
}

/// What a batch was made from. Given the same again, the batch goes on where it stopped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// Metrics.
    Metrics(Vec<Point>),
    /// Parameters.
    Params(Vec<(String, String)>),
    /// Tags.
    Tags(Vec<(String, String)>),
}

/// A batch on its way.
#[derive(Debug)]
pub struct Batch {
    source: Source,
    entries: Vec<Entry>,
    run_id: String,
    /// What is still to be dealt with; the last one is next.
    parts: Vec<Part>,
    /// Halves that were set aside while a bad one was looked for.
    deferred: Vec<usize>,
    rejected: u64,
    culprits: u32,
    suspicious_rounds: u32,
    /// Whether the server took something since it last refused something without saying what.
    is_vouched: bool,
}

#[derive(Debug)]
struct Entry {
    key: String,
    /// Index in the source.
    index: usize,
    /// How many members of the source are the same one for MLflow.
    copies: u64,
}

#[derive(Debug)]
enum Part {
    /// Nothing is known of these.
    Unknown(Vec<usize>),
    /// One at least of these is bad; `is_deduced` if that follows from the rest being good.
    Bad { entries: Vec<usize>, complaint: Complaint, is_deduced: bool },
}

impl Batch {
    /// A batch of metrics for a run.
    pub fn of_metrics(points: &[Point], run_id: &str, names: &mut Names) -> Self {
        let mut entries: Vec<Entry> = Vec::with_capacity(points.len());
        let mut seen: HashMap<_, usize> = HashMap::with_capacity(points.len());
        for (index, point) in points.iter().enumerate() {
            let key = names.metric(point);
            // What MLflow stores as one row is sent once: older servers answer a repeated NaN within one request with 500.
            let identity = (key, point.timestamp_micros.div_euclid(1000), point.step, stored_bits(point.number()));
            if let Some(&first) = seen.get(&identity) {
                entries[first].copies += 1;
            } else {
                entries.push(Entry { key: identity.0.clone(), index, copies: 1 });
                seen.insert(identity, entries.len() - 1);
            }
        }
        Self::new(Source::Metrics(points.to_vec()), entries, run_id)
    }

    /// A batch of those parameters or tags of `source` that `wanted` gives a name.
    pub fn of_texts(source: Source, run_id: &str, mut wanted: impl FnMut(&str, &str) -> Option<String>) -> Self {
        let pairs = source.pairs();
        let named = pairs.iter().enumerate().filter_map(|(index, (key, value))| Some((index, wanted(key, value)?)));
        let entries = named.map(|(index, key)| Entry { key, index, copies: 1 }).collect();
        Self::new(source, entries, run_id)
    }

    fn new(source: Source, entries: Vec<Entry>, run_id: &str) -> Self {
        let all = (0..entries.len()).collect();
        Self {
            source,
            entries,
            run_id: run_id.to_owned(),
            parts: vec![Part::Unknown(all)],
            deferred: Vec::new(),
            rejected: 0,
            culprits: 0,
            suspicious_rounds: 0,
            is_vouched: false,
        }
    }

    /// What it was made from.
    #[must_use]
    pub fn source(&self) -> &Source {
        &self.source
    }

    /// Members refused for good so far.
    #[must_use]
    pub fn rejected(&self) -> u64 {
        self.rejected
    }

    /// A metric that the server stored, once all is done.
    #[must_use]
    pub fn witness(&self) -> Option<(&str, &Point)> {
        let Source::Metrics(points) = &self.source else { return None };
        let entry = self.entries.last().filter(|_| self.rejected == 0)?;
        Some((&entry.key, &points[entry.index]))
    }

    /// Goes on where the last call stopped. `size` is lowered where a body is too large for the server.
    pub fn deliver(&mut self, carrier: &mut impl Carrier, size: &mut RequestSize) -> std::result::Result<(), Halt> {
        while let Some(part) = self.next_part() {
            match part {
                Part::Unknown(entries) if entries.is_empty() => {}
                Part::Unknown(entries) => self.try_unknown(entries, carrier, size)?,
                Part::Bad { entries, complaint, is_deduced } => match entries.as_slice() {
                    [] => {}
                    [entry] => self.convict(*entry, complaint, is_deduced, carrier)?,
                    _ => self.halve(&entries, complaint, is_deduced, carrier)?,
                },
            }
        }
        Ok(())
    }

    fn next_part(&mut self) -> Option<Part> {
        let deferred =
            |this: &mut Self| (!this.deferred.is_empty()).then(|| Part::Unknown(std::mem::take(&mut this.deferred)));
        self.parts.pop().or_else(|| deferred(self))
    }

    fn try_unknown(
        &mut self,
        mut entries: Vec<usize>,
        carrier: &mut impl Carrier,
        size: &mut RequestSize,
    ) -> std::result::Result<(), Halt> {
        let (body, taken) = self.body(&entries, *size);
        let rest = entries.split_off(taken);
        if !rest.is_empty() {
            self.parts.push(Part::Unknown(rest));
        }
        match carrier.send(&body, EXPORT_QUICK_ATTEMPTS) {
            Outcome::Accepted(_) => {
                self.is_vouched = true;
                size.answered(entries.len());
            }
            Outcome::Refused { part: Some(part), complaint } if self.member(part, entries.len()).is_some() => {
                let named = entries.remove(self.member(part, entries.len()).unwrap_or_default());
                self.parts.push(Part::Unknown(entries));
                self.reject(named, &complaint, carrier).inspect_err(|_| self.parts.push(alone(named, complaint)))?;
            }
            Outcome::Refused { complaint, .. } => {
                self.is_vouched = false;
                self.vouch(&complaint, carrier).inspect_err(|_| self.parts.push(Part::Unknown(entries.clone())))?;
                self.parts.push(Part::Bad { entries, complaint, is_deduced: false });
            }
            Outcome::TooLarge(complaint) => {
                size.too_large(body.len());
                if entries.len() > 1 {
                    let right = entries.split_off(entries.len() / 2);
                    self.parts.extend([Part::Unknown(right), Part::Unknown(entries)]);
                } else {
                    self.is_vouched = false;
                    self.vouch(&complaint, carrier).inspect_err(|_| self.parts.push(Part::Unknown(entries.clone())))?;
                    self.parts.push(Part::Bad { entries, complaint, is_deduced: false });
                }
            }
            Outcome::Failed { complaint, pause } => {
                self.suspect(&complaint, pause, carrier)
                    .inspect_err(|_| self.parts.push(Part::Unknown(entries.clone())))?;
                self.parts.push(Part::Bad { entries, complaint, is_deduced: false });
            }
            Outcome::Halted(halt) => {
                self.parts.push(Part::Unknown(entries));
                return Err(halt);
            }
        }
        Ok(())
    }

    /// Looks at the left half of what holds a bad one. If that is good, the bad one is in the right half, and nothing needs to
    /// be sent to know it.
    fn halve(
        &mut self,
        entries: &[usize],
        complaint: Complaint,
        is_deduced: bool,
        carrier: &mut impl Carrier,
    ) -> std::result::Result<(), Halt> {
        let (left, right) = entries.split_at(entries.len() / 2);
        let (left, right) = (left.to_vec(), right.to_vec());
        let (body, taken) = self.body(&left, RequestSize::UNLIMITED);
        debug_assert_eq!(taken, left.len());
        match carrier.send(&body, 1) {
            Outcome::Accepted(_) => {
                self.is_vouched = true;
                self.parts.push(Part::Bad { entries: right, complaint, is_deduced: true });
            }
            Outcome::Refused { part: None, complaint } | Outcome::Failed { complaint, .. } => {
                self.is_vouched = false;
                if self.culprits < FEW_CULPRITS {
                    self.deferred.extend(right);
                } else {
                    self.parts.push(Part::Unknown(right));
                }
                self.parts.push(Part::Bad { entries: left, complaint, is_deduced: false });
            }
            Outcome::Refused { .. } | Outcome::TooLarge(_) => {
                self.parts.extend([Part::Unknown(right), Part::Unknown(left)]);
            }
            Outcome::Halted(halt) => {
                self.parts.push(Part::Bad { entries: entries.to_vec(), complaint, is_deduced });
                return Err(halt);
            }
        }
        Ok(())
    }

    /// Deals with a bad one that stands alone. It is refused for good if the server refuses it, then takes something else, and
    /// then refuses it again: a server that refuses everything for a while does not look like that.
    fn convict(
        &mut self,
        entry: usize,
        complaint: Complaint,
        is_deduced: bool,
        carrier: &mut impl Carrier,
    ) -> std::result::Result<(), Halt> {
        let (body, _) = self.body(&[entry], RequestSize::UNLIMITED);
        let mut complaint = complaint;
        if is_deduced && !self.is_refused_alone(entry, &body, &mut complaint, carrier)? {
            return Ok(());
        }
        let works = if complaint.status >= 500 {
            self.suspect(&complaint, EXPORT_SHORTEST_BACKOFF, carrier)
        } else {
            self.vouch(&complaint, carrier)
        };
        works.inspect_err(|_| self.parts.push(alone(entry, complaint.clone())))?;
        if !self.is_refused_alone(entry, &body, &mut complaint, carrier)? {
            return Ok(());
        }
        self.reject(entry, &complaint, carrier).inspect_err(|_| self.parts.push(alone(entry, complaint)))
    }

    /// Sends one by itself; the server's words about it replace those about its company.
    fn is_refused_alone(
        &mut self,
        entry: usize,
        body: &[u8],
        complaint: &mut Complaint,
        carrier: &mut impl Carrier,
    ) -> std::result::Result<bool, Halt> {
        match carrier.send(body, 1) {
            Outcome::Accepted(_) => {
                self.is_vouched = true;
                Ok(false)
            }
            Outcome::Refused { complaint: own, .. }
            | Outcome::TooLarge(own)
            | Outcome::Failed { complaint: own, .. } => {
                self.is_vouched = false;
                *complaint = own;
                Ok(true)
            }
            Outcome::Halted(halt) => {
                self.parts.push(alone(entry, complaint.clone()));
                Err(halt)
            }
        }
    }

    /// Makes sure that the server takes other things before one is refused for good: a gateway that answers 400 to everything
    /// must not cost a single metric.
    fn vouch(&mut self, complaint: &Complaint, carrier: &mut impl Carrier) -> std::result::Result<(), Halt> {
        if self.is_vouched {
            return Ok(());
        }
        match carrier.probe() {
            Outcome::Accepted(_) => {
                self.is_vouched = true;
                Ok(())
            }
            Outcome::Halted(halt) => Err(halt),
            Outcome::Failed { pause, .. } => Err(refuses_everything(complaint, pause)),
            Outcome::Refused { .. } | Outcome::TooLarge(_) => {
                Err(refuses_everything(complaint, EXPORT_LONGEST_BACKOFF))
            }
        }
    }

    /// Takes the server's failure as the batch's fault only if it comes again after a pause while what was stored before is
    /// taken.
    fn suspect(
        &mut self,
        complaint: &Complaint,
        pause: Duration,
        carrier: &mut impl Carrier,
    ) -> std::result::Result<(), Halt> {
        let why = format!("the server failed with status {}: {}", complaint.status, complaint.words);
        let later = Halt::later(pause, why);
        self.suspicious_rounds += 1;
        if self.suspicious_rounds < SUSPICIOUS_ROUNDS {
            return Err(later);
        }
        match carrier.probe() {
            Outcome::Accepted(_) if carrier.has_witness() || self.suspicious_rounds >= UNWITNESSED_ROUNDS => Ok(()),
            Outcome::Halted(Halt::Gone(words)) => Err(Halt::Gone(words)),
            _ => Err(later),
        }
    }

    fn reject(
        &mut self,
        entry: usize,
        complaint: &Complaint,
        carrier: &mut impl Carrier,
    ) -> std::result::Result<(), Halt> {
        let Entry { key, index, copies } = &self.entries[entry];
        let refused = match &self.source {
            Source::Metrics(points) => Refused::Metric(&points[*index]),
            Source::Params(pairs) => Refused::Param(&pairs[*index].1),
            Source::Tags(pairs) => Refused::Tag(&pairs[*index].1),
        };
        for _ in 0..*copies {
            carrier.keep(refused, key, complaint).map_err(|error| {
                let why = format!("{key:?} was rejected and cannot be recorded: {error}");
                Halt::later(EXPORT_SHORTEST_BACKOFF, why)
            })?;
        }
        self.rejected += copies;
        self.culprits += 1;
        Ok(())
    }

    /// The member that the server names, if there is one.
    fn member(&self, part: classify::Part, count: usize) -> Option<usize> {
        let (kind, index) = match part {
            classify::Part::Metric(index) => (METRICS, index),
            classify::Part::Param(index) => (PARAMS, index),
            classify::Part::Tag(index) => (TAGS, index),
        };
        (kind == self.source.kind() && index < count).then_some(index)
    }

    /// The request with as many of the entries as it reaches, and how many those are.
    fn body(&self, entries: &[usize], size: RequestSize) -> (Vec<u8>, usize) {
        let mut batch = LogBatch::new(&self.run_id, self.source.kind(), size.bytes());
        let mut taken = 0;
        for entry in entries.iter().take(size.members().max(1)) {
            let Entry { key, index, .. } = &self.entries[*entry];
            let has_room = match &self.source {
                Source::Metrics(points) => {
                    let point = &points[*index];
                    batch.metric(key, point.number(), point.timestamp_micros, point.step)
                }
                Source::Params(pairs) | Source::Tags(pairs) => batch.text(key, &pairs[*index].1),
            };
            if !has_room {
                break;
            }
            taken += 1;
        }
        (batch.finish(), taken)
    }
}

impl Source {
    /// The name of the list in a request.
    fn kind(&self) -> &'static str {
        match self {
            Self::Metrics(_) => METRICS,
            Self::Params(_) => PARAMS,
            Self::Tags(_) => TAGS,
        }
    }

    fn pairs(&self) -> &[(String, String)] {
        match self {
            Self::Metrics(_) => &[],
            Self::Params(pairs) | Self::Tags(pairs) => pairs,
        }
    }
}

/// One that is bad as far as is known, to be looked at from the start.
fn alone(entry: usize, complaint: Complaint) -> Part {
    Part::Bad { entries: vec![entry], complaint, is_deduced: true }
}

/// What distinguishes values in MLflow's tables, where an infinity is the largest number and -0.0 is 0.0.
fn stored_bits(value: f64) -> u64 {
    if value.is_nan() {
        return f64::NAN.to_bits();
    }
    (value.clamp(f64::MIN, f64::MAX) + 0.0).to_bits()
}

fn refuses_everything(complaint: &Complaint, pause: Duration) -> Halt {
    let why = format!(
        "the server rejects what it accepted before, with status {}: {}; check the address and any proxy in front of it",
        complaint.status, complaint.words
    );
    Halt::later(pause, why)
}

#[cfg(test)]
#[path = "batch_tests.rs"]
mod tests;
