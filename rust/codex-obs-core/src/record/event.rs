//! Events of trainers: where in a training one happened, and which of its fields mean what.

/// Name of the one row of an event without a number.
pub const BARE_METRIC: &str = "event";
/// Tag with the category as it was given, where [`Category`] does not tell it.
pub const CATEGORY_TAG: &str = "category";
/// Tag with the event's words.
pub const MESSAGE_TAG: &str = "message";
/// Fields that tell the step, the one that counts first. None of them is ever a metric; those that do not count are tags.
pub const STEP_FIELDS: [&str; 5] = ["timesteps", "policy_version", "step", "global_step", "update"];

const NEVER_METRICS: [&str; 3] = [CATEGORY_TAG, MESSAGE_TAG, "telemetry"];
const SPELLINGS: [(&str, Category); 7] = [
    ("trainer", Category::Trainer),
    ("train", Category::Trainer),
    ("actor", Category::Actor),
    ("act", Category::Actor),
    ("evaluator", Category::Evaluator),
    ("eval", Category::Evaluator),
    ("misc", Category::Misc),
];

/// Where an event happened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Category {
    /// The part that learns.
    Trainer,
    /// The part that acts in an environment.
    Actor,
    /// The part that measures.
    Evaluator,
    /// Anywhere else.
    #[default]
    Misc,
}

impl Category {
    /// The category that `text` spells, in any case; `None` for what has no spelling here, which is [`Category::Misc`] too.
    ///
    /// # Examples
    ///
    /// ```
    /// use codex_obs_core::record::event::Category;
    ///
    /// assert_eq!(Category::parse("TRAIN"), Some(Category::Trainer));
    /// assert_eq!(Category::parse("checkpoint"), None);
    /// ```
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        SPELLINGS.iter().find(|spelling| spelling.0.eq_ignore_ascii_case(text)).map(|spelling| spelling.1)
    }

    /// The split of its rows.
    #[must_use]
    pub fn split(self) -> &'static str {
        match self {
            Self::Trainer => "trainer",
            Self::Actor => "actor",
            Self::Evaluator => "evaluator",
            Self::Misc => "misc",
        }
    }
}

/// What becomes of a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// It tells the step; the lowest rank of those that are there wins.
    Step(usize),
    /// A tag, whatever its value is.
    Tag,
    /// A metric if its value is a number, else a tag.
    ByValue,
}

impl Role {
    /// The role of the field `name`.
    #[must_use]
    pub fn of(name: &str) -> Self {
        match STEP_FIELDS.iter().position(|field| *field == name) {
            Some(rank) => Self::Step(rank),
            None if NEVER_METRICS.contains(&name) => Self::Tag,
            None => Self::ByValue,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_has_its_category_in_any_case() {
        for (spellings, category, split) in [
            (["TRAINER", "train", "Trainer", "tRaIn"], Category::Trainer, "trainer"),
            (["ACTOR", "act", "Actor", "Act"], Category::Actor, "actor"),
            (["EVALUATOR", "eval", "Evaluator", "EVAL"], Category::Evaluator, "evaluator"),
            (["MISC", "misc", "Misc", "mISC"], Category::Misc, "misc"),
        ] {
            for spelling in spellings {
                assert_eq!(Category::parse(spelling), Some(category), "{spelling}");
            }
            assert_eq!(category.split(), split);
        }
    }

    #[test]
    fn nothing_else_is_a_spelling() {
        for text in ["", "training", "trainers", " train", "trainer/", "evaluation", "TRA\u{130}NER", "a\u{0441}t"] {
            assert_eq!(Category::parse(text), None, "{text}");
        }
        assert_eq!(Category::default(), Category::Misc);
    }

    #[test]
    fn the_steps_rank_as_they_are_listed_and_names_count_exactly() {
        let ranks: Vec<_> = STEP_FIELDS.iter().map(|field| Role::of(field)).collect();
        assert_eq!(ranks, (0..5).map(Role::Step).collect::<Vec<_>>());
        assert_eq!(STEP_FIELDS, ["timesteps", "policy_version", "step", "global_step", "update"]);
        for name in ["category", "message", "telemetry"] {
            assert_eq!(Role::of(name), Role::Tag, "{name}");
        }
        for name in ["", "Step", "steps", "loss", "Telemetry", "event"] {
            assert_eq!(Role::of(name), Role::ByValue, "{name}");
        }
    }
}
