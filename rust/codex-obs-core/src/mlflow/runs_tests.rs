//! The life of a remote run, its parameters, and what is refused of it.

use serde_json::{Value, json};

use super::fault_tests::{LONG, destination, points, wait};
use super::scripted::{Action, Request, Server, complaint, fine, reply};
use super::*;
use crate::deliver::destination::States;
use crate::deliver::rejected::require_place;
use crate::problem::Problem;
use crate::run::origin::Origin;

pub fn facts() -> RunFacts {
    RunFacts {
        run_id: "r1".to_owned(),
        name: "demo\n1".to_owned(),
        start_micros: 5_000_000,
        origin: Origin::default(),
        remote_run: None,
        may_create: true,
        is_live: true,
        sync_command: vec![("directory", "runs/x".to_owned()), ("uri", "U".to_owned())],
        states: States::default(),
    }
}

pub fn unprepared(server: &Server) -> (Mlflow, tempfile::TempDir) {
    let (mut mlflow, folder) = destination(&format!("http://{}", server.address()), &[], LONG);
    mlflow.run_id = None;
    (mlflow, folder)
}

pub fn run_reply(id: &str) -> String {
    json!({"run": {"info": {"run_id": id, "status": "RUNNING"}, "data": {}}}).to_string()
}

pub fn asked(server: &Server) -> Vec<(String, Value)> {
    let plain = |request: &Request| {
        let path = request.path().trim_start_matches("/api/2.0/mlflow/").to_owned();
        (path, if request.body.is_empty() { Value::Null } else { request.json() })
    };
    server.requests().iter().map(plain).collect()
}

pub fn paths(server: &Server) -> Vec<String> {
    asked(server).into_iter().map(|(path, _)| path).collect()
}

pub fn stopped(delivery: &Answer) -> &Problem {
    match delivery {
        Answer::Never { why } => why,
        other => panic!("{other:?}"),
    }
}

/// What a problem's remedy is about, beside the command that every remedy may need.
pub fn about(problem: &Problem) -> (&'static str, Vec<(&'static str, &str)>) {
    let facts = problem.facts.iter().map(|(name, value)| (*name, value.as_str()));
    let (command, others) = facts.partition::<Vec<_>, _>(|(name, _)| ["directory", "uri"].contains(name));
    assert_eq!(command, [("directory", "runs/x"), ("uri", "U")]);
    (problem.kind, others)
}

pub fn later(delivery: &Answer) -> &str {
    match delivery {
        Answer::Later { why, .. } => why,
        other => panic!("{other:?}"),
    }
}

/// A server without runs, which creates one.
pub fn empty_server() -> Server {
    Server::start(|_, request| match request.path().rsplit('/').next() {
        Some("create") => reply("200 OK", "", &run_reply("ab12")),
        _ => fine(),
    })
}

#[test]
fn a_run_is_searched_for_and_then_created() {
    let server = empty_server();
    let (mut mlflow, _folder) = unprepared(&server);
    assert_eq!(mlflow.remote_run(), None);
    assert_eq!(mlflow.prepare(&facts(), &wait()), Answer::TAKEN);
    assert_eq!(mlflow.remote_run(), Some("ab12"));
    let tag = json!([{"key": "codex_obs.run_id", "value": "r1"}]);
    assert_eq!(
        asked(&server),
        [
            (
                "runs/search".to_owned(),
                json!({
                    "experiment_ids": ["0"], "filter": "tags.`codex_obs.run_id` = 'r1'", "run_view_type": "ACTIVE_ONLY",
                    "max_results": 1,
                    "order_by": ["tags.`codex_obs.new_run` DESC", "attributes.start_time ASC"],
                })
            ),
            (
                "runs/create".to_owned(),
                json!({"experiment_id": "0", "run_name": "demo 1", "start_time": 5000, "tags": tag})
            ),
        ]
    );
}

