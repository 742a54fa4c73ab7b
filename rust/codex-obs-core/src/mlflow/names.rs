//! Names that MLflow takes: letters and digits of any script, `_ / . - space :`, at most 250 characters, a normal path.

use unicode_properties::{GeneralCategoryGroup, UnicodeGeneralCategory};

use crate::deliver::names::{MARK_CHARACTERS, NameRule};

/// What MLflow takes.
pub static RULE: NameRule = NameRule {
    destination: "MLflow",
    words: "letters, digits and `_/.- :`, at most 250 characters, and no empty or dotted part between slashes",
    is_valid,
    make_valid: made_valid,
};
/// Most characters of a name.
const MOST_CHARACTERS: usize = 250;

/// Whether MLflow takes the name as it is.
fn is_valid(name: &str) -> bool {
    let characters = name.chars().all(|character| character == '/' || is_allowed(character));
    let parts = name.split('/').all(|part| !matches!(part, "" | "." | ".."));
    characters && parts && !name.starts_with("..") && name.chars().count() <= MOST_CHARACTERS
}

fn is_allowed(character: char) -> bool {
    if character.is_ascii() {
        return character.is_ascii_alphanumeric() || matches!(character, '_' | '.' | '-' | ' ' | ':');
    }
    // Python's `\w`, by which MLflow judges, has no combining marks.
    matches!(character.general_category_group(), GeneralCategoryGroup::Letter | GeneralCategoryGroup::Number)
}

/// The name with `_` for what is not allowed, short enough for a mark to follow.
fn made_valid(name: &str) -> String {
    let mut valid = String::with_capacity(name.len());
    for (index, part) in name.split('/').enumerate() {
        if index > 0 {
            valid.push('/');
        }
        match part {
            "" | "." | ".." => valid.push('_'),
            part if index == 0 && part.starts_with("..") => {
                valid.push('_');
                valid.extend(part.chars().skip(1).map(|character| if is_allowed(character) { character } else { '_' }));
            }
            part => valid.extend(part.chars().map(|character| if is_allowed(character) { character } else { '_' })),
        }
    }
    match valid.char_indices().nth(MOST_CHARACTERS - MARK_CHARACTERS) {
        // A part that is cut to one or two dots is no path step any more once the mark stands behind it.
        Some((end, _)) => valid[..end].to_owned(),
        None => valid,
    }
}

#[cfg(test)]
#[path = "names_tests.rs"]
mod tests;
