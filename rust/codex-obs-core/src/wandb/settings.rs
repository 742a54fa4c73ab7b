//! What a run is set up with.

use super::Wandb;
use super::message::Run;
use super::names;
use crate::deliver::settings::Connector;
use crate::paths::Stream;

/// How W&B's own client is told what a run is called, by its variables.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WandbSettings {
    /// The project; none: W&B's own for runs without one.
    pub project: Option<String>,
    /// The user or team; none: whoever uploads it.
    pub entity: Option<String>,
    /// The run's name; none: ours.
    pub name: Option<String>,
    /// Tags beside those of the run.
    pub tags: Vec<String>,
    /// The group of the run.
    pub group: Option<String>,
    /// What kind of job it is.
    pub job_type: Option<String>,
    /// Notes.
    pub notes: Option<String>,
}

impl WandbSettings {
    /// Settings from the environment, which `variable` looks up.
    #[must_use]
    pub fn new(variable: &dyn Fn(&str) -> Option<String>) -> Self {
        let set = |name: &str| variable(name).filter(|value| !value.is_empty());
        let tags = set("WANDB_TAGS").unwrap_or_default();
        Self {
            project: set("WANDB_PROJECT"),
            entity: set("WANDB_ENTITY"),
            name: set("WANDB_NAME"),
            tags: tags.split(',').filter_map(|tag| names::tag(tag.trim())).collect(),
            group: set("WANDB_RUN_GROUP"),
            job_type: set("WANDB_JOB_TYPE"),
            notes: set("WANDB_NOTES"),
        }
    }

    /// What makes destinations with these settings.
    #[must_use]
    pub fn connector(self) -> Connector {
        Connector::new(move |run| Ok(Box::new(Wandb::new(self.clone(), run))))
    }

    /// A stream's run as W&B is to know it, `name` if it has no other.
    pub(super) fn run(&self, run_id: &str, name: &str, stream: &Stream) -> Run {
        let text = |value: &Option<String>| value.clone().unwrap_or_default();
        let name = if stream.is_main() { name.to_owned() } else { format!("{name} {stream}") };
        Run {
            run_id: names::run_id(run_id, stream),
            entity: text(&self.entity),
            project: text(&self.project),
            run_group: text(&self.group),
            job_type: text(&self.job_type),
            display_name: self.name.clone().unwrap_or(name),
            notes: text(&self.notes),
            ..Run::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_variables_of_its_own_client_are_honoured_and_empty_ones_are_not() {
        let set = |name: &str| match name {
            "WANDB_PROJECT" => Some("vision".to_owned()),
            "WANDB_TAGS" => Some("a, b,,".to_owned()),
            "WANDB_NAME" => Some(String::new()),
            "WANDB_NOTES" => Some("notes".to_owned()),
            _ => None,
        };
        let settings = WandbSettings::new(&set);
        assert_eq!(settings.tags, ["a", "b"]);
        let run = settings.run("id", "ours", &Stream::main());
        let given = (run.project.as_str(), run.display_name.as_str(), run.notes.as_str(), run.entity.as_str());
        assert_eq!(given, ("vision", "ours", "notes", ""));
    }
}