#[test]
fn a_run_that_was_created_before_the_connection_broke_is_found_again() {
    let server = Server::start(|count, request| match (count, request.path().rsplit('/').next()) {
        (1, Some("create")) => Action::SayAndClose(Vec::new()),
        (0, Some("search")) => fine(),
        (_, Some("search")) => {
            let runs = json!({"runs": [{"info": {"run_id": "cd34"}, "data": {"metrics": [1, "NaN"]}}]});
            reply("200 OK", "", &runs.to_string())
        }
        _ => fine(),
    });
    let (mut mlflow, _folder) = unprepared(&server);
    later(&mlflow.prepare(&facts(), &wait()));
    assert_eq!(mlflow.prepare(&facts(), &wait()), Answer::TAKEN);
    assert_eq!(mlflow.remote_run(), Some("cd34"));
    assert_eq!(paths(&server), ["runs/search", "runs/create", "runs/search", "runs/update", "runs/log-batch"]);
}

#[test]
fn a_known_run_goes_on_and_bears_the_tag() {
    let server = Server::start(|_, _| fine());
    let (mut mlflow, _folder) = unprepared(&server);
    let known = RunFacts { remote_run: Some("ef56".to_owned()), ..facts() };
    assert_eq!(mlflow.prepare(&known, &wait()), Answer::TAKEN);
    let tag = json!([{"key": "codex_obs.run_id", "value": "r1"}]);
    let expected = [
        ("runs/get?run_id=ef56".to_owned(), Value::Null),
        ("runs/update".to_owned(), json!({"run_id": "ef56", "status": "RUNNING", "end_time": 0})),
        ("runs/log-batch".to_owned(), json!({"run_id": "ef56", "tags": tag})),
    ];
    assert_eq!(asked(&server), expected);

    // Nobody writes it, so its status stays.
    mlflow.settings.run_id = Some("given".to_owned());
    let dead = RunFacts { is_live: false, ..known };
    assert_eq!(mlflow.prepare(&dead, &wait()), Answer::TAKEN);
    assert_eq!(mlflow.remote_run(), Some("given"), "what is set wins over what run.json says");
    assert_eq!(paths(&server)[3..], ["runs/get?run_id=given", "runs/log-batch"]);
}

#[test]
fn the_run_of_another_log_is_neither_taken_over_nor_touched() {
    let data = json!({"tags": [{"key": "mlflow.user", "value": "x"}, {"key": "codex_obs.run_id", "value": "r9"}]});
    let body = json!({"run": {"info": {"run_id": "ef56"}, "data": data}}).to_string();
    let server = Server::start(move |_, _| reply("200 OK", "", &body));
    let (mut mlflow, _folder) = unprepared(&server);
    for (set, known) in [(Some("ef56"), None), (Some("ef56"), Some("ab12")), (None, Some("ef56"))] {
        mlflow.settings.run_id = set.map(str::to_owned);
        let facts = RunFacts { remote_run: known.map(str::to_owned), ..facts() };
        let delivery = mlflow.prepare(&facts, &wait());
        let why = stopped(&delivery);
        assert!(why.what.contains("ef56") && why.what.contains("\"r9\""), "{why}");
        assert_eq!(about(why), ("mlflow_run_of_another", vec![]));
        assert_eq!(mlflow.remote_run(), None);
    }
    assert_eq!(paths(&server), ["runs/get?run_id=ef56"; 3], "it is only looked at");
    // Its own log goes on there.
    let own = RunFacts { run_id: "r9".to_owned(), remote_run: Some("ef56".to_owned()), ..facts() };
    assert_eq!(mlflow.prepare(&own, &wait()), Answer::TAKEN);
    assert_eq!(mlflow.remote_run(), Some("ef56"));
}

