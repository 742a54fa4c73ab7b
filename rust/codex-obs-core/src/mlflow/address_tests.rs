use super::*;
use crate::http::secret::Credentials;

fn base(uri: &str) -> String {
    parse(uri).unwrap().base
}

fn credentials(uri: &str) -> Option<(String, String)> {
    match parse(uri).unwrap().credentials {
        Some(Credentials::Basic { username, password }) => {
            Some((username.reveal().to_owned(), password.reveal().to_owned()))
        }
        Some(Credentials::Token(_)) => panic!("user info is no token"),
        None => None,
    }
}

#[test]
fn every_spelling_of_one_address_is_one_base() {
    for uri in [
        "http://Host:5000",
        "HTTP://host:5000/",
        "http://host:5000//",
        " http://host:5000/v1/traces ",
        "http://host:5000/v1/traces/",
        "http://user:password@host:5000/",
        "http://a@b:c@host:5000",
    ] {
        assert_eq!(base(uri), "http://host:5000", "{uri}");
    }
    assert_eq!(base("https://host:443/mlflow/v1/traces"), "https://host/mlflow");
    assert_eq!(base("http://host:443/a/b/"), "http://host:443/a/b");
    assert_eq!(base("http://host:80"), "http://host");
    assert_eq!(base("http://[::1]:5000"), "http://[::1]:5000");
    assert_eq!(parse("http://[::1]:5000").unwrap().host, "::1");
    assert_eq!(
        url(&parse("https://h/p/").unwrap().base, "runs/log-batch"),
        "https://h/p/api/2.0/mlflow/runs/log-batch"
    );
}

#[test]
fn user_info_is_taken_out_and_decoded() {
    let pair = |user: &str, password: &str| Some((user.to_owned(), password.to_owned()));
    assert_eq!(credentials("http://host"), None);
    assert_eq!(credentials("http://@host"), None);
    assert_eq!(credentials("http://u:p@host"), pair("u", "p"));
    assert_eq!(credentials("http://u%40x:p%3A%25@host"), pair("u@x", "p:%"));
    assert_eq!(credentials("http://only@host"), pair("only", ""));
    assert_eq!(credentials("http://u:p@q:r@host"), pair("u", "p@q:r"));
    assert_eq!(credentials("http://u%4:100%@host"), pair("u%4", "100%"));
    assert_eq!(credentials("http://u%ff:%+1@host"), pair("u%ff", "%+1"));
}

#[test]
fn what_is_no_web_address_is_refused_with_the_remedy_and_without_the_secret() {
    for uri in [
        "",
        "host:5000",
        "file:///tmp/mlruns",
        "sqlite:///x.db",
        "postgresql+psycopg2://u:canary@h/db",
        "databricks://canary",
        "ftp://u:canary@host",
        "http://",
        "http://u:canary@",
        "http://u:canary@host:99999",
        "http://u:canary@host:0",
        "http://u:canary@host:",
        "http://u:canary@ho st",
        "http://host?token=canary",
        "http://host#canary",
        "http://u:canary@[::1",
    ] {
        let error = parse(uri).expect_err(uri);
        assert!(error.is_setting(), "{uri}");
        let text = format!("{error} {error:?}");
        assert!(text.contains("mlflow_tracking_uri") && !text.contains("canary"), "{uri}: {text}");
    }
    for uri in ["http://host:65536", "http://u:canary@host:65536/base", "http://[::1]:65536"] {
        let text = parse(uri).unwrap_err().to_string();
        assert!(
            text.starts_with("mlflow_tracking_uri cannot be used: 65536 is not a port (1 to 65535; "),
            "{uri}: {text}"
        );
    }
    assert!(parse("http://host:65535").is_ok() && parse("http://[::1]").is_ok());
    // A user whose host was forgotten.
    let text = parse("http://user:12345678").unwrap_err().to_string();
    assert!(!text.contains("12345678"), "{text}");
    let text = parse("sqlite:///x.db").unwrap_err().to_string();
    assert!(text.contains("mlflow server"), "{text}");
}
