//! Which remote run and which experiment are taken, and what is said where they are gone.

use serde_json::{Value, json};

use super::fault_tests::wait;
use super::runs_tests::{about, asked, empty_server, facts, later, paths, run_reply, stopped, unprepared};
use super::scripted::{Action, Server, complaint, fine, reply};
use super::*;

const MARK: &str = "2026-11-21T18:00:00.000000Z";

fn known() -> RunFacts {
    RunFacts { remote_run: Some("ef56".to_owned()), ..facts() }
}

#[test]
fn a_new_run_is_created_whatever_there_is() {
    let server = empty_server();
    let (mut mlflow, _folder) = unprepared(&server);
    mlflow.settings.new_run = Some(MARK.to_owned());
    mlflow.settings.run_id = Some("set".to_owned());
    assert!(mlflow.makes_new_run());
    assert_eq!(mlflow.prepare(&known(), &wait()), Answer::TAKEN);
    assert_eq!(mlflow.remote_run(), Some("ab12"));
    let [(first, search), (second, create)] = &asked(&server)[..] else { panic!("{:?}", paths(&server)) };
    assert_eq!((first.as_str(), second.as_str()), ("runs/search", "runs/create"));
    let filter = format!("tags.`codex_obs.run_id` = 'r1' and tags.`codex_obs.new_run` = '{MARK}'");
    assert_eq!(search["filter"], filter);
    let tags = json!([{"key": "codex_obs.run_id", "value": "r1"}, {"key": "codex_obs.new_run", "value": MARK}]);
    assert_eq!(create["tags"], tags);
}

#[test]
fn a_new_run_is_created_once_though_its_answer_got_lost() {
    let server = Server::start(|count, request| match (count, request.path().rsplit('/').next()) {
        (1, Some("create")) => Action::SayAndClose(Vec::new()),
        (2, Some("search")) => {
            reply("200 OK", "", &json!({"runs": [{"info": {"run_id": "cd34"}, "data": {}}]}).to_string())
        }
        _ => fine(),
    });
    let (mut mlflow, _folder) = unprepared(&server);
    mlflow.settings.new_run = Some(MARK.to_owned());
    later(&mlflow.prepare(&known(), &wait()));
    assert_eq!(mlflow.prepare(&known(), &wait()), Answer::TAKEN);
    assert_eq!(mlflow.remote_run(), Some("cd34"));
}

#[test]
fn other_streams_wait_for_the_new_run_and_leave_the_old_one_alone() {
    let server = empty_server();
    let (mut mlflow, _folder) = unprepared(&server);
    mlflow.settings.new_run = Some(MARK.to_owned());
    let other = RunFacts { may_create: false, ..known() };
    assert!(later(&mlflow.prepare(&other, &wait())).contains("main stream"));
    assert_eq!(paths(&server), ["runs/search"]);
}

#[test]
fn a_run_that_is_gone_stops_with_what_can_be_done() {
    let gone = |status, code: &'static str, message: &'static str| {
        let server = Server::start(move |_, _| complaint(status, code, message));
        let (mut mlflow, _folder) = unprepared(&server);
        let delivery = mlflow.prepare(&known(), &wait());
        stopped(&delivery).clone()
    };
    let deleted = "The run ef56 must be in the 'active' state. Current state is deleted.";
    let why = gone(400, "INVALID_PARAMETER_VALUE", deleted);
    assert!(why.what.ends_with(deleted.trim_end_matches('.')), "{why}");
    let run = || vec![("run", "ef56")];
    assert_eq!(about(&why), ("mlflow_run_deleted", run()));
    let why = gone(404, "RESOURCE_DOES_NOT_EXIST", "Run with id=ef56 not found");
    assert_eq!(about(&why), ("mlflow_run_unknown", run()));
    let why = gone(400, "INVALID_PARAMETER_VALUE", "something new");
    assert_eq!(about(&why), ("mlflow_run_refused", run()));
}

/// A server that knows these experiments by name.
fn with_experiments(known: &'static [(&'static str, &'static str)]) -> Server {
    Server::start(move |_, request| {
        let (method, query) = request.path().split_once('?').unwrap_or((request.path(), ""));
        match method.trim_start_matches("/api/2.0/mlflow/") {
            "experiments/get-by-name" => {
                match known.iter().find(|(name, _)| query == format!("experiment_name={name}")) {
                    Some((_, id)) => reply("200 OK", "", &json!({"experiment": {"experiment_id": id}}).to_string()),
                    None => complaint(404, "RESOURCE_DOES_NOT_EXIST", "Could not find experiment"),
                }
            }
            "experiments/create" => reply("200 OK", "", &json!({"experiment_id": "77"}).to_string()),
            "runs/create" => reply("200 OK", "", &run_reply("ab12")),
            _ => fine(),
        }
    })
}

