//! Every way in which a server or the way to it fails, and the verdict on each.

use std::net::TcpListener;
use std::time::Duration;

use super::scripted::{Action, Door, Request, Server, complaint, fine, reply};
use super::*;
use crate::clock::Clock;
use crate::deliver::destination::Answer;
use crate::follow::point::Value;
use crate::primitives::Instant;

pub(super) const LONG: Duration = Duration::from_mins(1);

/// A destination for `uri` whose run is known, and the folder that it writes to.
pub(super) fn destination(uri: &str, variables: &[(&str, &str)], timeout: Duration) -> (Mlflow, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let variable = |name: &str| variables.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned());
    let mut settings = MlflowSettings::new(uri, &variable).unwrap();
    settings.limits.timeout = timeout;
    let place = RunFolder { directory: folder.path(), file_mode: 0o600 };
    let mut mlflow = Mlflow::new(&settings, &place).unwrap();
    mlflow.run_id = Some("0123".to_owned());
    "r1".clone_into(&mut mlflow.tag);
    mlflow.lane(&Stream::main()).unwrap().rejected.set_run("r1");
    (mlflow, folder)
}

pub(super) fn points(count: usize) -> Vec<Point> {
    (0..count)
        .map(|index| Point {
            stream_prefix: "".into(),
            split: "train".into(),
            metric: format!("m{index}").into(),
            value: Value::Number(0.5),
            timestamp_micros: 1_000_000,
            step: 3,
            dataset: None,
            tags: None,
            begins_group: false,
        })
        .collect()
}

pub(super) fn wait() -> Wait {
    let wait = Wait::default();
    // A deadline, so that a test which hangs is told so.
    wait.close(Some(Instant::now() + LONG));
    wait
}

