use super::*;

fn reply(status: u16, body: &str) -> Reply {
    Reply { status, retry_after: None, body: body.as_bytes().to_vec(), is_cut: false }
}

/// As MLflow writes it.
fn complaint_text(code: &str, message: &str) -> String {
    format!("{{\"error_code\": {code:?}, \"message\": {}}}", serde_json::to_string(message).unwrap())
}

fn refused(message: &str) -> Verdict<Part> {
    verdict(&reply(400, &complaint_text("INVALID_PARAMETER_VALUE", message)))
}

const NAME: &str = "Invalid value \"a@b\" for parameter 'metrics[17].name' supplied: Names may only contain …";

#[test]
fn the_table() {
    for (status, body, expected) in [
        (200, "{}", Verdict::Accepted),
        (200, " {\"run\": {}}\n", Verdict::Accepted),
        (200, "", Verdict::Stranger),
        (200, "<html>sign in</html>", Verdict::Stranger),
        (200, "[]", Verdict::Stranger),
        (200, "{} {}", Verdict::Stranger),
        (200, "{\"error_code\": \"INTERNAL_ERROR\"}", Verdict::Stranger),
        (201, "{}", Verdict::Stranger),
        (202, "{}", Verdict::Stranger),
        (204, "", Verdict::Stranger),
        (206, "{}", Verdict::Stranger),
        (301, "", Verdict::Redirected),
        (302, "{}", Verdict::Redirected),
        (304, "", Verdict::Redirected),
        (307, "", Verdict::Redirected),
        (308, "", Verdict::Redirected),
        (400, "", Verdict::Refused(None)),
        (400, "{\"message\": 3}", Verdict::Refused(None)),
        (401, "", Verdict::Forbidden),
        (402, "", Verdict::Stranger),
        (403, "Invalid Host header", Verdict::Forbidden),
        (404, "<html>Not Found</html>", Verdict::Stranger),
        (404, "{\"error_code\": \"ENDPOINT_NOT_FOUND\"}", Verdict::Stranger),
        (404, "{\"error_code\": \"RESOURCE_DOES_NOT_EXIST\"}", Verdict::Gone),
        (405, "", Verdict::Stranger),
        (407, "", Verdict::Forbidden),
        (408, "", Verdict::Busy),
        (409, "", Verdict::Busy),
        (410, "", Verdict::Stranger),
        (413, "", Verdict::TooLarge),
        (415, "", Verdict::Stranger),
        (422, "{}", Verdict::Refused(None)),
        (425, "", Verdict::Busy),
        (429, "", Verdict::Busy),
        (499, "", Verdict::Busy),
        (500, "<html>Internal Server Error</html>", Verdict::Failed),
        (501, "", Verdict::Busy),
        (502, "", Verdict::Busy),
        (503, "{\"error_code\": \"TEMPORARILY_UNAVAILABLE\"}", Verdict::Busy),
        (504, "", Verdict::Busy),
        (599, "", Verdict::Busy),
    ] {
        assert_eq!(verdict(&reply(status, body)), expected, "{status} {body}");
    }
}

#[test]
fn the_part_that_mlflow_names() {
    assert_eq!(refused(NAME), Verdict::Refused(Some(Part::Metric(17))));
    let missing = "Missing value for required parameter 'params[3].key'. See the API docs";
    assert_eq!(refused(missing), Verdict::Refused(Some(Part::Param(3))));
    assert_eq!(refused("bad tags[0]"), Verdict::Refused(Some(Part::Tag(0))));
    let echoed = "Invalid value \"metrics[5]\" for parameter 'metrics[2].name' supplied";
    assert_eq!(refused(echoed), Verdict::Refused(Some(Part::Metric(2))));
    for unnamed in
        ["metrics[]", "metrics[-1]", "metrics[1e3]", "metrics[99999999999999999999]", "metrics[", "metrics[+1]"]
    {
        assert_eq!(refused(unnamed), Verdict::Refused(None), "{unnamed}");
    }
}

#[test]
fn what_is_about_the_run_is_no_matter_of_one_metric() {
    for message in [
        "The run 251762c4 must be in the 'active' state. Current state is deleted.",
        "The experiment 7 must be in the 'active' state. Current state is deleted.",
        "Invalid value \"bad id\" for parameter 'run_id' supplied.",
        "Invalid experiment ID 'abc'. Experiment ID must be a valid integer.",
    ] {
        assert_eq!(refused(message), Verdict::Gone, "{message}");
    }
    let echoed =
        "Changing param values is not allowed. [{'key': 'p', 'old_value': \"The run must be in the 'active' state\"}]";
    assert_eq!(refused(echoed), Verdict::Refused(None));
}

#[test]
fn words_are_the_message_or_what_a_page_shows() {
    assert_eq!(words(&reply(400, &complaint_text("X", "no"))), "no");
    assert_eq!(words(&reply(500, "<title>500 Oops</title>")).trim(), "500 Oops");
    assert_eq!(words(&reply(403, "Invalid Host")), "Invalid Host");
    assert_eq!(words(&reply(502, "")), "");
}

#[test]
fn a_reply_that_was_cut_is_not_believed() {
    let cut = Reply { is_cut: true, ..reply(200, "{}") };
    assert_eq!(verdict(&cut), Verdict::Stranger);
}