fn created_in(server: &Server) -> Value {
    let (_, mut body) = asked(server).into_iter().find(|(path, _)| path == "runs/create").unwrap();
    body["experiment_id"].take()
}

#[test]
fn an_experiment_is_found_by_its_name_and_created_once_if_there_is_none() {
    let server = with_experiments(&[("a%20b%2Fgr%C3%B6%C3%9Fe", "12")]);
    let (mut mlflow, _folder) = unprepared(&server);
    mlflow.settings.experiment_name = Some("a b/größe".to_owned());
    assert_eq!(mlflow.prepare(&facts(), &wait()), Answer::TAKEN);
    assert_eq!(created_in(&server), "12");
    assert_eq!(paths(&server).len(), 3);

    let server = with_experiments(&[]);
    let (mut mlflow, _folder) = unprepared(&server);
    mlflow.settings.experiment_name = Some("new".to_owned());
    assert_eq!(mlflow.prepare(&facts(), &wait()), Answer::TAKEN);
    assert_eq!(created_in(&server), "77");
    let body = asked(&server).into_iter().find(|(path, _)| path == "experiments/create").unwrap().1;
    assert_eq!(body, json!({"name": "new"}));
    assert_eq!(paths(&server).iter().filter(|path| path.starts_with("experiments/")).count(), 2);
}

#[test]
fn an_experiment_that_another_program_creates_meanwhile_is_taken() {
    let server = Server::start(|count, request| match (count, request.path().rsplit('/').next()) {
        (0, _) => complaint(404, "RESOURCE_DOES_NOT_EXIST", "Could not find experiment"),
        (1, _) => complaint(400, "RESOURCE_ALREADY_EXISTS", "Experiment(name=new) already exists."),
        (2, _) => reply("200 OK", "", &json!({"experiment": {"experiment_id": "5"}}).to_string()),
        (_, Some("create")) => reply("200 OK", "", &run_reply("ab12")),
        _ => fine(),
    });
    let (mut mlflow, _folder) = unprepared(&server);
    mlflow.settings.experiment_name = Some("new".to_owned());
    assert_eq!(mlflow.prepare(&facts(), &wait()), Answer::TAKEN);
    assert_eq!(created_in(&server), "5");
}

#[test]
fn only_the_main_stream_creates_an_experiment() {
    let server = with_experiments(&[]);
    let (mut mlflow, _folder) = unprepared(&server);
    mlflow.settings.experiment_name = Some("new".to_owned());
    let other = RunFacts { may_create: false, ..facts() };
    assert!(later(&mlflow.prepare(&other, &wait())).contains("main stream"));
    assert_eq!(paths(&server), ["experiments/get-by-name?experiment_name=new"]);
}

#[test]
fn an_identifier_that_contradicts_the_name_is_an_error_as_in_mlflow() {
    let server = with_experiments(&[("demo", "12")]);
    let (mut mlflow, _folder) = unprepared(&server);
    mlflow.settings.experiment_name = Some("demo".to_owned());
    mlflow.settings.experiment_id = "3".to_owned();
    let delivery = mlflow.prepare(&facts(), &wait());
    let why = stopped(&delivery);
    let words = ["named as 3 (MLFLOW_EXPERIMENT_ID)", "\"demo\"", "which is 12"];
    assert!(words.iter().all(|words| why.what.contains(words)), "{why}");
    assert_eq!(about(why), ("mlflow_experiment_twice", vec![("experiment_id", "12")]));
    assert_eq!(paths(&server).len(), 1);
}

#[test]
fn an_experiment_that_is_deleted_is_named_for_the_command_that_restores_it() {
    let message = "The experiment 12 must be in the 'active' state. Current state is deleted.";
    let server = Server::start(move |_, request| match request.path().split('?').next().unwrap().rsplit('/').next() {
        Some("get-by-name") => reply("200 OK", "", &json!({"experiment": {"experiment_id": "12"}}).to_string()),
        Some("create") => complaint(400, "INVALID_PARAMETER_VALUE", message),
        _ => fine(),
    });
    let (mut mlflow, _folder) = unprepared(&server);
    mlflow.settings.experiment_name = Some("demo".to_owned());
    let delivery = mlflow.prepare(&facts(), &wait());
    let kind = "mlflow_experiment_deleted";
    assert_eq!(about(stopped(&delivery)), (kind, vec![("experiment_name", "demo"), ("deleted", "12")]));

    // As long as the new run that was asked for is not made, its command has to be the same again.
    mlflow.settings.new_run = Some("mark".to_owned());
    let delivery = mlflow.prepare(&facts(), &wait());
    let named = [("experiment_name", "demo"), ("new_run", "yes"), ("deleted", "12")];
    assert_eq!(about(stopped(&delivery)), (kind, named.to_vec()));
}