/// What is expected of the first delivery.
#[derive(Debug)]
enum Expected {
    Done,
    /// A pause within these seconds, and words.
    Later(f64, f64, &'static str),
    Stopped(&'static str),
}

fn check(name: &str, delivery: &Answer, expected: &Expected) {
    match (delivery, expected) {
        (Answer::Taken { rejected: 0 }, Expected::Done) => {}
        (Answer::Later { pause, why }, Expected::Later(least, most, words)) => {
            assert!(why.contains(words), "{name}: {why}");
            assert!((*least..=*most).contains(&pause.as_secs_f64()), "{name}: {pause:?}");
        }
        (Answer::Never { why }, Expected::Stopped(words)) => assert_eq!(why.kind, *words, "{name}: {why}"),
        _ => panic!("{name}: {delivery:?} instead of {expected:?}"),
    }
}

/// Lets a server do `action` with every request, and then recover.
fn fault(name: &str, action: &Action, timeout: Duration, expected: &Expected, requests: usize) {
    let broken = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(true));
    let flag = std::sync::Arc::clone(&broken);
    let action = action.clone();
    let server = Server::start(
        move |_, _| {
            if flag.load(std::sync::atomic::Ordering::Relaxed) { action.clone() } else { fine() }
        },
    );
    let (mut mlflow, _folder) = destination(&format!("http://{}", server.address()), &[], timeout);
    let points = points(2);
    check(name, &mlflow.deliver(&Stream::main(), &points, &wait()), expected);
    let seen = server.requests();
    assert_eq!(seen.len(), requests, "{name}");
    let bodies: std::collections::HashSet<&Vec<u8>> = seen.iter().map(|request| &request.body).collect();
    assert_eq!(bodies.len(), 1, "{name}: a retry sends the identical bytes");
    if matches!(expected, Expected::Later(..)) {
        broken.store(false, std::sync::atomic::Ordering::Relaxed);
        mlflow.settings.limits.timeout = LONG;
        mlflow.link = mlflow.settings.holder.link(LONG, Clock::System).unwrap();
        check(name, &mlflow.deliver(&Stream::main(), &points, &wait()), &Expected::Done);
        assert_eq!(server.requests().last().unwrap().body, seen[0].body, "{name}");
    }
}

fn raw(text: &str) -> Action {
    Action::SayAndClose(text.as_bytes().to_vec())
}

const SOON: f64 = 1.0;

#[test]
fn what_passes_is_tried_three_times_and_then_later() {
    for (name, action, words) in [
        ("408", reply("408 Request Timeout", "", ""), "status 408"),
        ("409", complaint(409, "RESOURCE_CONFLICT", "conflict"), "conflict"),
        ("425", reply("425 Too Early", "", ""), "status 425"),
        ("429 without a time", reply("429 Too Many", "", ""), "status 429"),
        ("429 with nonsense", reply("429 Too Many", "Retry-After: soon\r\n", ""), "status 429"),
        ("502", reply("502 Bad Gateway", "", "<html><h1>Bad Gateway</h1></html>"), "Bad Gateway"),
        ("503", complaint(503, "TEMPORARILY_UNAVAILABLE", "database is locked"), "database is locked"),
        ("504", reply("504 Gateway Timeout", "", ""), "status 504"),
        ("closed before a word", raw(""), "is unreachable"),
        ("cut in the headers", raw("HTTP/1.1 200 OK\r\nContent-Le"), "is unreachable"),
        ("cut in the body", raw("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{"), "is unreachable"),
        ("no HTTP", raw("SSH-2.0-OpenSSH_9.2\r\n"), "is unreachable"),
        ("bad chunks", raw("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n"), "is unreachable"),
        ("cut chunks", raw("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n"), "is unreachable"),
        ("two lengths", raw("HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n{}"), "is unreachable"),
    ] {
        fault(name, &action, LONG, &Expected::Later(0.5 * SOON, SOON, words), 3);
    }
}

#[test]
fn a_server_that_says_when_is_not_asked_before() {
    let date = httpdate::fmt_http_date(std::time::SystemTime::now() + Duration::from_secs(100));
    for (value, least, most) in
        [("7", 7.0, 7.0), ("0", 0.5, 1.0), ("100000", 300.0, 300.0), (date.as_str(), 60.0, 100.0)]
    {
        let action = reply("429 Too Many", &format!("Retry-After: {value}\r\n"), "");
        fault(value, &action, LONG, &Expected::Later(least, most, "status 429"), 1);
    }
    let action = reply("503 Busy", "Retry-After: 9\r\n", "");
    fault("503", &action, LONG, &Expected::Later(9.0, 9.0, "status 503"), 1);
}

#[test]
fn what_only_a_person_can_help_is_tried_slowly() {
    for (name, action, words) in [
        ("200 HTML", reply("200 OK", "", "<html>sign in</html>"), "does not look like an MLflow server"),
        ("200 empty", reply("200 OK", "", ""), "does not look like an MLflow server"),
        ("200 gzip", reply("200 OK", "Content-Encoding: gzip\r\n", "\u{1f}x"), "does not look like an MLflow server"),
        ("204", raw("HTTP/1.1 204 No Content\r\n\r\n"), "status 204"),
        (
            "301",
            reply("301 Moved", "Location: http://127.0.0.1:9/\r\n", ""),
            "redirect (status 301), which is not followed",
        ),
        ("303", reply("303 See Other", "Location: /elsewhere\r\n", ""), "which is not followed"),
        ("307", reply("307 Temporary", "Location: https://example.org/\r\n", "{}"), "which is not followed"),
        ("308", reply("308 Permanent", "Location: /x\r\n", ""), "which is not followed"),
        ("302 without a place", reply("302 Found", "", ""), "which is not followed"),
        ("401", reply("401 Unauthorized", "WWW-Authenticate: Basic\r\n", "who?"), "MLFLOW_TRACKING_TOKEN"),
        ("403", reply("403 Forbidden", "", "Invalid Host header"), "Invalid Host header"),
        ("407", reply("407 Proxy", "", ""), "status 407"),
        ("404 HTML", reply("404 Not Found", "", "<h1>Not Found</h1>"), "does not look like an MLflow server"),
        ("405", reply("405 Method", "", ""), "does not look like an MLflow server"),
        ("451", reply("451 Legal", "", ""), "status 451"),
    ] {
        fault(name, &action, LONG, &Expected::Later(15.0, 30.0, words), 1);
    }
}

#[test]
fn a_reply_without_end_is_cut() {
    let head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
    let chunk = format!("8000\r\n{}\r\n", " ".repeat(0x8000)).into_bytes();
    let expected = Expected::Later(15.0, 30.0, "does not look like an MLflow server");
    fault("endless body", &Action::Flood(head, chunk), LONG, &expected, 1);
    let endless = Action::Flood(b"HTTP/1.1 200 OK\r\n".to_vec(), b"X-Filler: 0123456789\r\n".to_vec());
    fault("endless headers", &endless, LONG, &Expected::Later(0.5, 1.0, "is unreachable"), 3);
    let continued = Action::Flood(Vec::new(), b"HTTP/1.1 100 Continue\r\n\r\n".to_vec());
    fault("100 for ever", &continued, LONG, &Expected::Later(0.5, 1.0, "is unreachable"), 3);
    let huge = Action::SayAndClose(b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n{}".to_vec());
    fault("huge length", &huge, LONG, &Expected::Later(0.5, 1.0, "is unreachable"), 3);
}

#[test]
fn a_server_that_does_not_answer_in_time_is_left() {
    let short = Duration::from_millis(150);
    let expected = || Expected::Later(0.5, 1.0, "did not answer within 0.15 s");
    fault("blackhole", &Action::Hold, short, &expected(), 3);
    fault("slow headers", &Action::Drip(b"HTTP/1.1 200 OK\r\nX: y".to_vec()), short, &expected(), 3);
    let head = b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n{ ".to_vec();
    fault("slow body", &Action::Drip(head), short, &expected(), 3);
    let hints = Action::Drip(b"HTTP/1.1 103 Early Hints\r\nX: y".to_vec());
    fault("slow hints", &hints, short, &expected(), 3);
}

#[test]
fn informational_replies_are_passed_over() {
    for head in ["HTTP/1.1 100 Continue\r\n\r\n", "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"] {
        let action = Action::Say(format!("{head}HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{{}}").into_bytes());
        fault(head, &action, LONG, &Expected::Done, 1);
    }
}

#[test]
fn a_run_that_is_gone_stops_the_export_with_the_remedy() {
    let unknown = complaint(404, "RESOURCE_DOES_NOT_EXIST", "Run with id=0123 not found");
    fault("unknown", &unknown, LONG, &Expected::Stopped("mlflow_run_unknown"), 1);
    let message = "The run 0123 must be in the 'active' state. Current state is deleted.";
    let deleted = complaint(400, "INVALID_PARAMETER_VALUE", message);
    fault("deleted", &deleted, LONG, &Expected::Stopped("mlflow_run_deleted"), 1);
}

#[test]
fn a_door_that_nobody_opens() {
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let (mut mlflow, _folder) = destination(&format!("http://{address}"), &[], LONG);
    check(
        "refused",
        &mlflow.deliver(&Stream::main(), &points(2), &wait()),
        &Expected::Later(0.5, 1.0, "is unreachable"),
    );
    for failures in [2.0, 4.0, 8.0, 16.0, 30.0, 30.0] {
        let expected = Expected::Later(failures / 2.0, failures, "is unreachable");
        check("refused again", &mlflow.deliver(&Stream::main(), &points(2), &wait()), &expected);
    }
    let (mut mlflow, _folder) = destination("http://no-such-host.invalid", &[], LONG);
    check(
        "no such host",
        &mlflow.deliver(&Stream::main(), &points(2), &wait()),
        &Expected::Later(0.5, 1.0, "is unreachable"),
    );
}

#[test]
fn a_connection_that_is_reset_at_any_byte() {
    for bytes in [0, 1, 40, 200, 300] {
        let door = Door { reset_after: Some(bytes), ..Door::default() };
        let server = Server::start_behind(&door, |_, _| fine());
        let (mut mlflow, _folder) = destination(&format!("http://{}", server.address()), &[], LONG);
        let expected = Expected::Later(0.5, 1.0, "is unreachable");
        check(&format!("reset after {bytes}"), &mlflow.deliver(&Stream::main(), &points(9), &wait()), &expected);
    }
}

#[test]
fn what_was_stored_before_the_connection_broke_is_sent_again_as_it_was() {
    let server = Server::start(|count, _| if count == 0 { raw("") } else { fine() });
    let (mut mlflow, _folder) = destination(&format!("http://{}", server.address()), &[], LONG);
    assert_eq!(mlflow.deliver(&Stream::main(), &points(3), &wait()), Answer::TAKEN);
    let seen = server.requests();
    assert_eq!(seen.len(), 2);
    assert_eq!(seen[0].body, seen[1].body);
}

#[test]
fn a_connection_that_is_closed_after_each_reply_is_opened_again() {
    let server = Server::start(|_, _| raw("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"));
    let (mut mlflow, _folder) = destination(&format!("http://{}", server.address()), &[], LONG);
    for _ in 0..3 {
        assert_eq!(mlflow.deliver(&Stream::main(), &points(1), &wait()), Answer::TAKEN);
    }
}

#[test]
fn a_failure_once_is_a_failure_never() {
    let server = Server::start(|count, _| if count == 0 { reply("500 Oops", "", "") } else { fine() });
    let (mut mlflow, _folder) = destination(&format!("http://{}", server.address()), &[], LONG);
    assert_eq!(mlflow.deliver(&Stream::main(), &points(3), &wait()), Answer::TAKEN);
}

#[test]
fn a_failure_for_ever_is_no_metrics_fault() {
    let server = Server::start(|_, _| reply("500 Oops", "", "<h1>Oops</h1>"));
    let (mut mlflow, folder) = destination(&format!("http://{}", server.address()), &[], LONG);
    for _ in 0..6 {
        let delivery = mlflow.deliver(&Stream::main(), &points(3), &wait());
        check("500", &delivery, &Expected::Later(0.5, 30.0, "status 500: Oops"));
    }
    assert!(!folder.path().join("export_rejected.ndjson").exists());
}

#[test]
fn requests_share_a_connection_and_say_who_they_are() {
    let server = Server::start(|_, _| fine());
    let uri = format!("http://user:canary@{}/base/", server.address());
    let (mut mlflow, _folder) = destination(&uri, &[], LONG);
    for _ in 0..3 {
        assert_eq!(mlflow.deliver(&Stream::main(), &points(1), &wait()), Answer::TAKEN);
    }
    let seen = server.requests();
    let connections: Vec<usize> = seen.iter().map(|request: &Request| request.connection).collect();
    assert_eq!(connections, [0, 0, 0]);
    assert_eq!(seen[0].path(), "/base/api/2.0/mlflow/runs/log-batch");
    assert_eq!(seen[0].header("authorization"), Some("Basic dXNlcjpjYW5hcnk="));
    assert_eq!(seen[0].header("content-type"), Some("application/json"));
    assert_eq!(seen[0].header("accept-encoding"), Some("identity"));
    assert_eq!(seen[0].header("user-agent"), Some(concat!("codex-obs/", env!("CARGO_PKG_VERSION"))));
    assert_eq!(mlflow.address(), format!("mlflow http://{}/base", server.address()));
    assert!(!format!("{mlflow:?}").contains("canary"));
}

#[test]
fn a_close_bounds_a_request() {
    let server = Server::start(|_, _| Action::Hold);
    let (mut mlflow, _folder) = destination(&format!("http://{}", server.address()), &[], LONG);
    let wait = Wait::default();
    wait.close(Some(Instant::now() + Duration::from_millis(200)));
    check("closing", &mlflow.deliver(&Stream::main(), &points(1), &wait), &Expected::Later(0.0, 1.0, ""));
    assert!(wait.is_over(), "it took as long as there was time, and not a minute");
}

#[test]
fn a_secret_that_the_server_repeats_stays_secret() {
    let server = Server::start(|_, request| {
        let echo = request.header("authorization").unwrap_or_default().to_owned();
        reply("403 Forbidden", "", &format!("bad credentials: {echo} canary-token"))
    });
    let uri = format!("http://{}", server.address());
    let (mut mlflow, _folder) = destination(&uri, &[("MLFLOW_TRACKING_TOKEN", "canary-token")], LONG);
    let Answer::Later { why, .. } = mlflow.deliver(&Stream::main(), &points(1), &wait()) else { panic!() };
    assert_eq!(server.requests()[0].header("authorization"), Some("Bearer canary-token"));
    assert!(why.contains("bad credentials: Bearer *** ***") && !why.contains("canary"), "{why}");
}