#[test]
fn other_streams_wait_for_the_main_one() {
    let server = empty_server();
    let (mut mlflow, _folder) = unprepared(&server);
    let other = RunFacts { may_create: false, ..facts() };
    assert!(later(&mlflow.prepare(&other, &wait())).contains("main stream"));
    assert_eq!(mlflow.remote_run(), None);
    let known = RunFacts { remote_run: Some("ab12".to_owned()), ..other };
    assert_eq!(mlflow.prepare(&known, &wait()), Answer::TAKEN);
    assert_eq!(paths(&server), ["runs/search", "runs/get?run_id=ab12", "runs/log-batch"], "and leave its status to it");
}

#[test]
fn a_run_or_experiment_that_cannot_be_used_stops_with_the_remedy() {
    let gone = |status, code: &'static str, message: &'static str| {
        let server = Server::start(move |_, request| match request.path().rsplit('/').next() {
            Some("search") => fine(),
            _ => complaint(status, code, message),
        });
        let (mut mlflow, _folder) = unprepared(&server);
        mlflow.prepare(&facts(), &wait())
    };
    for (status, code, message) in [
        (404, "RESOURCE_DOES_NOT_EXIST", "No Experiment with id=999 exists"),
        (400, "INVALID_PARAMETER_VALUE", "Invalid experiment ID 'abc'. Experiment ID must be a valid integer."),
        (400, "INVALID_PARAMETER_VALUE", "The experiment 7 must be in the 'active' state. Current state is deleted."),
        (400, "BAD_REQUEST", "something new"),
    ] {
        let delivery = gone(status, code, message);
        let why = stopped(&delivery);
        assert!(why.what.contains(message.trim_end_matches('.')), "{why}");
        let is_deleted = message.contains("deleted");
        let kind = if is_deleted { "mlflow_experiment_deleted" } else { "mlflow_experiment" };
        let deleted = is_deleted.then_some(("deleted", "0"));
        assert_eq!(about(why), (kind, [("experiment_id", "0")].into_iter().chain(deleted).collect()));
    }
    let server = Server::start(|_, _| complaint(404, "RESOURCE_DOES_NOT_EXIST", "Run with id=x not found"));
    let (mut mlflow, _folder) = unprepared(&server);
    mlflow.settings.run_id = Some("x".to_owned());
    let delivery = mlflow.prepare(&facts(), &wait());
    let why = stopped(&delivery);
    assert!(why.what.contains("Run with id=x not found"), "{why}");
    assert_eq!(about(why), ("mlflow_run_unknown", vec![("run", "x")]));
    for nonsense in ["", "a b", "x&y", "../z", "ü"] {
        mlflow.settings.run_id = Some(nonsense.to_owned());
        let delivery = mlflow.prepare(&facts(), &wait());
        assert_eq!(about(stopped(&delivery)), ("mlflow_run_id", vec![]), "{nonsense}");
    }
    assert_eq!(server.requests().len(), 1);
}

#[test]
fn the_command_for_later_names_the_run_or_the_experiment_that_was_meant() {
    let (mut mlflow, _folder) = destination("http://u:canary@h:1/a;b&c", &[], LONG);
    let server = [("to", "mlflow"), ("uri", "http://h:1/a;b&c")];
    let with = |fact| server.into_iter().chain([fact]).map(|(name, value)| (name, value.to_owned())).collect::<Facts>();
    assert_eq!(mlflow.target_facts(), with(("experiment_id", "0")));
    mlflow.settings.experiment_id = "it's 5".to_owned();
    assert_eq!(mlflow.target_facts(), with(("experiment_id", "it's 5")));
    mlflow.settings.experiment_name = Some("a b".to_owned());
    assert_eq!(mlflow.target_facts(), with(("experiment_name", "a b")));
    mlflow.settings.run_id = Some("0f3c".to_owned());
    assert_eq!(mlflow.target_facts(), with(("run_id", "0f3c")));
}

