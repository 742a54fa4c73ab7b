//! Parameters, which are immutable in MLflow, and tags.

use super::address::url;
use std::collections::HashMap;

use serde::Deserialize;

use super::Mlflow;
use super::batch::{Batch, Source};
use super::trouble::{accepted, shown};
use crate::deliver::destination::Answer;
use crate::limits::EXPORT_RUN_REPLY_BYTES;
use crate::paths::Stream;
use crate::wait::Wait;
use crate::words::some_of;

/// Most characters of a parameter's value; before MLflow 2.8 they were 500, before 1.28 250.
const PARAM_CHARACTERS: [usize; 3] = [6000, 500, 250];
/// Most characters of a tag's value.
const TAG_CHARACTERS: usize = 8000;
/// Parameters that one notice shows.
const SHOWN_TEXTS: usize = 3;

#[derive(Deserialize)]
struct Reply {
    run: Run,
}

#[derive(Deserialize)]
struct Run {
    #[serde(default)]
    data: Data,
}

#[derive(Default, Deserialize)]
struct Data {
    #[serde(default)]
    params: Vec<Param>,
}

#[derive(Deserialize)]
struct Param {
    key: String,
    #[serde(default)]
    value: String,
}

impl Mlflow {
    pub(super) fn send_params(&mut self, stream: &Stream, params: &[(String, String)], wait: &Wait) -> Answer {
        let Some(id) = self.run_id.clone() else { return self.unprepared() };
        let source = Source::Params(self.shortened(params, "parameter", PARAM_CHARACTERS[0]));
        let begun = match self.lane(stream) {
            Ok(lane) => lane.param_batch.take().filter(|batch| *batch.source() == source),
            Err(answer) => return answer,
        };
        let batch = match begun.map_or_else(|| self.new_params(source, &id, wait), Ok) {
            Ok(batch) => batch,
            Err(delivery) => return delivery,
        };
        let (delivery, left) = self.send_texts(stream, batch, &id, wait);
        if let Ok(lane) = self.lane(stream) {
            lane.param_batch = left;
        }
        delivery
    }

    /// A batch of the parameters that the run does not have.
    fn new_params(&mut self, source: Source, id: &str, wait: &Wait) -> Result<Batch, Answer> {
        let url = url(self.settings.holder.base(), &format!("runs/get?run_id={id}"));
        let stored = match accepted(self.link.get(&url, EXPORT_RUN_REPLY_BYTES, wait)) {
            Ok(reply) => stored_params(&reply),
            Err(trouble) => return Err(self.run_trouble(trouble, id)),
        };
        let (names, mut changed) = (&mut self.names, Vec::new());
        let batch = Batch::of_texts(source, id, |key, value| {
            let name = names.plain(key).into_owned();
            match stored.get(&name) {
                Some(old) if is_same(old, value) => None,
                Some(old) => {
                    changed.push(format!("{name:?} is {} in MLflow and {} in the log", shown(old), shown(value)));
                    None
                }
                None => Some(name),
            }
        });
        if !changed.is_empty() {
            let changed = some_of(&changed, SHOWN_TEXTS);
            self.notices.push(format!("parameters cannot change in MLflow: {changed}; params.ndjson has both"));
        }
        Ok(batch)
    }

    pub(super) fn send_tags(&mut self, stream: &Stream, tags: &[(String, String)], wait: &Wait) -> Answer {
        let Some(id) = self.run_id.clone() else { return self.unprepared() };
        let source = Source::Tags(self.shortened(tags, "tag", TAG_CHARACTERS));
        let begun = match self.lane(stream) {
            Ok(lane) => lane.tag_batch.take().filter(|batch| *batch.source() == source),
            Err(answer) => return answer,
        };
        let names = &mut self.names;
        let batch = begun.unwrap_or_else(|| Batch::of_texts(source, &id, |key, _| Some(names.plain(key).into_owned())));
        let (delivery, left) = self.send_texts(stream, batch, &id, wait);
        if let Ok(lane) = self.lane(stream) {
            lane.tag_batch = left;
        }
        delivery
    }

    /// Values as long as the server takes them; each cut is reported.
    fn shortened(&mut self, pairs: &[(String, String)], kind: &str, longest: usize) -> Vec<(String, String)> {
        let mut long = Vec::new();
        let short = |(key, value): &(String, String)| {
            let cut = value.char_indices().nth(longest).map(|(end, _)| value[..end].to_owned());
            if cut.is_some() {
                long.push(shown(key));
            }
            (key.clone(), cut.unwrap_or_else(|| value.clone()))
        };
        let shortened = pairs.iter().map(short).collect();
        if !long.is_empty() {
            let notice =
                format!("a {kind} is truncated to {longest} characters in MLflow: {}", some_of(&long, SHOWN_TEXTS));
            // The same pairs come again after a pause.
            if !self.notices.contains(&notice) {
                self.notices.push(notice);
            }
        }
        shortened
    }
}

/// What the run has; nothing if the reply is not understood, in which case the server's refusal of a change tells.
fn stored_params(reply: &[u8]) -> HashMap<String, String> {
    let params = serde_json::from_slice(reply).map_or_else(|_| Vec::new(), |reply: Reply| reply.run.data.params);
    params.into_iter().map(|param| (param.key, param.value)).collect()
}

/// Whether the stored value is ours, perhaps cut by an older server.
fn is_same(stored: &str, value: &str) -> bool {
    stored == value || value.starts_with(stored) && PARAM_CHARACTERS.contains(&stored.chars().count())
}
