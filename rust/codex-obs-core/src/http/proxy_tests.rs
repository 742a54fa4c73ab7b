use super::*;
use crate::http::address::Purpose;

fn endpoint(uri: &str) -> Endpoint {
    let purpose = Purpose { setting: "uri", usual_port: "", suffix: "/v1", other_scheme: str::to_owned };
    Endpoint::parse(uri, &purpose).unwrap()
}

fn proxied(uri: &str, variables: &[(&str, &str)]) -> Option<String> {
    let endpoint = endpoint(uri);
    let variable = |name: &str| variables.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned());
    Proxy::find(&endpoint, &variable).unwrap().map(|proxy| proxy.proxy.host().to_owned())
}

#[test]
fn the_scheme_chooses_the_variable() {
    let all = [("HTTP_PROXY", "http://plain:1"), ("https_proxy", "tls:2"), ("ALL_PROXY", "socks5h://rest:3")];
    assert_eq!(proxied("http://h", &all).as_deref(), Some("plain"));
    assert_eq!(proxied("https://h", &all).as_deref(), Some("tls"));
    assert_eq!(proxied("https://h", &all[2..]).as_deref(), Some("rest"));
    assert_eq!(proxied("https://h", &[("HTTP_PROXY", "http://plain:1"), ("https_proxy", " ")]), None);
    assert_eq!(proxied("http://h", &[("http_proxy", "low"), ("HTTP_PROXY", "high")]).as_deref(), Some("low"));
}

#[test]
fn loopback_is_asked_directly() {
    for uri in ["http://localhost:5000", "http://127.0.0.1:5000", "http://127.9.9.9", "http://[::1]:5000"] {
        assert_eq!(proxied(uri, &[("http_proxy", "p")]), None, "{uri}");
    }
    assert!(proxied("http://localhost.example", &[("http_proxy", "p")]).is_some());
}

#[test]
fn no_proxy_names_hosts_domains_addresses_and_networks() {
    for (uri, list, direct) in [
        ("http://a.b.c", "*", true),
        ("http://a.b.c", "x, b.c", true),
        ("http://a.b.c", ".b.c", true),
        ("http://a.b.c", "*.b.c", true),
        ("http://a.b.c", "A.B.C", true),
        ("http://a.b.c", "a.b.c:80", true),
        ("http://a.b.c:5000", "a.b.c:80", false),
        ("http://ab.c", "b.c", false),
        ("http://a.b.c", ".", false),
        ("http://a.b.c", "", false),
        ("http://10.1.2.3", "10.0.0.0/8", true),
        ("http://11.1.2.3", "10.0.0.0/8", false),
        ("http://11.1.2.3", "0.0.0.0/0", true),
        ("http://10.1.2.3", "10.0.0.0/33,fd00::/8,10.0.0.0/x", false),
        ("http://10.1.2.3:5000", "10.1.2.3:5000", true),
        ("http://10.1.2.3:5000", "10.1.2.3:80", false),
        ("http://10.1.2.3", "10.1.2.3", true),
        ("http://[fd00::1]", "fd00::/8", true),
        ("http://[fd00::1]:5000", "[fd00::1]:5000", true),
        ("http://[fe00::1]", "fd00::/8", false),
    ] {
        let found = proxied(uri, &[("http_proxy", "p"), ("no_proxy", list)]);
        assert_eq!(found.is_none(), direct, "{uri} {list}");
    }
}

#[test]
fn a_proxy_that_is_none_is_an_error_without_its_password() {
    let endpoint = endpoint("https://h");
    let error =
        Proxy::find(&endpoint, &|name| (name == "https_proxy").then(|| "nope://u:canary@h".to_owned())).unwrap_err();
    let text = format!("{error} {error:?}");
    assert!(text.contains("HTTPS_PROXY") && !text.contains("canary"), "{text}");

    let variable = |name: &str| (name == "https_proxy").then(|| "http://user:can%61ry-1@h:1".to_owned());
    let proxy = Proxy::find(&endpoint, &variable).unwrap().unwrap();
    let mut redactor = Redactor::default();
    proxy.hide_in(&mut redactor);
    assert_eq!(redactor.clean("canary-1 can%61ry-1", 99), "*** ***");
    assert!(!format!("{proxy:?}").contains("can"));
}