#[test]
fn a_server_that_is_no_mlflow_names_no_run() {
    for body in ["{\"run\": {\"info\": {}}}", "{\"run\": {\"info\": {\"run_id\": \"../x\"}}}", "{\"run\": 3}"] {
        let server = Server::start(move |_, request| match request.path().rsplit('/').next() {
            Some("create") => reply("200 OK", "", body),
            _ => fine(),
        });
        let (mut mlflow, _folder) = unprepared(&server);
        assert!(later(&mlflow.prepare(&facts(), &wait())).contains("does not look like an MLflow server"), "{body}");
        assert_eq!(mlflow.remote_run(), None);
    }
}

#[test]
fn an_identifier_that_could_end_the_searchs_quotes_is_replaced_by_a_mark() {
    for hostile in ["it's", "a\"b", "a`b", "a\\b", "' OR tags.x != '", "ü", "", &"x".repeat(300)] {
        let value = runs::tag_value(hostile);
        assert!(value.starts_with("xxh3-") && value.len() == 21, "{hostile}");
    }
    assert_ne!(runs::tag_value("it's"), runs::tag_value("it\"s"));
    for plain in ["0b6a3f", "run-1_2.3:4/5 6+7@8"] {
        assert_eq!(runs::tag_value(plain), plain);
    }
}

#[test]
fn the_end_of_a_run_is_told() {
    let server = Server::start(|_, _| fine());
    let (mut mlflow, _folder) = destination(&format!("http://{}", server.address()), &[], LONG);
    for (status, word) in
        [(RunStatus::Finished, "FINISHED"), (RunStatus::Failed, "FAILED"), (RunStatus::Killed, "KILLED")]
    {
        assert_eq!(mlflow.finish(&Stream::main(), status, 9_999_999, &wait()), Answer::TAKEN);
        let (path, body) = asked(&server).pop().unwrap();
        assert_eq!(path, "runs/update");
        assert_eq!(body, json!({"run_id": "0123", "status": word, "end_time": 9999}));
    }
}

fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

#[test]
fn parameters_that_are_there_are_not_sent_and_changed_ones_are_reported() {
    let long = "x".repeat(6001);
    let old = "x".repeat(500);
    let data = json!({"params": [
        {"key": "same", "value": "1"}, {"key": "changed", "value": "1"}, {"key": "empty"}, {"key": "cut", "value": old},
    ]});
    let body = json!({"run": {"info": {"run_id": "0123"}, "data": data}}).to_string();
    let server = Server::start(
        move |_, request| if request.path().contains("runs/get") { reply("200 OK", "", &body) } else { fine() },
    );
    let (mut mlflow, _folder) = destination(&format!("http://{}", server.address()), &[], LONG);
    let own = pairs(&[
        ("same", "1"),
        ("changed", "2"),
        ("new", "3"),
        ("empty", ""),
        ("cut", &"x".repeat(700)),
        ("a@b", "4"),
        ("long", &long),
    ]);
    assert_eq!(mlflow.params(&Stream::main(), &own, &wait()), Answer::TAKEN);
    let (path, body) = asked(&server).pop().unwrap();
    assert_eq!(path, "runs/log-batch");
    let sent = json!([
        {"key": "new", "value": "3"},
        {"key": Names::new(&RULE).plain("a@b"), "value": "4"},
        {"key": "long", "value": "x".repeat(6000)},
    ]);
    assert_eq!(body, json!({"run_id": "0123", "params": sent}));
    let notices = mlflow.notices();
    assert_eq!(notices.len(), 3, "{notices:?}");
    assert!(notices.iter().any(|notice| notice.contains("\"changed\" is \"1\" in MLflow") && notice.contains("\"2\"")));
    assert!(mlflow.notices().is_empty());
}

