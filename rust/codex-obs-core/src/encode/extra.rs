//! The `extra` of a `tracking_summary.ndjson` line.

use serde_json::{Value, json};

/// The members that every record has, beside the record's own: what was probed, which the engine does not do, and totals.
///
/// Keys are in order of their text, as in every nested object of a line.
#[must_use]
pub fn extra(mut own: Value, totals: &Value) -> Vec<u8> {
    own["dependencies"] = json!({"nvml_available": null, "psutil_available": null});
    own["totals"] = totals.clone();
    own.to_string().into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dependencies_and_totals_stand_among_the_record_s_own_members() {
        let extra = extra(json!({"uri": "http://h", "cause": "full"}), &json!({"points": 3}));
        let expected = concat!(
            r#"{"cause":"full","dependencies":{"nvml_available":null,"psutil_available":null},"#,
            r#""totals":{"points":3},"uri":"http://h"}"#
        );
        assert_eq!(String::from_utf8(extra).unwrap(), expected);
    }
}