#[test]
fn many_parameters_that_are_changed_or_cut_are_one_notice_each() {
    let stored: Vec<Value> = (0..500).map(|number| json!({"key": format!("p{number}"), "value": "old"})).collect();
    let body = json!({"run": {"info": {"run_id": "0123"}, "data": {"params": stored}}}).to_string();
    let server = Server::start(
        move |_, request| if request.path().contains("runs/get") { reply("200 OK", "", &body) } else { fine() },
    );
    let (mut mlflow, _folder) = destination(&format!("http://{}", server.address()), &[], LONG);
    let own: Vec<(String, String)> = (0..500)
        .map(|number| (format!("p{number}"), if number < 400 { "new".to_owned() } else { "x".repeat(7000) }))
        .collect();
    assert_eq!(mlflow.params(&Stream::main(), &own, &wait()), Answer::TAKEN);
    let notices = mlflow.notices();
    let [cut, changed] = &notices[..] else { panic!("{notices:?}") };
    assert!(cut.ends_with("\"p400\", \"p401\", \"p402\", and 97 others"), "{cut}");
    assert!(changed.contains("\"p2\" is \"old\" in MLflow and \"new\" in the log, and 497 others"), "{changed}");
}

#[test]
fn parameters_go_a_hundred_at_a_time_and_refused_ones_are_kept() {
    let server = Server::start(|_, request| {
        if request.path().contains("runs/get") {
            return fine();
        }
        let sent = request.json()["params"].as_array().unwrap().len();
        assert!(sent <= 100);
        match request.json()["params"].as_array().unwrap().iter().position(|param| param["key"] == "p150") {
            Some(index) => complaint(400, "INVALID_PARAMETER_VALUE", &format!("no 'params[{index}].key' here")),
            None => fine(),
        }
    });
    let (mut mlflow, folder) = destination(&format!("http://{}", server.address()), &[], LONG);
    let own: Vec<(String, String)> = (0..250).map(|number| (format!("p{number}"), "v".to_owned())).collect();
    assert_eq!(mlflow.params(&Stream::main(), &own, &wait()), Answer::Taken { rejected: 1 });
    assert_eq!(server.requests().len(), 1 + 3 + 1);
    let kept: Value =
        serde_json::from_slice(&std::fs::read(folder.path().join("export_rejected.ndjson")).unwrap()).unwrap();
    assert_eq!((&kept["kind"], &kept["name"], &kept["value"]), (&json!("param"), &json!("p150"), &json!("v")));
}

#[test]
fn tags_are_sent_as_often_as_they_are_given() {
    let server = Server::start(|_, _| fine());
    let (mut mlflow, _folder) = destination(&format!("http://{}", server.address()), &[], LONG);
    for _ in 0..2 {
        assert_eq!(mlflow.tags(&Stream::main(), &pairs(&[("team", "x")]), &wait()), Answer::TAKEN);
        let tags = json!([{"key": "team", "value": "x"}]);
        assert_eq!(asked(&server).pop().unwrap().1, json!({"run_id": "0123", "tags": tags}));
    }
    assert_eq!(mlflow.tags(&Stream::main(), &[], &wait()), Answer::TAKEN);
    assert_eq!(server.requests().len(), 2, "nothing is not sent");
}

/// How a server refuses the metric at an index.
type Manner = fn(usize) -> Action;

/// A server that refuses `train/m7`.
fn poisoned(manner: Manner) -> Server {
    Server::start(move |_, request| {
        let Value::Array(metrics) = request.json()["metrics"].take() else { return fine() };
        match metrics.iter().position(|metric| metric["key"] == "train/m7") {
            Some(index) => manner(index),
            None => fine(),
        }
    })
}

#[test]
fn one_refused_metric_is_kept_with_the_servers_words_and_the_rest_arrives() {
    let manners: [(Manner, usize, &str); 4] = [
        (
            |i| complaint(400, "INVALID_PARAMETER_VALUE", &format!("Invalid value for parameter 'metrics[{i}].name'")),
            2,
            "Invalid",
        ),
        (|_| complaint(400, "INVALID_PARAMETER_VALUE", "no idea which"), 10, "no idea which"),
        (|_| reply("422 Unprocessable", "", "what?"), 10, "what?"),
        (|_| reply("413 Too Large", "", "big"), 24, "big"),
    ];
    for (manner, most, words) in manners {
        let server = poisoned(manner);
        let (mut mlflow, folder) = destination(&format!("http://{}", server.address()), &[], LONG);
        assert_eq!(mlflow.deliver(&Stream::main(), &points(20), &wait()), Answer::Taken { rejected: 1 }, "{words}");
        assert!(server.requests().len() <= most, "{words}: {}", server.requests().len());
        let text = std::fs::read_to_string(folder.path().join("export_rejected.ndjson")).unwrap();
        let kept: Value = serde_json::from_str(&text).unwrap();
        assert!(kept["reason"].as_str().unwrap().contains(words), "{text}");
        assert_eq!(
            (&kept["metric"], &kept["remote_run"], &kept["run_id"]),
            (&json!("m7"), &json!("0123"), &json!("r1"))
        );
        assert_eq!(mlflow.deliver(&Stream::main(), &points(5), &wait()), Answer::TAKEN, "the next batch goes on");
    }
}

#[test]
fn a_failure_for_one_metric_only_is_that_metrics_after_a_pause() {
    let server = poisoned(|_| reply("500 Oops", "", "<h1>Oops</h1>"));
    let (mut mlflow, folder) = destination(&format!("http://{}", server.address()), &[], LONG);
    assert_eq!(mlflow.deliver(&Stream::main(), &points(5), &wait()), Answer::TAKEN);
    let before = server.requests().len();
    let all = points(20);
    later(&mlflow.deliver(&Stream::main(), &all, &wait()));
    assert_eq!(mlflow.deliver(&Stream::main(), &all, &wait()), Answer::Taken { rejected: 1 });
    let more = server.requests().len() - before - 1;
    assert!(more <= 20, "{more} requests more");
    assert!(
        std::fs::read_to_string(folder.path().join("export_rejected.ndjson")).unwrap().contains("\"metric\":\"m7\"")
    );
}

#[test]
fn what_was_done_of_a_batch_is_not_done_again() {
    // Down in the middle of looking for the bad one.
    let server = Server::start(|count, request| {
        if count == 4 {
            return reply("503 Busy", "Retry-After: 1\r\n", "");
        }
        let Value::Array(metrics) = request.json()["metrics"].take() else { return fine() };
        let is_bad = metrics.iter().any(|metric| metric["key"] == "train/m7");
        if is_bad { complaint(400, "X", "no idea which") } else { fine() }
    });
    let (mut mlflow, folder) = destination(&format!("http://{}", server.address()), &[], LONG);
    let all = points(20);
    later(&mlflow.deliver(&Stream::main(), &all, &wait()));
    assert_eq!(mlflow.deliver(&Stream::main(), &all, &wait()), Answer::Taken { rejected: 1 });
    assert!(server.requests().len() <= 13, "{}", server.requests().len());
    assert_eq!(std::fs::read_to_string(folder.path().join("export_rejected.ndjson")).unwrap().lines().count(), 1);
}

#[test]
fn what_is_planted_in_the_place_of_the_refusals_is_not_written_through() {
    let folder = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink("/etc/hostname", folder.path().join("export_rejected.ndjson")).unwrap();
    let settings = MlflowSettings::new("http://127.0.0.1:9", &|_| None).unwrap();
    let place = RunFolder { directory: folder.path(), file_mode: 0o600 };
    assert!(require_place(folder.path(), &Stream::main()).unwrap_err().to_string().contains("symbolic link"));
    let started =
        Mlflow::new(&settings, &place).unwrap().open(&Stream::main(), &Noted { cursor: None, state: None, told: None });
    let Start::Not(Answer::Never { why }) = started else { panic!("{started:?}") };
    assert!(why.what.contains("symbolic link"), "{why}");
}
